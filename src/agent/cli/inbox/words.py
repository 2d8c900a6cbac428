"""What the inbox says, and how. Every text from outside becomes `Content`, so that nothing in it is read as markup."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from textual.content import Content

from agent.clearance.panel import is_confirmed
from agent.clearance.rendering import span, visible
from agent.cli.cards import moment, roles
from agent.contract import Checked, Entry, Event, Freeze, Me, Review

#: By risk: the style of its word. The word is always there, too.
RISKS = {"low": "", "medium": "bold", "high": "bold $warning", "critical": "bold reverse $error"}

_STATES = {
    "asked": "to decide",
    "approved": "approved, waits to be carried out",
    "allowed": "allowed by policy, waits to be carried out",
    "executed": "done",
    "rejected": "rejected",
    "refused": "refused, not done",
    "failed": "failed, not done",
    "expired": "expired, not done",
    "withdrawn": "withdrawn, not done",
}
_GONE = "what it said was erased"


def text(said: Any, style: str = "") -> Content:
    """Give a text from anywhere as it is: no markup, nothing hidden."""
    return Content.styled(visible(str(said)), style)


def joined(*parts: Content | str) -> Content:
    """Put texts side by side; a `str` is ours."""
    return Content("").join([part if isinstance(part, Content) else Content(part) for part in parts])


def state(word: str) -> str:
    """Say how a request stands."""
    return _STATES.get(word, word)


def sentence(entry: Entry) -> str:
    """Say what a request is about."""
    return visible(entry.sentence or f"{entry.action}: {_GONE}")


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


def row(entry: Entry, now: datetime, *, is_stale: bool) -> Content:
    """Write a request as two lines of the list; `is_stale` when it left the list meanwhile."""
    style = "dim strike" if is_stale else ""
    risk = Content.styled(f" {visible(entry.risk)} ", "dim" if is_stale else RISKS.get(entry.risk, ""))
    if entry.finished_at is not None:
        when = Content(f"{state(entry.state)}, {moment(entry.finished_at)}")
    elif is_stale:
        when = Content(state(entry.state) if entry.state != "asked" else "no longer in this list")
    elif entry.state != "asked":
        when = Content(state(entry.state))
    else:
        when = joined(left(entry.expires_at, now), f" · needs {roles(entry.approvers, entry.approvals_needed)}")
    below = joined("   ", "asked by ", text(entry.requested_by), " · ", when)
    return joined(risk, " ", text(sentence(entry), style or "bold"), "\n", below.stylize("dim"))


def grid(rows: Sequence[tuple[str, str]]) -> Content:
    """Draw (label, text) rows in two columns; what is longer than its line goes on in the next."""
    width = min(max((len(label) for label, _ in rows), default=0), 28)
    lines = [joined(Content.styled(label.ljust(width), "dim"), "  ", Content(said)) for label, said in rows]
    return Content("\n").join(lines)


def event_line(event: Event) -> Content:
    """Write an audit row as one line."""
    details = " ".join(f"{name}={_short(value)}" for name, value in event.details.items())
    return joined(
        Content.styled(f"{event.seq:>6}  {visible(event.at[:19].replace('T', ' '))}  ", "dim"),
        text(event.event, "bold"),
        "  ",
        text(event.actor),
        f"  {visible(event.request_id[:8])}" if event.request_id else "",
        "  ",
        text(details, "dim"),
    )


def frozen_band(switch: Freeze) -> str:
    """Say that effects are stopped, since when, by whom and why."""
    since = f" since {moment(switch.since)}" if switch.since else ""
    return visible(f"Frozen by {switch.by}{since}: {switch.reason}")


def open_requests(switch: Freeze) -> str:
    """Say how many requests are open."""
    total = sum(switch.open.values())
    return "1 request is open" if total == 1 else f"{total or 'no'} requests are open"


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
