"""How a plan stands: what is left to do with it, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clearance.actions.action import Actions
from clearance.gate.question import Question
from clearance.gate.records import Ended
from clearance.journal.plans import Plan
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request
from clearance.journal.turns import Turn


@dataclass(frozen=True)
class PlanStanding:
    """How a plan stands: what is left to do with it, in order."""

    plan: Plan
    turn: Turn
    requests: list[Request]
    #: By tool call.
    receipts: dict[str, Receipt]
    #: The next call to send to the tools; None when nothing is open.
    next: Request | None


def standing_of(turn: Turn, plan: Plan, ended: Sequence[Ended]) -> PlanStanding:
    """Tell how a plan stands by its requests, each with its receipt."""
    requests = sorted((request for request, _ in ended), key=lambda request: request.position)
    by_call = {request.tool_call_id: receipt for request, receipt in ended if receipt}
    return PlanStanding(plan, turn, requests, by_call, next_of(requests))


def is_due(standing: PlanStanding, actions: Actions, now: datetime) -> bool:
    """Tell whether there is something to open, to expire, or to end since the program has no such action."""
    if not standing.plan.opened:
        return standing.turn.state == "open"
    return any(
        request.is_open and (request.expires_at <= now or request.action not in actions)
        for request in standing.requests
    )


def is_asked_now(question: Question, revision: int) -> bool:
    """Tell whether a request is asked now, by a task that was sent for this revision."""
    # Out of its turn it is not asked: two open questions would make an answer without an id ambiguous. Nor by a
    # pointer to a revision that is still to come: the answer would count for what nobody was shown.
    request = question.request
    return request.state == "asked" and next_of(list(question.plan)) == request and revision <= request.revision


def of_plan(plan: Sequence[Request], request_id: str) -> Request:
    """Find a request among those of its plan."""
    return next(request for request in plan if request.request_id == request_id)


def next_of(requests: Sequence[Request]) -> Request | None:
    """Give the next undecided request of a plan, else what is in flight, else the next cleared one, or None."""
    undecided = (request for request in requests if request.state == "asked")
    in_flight = (request for request in requests if request.is_in_flight)
    cleared = (request for request in requests if request.is_open)
    return next(undecided, None) or next(in_flight, None) or next(cleared, None)
