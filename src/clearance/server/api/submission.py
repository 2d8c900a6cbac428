"""A decision by whoever is signed in, wherever they sit: the desk records it and carries it out, the thread is told."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException

from clearance.desk.desk import Desk, Seen, Standing
from clearance.desk.detail import Detail
from clearance.errors import NotOursError
from clearance.gate.answers import Answer
from clearance.gate.decision import Refusal
from clearance.gate.door import STATUS
from clearance.principal import Principal
from clearance.server.entry.wall import wall
from clearance.server.upkeep.left_turns import withdraw_left
from clearance.server.upkeep.recovery import make_again
from clearance.server.upkeep.waking import is_thread_there, wake

_T = TypeVar("_T")
#: Seconds for which a thread is told of a decision at short intervals; the timekeeper's follow.
_WAKE_S = 20
_NO_THREAD = (
    "This server has no thread of this request, so nothing is decided here. Another server may have it: then decide"
    " there. Close it when its thread was deleted or lost."
)


async def found(desk: Desk, person: Principal, request_id: str) -> Detail:
    """Read a request.

    Raises:
        HTTPException: 404 where there is none, or none that this person may see.
    """
    return await _found(desk.detail(person, request_id))


async def _found(looking: Awaitable[_T]) -> _T:
    try:
        return await looking
    except NotOursError as exc:
        raise HTTPException(404, "There is no such request, or none that you may see.") from exc


def refused(refusal: Refusal, said: str) -> HTTPException:
    """Give the error that tells a caller of a refusal; `said` comes before its sentence."""
    return HTTPException(STATUS.get(refusal.cause, 409), f"{said}: {refusal.sentence}")


async def decide_and_wake(desk: Desk, person: Principal, request_id: str, answer: Answer, seen: Seen) -> Standing:
    """Record a decision and carry out what it clears; its thread learns of it by a run that is not waited for.

    Raises:
        HTTPException: 404, 403, 409 or 422 with the reason; nothing was recorded but the refusal.
    """
    request, turn = await _found(desk.turn_of(person, request_id))
    parts = (await wall()).parts
    # Right after a start its thread may be one of thousands that are made again: it need not wait for the others.
    if request.is_open and not await withdraw_left(parts, turn) and not await make_again(parts, turn):
        raise HTTPException(409, _NO_THREAD)

    async def decide() -> Standing | Refusal:
        became = await desk.decide(person, request_id, answer, seen)
        if not isinstance(became, Refusal) and not became.is_asking:
            _keep(wake(parts, turn, for_s=_WAKE_S))
        return became

    # By itself: who hangs up now has decided all the same.
    became = await asyncio.shield(_keep(decide()))
    if isinstance(became, Refusal):
        raise refused(became, "Not recorded")
    return became


async def settle_request(desk: Desk, person: Principal, request_id: str, *, happened: bool, reason: str) -> Standing:
    """Record what somebody says became of a request; its thread hears of it, and its plan goes on, unwaited for.

    Raises:
        HTTPException: 404, 403, 409 or 422 with the reason; nothing was recorded but the refusal.
    """
    settling = _keep(desk.settle(person, request_id, happened=happened, reason=reason))
    became = await _found(asyncio.shield(settling))
    if isinstance(became, Refusal):
        raise refused(became, "Not recorded")
    return became


_running: set["asyncio.Task[Any]"] = set()


def _keep(work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
    """Run `work` whatever becomes of the request that began it. The loop by itself forgets tasks nobody holds."""
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


async def close_lost(desk: Desk, person: Principal, request_id: str) -> None:
    """Withdraw the turn of a request whose thread is gone.

    Raises:
        HTTPException: 404 where there is no such request, 409 where its thread is there.
    """
    _, turn = await _found(desk.turn_of(person, request_id))
    # Of one that is decided or in flight, too: what else of its thread is open would go with it.
    if await is_thread_there((await wall()).parts, turn) is not False:
        raise HTTPException(409, "The thread of this request is there: decide it, or withdraw it by a new message.")
    await desk.close_lost(person, request_id)
