"""The same call again: exactly this was done, is asked for elsewhere, or was rejected. Same action, same arguments.

Beside them what is in flight elsewhere under the same business key, whatever its arguments.

What was rejected in a turn is not asked of anybody a second time in it. What was done is no reason to refuse: a second
rent is a rent; nor is what was rejected in another turn, which may have its invoice now. So whoever decides sees it
first, with its receipt: else one asks until somebody says yes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from clearance.actions.review import Concern, Id
from clearance.journal.attempts import in_flight_with_any
from clearance.journal.requests import Request, SameCall, prefetch_same_calls, same_calls
from clearance.text.rendering import line, span

#: How long what was done counts as lately.
LATELY = timedelta(days=7)


def read_twins(connection: Connection, requests: Sequence[Request], now: datetime) -> dict[str, list[SameCall]]:
    """Read the twins of open requests, by request, oldest first; of what is over the last of each kind.

    What is over has none.
    """
    wanted = {one.request_id: one for one in requests if one.is_open and one.digest is not None}
    same: dict[str | None, list[SameCall]] = {}
    for twin in same_calls(connection, _digests(requests), now - LATELY):
        same.setdefault(twin.digest, []).append(twin)
    return {
        request_id: [twin for twin in same.get(one.digest, []) if _is_twin(one, twin)]
        for request_id, one in wanted.items()
    }


def prefetch_twins(connection: Connection, requests: Sequence[Request], now: datetime) -> None:
    """Ask for what `read_twins` is to read."""
    prefetch_same_calls(connection, _digests(requests), now - LATELY)


def _digests(requests: Sequence[Request]) -> list[str]:
    return sorted({one.digest for one in requests if one.is_open and one.digest is not None})


def read_flying(connection: Connection, requests: Sequence[Request]) -> dict[str, Request]:
    """Read, for open requests whose business key another request in flight has, that other, by request."""
    wanted = {one.request_id: one.business_key for one in requests if one.is_open and one.business_key}
    flying = {one.business_key: one for one in in_flight_with_any(connection, sorted(set(wanted.values())))}
    return {request_id: flying[named] for request_id, named in wanted.items() if named in flying}


def _is_twin(request: Request, other: SameCall) -> bool:
    # Calls of actions with the same arguments have other digests where the actions differ.
    return other.digest == request.digest and other.request_id != request.request_id


def _last(twins: Sequence[SameCall], state: str) -> SameCall | None:
    return max((twin for twin in twins if twin.state == state), key=lambda twin: twin.number, default=None)


def shown(twins: Sequence[SameCall]) -> list[SameCall]:
    """List those whose receipts `concerns` tells."""
    return [twin for state in ("executed", "rejected") if (twin := _last(twins, state))]


def concerns(
    request: Request, twins: Sequence[SameCall], now: datetime, flying: Request | None = None
) -> list[Concern]:
    """Say what there is to say of twins, worst first; before them, of the request in flight elsewhere for the same."""
    found: list[Concern] = [] if flying is None else [_in_flight(request, flying)]
    last = _last(twins, "executed")
    if last is not None:
        assert last.finished_at is not None
        where = _where(last, request)
        again = f" {last.times} times in {LATELY.days} days." if last.times > 1 else ""
        title = f"Exactly this was done {where}, {span(now - last.finished_at)} ago."
        found.append(Concern((title,), (f"{last.sentence or 'Its receipt was erased.'}{again}",), is_bad=True))
    last = _last(twins, "rejected")
    if last is not None:
        assert last.finished_at is not None
        title = f"Exactly this was rejected {_where(last, request)}, {span(now - last.finished_at)} ago."
        found.append(Concern((title,), (last.sentence or "Its receipt was erased.",), is_bad=True))
    asked = [twin for twin in twins if twin.is_open]
    beside = [one for one in asked if one.plan_id == request.plan_id]
    if beside:
        calls = ", ".join(str(one.position + 1) for one in beside)
        same = f"Call {calls} of the same message is" if len(beside) == 1 else f"Calls {calls} of the same message are"
        found.append(Concern((f"{same} exactly this, too.",)))
    for one in [one for one in asked if one.plan_id != request.plan_id][:1]:
        found.append(Concern(("Exactly this is asked for by another request, too:", Id(one.request_id[:8]))))
    return found


def _in_flight(request: Request, flying: Request) -> Concern:
    knows = "it is being done now" if flying.state == "executing" else "nobody knows yet whether it was done"
    title = ("The same is in flight elsewhere, by request", Id(flying.request_id[:8]))
    text = (
        f"{line(request.business_key or '')}: {knows}. Approved before that is known, this is refused and does not run."
    )
    return Concern(title, (text,), is_bad=True)


def _where(twin: SameCall, request: Request) -> str:
    return "in this turn" if twin.turn_id == request.turn_id else "lately"
