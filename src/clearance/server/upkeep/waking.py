"""Make a thread go on after something was recorded for it outside a run."""

import asyncio
from dataclasses import dataclass

import httpx
from langgraph_sdk.errors import NotFoundError

from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.server.upkeep.recovery import client_of, may_be_made_again, settle

logger = logger_of(__name__)

#: Seconds between two looks at a thread, growing: each look is some requests of this server to itself, which in a crowd
#: are more work than the runs that are waited for.
_BETWEEN_S, _LONGEST_S = 0.25, 2.0


@dataclass
class _Waking:
    """What wakes a thread for a turn now."""

    #: When it gives up, by the loop's clock.
    until: float
    #: Whether something was recorded since its last look began.
    is_told: bool = False


#: By turn: whoever comes second tells who is at it.
_waking: dict[str, _Waking] = {}


async def wake(parts: Parts, turn: Turn, *, for_s: float) -> None:
    """Start a run without input in the turn's thread, once no other run is on it, until the turn is settled.

    Gives up after `for_s` seconds; the timekeeper goes on from there. Where the turn is being woken already, that goes
    on for as long, and this returns at once.
    """
    loop = asyncio.get_running_loop()
    at_it = _waking.get(turn.turn_id)
    if at_it is not None:
        at_it.until, at_it.is_told = max(at_it.until, loop.time() + for_s), True
        return
    here = _waking[turn.turn_id] = _Waking(loop.time() + for_s)
    try:
        between_s = _BETWEEN_S
        while not await settle(parts, turn, may_make=False) or here.is_told:
            if here.is_told:
                here.is_told, between_s = False, _BETWEEN_S
                continue
            if loop.time() >= here.until:
                return
            await asyncio.sleep(between_s)
            between_s = min(2 * between_s, _LONGEST_S)
    finally:
        del _waking[turn.turn_id]


async def is_thread_there(parts: Parts, turn: Turn) -> bool | None:
    """Tell whether the thread of a turn exists; None when the server does not say, or makes it again."""
    try:
        await client_of(turn).threads.get(turn.thread_id)
    except NotFoundError:
        return None if may_be_made_again() else False
    except (httpx.HTTPError, OSError) as exc:
        logger.warning("whether thread %s is there cannot be told: %s", turn.thread_id, exc)
        return None
    return True
