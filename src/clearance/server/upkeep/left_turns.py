"""Open turns that their threads went on without, and so are withdrawn: of a nested agent, or behind a new message."""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, NotFoundError
from langgraph_sdk.schema import Thread

from clearance.gate.ending import withdraw_orphan
from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.server import aegra
from clearance.server.interrupts import asks_itself, is_ours, questions_in, server_client, values_of

logger = logger_of(__name__)

#: Runs of a thread that are looked at for one that is due.
_MOST_PENDING = 1_000
#: Why a nested turn is withdrawn, for the log.
_NOBODY_WAITS = "the graph around it is not where it would go on with it"


async def withdraw_left(parts: Parts, turn: Turn) -> bool:
    """Withdraw an open turn where its thread went on without it; tell whether its thread is there, as far as known.

    A run of the graph around need not be over: where a nested turn runs, and what it asks, stands on what that graph
    had stored before.
    """
    client = server_client(turn.requested_by)
    try:
        if turn.place:
            await withdraw_nested(parts, client, turn, is_lost_one_left=False)
        else:
            await withdraw_passed(parts, client, turn, await client.threads.get(turn.thread_id))
    except NotFoundError:
        return False
    except (APIError, httpx.HTTPError, OSError) as exc:
        logger.warning("whether thread %s waits for turn %s cannot be told: %s", turn.thread_id, turn.turn_id, exc)
    return True


async def withdraw_nested(parts: Parts, client: LangGraphClient, turn: Turn, *, is_lost_one_left: bool) -> bool:
    """See `withdraw_left`; a thread of which nothing is left went on without anybody only if `is_lost_one_left`."""
    state = await client.threads.get_state(turn.thread_id)
    if not is_lost_one_left and not state["checkpoint"].get("checkpoint_id"):
        return False
    if _leads_to(turn, state) and not (_asks_others(turn, state) and await _rests(client, turn)):
        return False
    if await parts.gate.write(partial(withdraw_orphan, turn_id=turn.turn_id)):
        logger.warning("turn %s of thread %s was withdrawn: %s", turn.turn_id, turn.thread_id, _NOBODY_WAITS)
    return True


async def withdraw_passed(parts: Parts, client: LangGraphClient, turn: Turn, thread: Thread) -> bool:
    """Withdraw an open turn of the outermost graph behind which a new message waits, at a question of the graph's own.

    The gate hears of that message when its writer has answered; what it withdraws is not to be cleared meanwhile.
    """
    # Aegra's row does not tell what is asked. Elsewhere it does, and spares the state; but where the run was cancelled
    # that was to answer, it says that nothing is asked.
    told = [one["value"] for of_task in (thread.get("interrupts") or {}).values() for one in of_task]
    if any(is_ours(value) for value in told) or await is_busy(client, thread):
        return False
    state = await client.threads.get_state(turn.thread_id)
    if questions_in(state) or not asks_itself(state):
        return False
    said = [str(one.get("id")) for one in values_of(state).get("messages") or [] if one.get("type") == "human"]
    heard = (await parts.gate.records.truth(turn.thread_id, said)).heard
    if heard.keys() >= set(said):
        return False
    await parts.gate.write(partial(withdraw_orphan, turn_id=turn.turn_id))
    return True


def _leads_to(turn: Turn, state: Any) -> bool:
    """Tell whether the outermost graph, as it stands, goes on with the node inside which a nested turn runs."""
    task = turn.place.partition("|")[0]
    return bool({task, re.sub(r"(#\d+|:.*)$", "", task)} & set(state["next"]))


def _asks_others(turn: Turn, state: Any) -> bool:
    """Tell whether the outermost graph came to the same node anew, and what it asks there is not this turn's."""
    is_inner = "|" in turn.place
    if is_inner or turn.checkpoint_id in (None, state["checkpoint"]["checkpoint_id"]):
        return False
    return any(task["interrupts"] for task in state["tasks"]) and turn.turn_id not in {
        value["turn"].get("id") for value in questions_in(state)
    }


async def _rests(client: LangGraphClient, turn: Turn) -> bool:
    return not await is_busy(client, await client.threads.get(turn.thread_id))


async def is_busy(client: LangGraphClient, thread: Thread) -> bool:
    """Tell whether a run goes on in a thread, or is about to: it will tell what ours would.

    So there is at most one of ours in a thread's queue. A run behind one that goes on would besides take a place at the
    head of the queue of langgraph's development server, and hold up those of others.
    """
    if thread["status"] != "busy":
        return False
    if aegra.is_here():
        return await aegra.has_run(thread["thread_id"])  # it would take a second run beside the first
    if await client.runs.list(thread["thread_id"], status="running", limit=1, select=["run_id"]):
        return True
    pending = await client.runs.list(thread["thread_id"], status="pending", limit=_MOST_PENDING, select=["created_at"])
    now = datetime.now(UTC)
    # One that waits for a later time has that as its beginning.
    return any(_moment(run["created_at"]) <= now for run in pending)


def _moment(told: datetime | str) -> datetime:
    moment = datetime.fromisoformat(told) if isinstance(told, str) else told
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
