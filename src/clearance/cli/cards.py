"""How a request looks in a terminal, and how a list of them.

Their texts are cut and made visible by the server; none is read as markup. They are made visible once more here, which
changes nothing where the server did it: no server writes to a terminal.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from clearance.cli.terminal import line, out
from clearance.desk.labels import ATTEMPTS
from clearance.text.rendering import span, visible

if TYPE_CHECKING:
    from clearance.contract import Attempt, Detail, Entry, Receipt

#: Digits of a request's id that are shown; a unique prefix is enough everywhere.
SHORT = 8

#: Columns of a table that whoever asked takes at most.
_NAME = 14

_RISKS = {"low": "green", "medium": "yellow", "high": "red", "critical": "bold red"}


def card(held: dict[str, Any], thread_id: str, now: datetime, *, shown: "Detail | None" = None) -> Panel:
    """Draw all that a reviewer must know about one request: sentence, facts, the whole turn, who and until when.

    `held` is as it was asked. With `shown`: what is out of the ordinary, what changed since, and how it ended.
    """
    risk = str(held.get("risk_level", ""))
    style = _RISKS.get(risk, "")
    parts: list[Any] = [Text(visible(_sentence(held)), "bold")]
    if shown and shown.disagreements:
        said = [f"The database says otherwise than the log: {visible(one)}." for one in shown.disagreements]
        parts = [*(Text(one, "bold red") for one in said), "", *parts]
    if shown and shown.contradictions:
        said = [f"Known to be otherwise: {visible(one)}" for one in shown.contradictions]
        parts = [*(Text(one, "bold red") for one in said), "", *parts]
    receipt, look_first = (shown.receipt, shown.look_first) if shown else (None, [])
    if receipt is not None:
        ended = receipt.sentence or "It is over; what it said was erased."
        parts += ["", Text(visible(ended), "bold green" if receipt.outcome == "executed" else "bold red")]
    if shown and shown.request.flight:
        parts += ["", Text(visible(shown.request.flight.sentence), "bold yellow")]
    if look_first:  # tells why it is asked again, too
        parts += ["", *(Text(f"! {visible(one.text)}", "bold red" if one.is_bad else "yellow") for one in look_first)]
    elif held.get("notice") and receipt is None:
        parts += ["", Text(visible(f"Asked again: {held['notice']}"), "yellow")]
    parts += ["", _grid(_vitals(held, now, receipt))]
    parts += ["", Text("Arguments", "dim"), _indented(_grid(_arguments(held, shown)))]
    if facts := _facts(held):
        parts += ["", Text("Facts", "dim"), _indented(_facts_in_columns(facts))]
    if shown and (since := _since(shown)):
        parts += ["", Text("Changed since it was asked", "dim"), _indented(_grid(since))]
    if shown and shown.attempts:
        parts += ["", Text("Starts elsewhere", "dim"), _indented(_grid([_start(one) for one in shown.attempts]))]
    parts += ["", *_turn(held.get("turn") or {})]
    # Last: however much somebody wrote, it pushes nothing out of sight.
    for one in held.get("said") or []:
        parts += [
            "",
            Text(visible(str(one["label"])), "dim"),
            Padding(Text(visible(str(one["text"])), "italic"), (0, 0, 0, 2)),
        ]
    return Panel(
        Group(*parts),
        title=Text(f" {risk} risk · {visible(str(held.get('action')))} · {held['id'][:SHORT]} ", style),
        subtitle=Text(f" thread {line(thread_id)} ", "dim"),
        title_align="left",
        subtitle_align="left",
        border_style=style,
        padding=(1, 2),
        width=min(out.width, 110),
    )


def table(requests: Sequence["Entry"], now: datetime) -> Table:
    """List requests, one row each."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    # Where there is little room, names are broken before what is asked for goes, or an id that one has to type.
    for heading in ("Request", "Risk", "What", "Asked by", "Approved", "Left"):
        is_name = heading == "Asked by"
        drawn.add_column(
            heading,
            header_style="dim",
            no_wrap=not is_name and heading != "What",
            overflow="fold" if is_name else "ellipsis",
            max_width=_NAME if is_name else None,
        )
    for one in requests:
        what = Text(visible(one.sentence or one.line))
        if one.unsaid:
            what.append(f"\n{visible(one.unsaid)}", "dim")
        if one.notice:
            what.append(f"\n{visible(one.notice)}", "yellow")
        elif one.remark:
            what.append(f"\n! {visible(one.remark.text)}", "red" if one.remark.is_bad else "yellow")
        # What is decided waits for the rest of its turn.
        given = f"{len(one.approvals_given)} of {one.approvals_needed}" if one.state == "asked" else visible(one.state)
        drawn.add_row(
            Text(visible(one.id[:SHORT]), "bold"),
            Text(visible(one.risk), _RISKS.get(one.risk, "")),
            what,
            Text(visible(one.requested_by)).append("\n! looks like another name" if one.namesake else "", "red"),
            Text(given),
            _left(one.expires_at, now),
        )
    return drawn


