"""At start: compare the journal with the threads, make lost ones again, continue what is decided and not carried out.

It acts as `system`: it can neither request nor decide. A turn goes on by a run without new words in it; the gate finds
the decisions in the journal, and the model's messages are the stored ones.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, ConflictError, NotFoundError
from langgraph_sdk.schema import Thread
from sqlalchemy.engine import Connection

from clearance.errors import DatabaseUnavailable
from clearance.gate import deadlines
from clearance.gate.ending import begin_run, withdraw_thread
from clearance.gate.notices import NOTICE
from clearance.graph.transcript import from_json
from clearance.journal.attempts import in_flight_of_turn
from clearance.journal.plans import Plan, plans_of_turn
from clearance.journal.requests import Request, open_requests_of_turn
from clearance.journal.turns import OpenTurn, Turn, open_turns_after, read_turn, turns_by_id, turns_of
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.server import aegra, graphs
from clearance.server.interrupts import asks_itself, has_steps_left, questions_in, server_client, values_of
from clearance.server.upkeep.duties import Duty, HeldLease, LeaseLostError
from clearance.server.upkeep.left_turns import is_busy, withdraw_nested, withdraw_passed
from clearance.text.rendering import line

logger = logger_of(__name__)

_LEASE = "recovery"
_LEASE_S = 10.0
#: How often, and how many seconds apart, an open turn is looked at until it goes on.
_LOOKS, _BETWEEN_S = 60, 1
#: Turns that are read at a time; and whose threads, on Aegra, are looked at together.
_PAGE, _TOGETHER = 500, 2_000
#: Seconds between two runs for a turn that does not go on, at most.
_LONGEST_S = 10
#: Seconds between two looks at threads at rest, and how often a question is put again in one.
_ASK_EVERY_S, _ASKS = 5, 10


async def recover(parts: Parts) -> None:
    """Bring every open turn back to where it can go on. One server at a time, by a lease in the database."""
    global _is_recovering
    _is_recovering = True
    try:
        await _recover(parts)
    finally:
        _is_recovering = False


#: While this is on, a thread that is not there was lost with the last process, whoever asks for it.
_is_recovering = False


def may_be_made_again() -> bool:
    """Tell whether a thread that is not there will be made again: it was lost with the last process."""
    return _is_recovering and not aegra.is_here()


async def make_again(parts: Parts, turn: Turn) -> bool:
    """Make the thread of an open turn again before recovery comes to it; tell whether it is one that is lost so."""
    if not may_be_made_again():
        return False
    await settle(parts, turn)
    return True


async def _recover(parts: Parts) -> None:
    lease = HeldLease(parts.gate, _LEASE, _LEASE_S)
    try:
        while True:
            try:
                if await lease.take():
                    return await lease.during(_settle_all(parts))
            except LeaseLostError:
                logger.warning("another server recovers: this one goes on when it is done")
            except DatabaseUnavailable as exc:
                logger.warning("recovery goes on when the database does: %s", exc)
            await asyncio.sleep(1)
    finally:
        await lease.drop()


async def _settle_all(parts: Parts) -> None:
    # Each page is looked at again after the next one: most of it rests by then, and is not kept in mind.
    later, last = list[Turn](), list[Turn]()
    async for page in _all_open(parts):
        later += [turn for turn in last if not await settle(parts, turn)]
        last = [turn for turn in page if not await settle(parts, turn)]
    unsettled = later + last
    for _ in range(_LOOKS):
        unsettled = [turn for turn in unsettled if not await settle(parts, turn)]
        if not unsettled:
            break
        await asyncio.sleep(_BETWEEN_S)
    for turn in unsettled:
        logger.error("turn %s of thread %s does not go on%s; a new message there ends it", turn.turn_id,
                     turn.thread_id, _why_not(turn))  # fmt: skip


async def _all_open(parts: Parts) -> AsyncIterator[list[Turn]]:
    """Give all open turns, some at a time: first those that wait for no person, of which there are few."""
    first: set[str] = set()
    async for turn_ids in _pages(parts):
        found = await parts.database.read(partial(deadlines.stalled, turn_ids=turn_ids))
        first.update(turn.turn_id for turn, _ in found)
        yield [turn for turn, _ in found]
    async for turn_ids in _pages(parts):
        others = [turn_id for turn_id in turn_ids if turn_id not in first]
        yield await parts.database.read(partial(turns_by_id, turn_ids=others))


async def _pages(parts: Parts) -> AsyncIterator[list[str]]:
    after: OpenTurn | None = None
    while page := await parts.database.read(partial(open_turns_after, after=after, most=_PAGE)):
        yield [turn.turn_id for turn in page]
        after = page[-1]


class Asker:
    """On Aegra: puts questions again in threads that take no answer since their run failed or its listener left.

    Elsewhere a thread takes an answer whatever became of its last run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._asked: Counter[str] = Counter()
        #: Where the next look goes on; None: from the first.
        self._after: OpenTurn | None = None

    async def run(self) -> None:
        """Look again and again until cancelled. One server at a time, by a lease in the database."""
        await Duty(self._parts.gate, "asking", _ASK_EVERY_S, [self.step]).run()

    async def step(self) -> bool:
        """Look once, at some of what is open."""
        page = await self._parts.database.read(partial(open_turns_after, after=self._after, most=_TOGETHER))
        self._after = page[-1] if len(page) == _TOGETHER else None
        at_rest = set(await aegra.at_rest({turn.thread_id for turn in page}))
        resting = [turn.turn_id for turn in page if turn.thread_id in at_rest]
        for turn in await self._parts.database.read(partial(turns_by_id, turn_ids=resting)):
            following = await _next_request(self._parts, turn)
            if following is None or following.state != "asked" or self._asked[following.request_id] == _ASKS:
                continue
            self._asked[following.request_id] += 1
            await settle(self._parts, turn, may_make=False)
        return False


