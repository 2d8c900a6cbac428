"""At start: compare the journal with the threads, make lost ones again, continue what is decided and not carried out.

It acts as `system`: it can neither request nor decide. A turn goes on by a run without new words in it; the gate finds
the decisions in the journal, and the model's messages are the stored ones.
"""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, ConflictError, NotFoundError
from langgraph_sdk.schema import Thread
from sqlalchemy.engine import Connection

from agent.clearance import deadlines, journal
from agent.clearance.journal import Plan, Request, Turn
from agent.db.engine import DatabaseUnavailable
from agent.loglines import logger_of
from agent.server import aegra
from agent.server.duties import Duty
from agent.wiring import Wiring

logger = logger_of(__name__)

GRAPH = "clearance"
_LEASE = "recovery"
_LEASE_TIME = timedelta(seconds=10)
#: How often, and how many seconds apart, an open turn is looked at until it goes on.
_LOOKS, _BETWEEN_S = 60, 1
#: Runs of a thread that are looked at for one that is due.
_MOST_PENDING = 1_000
#: Seconds between two runs for a turn that does not go on, at most.
_LONGEST_S = 10
#: Seconds between two looks at threads at rest, and how often a question is put again in one.
_ASK_EVERY_S, _ASKS = 5, 10


async def recover(parts: Wiring) -> None:
    """Bring every open turn back to where it can go on. One server at a time, by a lease in the database."""
    holder = uuid4().hex
    while not await parts.gate.take_lease(_LEASE, holder, _LEASE_TIME):  # noqa: ASYNC110  another machine may have it
        await asyncio.sleep(1)
    unsettled = await parts.database.read(journal.open_turns)
    for _ in range(_LOOKS):
        unsettled = [turn for turn in unsettled if not await settle(parts, turn)]
        if not unsettled:
            break
        await asyncio.sleep(_BETWEEN_S)
        with suppress(DatabaseUnavailable):  # it is renewed at the next look
            await parts.gate.take_lease(_LEASE, holder, _LEASE_TIME)
    for turn in unsettled:
        logger.error("turn %s of thread %s does not go on; a new message there ends it", turn.turn_id, turn.thread_id)
    await parts.gate.drop_lease(_LEASE, holder)


class Asker:
    """On Aegra: puts questions again in threads that take no answer since their run failed or its listener left.

    Elsewhere a thread takes an answer whatever became of its last run.
    """

    def __init__(self, parts: Wiring) -> None:
        self._parts = parts
        self._asked: Counter[str] = Counter()

    async def run(self) -> None:
        """Look again and again until cancelled. One server at a time, by a lease in the database."""
        await Duty(self._parts.gate, "asking", _ASK_EVERY_S, [self.step]).run()

    async def step(self) -> bool:
        """Look once."""
        turns = {turn.thread_id: turn for turn in await self._parts.database.read(journal.open_turns)}
        for thread_id in await aegra.at_rest(turns):
            turn = turns[thread_id]
            following = await _next_request(self._parts, turn)
            if following is None or following.state != "asked" or self._asked[following.request_id] == _ASKS:
                continue
            self._asked[following.request_id] += 1
            await settle(self._parts, turn, may_make=False)
        return False


async def settle(parts: Wiring, turn: Turn, *, may_make: bool = True) -> bool:
    """Tell whether a turn is over or waits for an answer; else make it go on, to be looked at again.

    What is cleared is carried out here, the run only tells it. One may go on with it already: the server tries those
    again that it still knows.
    With `may_make` a thread that is not there is made again: right after a start it was lost, later it was deleted.
    """
    async with _lock(turn.thread_id):
        try:
            is_settled = await _settle(parts, turn, may_make=may_make)
        except DatabaseUnavailable as exc:
            logger.warning("turn %s of thread %s is not recovered yet: %s", turn.turn_id, turn.thread_id, exc)
            return False
    if is_settled:
        _paced.pop(turn.turn_id, None)
    return is_settled


#: One at a time looks at a thread and starts a run in it: several at once would each see none and start one.
_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


def _lock(thread_id: str) -> asyncio.Lock:
    return _locks.setdefault(thread_id, asyncio.Lock())


