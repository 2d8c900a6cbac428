"""Where external actions run: loops and threads of their own, so that nobody waits for them and nothing ends them.

With isolated loops a server's are not ours; its pools are for others. A method that blocks has a daemon thread for
itself, since one that hangs must not take a place in a pool, and what it says in the end must not be lost.
"""

import asyncio
import inspect
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from clearance.loglines import logger_of

T = TypeVar("T")
logger = logger_of(__name__)

#: Seconds between two looks at whether somebody who waits for a place may have it.
_BETWEEN_S = 0.05
#: Seconds within which a loop has to answer: one that does not is left to the method that blocks it.
_ANSWERS_S = 1.0


class Loop:
    """An event loop in a daemon thread, started at the first use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine there; its future can be awaited by `asyncio.wrap_future`, or blocked on."""
        return asyncio.run_coroutine_threadsafe(work, self._started())

    def call(self, work: Callable[[], object]) -> None:
        """Run something short there, in the order of the calls."""
        self._started().call_soon_threadsafe(work)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True).start()
            return self._loop


class AuthorsLoop:
    """The loop that async methods of actions share, so that they may share their clients, too.

    None of ours runs there: what blocks it would hold up the rest. Where it does not answer, what comes next gets
    another.
    """

    def __init__(self) -> None:
        self._now = Loop("clearance-actions")

    async def ready(self) -> Loop:
        """Give the loop for what begins next."""
        now = self._now
        answer = asyncio.wrap_future(now.submit(_answer()))
        done, _ = await asyncio.wait([answer], timeout=_ANSWERS_S)
        if not done and self._now is now:
            logger.error(
                "an async method of an action blocks: others go on without it. Write it without `async`, please"
            )
            self._now = Loop("clearance-actions")
        return self._now


async def _answer() -> None:
    """Show that a loop goes on."""


@dataclass(frozen=True)
class Running(Generic[T]):
    """A method of an action that runs."""

    came: "asyncio.Future[T]"
    #: Ends it; an async one ends where it waits next, and None is for a thread, which cannot be stopped.
    _end: Callable[[], None] | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether it ended."""
        return self.came.done()

    def stop(self) -> None:
        """End it, if that can be."""
        if self._end is not None:
            self._end()

    async def within(self, seconds: float) -> T:
        """Give what it returns, waiting so long at most; what can be stopped is stopped then, and not waited for.

        Raises:
            TimeoutError: it was not over in time.
            asyncio.CancelledError: it was stopped.
        """
        done, _ = await asyncio.wait([self.came], timeout=seconds)
        if not done:
            self.stop()
            raise TimeoutError
        return self.came.result()


def begin(name: str, method: "partial[Any]", loop: Loop) -> Running[Any]:
    """Begin a method that may be async: on this loop, or in a thread of its own. What it says late is not lost."""
    future: Future[Any] = Future()
    if inspect.iscoroutinefunction(method):
        return Running(asyncio.wrap_future(future), _begin_on(loop, method, future))
    context = copy_context()

    def run() -> None:
        try:
            came = context.run(method)
        except BaseException as exc:  # noqa: BLE001  whatever it raises is what it said
            future.set_exception(_as_error(exc))
            return
        if inspect.isawaitable(came):  # a plain method that gives something to wait for
            _begin_on(loop, partial(_awaited, came), future)
        else:
            future.set_result(came)

    threading.Thread(target=run, name=name, daemon=True).start()
    return Running(asyncio.wrap_future(future))


def _begin_on(loop: Loop, method: Callable[[], Coroutine[Any, Any, Any]], future: "Future[Any]") -> Callable[[], None]:
    tasks: list[asyncio.Task[Any]] = []

    async def run() -> Any:
        try:
            return await method()
        except BaseException as exc:  # `sys.exit` there would end the loop, with all that others have in flight on it
            if isinstance(exc, asyncio.CancelledError) and tasks[0].cancelling():
                raise
            raise _as_error(exc) from exc

    def start() -> None:
        tasks.append(asyncio.get_running_loop().create_task(run()))
        tasks[0].add_done_callback(end)

    def end(task: "asyncio.Task[Any]") -> None:
        if task.cancelled():
            future.cancel()
        elif (exc := task.exception()) is not None:
            future.set_exception(exc)
        else:
            future.set_result(task.result())

    loop.call(start)
    return lambda: loop.call(lambda: tasks[0].cancel())


def _as_error(exc: BaseException) -> Exception:
    # What only ends a thread or a process is no answer of a method.
    return exc if isinstance(exc, Exception) else RuntimeError(f"it ended by {exc!r}")


async def _awaited(came: Awaitable[Any]) -> Any:
    return await came


class Slots:
    """How many external actions may be in flight here: in all, and of a kind, so one that hangs stops no others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        #: Of those whose time is over and whose thread goes on: they take a place of their kind only.
        self._hung: Counter[str] = Counter()

    def try_take(self, kind: str, most_of_kind: int) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self._taken[kind] + self._hung[kind] >= most_of_kind or self._taken.total() >= self._most:
                return False
            self._taken[kind] += 1
            return True

    async def take(self, kind: str, most_of_kind: int, *, for_s: float) -> bool:
        """Take a place, waiting for one at most so long; what waits is not started yet, and can be withdrawn."""
        until = time.monotonic() + for_s
        while not self.try_take(kind, most_of_kind):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_BETWEEN_S)
        return True

    def free(self, kind: str) -> None:
        """Give a place back."""
        with self._lock:
            self._taken[kind] -= 1

    def hang(self, kind: str) -> None:
        """Give a place back, but for its kind: its thread goes on."""
        with self._lock:
            self._taken[kind] -= 1
            self._hung[kind] += 1

    def end(self, kind: str) -> None:
        """A thread that went on has ended."""
        with self._lock:
            self._hung[kind] -= 1
