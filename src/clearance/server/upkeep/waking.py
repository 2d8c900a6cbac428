"""Make a thread go on after something was recorded for it outside a run."""

import asyncio

import httpx
from langgraph_sdk.errors import NotFoundError

from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.server.upkeep.recovery import client_of, settle

logger = logger_of(__name__)

_BETWEEN_S = 0.25


async def wake(parts: Parts, turn: Turn, *, for_s: float) -> bool:
    """Start a run without input in the turn's thread, once no other run is on it; tell whether the turn is settled.

    Gives up after `for_s` seconds; the timekeeper goes on from there.
    """
    until = asyncio.get_running_loop().time() + for_s
    while not await settle(parts, turn, may_make=False):
        if asyncio.get_running_loop().time() >= until:
            return False
        await asyncio.sleep(_BETWEEN_S)
    return True


async def is_thread_there(parts: Parts, turn: Turn) -> bool | None:
    """Tell whether the thread of a turn exists; None when the server does not say."""
    try:
        await client_of(turn).threads.get(turn.thread_id)
    except NotFoundError:
        return False
    except (httpx.HTTPError, OSError) as exc:
        logger.warning("whether thread %s is there cannot be told: %s", turn.thread_id, exc)
        return None
    return True
