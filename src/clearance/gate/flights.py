"""External actions from their clearance to their receipt: started, waited for, looked up, sent again.

Runs on the loop of `elsewhere`, whoever is cancelled meanwhile. One process at a time looks into what is unknown.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from sqlalchemy.engine import Connection

from clearance.actions.action import read_action
from clearance.actions.external import ExternalAction
from clearance.db.engine import Database
from clearance.errors import ActionError, DatabaseUnavailable
from clearance.gate.elsewhere import LEASE_TIME, Elsewhere, Started
from clearance.gate.execution import InFlight, carry_out, send_again
from clearance.gate.judging import Judge
from clearance.gate.plan_execution import carry_out_next
from clearance.gate.settling import become_unknown, looked_up, not_begun
from clearance.journal.attempts import (
    Attempt,
    all_in_flight,
    attempts_on,
    change_attempt,
    due_look_ups,
    left_behind,
    read_attempt,
)
from clearance.journal.audit import Log
from clearance.journal.leases import drop_lease, take_lease
from clearance.journal.receipts import Receipt, read_receipt
from clearance.journal.requests import Request, read_request
from clearance.loglines import logger_of

T = TypeVar("T")
logger = logger_of(__name__)

_LEASE = "reconciling"
#: Seconds between two looks at what another process performs, and at what is unknown.
_WATCH_S, _RECONCILE_S = 0.2, 0.5
#: Beyond its own deadline, and the lease of its holder: then it is nobody's.
_GRACE = timedelta(seconds=5)
#: Look-ups at once.
_MOST = 8
#: Seconds that one waits for a place before it is looked whether it still is to be started.
_PLACE_S = 1.0


class Write(Protocol):
    """Runs work in a transaction of the gate, see `Gate.write`."""

    async def __call__(self, work: Callable[[Log], T], /) -> T: ...


class Flights:
    """What goes on with the external actions of a gate."""

    def __init__(self, database: Database, judge: Judge, elsewhere: Elsewhere, write: Write) -> None:
        self._database = database
        self._judge = judge
        self._elsewhere = elsewhere
        self._write = write
        self._going: set[str] = set()
        #: Plans whose next effect somebody here starts or waits for, each by a mark of its own: on several loops.
        self._followed: set[tuple[str, object]] = set()
        #: Requests that are being claimed here.
        self._starting: Counter[str] = Counter()
        self._reconciling: Any = None
        self._holder = uuid4().hex

    # In a run

    async def follow(self, flight: InFlight, tell: Callable[[Any], None] | None = None) -> Receipt | InFlight | None:
        """Start what is not started, and wait for it; give its receipt, or itself where nobody knows what became of it.

        None: something of the plan comes first. `tell` hears how far it is, in this loop. Who is cancelled here stops
        nothing.
        """
        mark = (flight.plan_id, object())
        self._followed.add(mark)
        try:
            if not flight.is_started:
                came = await asyncio.shield(asyncio.wrap_future(self._elsewhere.submit(lambda: self._start(flight))))
                if not isinstance(came, InFlight):
                    return came
            return await self._wait(flight, tell)
        finally:
            self._followed.discard(mark)

    async def _wait(self, flight: InFlight, tell: Callable[[Any], None] | None) -> Receipt | InFlight | None:
        loop = asyncio.get_running_loop()
        while True:
            performing = self._elsewhere.here(flight.request_id)
            if performing is not None:

                def pass_on(said: Any) -> None:
                    if tell is not None:
                        loop.call_soon_threadsafe(tell, said)

                performing.listeners.append(pass_on)
                try:
                    await asyncio.shield(asyncio.wrap_future(performing.settled))
                finally:
                    performing.listeners.remove(pass_on)
            state, came = await self._database.read(lambda connection: _standing(connection, flight))
            if state != "executing":
                return came
            await self._write(lambda log: self._end_if_left(log, flight.request_id))
            await asyncio.sleep(_WATCH_S)

    def _end_if_left(self, log: Log, request_id: str) -> None:
        made = attempts_on(log.connection, request_id)
        if made and self._is_not_begun(made[-1]):
            self._not_begun(log, made[-1])
            return
        left = left_behind(log.connection, clock=log.clock, long_ago=log.clock - _GRACE, most=100)
        if made and made[-1].attempt_id in {one.attempt_id for one in left}:
            self._left(log, made[-1])

    # Beside any run

    def is_going(self, plan_id: str) -> bool:
        """Tell whether this process is about an effect of a plan: what is true is read, or a place is waited for."""
        return plan_id in self._going or any(one == plan_id for one, _ in list(self._followed))

    def go_on(self, flight: InFlight) -> None:
        """Carry on with a plan whose next effect is elsewhere, beside the caller, who does not wait."""
        self._elsewhere.submit(lambda: self._go_on(flight))

    async def _go_on(self, flight: InFlight) -> None:
        if flight.plan_id in self._going:
            return
        self._going.add(flight.plan_id)
        is_any = False
        try:
            more: bool | InFlight = flight
            while isinstance(more, InFlight):
                came = await self.follow(more)
                if not isinstance(came, Receipt):
                    break
                is_any = True
                more = await self._carry_on(flight.plan_id)
        except DatabaseUnavailable as exc:
            logger.warning("plan %s goes on later: %s", flight.plan_id, exc)
        except Exception:
            logger.exception("plan %s goes on later", flight.plan_id)
        finally:
            self._going.discard(flight.plan_id)
            if is_any:
                self._elsewhere.on_change(flight.request_id)

    async def _start(self, flight: InFlight) -> Receipt | InFlight | None:
        slots = self._elsewhere.slots
        while True:
            request = await self._database.read(lambda connection: read_request(connection, flight.request_id))
            assert request is not None
            kind = self._judge.actions.get(request.action)
            if not request.is_open or kind is None or not issubclass(kind, ExternalAction):
                # Withdrawn, started elsewhere or of no action any more: without a place it is not started.
                came = await self._write(
                    lambda log: carry_out(log, self._judge, self._database, flight.plan_id, flight.request_id)
                )
                assert not isinstance(came, Started)
                return came
            if await slots.take(request.action, kind.most_at_once, for_s=_PLACE_S):
                break
        claim = partial(carry_out, judge=self._judge, database=self._database, plan_id=flight.plan_id,
                        request_id=flight.request_id, holder=self._elsewhere.holder)  # fmt: skip
        came = await self._begin(request, claim)
        return InFlight(flight.plan_id, flight.request_id, is_started=True) if isinstance(came, Started) else came

    async def _begin(self, request: Request, claim: Callable[[Log], T | Started]) -> T | Started:
        """Claim a request for which a place is taken, and perform it; give what else the claim came to."""
        self._starting[request.request_id] += 1
        came: T | Started | None = None
        try:
            came = await self._write(claim)
            if isinstance(came, Started):
                self._elsewhere.perform(came, self._settled)
            return came
        except DatabaseUnavailable:
            self.reconcile()  # it may have been claimed all the same
            raise
        finally:
            self._starting.subtract([request.request_id])
            self._starting = +self._starting  # only what is left
            if not isinstance(came, Started):
                self._elsewhere.slots.free(request.action)

    def _settled(self, receipt: Receipt | None) -> None:
        if receipt is None:
            self.reconcile()

    # What is unknown

    def reconcile(self) -> None:
        """Look into what is in flight and not known here until nothing is; does nothing where it is done already."""
        if self._reconciling is None or self._reconciling.done():
            self._reconciling = self._elsewhere.submit(self._reconcile)

    async def _reconcile(self) -> None:
        may_hold = False
        try:
            while not self._database.is_closed:
                try:
                    if not await self._any_left():
                        return
                    may_hold = True
                    await self.reconcile_once()
                except DatabaseUnavailable as exc:
                    logger.warning("what is unknown is looked into later: %s", exc)
                except Exception:
                    if not self._database.is_closed:
                        logger.exception("what is unknown is looked into later")
                await asyncio.sleep(_RECONCILE_S)
        finally:
            if may_hold:  # asked every few seconds, it takes the log's lock only where there is something to do
                with suppress(DatabaseUnavailable, RuntimeError):  # its threads may have ended before us
                    await self._write(lambda log: drop_lease(log.connection, _LEASE, self._holder))

    async def _any_left(self) -> bool:
        found = await self._database.read(all_in_flight)
        return any(one.next_look_at is not None or one.state == "executing" for one in found)

    async def reconcile_once(self) -> None:
        """Look into what is due, where no other process does."""

        again: list[InFlight] = []

        def begin(log: Log) -> list[Attempt]:
            again[:] = [self._not_begun(log, one) for one in all_in_flight(log.connection) if self._is_not_begun(one)]
            until = log.clock + LEASE_TIME
            if not take_lease(log.connection, _LEASE, self._holder, log.clock, until):
                return []
            for attempt in left_behind(log.connection, clock=log.clock, long_ago=log.clock - _GRACE, most=100):
                if self._elsewhere.here(attempt.request_id) is None:
                    self._left(log, attempt)
            return due_look_ups(log.connection, log.judged_at, _MOST)

        due = await self._write(begin)
        for flight in again:
            self.go_on(flight)
        await asyncio.gather(*(self._look_into(attempt) for attempt in due))

    def _is_not_begun(self, attempt: Attempt) -> bool:
        """Tell whether this process claimed a start, the answer to which was lost, so that it never performs it."""
        if attempt.state != "executing" or attempt.request_id in self._starting:
            return False
        return not self._elsewhere.has_begun(attempt)  # after the other: it begins before it is claimed no more

    def _not_begun(self, log: Log, attempt: Attempt) -> InFlight:
        request = read_request(log.connection, attempt.request_id)
        assert request is not None
        not_begun(log, attempt.attempt_id, kind=self._kind(request))
        return InFlight(request.plan_id, request.request_id, is_started=False)

    def _left(self, log: Log, attempt: Attempt) -> None:
        request = read_request(log.connection, attempt.request_id)
        assert request is not None
        become_unknown(log, request, attempt, "holder gone", kind=self._kind(request))

    def _kind(self, request: Request) -> type[ExternalAction[Any]] | None:
        kind = self._judge.actions.get(request.action)
        return kind if kind is not None and issubclass(kind, ExternalAction) else None

    async def _look_into(self, attempt: Attempt) -> None:
        request = await self._database.read(lambda connection: read_request(connection, attempt.request_id))
        assert request is not None
        started = self._read(request, attempt)
        if started is None:
            await self._write(lambda log: _leave_to_a_person(log, attempt, "the program has no such action any more"))
            return
        if not started.action.has_look_up():
            await self._send_again(request, attempt)
            return
        found = await self._elsewhere.look_up(started)
        receipt = await self._write(lambda log: looked_up(log, attempt.attempt_id, found, kind=type(started.action)))
        now = await self._database.read(lambda connection: read_attempt(connection, attempt.attempt_id))
        if now is not None and now.state == "released":
            self.go_on(InFlight(request.plan_id, request.request_id, is_started=False))
        elif receipt is not None:
            await self._after(request)

    async def _send_again(self, request: Request, attempt: Attempt) -> None:
        slots, kind = self._elsewhere.slots, self._kind(request)
        assert kind is not None
        if not slots.try_take(request.action, kind.most_at_once):
            return
        claim = partial(send_again, judge=self._judge, attempt_id=attempt.attempt_id, holder=self._elsewhere.holder)
        again = await self._begin(request, claim)
        if isinstance(again, str):
            await self._write(lambda log: _leave_to_a_person(log, attempt, again))
            return
        self.go_on(InFlight(request.plan_id, request.request_id, is_started=True))

    def settled(self, request: Request) -> None:
        """Carry on with the rest of a plan, beside the caller, once a person said what became of a request of it."""
        self._elsewhere.submit(lambda: self._after_person(request))

    async def _after_person(self, request: Request) -> None:
        try:
            await self._after(request)
        except DatabaseUnavailable as exc:
            logger.warning("plan %s goes on later: %s", request.plan_id, exc)
        except Exception:
            logger.exception("plan %s goes on later", request.plan_id)

    async def _after(self, request: Request) -> None:
        """Carry on with the rest of a plan."""
        more = await self._carry_on(request.plan_id)
        if isinstance(more, InFlight):
            self.go_on(more)
        self._elsewhere.on_change(request.request_id)

    async def _carry_on(self, plan_id: str) -> bool | InFlight:
        """Carry out the local effects that are next in a plan; give what is next elsewhere, if anything."""
        while True:
            more = await self._write(lambda log: carry_out_next(log, self._judge, self._database, plan_id))
            if more is not True:
                return more

    def _read(self, request: Request, attempt: Attempt) -> Started | None:
        kind = self._kind(request)
        if kind is None or request.arguments is None:
            return None
        try:
            action = read_action(kind, request.arguments)
        except ActionError:
            return None
        assert isinstance(action, ExternalAction)
        return Started(attempt, action, request.requested_by)


def _standing(connection: Connection, flight: InFlight) -> tuple[str, Receipt | InFlight | None]:
    request = read_request(connection, flight.request_id)
    assert request is not None
    if request.is_in_flight:
        return request.state, InFlight(flight.plan_id, flight.request_id, is_started=True)
    return request.state, read_receipt(connection, flight.request_id)


def _leave_to_a_person(log: Log, attempt: Attempt, why: str) -> None:
    now = read_attempt(log.connection, attempt.attempt_id)
    if now is not None and now.state == "unknown":
        change_attempt(log.connection, attempt.attempt_id, next_look_at=None, last_look=why)
