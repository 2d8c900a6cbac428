"""`clearance stats`: how awake reviewers are, and how much policy asks. The inbox draws the same."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from clearance.cli.database import existing_database
from clearance.cli.project import current_settings
from clearance.cli.terminal import line, out, say, say_json

if TYPE_CHECKING:
    from rich.table import Table

    from clearance.contract import Statistics


def stats(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How far back.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, in the shape of the approvals API.")] = False,
) -> None:
    """Tell of each reviewer how long decisions took and how many were approved within three seconds; and what share of
    actions policy let through, asked and refused."""
    from clearance.desk.statistics import read_statistics
    from clearance.server.api import shapes

    since = datetime.now(UTC) - timedelta(days=days)
    with existing_database(current_settings()) as database:
        found = shapes.statistics(database.read_now(lambda connection: read_statistics(connection, since)))
    if as_json:
        say_json(found.model_dump(mode="json"))
        return
    say(policy_in_words(found, days))
    if found.reviewers:
        out.print(reviewers_table(found))
    else:
        say("Nobody decided anything.")


def policy_in_words(found: "Statistics", days: int) -> str:
    """Say what share of the actions policy let through, asked and refused."""
    totals = {word: sum(counted[word] for counted in found.verdicts.values()) for word in ("allow", "ask", "deny")}
    total = sum(totals.values())
    return (
        f"Of {total} actions in {days} days policy let {_share(totals['allow'], total)} through, asked"
        f" {_share(totals['ask'], total)} and refused {_share(totals['deny'], total)}."
    )


def reviewers_table(found: "Statistics") -> "Table":
    """Draw who decided what, and how fast."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    within = f"Approved within {found.hasty_s:.0f} s"
    for heading in ("Reviewer", "Decisions", "Approved", "Edited", "Rejected", "Median", within):
        table.add_column(heading, header_style="dim", justify="left" if heading == "Reviewer" else "right")
    for one in found.reviewers:
        hasty = f"{one.hasty} ({_share(one.hasty, one.approved)})" if one.approved else "0"
        table.add_row(
            Text(line(one.person)),
            str(one.decisions),
            f"{one.approved} ({_share(one.approved, one.decisions)})",
            str(one.edited),
            str(one.rejected),
            _took(one.median_s),
            Text(hasty, "red" if one.hasty * 2 > one.approved else ""),
        )
    return table


def policy_table(found: "Statistics") -> "Table":
    """Draw what policy said to each action."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("Action", "Let through", "Asked", "Refused"):
        table.add_column(heading, header_style="dim", justify="left" if heading == "Action" else "right")
    for action, counted in found.verdicts.items():
        total = sum(counted.values())
        shares = [f"{counted[word]} ({_share(counted[word], total)})" for word in ("allow", "ask", "deny")]
        table.add_row(Text(line(action)), *shares)
    return table


def _took(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "0%"
