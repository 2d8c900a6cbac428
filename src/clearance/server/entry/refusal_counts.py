"""What the wall refused: counted, kept in a table of few rows a minute, and its totals are chained."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.engine import Connection

from clearance.db.engine import Database
from clearance.errors import DatabaseUnavailable
from clearance.journal.refusals import Floods, note_refused
from clearance.loglines import logger_of

logger = logger_of(__name__)

_WRITE_EVERY_S = 30


@dataclass(frozen=True)
class RefusalCounts:
    """The refusals of one process."""

    database: Database
    floods: Floods

    async def note(self, person: str, cause: str, *, thread_id: str | None = None, attempt: str | None = None) -> None:
        """Count a refusal, and write it unless it is one of a flood."""
        is_written = self.floods.count(person, cause)
        if not is_written:
            return

        def work(connection: Connection) -> None:
            now = datetime.now(UTC)
            note_refused(connection, now, person, cause, thread_id=thread_id, attempt=attempt)

        try:
            await self.database.write(work)
        except DatabaseUnavailable:
            self.floods.give_back({(person, cause): 1})
            logger.warning("a refusal of %r is not written yet: the database does not answer", person)

    async def keep(self) -> None:
        """Write what was only counted, twice a minute and at the end, until cancelled. Each process has its own."""
        try:
            while True:
                await asyncio.sleep(_WRITE_EVERY_S)
                await self._write()
        finally:
            await self._write()

    async def _write(self) -> None:
        """Write what was only counted, in a flood or while the database did not answer.

        Where it did it and its answer was lost, that is counted once too often: better than not at all.
        """
        counted = self.floods.take()
        if not counted:
            return

        def work(connection: Connection) -> None:
            for (person, cause), times in counted.items():
                note_refused(connection, datetime.now(UTC), person, cause, times=times)

        try:
            await self.database.write(work)
        except DatabaseUnavailable as exc:
            self.floods.give_back(counted)
            logger.warning("%d refusals are not written yet: %s", sum(counted.values()), exc)
        except RuntimeError as exc:  # its threads may have ended before us
            logger.warning("%d refusals were not written: %s", sum(counted.values()), exc)
