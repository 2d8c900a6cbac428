"""The same call again: exactly this was done, is asked for elsewhere, or was rejected. Same action, same arguments.

What was rejected in a turn is not asked of anybody a second time in it. What was done is no reason to refuse: a second
rent is a rent; nor is what was rejected in another turn, which may have its invoice now. So whoever decides sees it
first, with its receipt: else one asks until somebody says yes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from agent.clearance import journal
from agent.clearance.journal import Request
from agent.clearance.rendering import span
from agent.clearance.review import Concern, Id

#: How long what was done counts as lately.
LATELY = timedelta(days=7)


@dataclass(frozen=True)
class Twin:
    """Another request for exactly the same: one that was carried out or rejected lately, or is open."""

    request: Request
    #: What its receipt says; None while it is open, and when it was erased.
    sentence: str | None


def read_twins(connection: Connection, requests: Sequence[Request], now: datetime) -> dict[str, list[Twin]]:
    """Read the twins of open requests, by request, oldest first. What is over has none."""
    wanted = {one.request_id: one for one in requests if one.is_open and one.digest is not None}
    digests = sorted({one.digest for one in wanted.values() if one.digest is not None})
    same = [Twin(*found) for found in journal.same_calls(connection, digests, now - LATELY)]
    return {request_id: [twin for twin in same if _is_twin(one, twin.request)] for request_id, one in wanted.items()}


def _is_twin(request: Request, other: Request) -> bool:
    # Calls of actions with the same arguments have other digests where the actions differ.
    return other.digest == request.digest and other.request_id != request.request_id


def done(twins: Sequence[Twin]) -> list[Twin]:
    """List those that were carried out, last first."""
    return _ended(twins, "executed")


def _ended(twins: Sequence[Twin], state: str) -> list[Twin]:
    return sorted(
        [twin for twin in twins if twin.request.state == state], key=lambda twin: twin.request.number, reverse=True
    )


def concerns(request: Request, twins: Sequence[Twin], now: datetime) -> list[Concern]:
    """Say what there is to say of twins, worst first."""
    found: list[Concern] = []
    carried_out = done(twins)
    if carried_out:
        last = carried_out[0]
        assert last.request.finished_at is not None
        where = _where(last, request)
        again = f" {len(carried_out)} times in {LATELY.days} days." if len(carried_out) > 1 else ""
        title = f"Exactly this was done {where}, {span(now - last.request.finished_at)} ago."
        found.append(Concern((title,), (f"{last.sentence or 'Its receipt was erased.'}{again}",), is_bad=True))
    for last in _ended(twins, "rejected")[:1]:
        assert last.request.finished_at is not None
        title = f"Exactly this was rejected {_where(last, request)}, {span(now - last.request.finished_at)} ago."
        found.append(Concern((title,), (last.sentence or "Its receipt was erased.",), is_bad=True))
    asked = [twin.request for twin in twins if twin.request.is_open]
    beside = [one for one in asked if one.plan_id == request.plan_id]
    if beside:
        calls = ", ".join(str(one.position + 1) for one in beside)
        same = f"Call {calls} of the same message is" if len(beside) == 1 else f"Calls {calls} of the same message are"
        found.append(Concern((f"{same} exactly this, too.",)))
    for one in [one for one in asked if one.plan_id != request.plan_id][:1]:
        found.append(Concern(("Exactly this is asked for by another request, too:", Id(one.request_id[:8]))))
    return found


def _where(twin: Twin, request: Request) -> str:
    return "in this turn" if twin.request.turn_id == request.turn_id else "lately"
