"""What an action changes, as a table or, where there is little room, as lines; and the facts that stay as they are."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual.content import Content

from clearance.cli.inbox.words import grid, joined, text
from clearance.contract import Change, Fact
from clearance.text.rendering import visible


def changes_table(changes: Sequence[Change]) -> Table:
    """Draw what changes as before, after, change; what was another when it was asked for says so."""
    table = Table(box=None, pad_edge=False, padding=(0, 4, 0, 0), header_style="dim")
    table.add_column("", overflow="fold")
    for heading in ("Before", "After", "Change"):
        table.add_column(heading, justify="right", overflow="fold")
    for one in changes:
        table.add_row(
            _labelled(one),
            Text(visible(one.before)),
            Text(visible(one.after), "bold"),
            Text(visible(one.change)),
        )
    return table


def changes_lines(changes: Sequence[Change]) -> Content:
    """Write what changes below its label, as `before → after  change`."""
    lines = []
    for one in changes:
        label = " · ".join(part for part in (one.label, one.of) if part)
        difference = f"  {one.change}" if one.change else ""
        lines += [text(label, "dim"), text(f"{one.before} → {one.after}{difference}")]
    return Content("\n").join(lines)


def facts_grid(facts: Sequence[Fact]) -> Content:
    """List the facts that do not change by the action."""
    return grid([(visible(one.label), visible(_fact(one))) for one in facts])


def differences(before: Sequence[tuple[str, str]], after: dict[str, str]) -> Content:
    """List the arguments that a change makes others, as `name: before → after`."""
    lines = [
        joined(text(name, "dim"), "  ", text(f"{was} → {after[name]}"))
        for name, was in before
        if after.get(name, was) != was
    ]
    return Content("\n").join(lines)


def _labelled(change: Change) -> Text:
    label = Text(visible(change.label))
    if change.of:
        label.append(f"\n{visible(change.of)}", "dim")
    if change.was is not None:
        label.append(f"\nwas {visible(change.was)} when it was asked", "bold")
    return label


def _fact(fact: Fact) -> str:
    was = "" if fact.was is None else f" (was {fact.was or 'none'} when it was asked)"
    return f"{fact.text or 'none'}{was}"
