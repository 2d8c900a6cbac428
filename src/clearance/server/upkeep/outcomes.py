"""A thread hears what became of an external action, whenever that is known, without being asked."""

import asyncio
from collections.abc import Callable

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, NotFoundError
from langgraph_sdk.schema import Thread
from sqlalchemy.engine import Connection

from clearance.errors import DatabaseUnavailable
from clearance.gate.notices import tell_outcome
from clearance.graph.transcript import receipt_message
from clearance.journal.attempts import change_attempt, untold
from clearance.journal.plans import read_plan
from clearance.journal.questions import asking_in, questions_of
from clearance.journal.receipts import read_receipt
from clearance.journal.requests import read_request
from clearance.journal.turns import Turn, read_turn
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.server import graphs
from clearance.server.interrupts import interrupts_of
from clearance.server.upkeep.duties import Duty
from clearance.server.upkeep.left_turns import is_busy
from clearance.server.upkeep.recovery import client_of, graph_of_turn
from clearance.server.upkeep.waking import wake

logger = logger_of(__name__)

#: Seconds for which a thread is tried to be woken at once; the timekeeper goes on from there.
_WAKE_S = 30
#: Seconds between two looks at threads that went on before it was known, and how many are told in one.
_EVERY_S, _MOST = 5, 20


class Outcomes:
    """Wakes the threads that wait for an outcome, and tells those that went on without it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: asyncio.Queue[str] = asyncio.Queue()
        self._waking: set[asyncio.Task[None]] = set()
        #: Attempts whose threads cannot be told here: another server has them, or their graph, or a later start.
        self._untellable: set[str] = set()
        #: Attempts whose threads ask something now. They are told behind the answer.
        self._behind: set[str] = set()

    def listen(self) -> None:
        """Hear from now on of what is known, or turns out to be unknown; and look into what was left in flight."""
        loop = asyncio.get_running_loop()
        put: Callable[[str], None] = self._known.put_nowait
        self._parts.gate.elsewhere.on_change = lambda request_id: _put(loop, put, request_id)
        self._parts.gate.flights.reconcile()

    async def run(self) -> None:
        """Wake, and tell, until cancelled."""
        telling = asyncio.create_task(Duty(self._parts.gate, "outcomes", _EVERY_S, [self.tell, self.look]).run())
        try:
            while True:
                request_id = await self._known.get()
                task = asyncio.create_task(self._wake(request_id))
                self._waking.add(task)
                task.add_done_callback(self._waking.discard)
        finally:
            for task in (telling, *self._waking):
                task.cancel()
            await asyncio.gather(telling, *self._waking, return_exceptions=True)

    async def _wake(self, request_id: str) -> None:
        def work(connection: Connection) -> Turn | None:
            request = read_request(connection, request_id)
            return read_turn(connection, request.turn_id) if request else None

        try:
            turn = await self._parts.database.read(work)
            if turn is not None and turn.state == "open" and turn.is_durable:
                await wake(self._parts, turn, for_s=_WAKE_S)
            else:
                await self.tell()
        except DatabaseUnavailable as exc:
            logger.warning("what became of request %s is told later: %s", request_id, exc)
        except Exception:
            logger.exception("what became of request %s is told later", request_id)

    async def tell(self) -> bool:
        """Tell in threads that went on before what became of their actions; tell whether there may be more."""
        most = _MOST + len(self._untellable) + len(self._behind)
        found = await self._parts.database.read(lambda connection: untold(connection, most))
        here = [(attempt_id, request_id) for attempt_id, request_id in found if attempt_id not in self._untellable]
        told = [await self._tell(attempt_id, request_id) for attempt_id, request_id in here]
        return len(told) >= _MOST and any(told)

    async def look(self) -> bool:
        """Look into what a process left in flight that has ended, and does not start again."""
        self._parts.gate.flights.reconcile()
        return False

    async def _tell(self, attempt_id: str, request_id: str) -> bool:
        def work(connection: Connection) -> "tuple[Turn, dict[str, object], str] | None":
            request = read_request(connection, request_id)
            receipt = read_receipt(connection, request_id)
            turn = read_turn(connection, request.turn_id) if request else None
            plan = read_plan(connection, request.plan_id) if request else None
            if request is None or receipt is None or turn is None or plan is None:
                return None
            calls = (plan.message or {}).get("tool_calls", [])
            call = next((one for one in calls if one["id"] == request.tool_call_id), None)
            if call is None:  # erased
                return None
            told = receipt_message(plan, call, receipt)
            shown: dict[str, object] = {
                "type": "tool", "id": told.id, "content": told.content, "tool_call_id": told.tool_call_id,
                "name": told.name, "status": told.status,
            }  # fmt: skip
            return turn, shown, receipt.outcome

        found = await self._parts.database.read(work)
        if found is not None and not found[0].place:
            turn, result, _ = found
            client = client_of(turn)
            try:
                thread = await client.threads.get(turn.thread_id)
                if await is_busy(client, thread):
                    return False  # a run goes on there: told when it is over
                if await _asks(self._parts, client, thread):
                    # What is written into a thread takes what it asks out of it.
                    self._behind.add(attempt_id)
                    return False
                graph = graph_of_turn(turn, thread)
                if graph is None:
                    return self._leave(attempt_id, turn, "its graph is not here")
                node = graphs.model_node(graph)
                said = await self._parts.gate.write(lambda log: tell_outcome(log, request_id))
                messages = [result, {"type": "ai", "id": said[0], "content": said[1]}]
                await client.threads.update_state(turn.thread_id, {"messages": messages}, as_node=node)
            except NotFoundError:
                return self._leave(attempt_id, turn, "it is not here")
            except (APIError, httpx.HTTPError, OSError) as exc:
                logger.warning("thread %s is told later what became of its action: %s", turn.thread_id, exc)
                return False
        self._behind.discard(attempt_id)
        await self._parts.gate.write(lambda log: change_attempt(log.connection, attempt_id, told_at=log.now))
        return True

    def _leave(self, attempt_id: str, turn: Turn, why: str) -> bool:
        self._untellable.add(attempt_id)
        logger.warning("thread %s is not told here what became of its action: %s", turn.thread_id, why)
        return False


async def _asks(parts: Parts, client: LangGraphClient, thread: Thread) -> bool:
    """Tell whether a thread waits for an answer: to what is open in the journal, or to a question of the graph's own.

    One that was withdrawn, or answered by a run that was cancelled, stands there as well, and nobody is asked.
    """
    if thread["status"] != "interrupted":
        return False
    thread_id = thread["thread_id"]

    def work(connection: Connection) -> tuple[bool, set[str]]:
        put = {one.interrupt_id for one in questions_of(connection, thread_id)}
        return bool(asking_in(connection, thread_id)), put

    is_asked, ours = await parts.database.read(work)
    return is_asked or not ours.issuperset(interrupts_of(await client.threads.get_state(thread_id)))


def _put(loop: asyncio.AbstractEventLoop, put: Callable[[str], None], request_id: str) -> None:
    try:
        loop.call_soon_threadsafe(put, request_id)
    except RuntimeError:  # the server is gone: told at the next start
        logger.info("what became of request %s is told at the next start", request_id)
