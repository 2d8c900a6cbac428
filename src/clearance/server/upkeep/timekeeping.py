"""What has to happen though nobody touches it: requests past their deadline end, and threads that stopped go on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy.engine import Connection

from clearance.gate import deadlines
from clearance.gate.gate import Gate
from clearance.journal import notifications
from clearance.journal.audit import read_head
from clearance.journal.refusals import chain_totals
from clearance.journal.turns import OpenTurn, Turn, open_turns_after
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.server.upkeep.duties import Duty
from clearance.server.upkeep.recovery import settle

logger = logger_of(__name__)

LEASE = "timekeeping"
#: Seconds between two looks at the clock: a deadline is noticed within these, and after a crash within the lease's too.
_EVERY_S = 5
#: Plans expired in one transaction, and threads woken in one look.
_PLANS, _WAKES = 50, 20
_WAKE_TIMEOUT_S = 30
#: How long a turn may stand with nobody to wait for before it is looked at: a run that is on it is given time.
_GRACE = timedelta(seconds=10)
#: So often all open turns are looked at: so many at a time, and of so many rows of the log those they are about.
_ALL_EVERY, _PAGE, _MOST_TOUCHED = timedelta(minutes=10), 1_000, 1_000
_LONGEST_WAIT = timedelta(minutes=10)
#: Attempts after which it is said that a turn does not go on.
_MANY = 6
_CHAINED_EVERY = timedelta(minutes=1)

#: Makes a turn go on; tells whether it is over or waits for an answer.
Wake = Callable[[Turn], Awaitable[bool]]


@dataclass
class _Watched:
    """A turn that waits for nobody."""

    #: Stands for the states of its requests.
    mark: str
    #: When it is looked at next; None while it is as it should be.
    at: datetime | None
    attempts: int = 0


class _Look(NamedTuple):
    """How far a look at open turns came."""

    #: The row of the log up to which turns were looked at.
    seen: int
    #: The last one that was, while all are looked at.
    after: OpenTurn | None
    #: When all are looked at again.
    all_at: datetime
    #: Whether there is more to look at now.
    is_more: bool


class Timekeeper:
    """Expires, wakes, and writes totals down. `run` is the background task, `steps` what it does."""

    def __init__(
        self,
        gate: Gate,
        wake: Wake,
        *,
        notifies: bool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._gate = gate
        self._wake = wake
        self._notifies = notifies
        #: As the gate's.
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        #: As in `_Look`; None before the first.
        self._seen: int | None = None
        self._after: OpenTurn | None = None
        self._all_at = datetime.min.replace(tzinfo=UTC)
        self._expired: set[str] = set()
        self._chained_at: datetime | None = None
        #: By turn of a nested agent that waits for a person: when it was looked at last.
        self._swept: dict[str, datetime] = {}
        self.steps = [self.expire, self.wake, self.sweep, self.chain]

    async def run(self) -> None:
        """Keep time until cancelled. One server at a time, by a lease in the database."""
        await Duty(self._gate, LEASE, _EVERY_S, self.steps).run()

    async def expire(self) -> bool:
        """End what is past its deadline; tell whether there may be more."""
        ended = await self._gate.write(lambda log: deadlines.expire(log, _PLANS))
        self._expired.update(ended)
        return len(ended) == _PLANS

    async def wake(self) -> bool:
        """Make turns go on that wait for nobody and that no run is on, each at growing intervals."""
        now = self._clock()
        look, found = await self._gate.database.read(lambda connection: self._look(connection, now))
        self._seen, self._after, self._all_at = look.seen, look.after, look.all_at
        self._watched = {turn.turn_id: self._watch(turn, mark, now) for turn, mark in found}
        self._expired.clear()
        waiting = [(turn, at) for turn, _ in found if (at := self._watched[turn.turn_id].at) and at <= now]
        for turn, _ in sorted(waiting, key=lambda pair: pair[1])[:_WAKES]:
            await self._wake_one(turn)
        return look.is_more

    def _look(self, connection: Connection, now: datetime) -> tuple["_Look", list[tuple[Turn, str]]]:
        """Read what waits for nobody of what the log told of since, of what did last time, and of a page of all.

        Whatever else is open waits for a person, as it did: of such there may be a hundred thousand.
        Where it came to is noted once it was read: of a look that the database broke off, what the log told would be
        missed.
        """
        seen = read_head(connection).seq if self._seen is None else self._seen
        seen, turn_ids, is_more = deadlines.touched(connection, seen, _MOST_TOUCHED)
        after, all_at = self._after, self._all_at
        if now >= all_at:
            page = open_turns_after(connection, after, _PAGE)
            turn_ids |= {turn.turn_id for turn in page}
            after = page[-1] if len(page) == _PAGE else None
            all_at = all_at if after else now + _ALL_EVERY
        found = deadlines.stalled(connection, turn_ids | self._watched.keys())
        return _Look(seen, after, all_at, is_more or after is not None), found

    async def sweep(self) -> bool:
        """Look at nested agents that wait for a person, a few at a time: whether their threads still wait for them.

        A graph around one that is not gated tells nobody when it goes on without it.
        """
        nested = await self._gate.database.read(deadlines.nested_and_asking)
        never = datetime.min.replace(tzinfo=UTC)
        self._swept = {turn.turn_id: self._swept.get(turn.turn_id, never) for turn in nested}
        for turn in sorted(nested, key=lambda one: self._swept[one.turn_id])[:_WAKES]:
            self._swept[turn.turn_id] = self._clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAKE_TIMEOUT_S):
                    await self._wake(turn)
        return False

    def _watch(self, turn: Turn, mark: str, now: datetime) -> _Watched:
        watched = self._watched.get(turn.turn_id)
        if watched and watched.mark == mark:
            return watched
        # Who waits for the answer to a request that just expired is told now.
        return _Watched(mark, now if turn.turn_id in self._expired else now + _GRACE)

    async def _wake_one(self, turn: Turn) -> None:
        watched = self._watched[turn.turn_id]
        watched.attempts += 1
        # First, so that one that fails has to wait as well.
        watched.at = self._clock() + min(_GRACE * 2 ** (watched.attempts - 1), _LONGEST_WAIT)
        try:
            async with asyncio.timeout(_WAKE_TIMEOUT_S):
                is_settled = await self._wake(turn)
        except TimeoutError:
            is_settled = False
        if is_settled:
            watched.at = None
        elif watched.attempts == _MANY:
            logger.error("turn %s of thread %s does not go on; a new message ends it", turn.turn_id, turn.thread_id)

    async def chain(self) -> bool:
        """Write the totals of refusals into the audit log, once a minute."""
        now = self._clock()
        if self._chained_at is None or now - self._chained_at >= _CHAINED_EVERY:
            await self._gate.write(chain_totals)
            if not self._notifies:
                await self._gate.database.write(notifications.stop)
            self._chained_at = now
        return False


def timekeeper_of(parts: Parts) -> Timekeeper:
    """Give the timekeeper of this server."""

    async def wake(turn: Turn) -> bool:
        return await settle(parts, turn, may_make=False)

    return Timekeeper(parts.gate, wake, notifies=bool(parts.settings.webhook_url))