async def settle(parts: Parts, turn: Turn, *, may_make: bool = True) -> bool:
    """Tell whether a turn is over or waits for an answer; else make it go on, to be looked at again.

    What is cleared is carried out here, the run only tells it. One may go on with it already: the server tries those
    again that it still knows.
    With `may_make` a thread that is not there is made again: right after a start it was lost, later it was deleted.
    """
    async with _lock(turn.thread_id):
        try:
            is_settled = await _settle(parts, turn, may_make=may_make or _is_recovering)
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


async def _settle(parts: Parts, turn: Turn, *, may_make: bool) -> bool:
    now = await parts.database.read(lambda connection: read_turn(connection, turn.turn_id))
    if now is None or now.state != "open":
        return True
    client = client_of(turn)
    try:
        thread = await _thread(client, turn, may_make=may_make)
        if thread is None:
            await parts.gate.write(partial(withdraw_thread, thread_id=turn.thread_id))
            return True
        if turn.place and await withdraw_nested(parts, client, turn, is_lost_one_left=False):
            return True
        if not turn.place and await withdraw_passed(parts, client, turn, thread):
            return True
        # Whatever stands before the run that tells it: what is cleared is carried out now.
        try:
            await parts.gate.carry_out_turn(turn.turn_id)
        except DatabaseUnavailable:
            raise
        except Exception:  # an action's: the turns of others go on, and this one ends after some tries
            logger.exception("what is cleared in turn %s of thread %s broke off", turn.turn_id, turn.thread_id)
            return False
        graph = graph_of_turn(turn, thread)
        if graph is None:
            return False
        if await is_busy(client, thread):
            return await _is_performed(parts, turn)
        # Its words were the program's, not a person's: no run brings them again, least of all to the graph around.
        if turn.place and await withdraw_nested(parts, client, turn, is_lost_one_left=True):
            return True
        state = await client.threads.get_state(turn.thread_id)
        flying = await parts.database.read(lambda connection: in_flight_of_turn(connection, turn.turn_id))
        if flying and _waits_for_outcome(flying, state):
            return True
        following = await _next_request(parts, turn)
        # The row counts, too: clients find what is pending by its status, and one made anew says "idle". "busy" it says
        # now while a run stands in its queue that is not due.
        if thread["status"] in ("interrupted", "busy") and (
            _waits_rightly(turn, following, state) or (following is None and await _waits_inside(parts, turn, state))
        ):
            return True
        if thread["status"] == "interrupted" and asks_itself(state) and await _was_run(parts, turn):
            return True  # its owner answers that, and another run changes nothing
        is_asked = following is not None and following.state == "asked"
        if not await _is_its_turn(parts, turn, is_asked=is_asked):
            return False
        # What is asked can be decided without its thread; the rest nobody else can end.
        told = None if is_asked or flying else await parts.gate.write(partial(begin_run, turn_id=turn.turn_id))
        if told is not None:
            logger.error("turn %s of thread %s was given up: no run carries it on", turn.turn_id, turn.thread_id)
            await _tell(client, turn, graphs.model_node(graph), *told)
            return True
        # What a nested one goes on with is the graph around it, from where that stands.
        is_there = bool(turn.place) or (has_steps_left(state) and values_of(state).get("turn_id") == turn.turn_id)
        words: dict[str, Any] | None = None if is_there else {"messages": await _rebuilt(parts, turn)}
        # Aegra takes a run without input only when it says from where.
        latest = str(state["checkpoint"]["checkpoint_id"]) if aegra.is_here() and is_there else None
        await client.runs.create(
            turn.thread_id,
            graph,
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


async def _is_its_turn(parts: Parts, turn: Turn, *, is_asked: bool) -> bool:
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


async def _was_run(parts: Parts, turn: Turn) -> bool:
    """Tell whether a run was started for a turn that changed nothing of it."""
    mark = await parts.database.read(lambda connection: deadlines.mark_of(connection, turn))
    return turn.turn_id in _paced and _paced[turn.turn_id][0] == mark


async def _tell(client: LangGraphClient, turn: Turn, node: str, message_id: str, text: str) -> None:
    """Write into a thread, past its runs, what became of it: they break.

    A nested agent reads it of its requests when it runs next; the graph around it has no step of ours.
    """
    if turn.place:
        return
    said = {"type": "ai", "id": message_id, "content": text}
    try:
        await client.threads.update_state(turn.thread_id, {"messages": [said]}, as_node=node)
    except (APIError, httpx.HTTPError, OSError) as exc:
        logger.warning("thread %s cannot be told that its turn was given up: %s", turn.thread_id, exc)


def client_of(turn: Turn) -> LangGraphClient:
    """Give a client of this server that may go on with the turn."""
    return server_client(turn.requested_by)


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
        graph = graph_of_turn(turn)
        metadata = {"owner": turn.requested_by, **({"graph_id": graph} if graph else {})}
        logger.warning("thread %s was lost, made again", turn.thread_id)
        return await client.threads.create(thread_id=turn.thread_id, metadata=metadata, if_exists="do_nothing")


def graph_of_turn(turn: Turn, thread: Thread | None = None) -> str | None:
    """Give the graph that a turn goes on in; None where this server has it not, or nobody knows which it is."""
    if turn.graph_id is not None:
        return turn.graph_id if turn.graph_id in graphs.all_graphs() else None
    # From before turns noted it, or on Aegra, where a run by the second protocol does not know it.
    named = (thread["metadata"] or {}).get("graph_id") if thread is not None else None
    return str(named) if named in graphs.gated() else graphs.only_gated()


def _why_not(turn: Turn) -> str:
    if graph_of_turn(turn) is not None:
        return ""
    if turn.graph_id is not None:
        return f": this server has no graph {line(turn.graph_id)!r}"
    return ": this server has several gated graphs, and nothing tells which it ran in"


def _waits_rightly(turn: Turn, following: Request | None, state: Any) -> bool:
    """Tell whether the thread waits for just the answer that the journal waits for, in the place of this turn."""
    if following is None or following.state != "asked":
        return False
    asked = [value for value in questions_in(state) if value["turn"].get("id") == turn.turn_id]
    return len(asked) == 1 and (asked[0].get("id"), asked[0].get("revision")) == (
        following.request_id,
        following.revision,
    )


async def _is_performed(parts: Parts, turn: Turn) -> bool:
    """Tell whether a turn waits for something elsewhere: a run that is on it waits, too, and tells it."""
    flying = await parts.database.read(lambda connection: in_flight_of_turn(connection, turn.turn_id))
    return any(request.state == "executing" for request in flying)


def _waits_for_outcome(flying: Sequence[Request], state: Any) -> bool:
    """Tell whether a thread was told that nobody knows what became of something, and waits for that."""
    messages = values_of(state).get("messages") or []
    last = messages[-1] if messages else {}
    is_told = str(last.get("id") or "").startswith(NOTICE) if isinstance(last, dict) else False
    return is_told and not has_steps_left(state) and all(request.state == "unknown" for request in flying)


async def _waits_inside(parts: Parts, turn: Turn, state: Any) -> bool:
    """Tell whether a turn waits for an agent that it called, and that one for a person."""
    asked = {value["turn"].get("id") for value in questions_in(state)}
    still_open = await parts.gate.records.open_turns_of(turn.thread_id)
    return any(one.is_within(turn) and one.turn_id in asked for one in still_open)


async def _next_request(parts: Parts, turn: Turn) -> Request | None:
    def work(connection: Connection) -> Request | None:
        waiting = open_requests_of_turn(connection, turn.turn_id)
        undecided = (request for request in waiting if request.state == "asked")
        return next(undecided, None) or next(iter(waiting), None)

    return await parts.database.read(work)


async def _rebuilt(parts: Parts, turn: Turn) -> list[dict[str, Any]]:
    """Write the thread's conversation from the journal, to be put in as input: all is known, so nothing is new."""

    def work(connection: Connection) -> list[tuple[Turn, list[Plan]]]:
        # Of the outermost graph: what nested agents were told is none of its conversation.
        of_thread = [one for one in turns_of(connection, turn.thread_id) if not one.place]
        return [(one, plans_of_turn(connection, one.turn_id)) for one in of_thread]

    messages: list[dict[str, Any]] = []
    for one, plans in await parts.database.read(work):
        messages += [{"role": "human", "id": said["id"], "content": said["content"]} for said in one.messages]
        # One that nobody can read would break every look at the thread from then on.
        messages += [
            {**plan.message, "type": "ai"} for plan in plans if plan.message is not None and _can_be_read(plan)
        ]
    return messages


def _can_be_read(plan: Plan) -> bool:
    try:
        from_json(plan.message or {})
    except (ValueError, TypeError, AttributeError):  # whatever langchain meets in it; pydantic's is a ValueError
        return False
    return True
