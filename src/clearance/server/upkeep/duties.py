"""Work that one server at a time does again and again, and that no failure ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

from clearance.errors import DatabaseUnavailable
from clearance.gate.gate import Gate
from clearance.loglines import logger_of

logger = logger_of(__name__)

T = TypeVar("T")

#: After a crash another server, or this one started again, waits for it.
_LEASE_S = 15.0

#: Seconds for which something is tried that the database kept from being done, and between two tries.
_LATER_S, _BETWEEN_S = 600, 0.5

#: Tells whether there is more to do at once.
Step = Callable[[], Awaitable[bool]]


class LeaseLostError(Exception):
    """Another server has the lease, or may have it: this one stood still for too long, or could not renew it."""


class HeldLease:
    """A lease in the database, renewed for as long as the work under it takes, and the work ended where it is lost.

    A process that stood still, and another has the lease since, ends what it was at with the next renewal. Until then
    two may be at the same work: it has to be harmless, as all is that passes the gate.
    """

    def __init__(self, gate: Gate, name: str, lease_s: float = _LEASE_S) -> None:
        self._gate = gate
        self._name = name
        self._lease_s = lease_s
        self._holder = uuid4().hex
        #: When it was asked for that we have; by a clock that never jumps.
        self._since: float | None = None

    async def take(self) -> bool:
        """Take it, or renew it where that is due; False while another server has it.

        Raises:
            DatabaseUnavailable: nobody knows.
        """
        if self._since is None or time.monotonic() - self._since > self._renew_s:
            await self._ask()
        return self._since is not None

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` and renew the lease, which was taken, meanwhile.

        Raises:
            LeaseLostError: it is not ours any more, and the work was ended.
        """
        working = asyncio.create_task(work)
        keeping = asyncio.create_task(self._keep(working))
        try:
            return await working
        except asyncio.CancelledError:
            if self._since is None and not ((task := asyncio.current_task()) and task.cancelling()):
                raise LeaseLostError(self._name) from None
            raise
        finally:
            keeping.cancel()

    async def drop(self) -> None:
        """Give it back."""
        self._since = None
        with suppress(DatabaseUnavailable, RuntimeError):  # its threads may have ended before us
            await self._gate.drop_lease(self._name, self._holder)

    @property
    def _renew_s(self) -> float:
        return self._lease_s / 3

    async def _ask(self) -> None:
        now = time.monotonic()
        is_ours = await self._gate.take_lease(self._name, self._holder, timedelta(seconds=self._lease_s))
        self._since = now if is_ours else None

    async def _keep(self, working: "asyncio.Task[Any]") -> None:
        while self._since is not None:
            await asyncio.sleep(self._renew_s)
            try:
                await self._ask()
            except Exception as exc:  # noqa: BLE001  until its time is over it is ours, whatever the database says
                if self._since is not None and time.monotonic() - self._since > self._lease_s:
                    self._since = None
                    logger.warning("%s: its lease could not be renewed: %s", self._name, exc)
        working.cancel()


class Duty:
    """Some steps, done in order under a lease in the database. A step that fails is logged, the next ones are done."""

    def __init__(self, gate: Gate, name: str, every_s: float, steps: Sequence[Step], lease_s: float = _LEASE_S) -> None:
        self._name = name
        self._every_s = every_s
        self._steps = steps
        self._lease = HeldLease(gate, name, lease_s)
        #: What each step failed with last time, so that a lasting failure is told once.
        self._failures: dict[int, str] = {}

    async def run(self) -> None:
        """Do it until cancelled; the lease is given back then."""
        try:
            while True:
                if not await self.once():
                    await asyncio.sleep(self._every_s)
        finally:
            await self._lease.drop()

    async def once(self) -> bool:
        """Do the steps once, if no other server has the lease; tell whether there is more to do at once."""
        if not await self._safely(-1, self._lease.take):
            return False
        try:
            return await self._lease.during(self._do())
        except LeaseLostError:
            logger.warning("%s: another server does it now", self._name)
            return False

    async def _do(self) -> bool:
        return any([await self._safely(at, step) for at, step in enumerate(self._steps)])

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
