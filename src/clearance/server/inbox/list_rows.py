"""A request as a line of a list."""

from dataclasses import dataclass
from datetime import datetime

from clearance.actions.review import Concern, Words
from clearance.desk import flights
from clearance.desk.choices import given
from clearance.desk.comparison import heading
from clearance.desk.entries import Listed
from clearance.desk.labels import STATES
from clearance.principal import Principal
from clearance.server.inbox.wording import SOON, Moment, clock, decided_by, moment, needs
from clearance.text.rendering import span


@dataclass(frozen=True)
class Row:
    """A request in a list."""

    id: str
    risk: str
    verb: str
    line: Words
    below: Words
    #: What of the arguments stands in neither: "Memo: gift for the CFO", each cut.
    unsaid: str
    #: How it ended without its effect.
    not_done: str
    place: str
    remark: Concern | None
    notice: str | None
    amount: str
    asked_by: str
    #: Somebody else, whose name looks the same.
    namesake: str | None
    needs: str
    needs_sub: str
    #: Who decided it, where somebody did.
    by: str
    opened: Moment
    waits: str
    until: Moment
    is_soon: bool
    is_open: bool
    #: When it was started elsewhere, while what became of it is not known; None otherwise.
    started: Moment | None
    #: Decided while one looks at the list.
    is_gone: bool


def row(listed: Listed, viewer: Principal, now: datetime, *, is_gone: bool = False) -> Row:
    """Make a row of a request."""
    request, review, plan = listed.request, listed.review, listed.plan
    # A row that is decided while one looks keeps its lines: what stands below it must not move.
    is_as_before = request.is_open or is_gone
    end = request.finished_at or request.expires_at
    place = [one.request_id for one in plan].index(request.request_id) + 1
    return Row(
        id=request.request_id,
        risk=request.risk,
        verb=review.verb if is_as_before else heading(request, review),
        line=review.line or review.what,
        below=review.below,
        unsaid=listed.unsaid((*(review.line or review.what), *review.below, review.amount)),
        not_done="" if is_as_before else listed.not_done,
        place=f"{place} of {len(plan)} in its turn" if len(plan) > 1 else "",
        remark=_for_a_person(listed) or (listed.remark if is_as_before else None),
        notice=request.notice if is_as_before else None,
        amount=review.amount,
        asked_by=request.requested_by,
        namesake=listed.namesake,
        needs=needs(request) if request.state == "asked" else STATES[request.state],
        needs_sub=_needs_sub(listed, viewer, now),
        by="" if not request.is_over else next(reversed(decided_by(listed.made)), ""),
        opened=moment(request.opened_at, now),
        waits=span((request.finished_at or now) - request.opened_at),
        until=moment(end, now),
        is_soon=request.is_open and end - now < SOON,
        is_open=request.is_open,
        started=moment(listed.attempt.started_at, now) if listed.attempt else None,
        is_gone=is_gone,
    )


def _for_a_person(listed: Listed) -> Concern | None:
    if listed.attempt is None or not flights.waits_for_person(listed.attempt):
        return None
    return Concern(("Somebody has to say what became of it.",))


def _needs_sub(listed: Listed, viewer: Principal, now: datetime) -> str:
    request, made = listed.request, listed.made
    if listed.attempt is not None:
        at = listed.attempt.next_look_at
        return f"looked into at {clock(at, now, seconds=True)}" if at else ""
    if request.state == "asked" and request.approvals > 1:
        own = any(one.counts and one.decided_by == viewer.id for one in made)
        return f"{given(made)} of {request.approvals} given{', yours' if own and given(made) == 1 else ''}"
    if request.state in ("approved", "allowed"):
        waits = sum(one.state == "asked" for one in listed.plan)
        return f"waits for {waits} more of its turn" if waits else "runs now"
    return ""
