"""How many runs of one person may wait or run at a time, so that one person cannot fill the server's queue.

LangGraph's server does not say when a run ends, and has no list of a person's runs. So each process keeps those that it
let in, and when somebody has as many as may be it looks which of them ended, however they did. Aegra has such a list.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.errors import NotFoundError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.server import aegra

#: Seconds after which a run that the server does not know was not made; before, it is about to be.
_MADE_WITHIN_S = 5
#: Seconds for which somebody who has as many as may be is not looked up again.
_LOOK_EVERY_S = 0.5
#: How often Aegra is asked again because a run was answered meanwhile.
_ASKS = 20
_UNFINISHED: tuple[Literal["pending", "running"], ...] = ("pending", "running")

#: What to do when the request of this task is answered, with its status; None where nobody tells.
_when_answered: ContextVar[list[Callable[[int], None]] | None] = ContextVar("when_answered", default=None)


class NoteAnswered:
    """ASGI middleware around all routes: a run that was refused in the end is not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        waiting: list[Callable[[int], None]] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                for one in waiting:
                    one(message["status"])
            await send(message)

        token = _when_answered.set(waiting)
        try:
            await self._app(scope, receive, answer)
        finally:
            _when_answered.reset(token)


@dataclass
class _Runs:
    """Of one person."""

    #: By run: its thread, and when it was let in (monotonic).
    known: dict[str, tuple[str, float]] = field(default_factory=dict)
    looked_at: float = float("-inf")
    #: How many were taken back or answered so far.
    answered: int = 0


class UnfinishedRuns:
    """Counts the runs of each person that have not ended."""

    def __init__(self, most: int) -> None:
        #: So many a person may have.
        self.most = most
        self._of: dict[str, _Runs] = {}

    async def take(self, person: str, thread_id: str, run_id: str | None) -> Callable[[], None] | None:
        """Count a run that is about to be made; give what takes it back, or None when there are too many already."""
        runs = self._of.get(person)
        if runs is None:
            left_over = {} if aegra.is_here() else await _left_over(person, self.most)
            # Somebody may have been here meanwhile.
            runs = self._of.setdefault(person, _Runs(left_over))
        if aegra.is_here():
            count = await _count_on_aegra(person, runs)
        else:
            if len(runs.known) >= self.most:
                await self._look(runs)
            count = len(runs.known)
        # From here on nothing is waited for: of many at once no more are counted than may be.
        if count >= self.most:
            return None
        key = run_id or uuid4().hex
        runs.known[key] = thread_id, time.monotonic()

        def take_back() -> None:
            if runs.known.pop(key, None):
                runs.answered += 1

        def answered(status: int) -> None:
            # What Aegra answered stands in its table.
            if status >= 400 or aegra.is_here():
                take_back()

        if (waiting := _when_answered.get()) is not None:
            waiting.append(answered)
        return take_back

    async def _look(self, runs: _Runs) -> None:
        """Forget the runs that ended."""
        now = time.monotonic()
        if now - runs.looked_at < _LOOK_EVERY_S:
            return
        for run_id, (thread_id, at) in list(runs.known.items()):
            if await _has_ended(thread_id, run_id, is_new=now - at < _MADE_WITHIN_S):
                runs.known.pop(run_id, None)
        # Who has room again is looked up as soon as it is used up, however soon.
        runs.looked_at = now if len(runs.known) >= self.most else float("-inf")


async def _count_on_aegra(person: str, runs: _Runs) -> int:
    """Count what Aegra has in its table, and what is being made: by thread, since one that waits stands in both."""
    for _ in range(_ASKS):
        answered = runs.answered
        made = await aegra.unfinished(person)
        if answered == runs.answered:
            break  # else one was made after its table was read, and is not being made any more
    return (made | Counter(thread_id for thread_id, _ in runs.known.values())).total()


async def _has_ended(thread_id: str, run_id: str, *, is_new: bool) -> bool:
    try:
        run = await get_client(url=None).runs.get(thread_id, run_id)
    except NotFoundError:
        return not is_new
    return run["status"] not in _UNFINISHED


async def _left_over(person: str, most: int) -> dict[str, tuple[str, float]]:
    """Give the unfinished runs in somebody's own threads that an earlier process, or another one, let in."""
    client = get_client(url=None)
    found: dict[str, tuple[str, float]] = {}
    try:
        for thread in await client.threads.search(metadata={"owner": person}, status="busy", limit=most):
            for status in _UNFINISHED:
                for run in await client.runs.list(thread["thread_id"], status=status, limit=most):
                    found[run["run_id"]] = run["thread_id"], time.monotonic() - _MADE_WITHIN_S
    except (httpx.HTTPError, OSError):
        return {}
    return found
