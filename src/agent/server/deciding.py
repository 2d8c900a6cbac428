"""A decision by whoever is signed in, wherever they sit: recorded by the desk, then the thread goes on."""

import asyncio

from fastapi import HTTPException

from agent.clearance.answering import Refusal
from agent.clearance.answers import Answer
from agent.clearance.desk import Decided, Desk, Detail, Seen
from agent.clearance.errors import NotOursError
from agent.clearance.principal import Principal
from agent.server.waking import is_thread_there, wake
from agent.server.wall import wall

#: Seconds that a decision waits for its effect before it answers without it.
_WAIT_S = 20
#: By the cause of a refusal; what is not here is 409.
_STATUS = {"unclear": 422, "edit": 422, "other action": 422, "role": 403, "own": 403, "policy": 403, "twice": 409}


async def found(desk: Desk, person: Principal, request_id: str) -> Detail:
    """Read a request.

    Raises:
        HTTPException: 404 where there is none, or none that this person may see.
    """
    try:
        return await desk.detail(person, request_id)
    except NotOursError as exc:
        raise HTTPException(404, "There is no such request, or none that you may see.") from exc


def refused(refusal: Refusal, said: str) -> HTTPException:
    """Give the error that tells a caller of a refusal; `said` comes before its sentence."""
    return HTTPException(_STATUS.get(refusal.cause, 409), f"{said}: {refusal.sentence}")


async def decide_and_wake(desk: Desk, person: Principal, request_id: str, answer: Answer, seen: Seen) -> Decided:
    """Record a decision, make its thread go on, and wait for what becomes of it.

    Raises:
        HTTPException: 404, 403, 409 or 422 with the reason; nothing was recorded but the refusal.
    """
    detail = await found(desk, person, request_id)
    here = await wall()
    if detail.request.is_open and await is_thread_there(here.parts, detail.question.turn) is False:
        raise HTTPException(409, "The thread of this request is gone: nothing can be carried out there. Close it.")
    became = await desk.decide(person, request_id, answer, seen)
    if isinstance(became, Refusal):
        raise refused(became, "Not recorded")
    waking = asyncio.create_task(wake(here.parts, detail.question.turn, for_s=_WAIT_S))
    try:
        return await desk.wait(request_id, timeout_s=_WAIT_S)
    finally:
        # The run is the server's by now, or comes with the next look of its timekeeper.
        await asyncio.wait([waking], timeout=1)


async def close_lost(desk: Desk, person: Principal, request_id: str) -> None:
    """Withdraw the turn of a request whose thread is gone.

    Raises:
        HTTPException: 404 where there is no such request, 409 where its thread is there.
    """
    detail = await found(desk, person, request_id)
    if detail.request.is_open and await is_thread_there((await wall()).parts, detail.question.turn) is not False:
        raise HTTPException(409, "The thread of this request is there: decide it, or withdraw it by a new message.")
    await desk.close_lost(person, request_id)
