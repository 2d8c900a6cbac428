"""At start: compare the journal with the threads, make lost ones again, continue what is decided and not carried out.

It acts as `system`: it can neither request nor decide. A turn goes on by a run without new words in it; the gate finds
the decisions in the journal, and the model's messages are the stored ones.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError
from sqlalchemy.engine import Connection

from agent.clearance import journal
from agent.clearance.journal import Plan, Request, Turn
from agent.wiring import Wiring

logger = logging.getLogger(__name__)

GRAPH = "clearance"
_LEASE = "recovery"
_LEASE_TIME = timedelta(seconds=10)


async def recover(parts: Wiring) -> None:
    """Bring every open turn back to where it can go on. One server at a time, by a lease in the database."""
    holder = uuid4().hex
    while not await parts.gate.take_lease(_LEASE, holder, _LEASE_TIME):  # noqa: ASYNC110  another machine may have it
        await asyncio.sleep(1)
    client = get_client(url=None)
    for turn in await parts.database.read(journal.open_turns):
        for attempt in range(5):
            try:
                done = await _recover_turn(parts, client, turn)
                if done:
                    logger.warning("turn %s of thread %s: %s", turn.turn_id, turn.thread_id, done)
                break
            except (httpx.HTTPError, OSError) as exc:
                logger.warning("turn %s was not recovered (attempt %d): %s", turn.turn_id, attempt + 1, exc)
                await asyncio.sleep(1)
        await parts.gate.take_lease(_LEASE, holder, _LEASE_TIME)
    await parts.gate.drop_lease(_LEASE, holder)


async def _recover_turn(parts: Wiring, client: LangGraphClient, turn: Turn) -> str | None:
    """Continue one turn when it does not by itself; say what was done."""
    done = "continued"
    try:
        thread = await client.threads.get(turn.thread_id)
    except NotFoundError:
        # Whose it is stands in the journal: the metadata that the server's own handlers would have written.
        metadata = {"graph_id": GRAPH, "owner": turn.requested_by}
        thread = await client.threads.create(thread_id=turn.thread_id, metadata=metadata, if_exists="do_nothing")
        done = "its thread was lost, made again"
    if thread["status"] == "busy":
        return None  # the server retries the run itself
    state = await client.threads.get_state(turn.thread_id)
    # The row counts, too: clients find what is pending by its status, and one made anew says "idle".
    if thread["status"] == "interrupted" and _waits_rightly(await _next_request(parts, turn), state):
        return None
    is_there = bool(state["next"]) and _values(state).get("turn_id") == turn.turn_id
    words: dict[str, Any] | None = None if is_there else {"messages": await _rebuilt(parts, turn)}
    try:
        await client.runs.create(turn.thread_id, GRAPH, input=words, multitask_strategy="reject", durability="sync")
    except ConflictError:
        return None  # somebody else's run goes on with it
    return done


def _waits_rightly(following: Request | None, state: Any) -> bool:
    """Tell whether the thread waits for just the answer that the journal waits for."""
    if following is None or following.state != "asked":
        return False
    asked = [interrupt["value"] for task in state["tasks"] for interrupt in task["interrupts"]]
    return len(asked) == 1 and (asked[0].get("id"), asked[0].get("revision")) == (
        following.request_id,
        following.revision,
    )


async def _next_request(parts: Wiring, turn: Turn) -> Request | None:
    def work(connection: Connection) -> Request | None:
        waiting = journal.open_requests_of_turn(connection, turn.turn_id)
        undecided = (request for request in waiting if request.state == "asked")
        return next(undecided, None) or next(iter(waiting), None)

    return await parts.database.read(work)


async def _rebuilt(parts: Wiring, turn: Turn) -> list[dict[str, Any]]:
    """Write the thread's conversation from the journal, to be put in as input: all is known, so nothing is new."""

    def work(connection: Connection) -> list[tuple[Turn, list[Plan]]]:
        of_thread = journal.turns_of(connection, turn.thread_id)
        return [(one, journal.plans_of_turn(connection, one.turn_id)) for one in of_thread]

    messages: list[dict[str, Any]] = []
    for one, plans in await parts.database.read(work):
        messages += [{"role": "human", "id": said["id"], "content": said["content"]} for said in one.messages]
        messages += [{**plan.message, "type": "ai"} for plan in plans if plan.message is not None]
    return messages


def _values(state: Any) -> dict[str, Any]:
    values = state.get("values")
    return values if isinstance(values, dict) else {}