def in_flight_table(requests: Sequence["Entry"]) -> Table:
    """List requests that were started elsewhere and of which nobody knows, one row each."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("Request", "What", "Asked by", "Started", "How it stands"):
        drawn.add_column(heading, header_style="dim", no_wrap=heading in ("Request", "Started"), overflow="fold")
    for one in requests:
        if one.flight is None:  # it ended while it was listed
            continue
        style = "yellow" if one.flight.waits_for_person else ""
        drawn.add_row(
            Text(visible(one.id[:SHORT]), "bold"),
            Text(visible(one.sentence or one.line)),
            Text(visible(one.requested_by)),
            Text(moment(one.flight.started_at)),
            Text(visible(one.flight.sentence), style),
        )
    return drawn


def progress() -> Progress:
    """Make the bar of a long job."""
    # The message gives way, never the bar.
    room = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    message = TextColumn("{task.description}", markup=False, table_column=room)
    return Progress(BarColumn(30), MofNCompleteColumn(), message, console=out, expand=True)


def moment(at: datetime, *, seconds: bool = False) -> str:
    """Write a moment as people read it, in UTC."""
    return f"{at.astimezone(UTC):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}} UTC"


def roles(approvers: Sequence[str] | None, needed: int) -> str:
    """Say who has to approve: `2 × treasurer`."""
    return visible(f"{needed} × {' and '.join(approvers)}") if approvers else "nobody's approval"


def _vitals(held: dict[str, Any], now: datetime, receipt: "Receipt | None") -> list[tuple[str, Text]]:
    given = [visible(str(name)) for name in held.get("approvals_given") or []]
    needed = roles(held.get("approvers"), held.get("approvals_needed", 1))
    none = ", none given yet" if receipt is None and held.get("approvers") else ""
    asked = _read(held.get("requested_at"))
    until = _read(held.get("expires_at"))
    if receipt is not None:
        on = f", on the word of {visible(receipt.settled_by)}" if receipt.settled_by else ""
        last = ("Ended", Text(f"{moment(receipt.finished_at)}, {visible(receipt.outcome)}{on}"))
    else:
        last = ("Until", Text(f"{moment(until)}, ").append_text(_left(until, now)) if until else Text(""))
    return [
        ("Asked by", Text(visible(str(held.get("requested_by"))) + (f", {moment(asked)}" if asked else ""))),
        ("Approvals", Text(needed + (f", given by {', '.join(given)}" if given else none))),
        last,
        ("Because of", Text(visible(str(held.get("rule"))))),
    ]


def _start(one: "Attempt") -> tuple[str, Text]:
    said = f"{ATTEMPTS.get(one.state, one.state)}, started {moment(one.started_at)}"
    if one.settled_by:
        said += f"; on the word of {one.settled_by}: {one.reason or 'what they said was erased'}"
    elif one.looks:
        said += f"; looked up {one.looks} times" if one.looks > 1 else "; looked up once"
    return f"{one.number}", Text(visible(said))


def _left(until: datetime, now: datetime) -> Text:
    if until <= now:
        return Text("too late", "red")
    return Text(span(until - now), "yellow" if until - now < timedelta(hours=1) else "")


def _arguments(held: dict[str, Any], shown: "Detail | None") -> list[tuple[str, Text]]:
    if shown is not None:  # whole; what the question of a thread holds is cut
        called = shown.review.arguments
        return [(one.label, Text(visible(one.text, keep="\n") or "empty")) for one in called]
    requests = held.get("action_requests") or [{}]
    arguments = requests[0].get("args") or {}
    return [(name, Text(visible(str(value)) or "empty")) for name, value in arguments.items()]


def _facts(held: dict[str, Any]) -> list[tuple[str, Text]]:
    return [(str(fact["label"]), Text(visible(str(fact["text"])))) for fact in held.get("shown_facts") or []]


def _since(shown: "Detail") -> list[tuple[str, Text]]:
    review = shown.review
    found = [(one.label, one.was, one.before) for one in review.changes]
    found += [(one.label, one.was, one.text) for one in review.facts]
    return [(label, Text(visible(f"{was} → {now}"))) for label, was, now in found if was is not None]


def _facts_in_columns(facts: list[tuple[str, Text]]) -> Table:
    """Draw facts, side by side where they are short enough: the whole card should fit on a screen."""
    if out.width < 90 or any(len(label) > 24 or len(text) > 18 for label, text in facts):
        return _grid(facts)
    half = (len(facts) + 1) // 2
    both = Table.grid(padding=(0, 4, 0, 0))
    both.add_row(_grid(facts[:half]), _grid(facts[half:]))
    return both


def _turn(turn: dict[str, Any]) -> list[Any]:
    parts: list[Any] = [Text("The whole turn", "dim")]
    calls = Table.grid(padding=(0, 2, 0, 0))
    for number, request in enumerate(turn.get("requests") or [], 1):
        style = "bold" if request.get("this") else ""
        calls.add_row(
            Text(f"{'→' if request.get('this') else ' '} {number}", style),
            Text(visible(str(request.get("state"))), "dim"),
            Text(visible(str(request.get("sentence") or request.get("action"))), style),
        )
    parts.append(_indented(calls))
    return parts


def _grid(rows: Sequence[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(visible(label)), text)
    return grid


def _indented(grid: Table) -> Padding:
    return Padding(grid, (0, 0, 0, 2))


def _sentence(held: dict[str, Any]) -> str:
    """Give what will happen, without the question mark and the notice that `message` adds."""
    mine = [request for request in (held.get("turn") or {}).get("requests") or [] if request.get("this")]
    return str((mine[0].get("sentence") if mine else None) or held.get("message") or held.get("action"))


def _read(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
