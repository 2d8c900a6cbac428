"""What the inbox says, and how. Every text from outside becomes `Content`, so that nothing in it is read as markup."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from textual.content import Content

from clearance.cli.cards import moment, roles
from clearance.contract import Checked, Entry, Event, Me, Review, Switch
from clearance.desk.choices import is_confirmed
from clearance.desk.labels import event_label
from clearance.journal.audit import stopped_by_clock
from clearance.text.rendering import span, visible

#: By risk: the style of its word. The word is always there, too.
RISKS = {"low": "", "medium": "bold", "high": "bold $warning", "critical": "bold reverse $error"}

_STATES = {
    "asked": "to decide",
    "approved": "approved, waits to be carried out",
    "allowed": "allowed by policy, waits to be carried out",
    "executing": "in flight: being done elsewhere",
    "unknown": "in flight: nobody knows yet whether it was done",
    "executed": "done",
    "rejected": "rejected",
    "refused": "refused, not done",
    "failed": "failed, not done",
    "expired": "expired, not done",
    "withdrawn": "withdrawn, not done",
}
#: Columns that the longest word for a risk takes, with air around it; and that a text needs at least.
_RISK, _LEAST = 11, 20
#: Columns between two things side by side.
_AIR = 4


def text(said: Any, style: str = "") -> Content:
    """Give a text from anywhere as it is: no markup, nothing hidden."""
    return Content.styled(visible(str(said)), style)


def joined(*parts: Content | str) -> Content:
    """Put texts side by side; a `str` is ours."""
    return Content("").join([part if isinstance(part, Content) else Content(part) for part in parts])


def state(word: str) -> str:
    """Say how a request stands."""
    return _STATES.get(word, word)


def left(until: datetime, now: datetime) -> Content:
    """Say how long there is, with caution in the last hour."""
    if until <= now:
        return Content.styled("too late", "$error")
    return Content.styled(f"{span(until - now)} left", "$warning" if until - now < timedelta(hours=1) else "")


def who(me: Me) -> Content:
    """Say who one is, and what one may decide: `ana, approver`."""
    if me.kind == "local":
        return Content.assemble(("local", "bold"), ", no sign-in: everybody here is this person")
    return joined(text(me.id, "bold"), ", ", text(", ".join(me.roles) or "no role"))


def row(entry: Entry, now: datetime, width: int, *, is_stale: bool) -> Content:
    """Write a request for the list, `width` columns wide; `is_stale` when it left the list meanwhile.

    Its risk stands in a column of its own, so that what does not fit on a line goes on below what it belongs to.
    """
    risk = Content.styled(f" {visible(entry.risk)} ", "dim" if is_stale else RISKS.get(entry.risk, ""))
    lines = [text(entry.line, "dim strike" if is_stale else "bold"), *_remarks(entry), _below(entry, now, is_stale)]
    room = max(width - _RISK, _LEAST)
    wrapped = [part for one in lines for part in one.wrap(room)]
    first = joined(risk, " " * max(_RISK - risk.cell_length, 0), wrapped[0])
    return Content("\n").join([first, *(joined(" " * _RISK, part) for part in wrapped[1:])])


def _remarks(entry: Entry) -> list[Content]:
    """Say what is out of the ordinary, as long as it can be decided; of what is over, why it was not done."""
    found = [text(entry.not_done)] if entry.not_done else []
    if entry.flight is not None:
        found.append(text(f"! {entry.flight.sentence}" if entry.flight.waits_for_person else entry.flight.sentence,
                          "$warning" if entry.state == "unknown" else ""))  # fmt: skip
    elif entry.notice and entry.finished_at is None:
        found.append(text(f"! Asked again: {entry.notice}", "$warning"))
    elif entry.remark is not None:
        found.append(text(f"! {entry.remark.text}", "$error" if entry.remark.is_bad else "$warning"))
    return found


def _below(entry: Entry, now: datetime, is_stale: bool) -> Content:
    by = joined("asked by ", text(entry.requested_by))
    if entry.namesake:
        by = joined(by, Content.styled(" (! looks like another name)", "$error"))
    if entry.finished_at is not None:
        decided = f" by {', '.join(entry.approvals_given)}" if entry.approvals_given else ""
        # That it was not done is said above.
        said = [text(f"{state(entry.state).split(',')[0]}{decided}, {moment(entry.finished_at)}")]
    elif entry.state != "asked":
        said = [text(state(entry.state))]
    elif is_stale:
        said = [Content("no longer in this list")]
    else:
        said = [left(entry.expires_at, now), text(_needs(entry))]
    unsaid = [text(entry.unsaid)] if entry.unsaid else []
    return Content(" · ").join([*unsaid, by, *said]).stylize("dim")


def _needs(entry: Entry) -> str:
    of = " and ".join(entry.approvers or []) or "nobody"
    if entry.approvals_needed == 1:
        return f"needs {of}"
    return f"{len(entry.approvals_given)} of {entry.approvals_needed} × {of}"


def grid(rows: Sequence[tuple[str, str]]) -> Content:
    """Draw (label, text) rows in two columns; what is longer than its line goes on in the next."""
    width = min(max((len(label) for label, _ in rows), default=0), 28)
    lines = [joined(Content.styled(label.ljust(width), "dim"), "  ", Content(said)) for label, said in rows]
    return Content("\n").join(lines)


def side_by_side(rows: Sequence[tuple[str, str]], width: int) -> Content:
    """Draw (label, text) rows in two halves of `width` columns where each fits into one; else as `grid`."""
    half = (len(rows) + 1) // 2
    halves = [grid(part).split(allow_blank=True) for part in (rows[:half], rows[half:])]
    room = max((line.cell_length for line in halves[0]), default=0) + _AIR
    if any("\n" in said for _, said in rows) or room + max((one.cell_length for one in halves[1]), default=0) > width:
        return grid(rows)
    right = [*halves[1], *[Content("")] * (half - len(halves[1]))]
    return Content("\n").join(
        [one.pad_right(room - one.cell_length) + two for one, two in zip(halves[0], right, strict=True)]
    )


def happened(event: Event) -> Content:
    """Write what happened to a request as one line, for who decides on it; the log has all of it."""
    more = event.details.get("rule") or event.details.get("cause") or ""
    return joined(
        Content.styled(f"{visible(event.at[:19].replace('T', ' '))}  ", "dim"),
        text(event_label(event.event), "bold"),
        text(f" by {event.actor}"),
        text(f"  {more}" if more else "", "dim"),
    )


def event_line(event: Event) -> Content:
    """Write an audit row as one line, without the digests of the rows that it binds: `audit verify` reads those."""
    details = " ".join(f"{name}={_short(value)}" for name, value in event.details.items() if name != "rows")
    return joined(
        Content.styled(f"{event.seq:>6}  {visible(event.at[:19].replace('T', ' '))}  ", "dim"),
        text(event.event, "bold"),
        "  ",
        text(event.actor),
        f"  {visible(event.request_id[:8])}" if event.request_id else "",
        "  ",
        text(details, "dim"),
    )


def stopped_band(switch: Switch) -> str:
    """Say that effects are stopped, since when, by whom and why; nothing when they may run."""
    said = []
    if switch.frozen:
        since = f" since {moment(switch.since)}" if switch.since else ""
        said.append(f"Frozen by {switch.by}{since}: {switch.reason}")
    if switch.ahead_s:
        said.append(stopped_by_clock(timedelta(seconds=switch.ahead_s)))
    return visible(" ".join(said))


def open_requests(switch: Switch) -> str:
    """Say how many requests are open."""
    total = sum(switch.open.values())
    return "1 request is open" if total == 1 else f"{total or 'no'} requests are open"


def in_flight(switch: Switch) -> str:
    """Name what was started elsewhere and has no outcome; empty where nothing is."""
    named = "".join(f"\n· {one.id[:8]} {one.sentence or one.line}: {state(one.state)}" for one in switch.in_flight)
    return visible(f"In flight elsewhere, and not called back by a freeze:{named}", keep="\n") if named else ""


def check_report(checked: Checked) -> str:
    """Say whose word a change still needs."""
    if checked.is_enough:
        return "This does less than what was asked, so your change is your approval."
    return f"It then waits for somebody else: it needs {roles(checked.approvers, checked.approvals_needed)}."


def change_button(checked: Checked) -> str:
    """Say what a change does, as its button does."""
    review = checked.review
    if checked.is_enough:
        return f"{review.verb} {review.what} instead"
    return f"Ask for {review.verb.lower()} {review.what} instead"


def to_confirm(review: Review) -> str:
    """Say what a person types before something critical: `the amount, 48,250.00`."""
    return visible(f"{review.confirm_is}, {review.confirm}")


def unconfirmed(typed: str, review: Review) -> str:
    """Say that what was typed confirms nothing; empty where it does."""
    if is_confirmed(typed, review.confirm):
        return ""
    was = f"You typed {typed}" if typed else "You typed nothing"
    return f"{was}; type {to_confirm(review)}. Nothing was recorded."


def _short(value: Any) -> str:
    said = value if isinstance(value, str) else str(value)
    return f"{said[:8]}…" if re.fullmatch(r"[0-9a-f]{32,}", said) else said[:200]
