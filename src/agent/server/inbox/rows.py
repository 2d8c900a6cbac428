"""A request as a line of a list."""

from dataclasses import dataclass
from datetime import datetime

from agent.clearance import twins
from agent.clearance.action import Argument
from agent.clearance.journal import Decision, Request
from agent.clearance.panel import given
from agent.clearance.principal import Principal
from agent.clearance.rendering import line, span
from agent.clearance.review import Concern, Review, Words
from agent.clearance.reviewing import STATES, Shown, heading, unsaid
from agent.clearance.twins import Twin
from agent.server.inbox.wording import SOON, Moment, decided_by, moment, needs

#: Arguments that a row says beside its line, and characters of each.
_ARGUMENTS, _ARGUMENT = 3, 60


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
    place: str
    remark: Concern | None
    notice: str | None
    amount: str
    asked_by: str
    needs: str
    needs_sub: str
    #: Who decided it, where somebody did.
    by: str
    opened: Moment
    waits: str
    until: Moment
    is_soon: bool
    is_open: bool
    #: Decided while one looks at the list.
    is_gone: bool


@dataclass(frozen=True)
class Around:
    """What stands around the requests of a page."""

    #: Requests of their plans, by plan.
    plans: dict[str, list[Request]]
    #: Decisions, by request.
    decisions: dict[str, list[Decision]]
    #: Others for exactly the same call, by request.
    twins: dict[str, list[Twin]]


def row(
    request: Request,
    shown: Shown,
    called: list[Argument],
    around: Around,
    viewer: Principal,
    now: datetime,
    *,
    is_gone: bool = False,
) -> Row:
    """Make a row of a request."""
    review, plan = shown.review, around.plans.get(request.plan_id, [request])
    made = around.decisions.get(request.request_id, [])
    # A row that is decided while one looks keeps its lines: what stands below it must not move.
    concern = _remark(request, review, around, now) if request.is_open or is_gone else None
    end = request.finished_at or request.expires_at
    place = [one.request_id for one in plan].index(request.request_id) + 1
    return Row(
        id=request.request_id,
        risk=request.risk,
        verb=review.verb if request.is_open or is_gone else heading(request, review),
        line=review.line or review.what,
        below=review.below,
        unsaid=_unsaid(called, review),
        place=f"{place} of {len(plan)} in its turn" if len(plan) > 1 else "",
        remark=concern,
        notice=request.notice if request.is_open or is_gone else None,
        amount=review.amount,
        asked_by=request.requested_by,
        needs=needs(request) if request.state == "asked" else STATES[request.state],
        needs_sub=_needs_sub(request, plan, made, viewer),
        by="" if request.is_open else next(reversed(decided_by(made)), ""),
        opened=moment(request.opened_at, now),
        waits=span((request.finished_at or now) - request.opened_at),
        until=moment(end, now),
        is_soon=request.is_open and end - now < SOON,
        is_open=request.is_open,
        is_gone=is_gone,
    )


def _remark(request: Request, review: Review, around: Around, now: datetime) -> Concern | None:
    same = twins.concerns(request, around.twins.get(request.request_id, []), now)
    return next(iter(sorted([*same, *review.concerns], key=lambda concern: not concern.is_bad)), None)


def _unsaid(called: list[Argument], review: Review) -> str:
    left = unsaid(called, review)
    said = [f"{one.label}: {line(one.text, _ARGUMENT)}" for one in left[:_ARGUMENTS]]
    more = len(left) - len(said)
    return "; ".join([*said, *([f"{more} more"] if more > 0 else [])])


def _needs_sub(request: Request, plan: list[Request], made: list[Decision], viewer: Principal) -> str:
    if request.state == "asked" and request.approvals > 1:
        own = any(one.counts and one.decided_by == viewer.id for one in made)
        return f"{given(made)} of {request.approvals} given{', yours' if own and given(made) == 1 else ''}"
    if request.state in ("approved", "allowed"):
        waits = sum(one.state == "asked" for one in plan)
        return f"waits for {waits} more of its turn" if waits else "runs now"
    return ""
