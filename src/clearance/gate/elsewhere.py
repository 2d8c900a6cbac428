"""External actions at work: what is true elsewhere is read, cleared calls are performed, unknown ones looked up.

Nothing here holds a lock or a transaction while somebody else's server is waited for, and nothing that the database
does makes a call run again: what it came to is kept in this process until it is written down.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from clearance.actions.action import Facts
from clearance.actions.external import Absent, Call, Done, ExternalAction, Looking, LookUp, NotDone, Unclear
from clearance.actions.soundness import an
from clearance.db.engine import Database
from clearance.errors import ActionError, DatabaseUnavailable
from clearance.gate.looking import MOST_ROUNDS, NeedsLookError, Seen, Sight, ToLook, sight
from clearance.gate.performing import AuthorsLoop, Loop, Running, Slots, begin
from clearance.gate.settling import Outcome, Unknown, settle
from clearance.journal.attempts import Attempt, read_attempt
from clearance.journal.audit import Log
from clearance.journal.leases import drop_lease, take_lease
from clearance.journal.receipts import Receipt
from clearance.journal.switch import read_switch
from clearance.loglines import logger_of

T = TypeVar("T")
logger = logger_of(__name__)

#: A process whose lease has ended is gone, and what it performed is looked up. Renewed while something is in flight.
LEASE_TIME, _RENEW_S = timedelta(seconds=15), 5
#: Reads of facts and look-ups at once.
_MOST_LOOKS = 32
#: Seconds after its claim within which a call begins. What comes later is not begun: it would still be on its way when
#: it counts as not arrived.
_BEGINS_S = 5.0
#: Seconds between two tries to write down what a call came to, at most.
_LONGEST_S = 5.0


@dataclass(frozen=True)
class Started:
    """A start that is written down, and has to be performed by who wrote it."""

    attempt: Attempt
    action: ExternalAction[Any]
    requested_by: str
    #: When, by a clock that never jumps.
    at: float = field(default_factory=time.monotonic)


@dataclass
class Performing:
    """A start that this process performs."""

    started: Started
    #: The receipt, or None where nobody knows what became of it.
    settled: "Future[Receipt | None]" = field(default_factory=Future)
    #: What hears how far it is.
    listeners: list[Callable[[Any], None]] = field(default_factory=list)
    #: What runs; None before it began.
    running: Running[Any] | None = None
    is_stopped: bool = False

    def tell(self, said: Any) -> None:
        """Pass on how far it is."""
        for listener in list(self.listeners):
            listener(said)


class Elsewhere:
    """The part of a gate that has to do with other people's systems. `write` is the gate's, without looking."""

    def __init__(
        self, database: Database, write: Callable[[Callable[[Log], Any]], Awaitable[Any]], *, most: int = 16
    ) -> None:
        self.holder = uuid4().hex
        self.slots = Slots(most)
        self._database = database
        self._write = write
        self._loop = Loop("clearance-elsewhere")
        self._authors = AuthorsLoop()
        self._looks = asyncio.Semaphore(_MOST_LOOKS)
        self._performing: dict[str, Performing] = {}
        #: Starts that were performed here, or are, and of which it is not written down what became of them.
        self._begun: set[str] = set()
        self._lease: asyncio.Task[None] | None = None
        #: Called with a request's id in this part's loop when what became of it is known, or turns out unknown.
        self.on_change: Callable[[str], None] = lambda _: None

    # What is true there

    async def seeing(self, run: Callable[[], Awaitable[T]]) -> T:
        """Run a transaction; where it needs to know what is true elsewhere, read that and run it again.

        Raises:
            NeedsLookError: it needs something else each time.
        """
        with sight() as here:
            for _ in range(MOST_ROUNDS):
                try:
                    return await run()
                except NeedsLookError as exc:
                    await asyncio.wrap_future(self._loop.submit(self._see(exc.needed, here)))
            return await run()

    def seeing_now(self, run: Callable[[], T]) -> T:
        """`seeing`, blocking."""
        with sight() as here:
            for _ in range(MOST_ROUNDS):
                try:
                    return run()
                except NeedsLookError as exc:
                    self._loop.submit(self._see(exc.needed, here)).result()
            return run()

    async def _see(self, looks: Sequence[ToLook], here: Sight) -> None:
        found = await asyncio.gather(*(self._facts(look) for look in looks))
        here.seen.update(zip((look.key for look in looks), found, strict=True))

    async def _facts(self, look: ToLook) -> Seen:
        action, name = look.action, look.action.tool_name()
        looking = Looking(look.now, look.requested_by)
        async with self._looks:
            found: Facts | ActionError
            try:
                running = begin(f"{name}.facts", partial(action.facts, looking), await self._authors.ready())
                came = await running.within(action.look_timeout_s)
                found = an(type(action).returned_by_facts(), came, f"{name}.facts")
            except ActionError as exc:
                found = exc
            except TimeoutError:
                found = ActionError(f"what is true about it could not be read within {action.look_timeout_s:g} s.")
            except Exception:  # broken is no effect, and the thread goes on
                error_id = uuid4().hex[:8]
                logger.exception("facts of %s cannot be read, error id %s", name, error_id)
                found = ActionError(f"what is true about it cannot be read (error id {error_id}).")
            # Since its answer came: by when it was asked, one that takes long would be read again without end.
            return Seen(found, time.monotonic())

    # Performing

    def perform(self, started: Started, then: Callable[[Receipt | None], None]) -> Performing:
        """Begin to perform a start whose claim is committed. It ends by itself, whoever waits for it or not.

        `then` is called with the receipt, None where nobody knows what became of it.
        """
        performing = Performing(started)
        performing.settled.add_done_callback(lambda future: then(future.result()))
        self._begun.add(started.attempt.attempt_id)
        self._performing[started.attempt.request_id] = performing
        self._loop.submit(self._perform(performing))
        return performing

    def here(self, request_id: str) -> Performing | None:
        """Give what this process performs of a request, None where it is another process's, or over."""
        return self._performing.get(request_id)

    def has_begun(self, attempt: Attempt) -> bool:
        """Tell whether a start may have been performed: not what this process claimed, and never came to perform."""
        return attempt.holder != self.holder or attempt.attempt_id in self._begun

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing is performed here, so long at most; tell whether nothing is."""
        until = time.monotonic() + seconds
        while self._performing and time.monotonic() < until:  # noqa: ASYNC110  it happens on another loop
            await asyncio.sleep(0.05)
        if self._performing:
            logger.warning("%s are left in flight, and are looked up at the next start", len(self._performing))
        return not self._performing

    def stop(self, request_id: str) -> None:
        """End a call that is awaited, as far as that can be: whether it happened nobody knows then."""
        performing = self._performing.get(request_id)
        if performing is None:
            return

        def cancel() -> None:
            performing.is_stopped = True
            if performing.running is not None:
                performing.running.stop()

        self._loop.call(cancel)

    async def _perform(self, performing: Performing) -> None:
        started, kind = performing.started, type(performing.started.action)
        name, request_id = kind.tool_name(), performing.started.attempt.request_id
        if self._lease is None or self._lease.done():
            self._lease = asyncio.get_running_loop().create_task(self._keep_lease())
        try:
            outcome = await self._outcome(performing)
            if performing.running is None or performing.running.is_over:
                self.slots.free(name)
            else:
                self.slots.hang(name)
                performing.running.came.add_done_callback(partial(self._came_late, started))
            receipt = await self._settled(started, outcome)
            if not self._database.is_closed:
                self._begun.discard(started.attempt.attempt_id)
        finally:
            self._performing.pop(request_id, None)
        performing.settled.set_result(receipt)
        self.on_change(request_id)

    async def _outcome(self, performing: Performing) -> Outcome:
        started, loop = performing.started, await self._authors.ready()
        why = await self._stopped(performing)
        if why is not None:
            return NotDone(why)
        action, attempt = started.action, started.attempt
        call = call_of(started, performing.tell)
        try:
            running = performing.running = begin(f"{action.tool_name()}.perform", partial(action.perform, call), loop)
            return _outcome(await running.within(action.timeout_s))
        except TimeoutError:
            return Unknown("timeout")
        except NotDone as exc:
            return exc
        except asyncio.CancelledError:
            return Unknown("cancelled")
        except Exception:  # whatever it raises, nobody knows whether it happened
            logger.exception("%s of request %s broke off", action.tool_name(), attempt.request_id)
            return Unknown("error")

    async def _stopped(self, performing: Performing) -> str | None:
        """Say why what is claimed and not entered yet is not done any more; None when it is to be done."""
        if performing.is_stopped:
            return "it was cancelled before it began."
        attempt_id = performing.started.attempt.attempt_id
        try:
            switch, now = await self._database.read(
                lambda connection: (read_switch(connection), read_attempt(connection, attempt_id))
            )
        except DatabaseUnavailable:
            return "the database did not answer before it began."
        if switch.frozen_by is not None:
            return "all effects were frozen before it began."
        # Taken for dead it is looked up, and may be started again.
        if now is None or now.state != "executing" or time.monotonic() > performing.started.at + _BEGINS_S:
            return "it could not begin in time."
        return None

    async def _settled(self, started: Started, outcome: Outcome) -> Receipt | None:
        """Write down what a call came to, again and again until the database takes it."""
        kind, pause = type(started.action), 0.1
        while not self._database.is_closed:
            try:
                receipt: Receipt | None = await self._write(
                    partial(settle, attempt_id=started.attempt.attempt_id, outcome=outcome, kind=kind)
                )
                return receipt
            except DatabaseUnavailable as exc:
                logger.warning("what became of request %s is written down later: %s", started.attempt.request_id, exc)
            except Exception:
                logger.exception("what became of request %s cannot be written down", started.attempt.request_id)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_S)
        return None

    def _came_late(self, started: Started, came: "asyncio.Future[Any]") -> None:
        self.slots.end(type(started.action).tool_name())
        if came.cancelled():
            return
        exc = came.exception()
        if exc is None:
            outcome: Outcome = _outcome(came.result())
        elif isinstance(exc, NotDone):
            outcome = exc
        else:
            return  # it is unknown already
        self._loop.submit(self._settle_late(started, outcome))

    async def _settle_late(self, started: Started, outcome: Outcome) -> None:
        await self._settled(started, outcome)
        self.on_change(started.attempt.request_id)

    async def _keep_lease(self) -> None:
        name = lease_of(self.holder)
        while self._performing and not self._database.is_closed:
            with suppress(DatabaseUnavailable):  # taken for dead, it is harmless: its late answer settles
                await self._write(
                    lambda log: take_lease(log.connection, name, self.holder, log.clock, log.clock + LEASE_TIME)
                )
            await asyncio.sleep(_RENEW_S)
        with suppress(DatabaseUnavailable, RuntimeError):  # its threads may have ended before us
            await self._write(lambda log: drop_lease(log.connection, name, self.holder))

    # Looking up

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "Future[T]":
        """Run something of the gate's on this part's loop, which ends with the process and with nothing else."""
        return self._loop.submit(work())

    async def look_up(self, started: Started) -> LookUp:
        """Ask elsewhere what became of a start. What it raises, and what it takes too long for, is unclear."""
        action, name = started.action, started.action.tool_name()

        async def ask() -> LookUp:
            loop = await self._authors.ready()
            try:
                running = begin(f"{name}.look_up", partial(action.look_up, call_of(started)), loop)
                came = await running.within(action.look_timeout_s)
            except TimeoutError:
                return Unclear(f"no answer within {action.look_timeout_s:g} s")
            except Exception as exc:
                logger.exception("%s of request %s cannot be looked up", name, started.attempt.request_id)
                return Unclear(f"it failed: {type(exc).__name__}")
            if isinstance(came, Done | Absent | Unclear):
                return came
            logger.error("%s.look_up returned %s, not Done, Absent or Unclear", name, type(came).__name__)
            return Unclear("it returned something else")

        return await asyncio.wrap_future(self._loop.submit(ask()))


def call_of(started: Started, tell: Callable[[Any], None] = lambda _: None) -> Call:
    """Give what the author's methods get of a start."""
    attempt = started.attempt
    return Call(
        attempt.idempotency_key, attempt.request_id, started.requested_by, attempt.number, attempt.started_at, tell
    )


def lease_of(holder: str) -> str:
    """Name the lease by which a process shows that it lives, while it performs something."""
    return f"performing:{holder}"


def _outcome(came: Any) -> Done:
    match came:
        case Done():
            return came
        case str():
            return Done(came)
        case _:  # it happened, whatever it says of it
            return Done("")