async def _settle(parts: Wiring, turn: Turn, *, may_make: bool) -> bool:
    now = await parts.database.read(lambda connection: journal.turn(connection, turn.turn_id))
    if now is None or now.state != "open":
        return True
    client = client_of(turn)
    try:
        thread = await _thread(client, turn, may_make=may_make)
        if thread is None:
            await parts.gate.withdraw_thread(turn.thread_id)
            return True
        # Whatever stands before the run that tells it: what is cleared is carried out now.
        try:
            await parts.gate.carry_out_turn(turn.turn_id)
        except DatabaseUnavailable:
            raise
        except Exception:  # an action's: the turns of others go on, and this one ends after some tries
            logger.exception("what is cleared in turn %s of thread %s broke off", turn.turn_id, turn.thread_id)
            return False
        if await _is_busy(client, thread):
            return False
        state = await client.threads.get_state(turn.thread_id)
        # The row counts, too: clients find what is pending by its status, and one made anew says "idle". "busy" it says
        # now while a run stands in its queue that is not due.
        if thread["status"] in ("interrupted", "busy") and _waits_rightly(await _next_request(parts, turn), state):
            return True
        following = await _next_request(parts, turn)
        is_asked = following is not None and following.state == "asked"
        if not await _is_its_turn(parts, turn, is_asked=is_asked):
            return False
        # What is asked can be decided without its thread; the rest nobody else can end.
        told = None if is_asked else await parts.gate.begin_run(turn.turn_id)
        if told is not None:
            logger.error("turn %s of thread %s was given up: no run carries it on", turn.turn_id, turn.thread_id)
            await _tell(client, turn, *told)
            return True
        is_there = bool(state["next"]) and _values(state).get("turn_id") == turn.turn_id
        words: dict[str, Any] | None = None if is_there else {"messages": await _rebuilt(parts, turn)}
        # Aegra takes a run without input only when it says from where.
        latest = str(state["checkpoint"]["checkpoint_id"]) if aegra.is_here() and is_there else None
        await client.runs.create(
            turn.thread_id,
            GRAPH,
            input=words,
            checkpoint_id=latest,
            # Behind runs that are not due: they would keep one that is refused beside them away for ever.
            multitask_strategy="enqueue",
            durability="sync",
        )
    except (ConflictError, NotFoundError):
        return False  # it was deleted
    except (httpx.HTTPError, OSError) as exc:
        logger.warning("turn %s of thread %s is not recovered yet: %s", turn.turn_id, turn.thread_id, exc)
        return False
    logger.warning("turn %s of thread %s continued", turn.turn_id, turn.thread_id)
    return False


#: Turn by turn: its mark, the runs that were started for it, and when the next may be.
_paced: dict[str, tuple[str, int, float]] = {}


async def _is_its_turn(parts: Wiring, turn: Turn, *, is_asked: bool) -> bool:
    """Tell whether another run may be started for a turn, at growing intervals while the last one changed nothing."""
    mark = await parts.database.read(lambda connection: deadlines.mark_of(connection, turn))
    before, runs, at = _paced.get(turn.turn_id, ("", 0, 0.0))
    if before != mark:
        runs = 0
    elif time.monotonic() < at:
        return False
    most_s = _ASK_EVERY_S if is_asked else _LONGEST_S
    _paced[turn.turn_id] = (mark, runs + 1, time.monotonic() + min(2**runs, most_s))
    return True


async def _tell(client: LangGraphClient, turn: Turn, message_id: str, text: str) -> None:
    """Write into a thread, past its runs, what became of it: they break."""
    said = {"type": "ai", "id": message_id, "content": text}
    try:
        await client.threads.update_state(turn.thread_id, {"messages": [said]}, as_node="model")
    except (APIError, httpx.HTTPError, OSError) as exc:
        logger.warning("thread %s cannot be told that its turn was given up: %s", turn.thread_id, exc)


async def _is_busy(client: LangGraphClient, thread: Thread) -> bool:
    """Tell whether a run goes on in a thread, or is about to: it will tell what ours would.

    So there is at most one of ours in a thread's queue. A run behind one that goes on would besides take a place at the
    head of the queue of langgraph's development server, and hold up those of others.
    """
    if aegra.is_here():
        return thread["status"] == "busy"  # it would take a second run beside the first
    if thread["status"] != "busy":
        return False
    running = await client.runs.list(thread["thread_id"], status="running", limit=1, select=["run_id"])
    pending = await client.runs.list(thread["thread_id"], status="pending", limit=_MOST_PENDING, select=["created_at"])
    now = datetime.now(UTC)
    # One that waits for a later time has that as its beginning.
    return bool(running) or any(_moment(run["created_at"]) <= now for run in pending)


def _moment(told: datetime | str) -> datetime:
    moment = datetime.fromisoformat(told) if isinstance(told, str) else told
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def client_of(turn: Turn) -> LangGraphClient:
    """Give a client of this server that may go on with the turn."""
    if aegra.is_here():
        # Without our handlers everybody is "anonymous" to it, and "local" to us.
        return aegra.client(turn.requested_by if aegra.has_auth() else "anonymous")
    return get_client(url=None)


async def _thread(client: LangGraphClient, turn: Turn, *, may_make: bool) -> Thread | None:
    """Give the turn's thread, made again when it is lost; None where it was deleted."""
    try:
        return await client.threads.get(turn.thread_id)
    except NotFoundError:
        if aegra.is_here():
            return None  # its rows are as durable as the journal
        if not may_make:
            raise
        # Whose it is stands in the journal: the metadata that the server's own handlers would have written.
        metadata = {"graph_id": GRAPH, "owner": turn.requested_by}
        logger.warning("thread %s was lost, made again", turn.thread_id)
        return await client.threads.create(thread_id=turn.thread_id, metadata=metadata, if_exists="do_nothing")


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
