"""Work that one server at a time does again and again, and that no failure ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

from clearance.db.engine import DatabaseUnavailable
from clearance.gate.gate import Gate
from clearance.loglines import logger_of

logger = logger_of(__name__)

#: Longer than steps take. After a crash another server, or this one started again, waits for it.
_LEASE_TIME = timedelta(seconds=15)
_RENEW_S = 5

#: Seconds for which something is tried that the database kept from being done, and between two tries.
_LATER_S, _BETWEEN_S = 600, 0.5

#: Tells whether there is more to do at once.
Step = Callable[[], Awaitable[bool]]


class Duty:
    """Some steps, done in order under a lease in the database. A step that fails is logged, the next ones are done."""

    def __init__(self, gate: Gate, name: str, every_s: float, steps: Sequence[Step]) -> None:
        self._gate = gate
        self._name = name
        self._every_s = every_s
        self._steps = steps
        self._holder = uuid4().hex
        self._held_since: float | None = None
        #: What each step failed with last time, so that a lasting failure is told once.
        self._failures: dict[int, str] = {}

    async def run(self) -> None:
        """Do it until cancelled; the lease is given back then."""
        try:
            while True:
                if not await self.once():
                    await asyncio.sleep(self._every_s)
        finally:
            with suppress(DatabaseUnavailable, RuntimeError):  # its threads may have ended before us
                await self._gate.drop_lease(self._name, self._holder)

    async def once(self) -> bool:
        """Do the steps once, if no other server has the lease; tell whether there is more to do at once."""
        if not await self._safely(-1, self._hold):
            return False
        return any([await self._safely(at, step) for at, step in enumerate(self._steps)])

    async def _hold(self) -> bool:
        now = time.monotonic()
        if self._held_since is None or now - self._held_since > _RENEW_S:
            is_ours = await self._gate.take_lease(self._name, self._holder, _LEASE_TIME)
            self._held_since = now if is_ours else None
        return self._held_since is not None

    async def _safely(self, at: int, step: Step) -> bool:
        try:
            more = await step()
        except DatabaseUnavailable as exc:
            if self._is_new(at, "database"):
                logger.warning("%s: goes on when the database does: %s", self._name, exc)
            return False
        except Exception as exc:  # whatever it is, time goes on
            if self._is_new(at, repr(exc)):
                logger.exception("%s: a step failed and is tried again", self._name)
            return False
        self._failures.pop(at, None)
        return more

    def _is_new(self, at: int, failure: str) -> bool:
        before, self._failures[at] = self._failures.get(at), failure
        return before != failure


def do_later(work: Callable[[], Awaitable[object]], what: str) -> None:
    """Do `work` as soon as the database answers again; `what` names it in the log. Ends with the process."""

    async def try_on() -> None:
        until = time.monotonic() + _LATER_S
        while time.monotonic() < until:
            await asyncio.sleep(_BETWEEN_S)
            with suppress(DatabaseUnavailable):
                await work()
                return
        logger.error("%s: not done, the database did not answer for %d s", what, _LATER_S)

    # Held, since a task that nothing refers to may be collected before it ran.
    task = asyncio.get_running_loop().create_task(try_on())
    _later.add(task)
    task.add_done_callback(_later.discard)


_later: set["asyncio.Task[None]"] = set()
