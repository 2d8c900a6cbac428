"""How far a long job is, kept in the bank's database: a process that is killed loses what came after the last note."""

import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.tables import job_notes


class Write(Protocol):
    """Runs a function in a write transaction of the bank's database, blocking."""

    def __call__(self, work: Callable[[Connection], None], /) -> None: ...


#: An older note is not gone on from, and is taken away.
KEPT = timedelta(days=1)


class Notes:
    """The note of one job."""

    def __init__(self, write: Write, job_id: str) -> None:
        self._write, self._job_id = write, job_id

    def read(self, reading: Callable[[Callable[[Connection], Any]], Any]) -> dict[str, Any] | None:
        """Give what was noted last, in a read transaction of the bank's; None where nothing was, or it is too old."""
        query = sa.select(job_notes.c.note).where(
            job_notes.c.job_id == self._job_id, job_notes.c.noted_at >= datetime.now(UTC) - KEPT
        )
        found = reading(lambda connection: connection.scalar(query))
        try:
            return None if found is None else dict(json.loads(zlib.decompress(found)))
        except (ValueError, zlib.error):
            return None

    def write(self, note: dict[str, Any]) -> None:
        """Note it in place of what was noted before."""
        packed, now = zlib.compress(json.dumps(note).encode(), 1), datetime.now(UTC)

        def work(connection: Connection) -> None:
            is_over = (job_notes.c.job_id == self._job_id) | (job_notes.c.noted_at < now - KEPT)
            connection.execute(sa.delete(job_notes).where(is_over))
            connection.execute(sa.insert(job_notes).values(job_id=self._job_id, note=packed, noted_at=now))

        self._write(work)

    def drop(self) -> None:
        """Take it away."""
        self._write(lambda connection: _drop(connection, self._job_id))


def _drop(connection: Connection, job_id: str) -> None:
    connection.execute(sa.delete(job_notes).where(job_notes.c.job_id == job_id))
