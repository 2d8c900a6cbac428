"""Times and needs as people read them, and how events look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clearance.journal.decisions import Decision
from clearance.journal.requests import Request
from clearance.text.rendering import span

#: So long before its deadline a request is marked.
SOON = timedelta(minutes=60)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Moment:
    """A time: in words for feeling, exactly for truth."""

    words: str
    at: str
    iso: str


def clock(at: datetime, now: datetime, *, seconds: bool = False) -> str:
    """Write a time of day, with the day when it is another one."""
    # By its parts: strftime takes ten times as long, and a list asks a hundred times.
    text = f"{at.hour:02}:{at.minute:02}:{at.second:02}" if seconds else f"{at.hour:02}:{at.minute:02}"
    if at.date() == now.date():
        return text
    day = f"{at.day} {_MONTHS[at.month - 1]}"
    return f"{day} {text}" if at.year == now.year else f"{day} {at.year} {text}"


def moment(at: datetime, now: datetime, *, seconds: bool = False) -> Moment:
    """Say when something was or will be."""
    words = f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"
    return Moment(words, clock(at, now, seconds=seconds), at.astimezone(UTC).isoformat())


#: How an audit event looks; the others are plain.
LOOKS = {
    "asked_again": "late",
    "executed": "done",
    "failed": "refused",
    "refused": "refused",
    "withdrawn": "late",
    "expired": "late",
    "frozen": "freeze",
    "unfrozen": "freeze",
    "erased": "late",
    "answer_refused": "refused",
    "unknown": "late",
    "settled": "late",
    "contradicted": "refused",
}


def needs(request: Request) -> str:
    """Say of whom a request needs approval: `2 treasurers`."""
    roles = " and ".join(request.approvers or []) or "nobody"
    return f"{request.approvals} × {roles}" if request.approvals > 1 else roles


def decided_by(made: Sequence[Decision]) -> list[str]:
    """List who decided, in order: whose approval counts, and who rejected."""
    return [one.decided_by for one in made if one.counts or one.decision == "reject"]
