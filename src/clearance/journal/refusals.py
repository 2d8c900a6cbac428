"""What was refused before the gate: few rows of each person in a minute, and totals that the audit log tells of.

A flood of forbidden calls costs a counter, not a link of the chain each. Rows are outside the chain; the totals of each
person are chained once a minute, so that taking rows away shows.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import clean
from clearance.db.tables import refusal_totals, refusals
from clearance.db.types import to_text
from clearance.journal.audit import Log
from clearance.journal.binding import mention
from clearance.journal.bound_rows import REFUSALS, read_refused

#: Rows that are kept of one person in one minute.
ROWS_A_MINUTE = 10
#: Refusals of one person in one minute from which on they are only counted: no more events, no look at their calls.
FLOOD = 60
_MAX_ATTEMPT = 300
#: Who was refused when nobody was signed in.
NOBODY = "nobody"

_THIS_MINUTE = sa.select(sa.func.coalesce(sa.func.sum(refusal_totals.c.count), 0)).where(
    refusal_totals.c.minute == sa.bindparam("minute"), refusal_totals.c.person == sa.bindparam("person")
)


@cache
def _count(dialect: str) -> sa.Executable:
    """Give what counts a refusal. One statement: of two that come first at once, PostgreSQL would fail the second."""
    made = import_module(f"sqlalchemy.dialects.{dialect}").insert(refusal_totals)  # the database's own, which it loaded
    key = [refusal_totals.c.minute, refusal_totals.c.person, refusal_totals.c.cause]
    more: sa.Executable = made.on_conflict_do_update(
        index_elements=key, set_={"count": refusal_totals.c.count + made.excluded.count}
    )
    return more


def note_refused(
    connection: Connection,
    now: datetime,
    person: str,
    cause: str,
    *,
    thread_id: str | None = None,
    attempt: str | None = None,
    times: int = 1,
) -> bool:
    """Count a refusal and keep a row of it while there are few this minute; tell whether it is no flood yet."""
    minute = _minute(now)
    before = connection.scalar(_THIS_MINUTE, {"minute": minute, "person": person}) or 0
    row = {"minute": minute, "person": person, "cause": cause, "count": times, "chained": 0}
    connection.execute(_count(connection.dialect.name), row)
    if before < ROWS_A_MINUTE:
        shown = str(clean(attempt))[:_MAX_ATTEMPT] if attempt is not None else None
        kept = {"at": now, "person": person, "cause": cause, "thread_id": thread_id, "attempt": shown}
        connection.execute(sa.insert(refusals), kept)
    return before < FLOOD


def note_attempt(
    log: Log,
    event: str,
    actor: str,
    *,
    thread_id: str | None = None,
    turn_id: str | None = None,
    request_id: str | None = None,
    **details: Any,
) -> None:
    """Append an audit event about an attempt that came to nothing; of one person only up to a flood."""
    if note_refused(log.connection, log.now, actor, event, thread_id=thread_id):
        log.append(event, actor, thread_id=thread_id, turn_id=turn_id, request_id=request_id, **details)


def chain_totals(log: Log) -> None:
    """Write the totals of minutes that are over into the audit log: one event for each person and minute.

    With them it binds the totals and the rows of that minute.
    """
    query = (
        sa.select(refusal_totals)
        .where(refusal_totals.c.chained < refusal_totals.c.count, refusal_totals.c.minute < _minute(log.now))
        .order_by(refusal_totals.c.minute, refusal_totals.c.person, refusal_totals.c.cause)
    )
    totals: dict[tuple[datetime, str], dict[str, int]] = {}
    for row in log.connection.execute(query):
        totals.setdefault((row.minute, row.person), {})[row.cause] = row.count - row.chained
    if totals and log.connection.dialect.name == "postgresql":
        # Rows are numbered before they are committed: one still on its way would come in below those that are bound.
        log.connection.exec_driver_sql("LOCK TABLE refusals IN SHARE MODE")
    for (minute, person), causes in totals.items():
        rows = _bind(log.connection, minute, person)
        log.append("refusals", person, minute=minute.isoformat(), causes=causes, rows=rows)


def _bind(connection: Connection, minute: datetime, person: str) -> dict[str, dict[str, str]]:
    """Take all totals of a person's minute as told; give what the log says of them and of the rows."""
    of = (refusal_totals.c.minute == minute, refusal_totals.c.person == person)
    told = connection.execute(
        sa.select(sa.func.max(refusal_totals.c.version), sa.func.max(refusal_totals.c.salt)).where(*of)
    ).one()
    connection.execute(
        sa.update(refusal_totals)
        .where(*of)
        .values(chained=refusal_totals.c.count, version=(told[0] or 0) + 1, salt=told[1] or secrets.token_hex(16))
    )
    upto = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(refusals.c.refusal_id), 0)))
    row = read_refused(connection, to_text(minute), int(upto or 0), person)
    assert row is not None
    return {REFUSALS: {row.id: mention(REFUSALS, row, is_new=not told[0])}}


class Floods:
    """Counts refusals of this process by person and minute, so that a flood is told without asking the database."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._minute = _minute(clock())
        self._counts: dict[str, int] = {}
        #: Counted and not written yet.
        self._unwritten: dict[tuple[str, str], int] = {}

    def count(self, person: str, cause: str) -> bool:
        """Count a refusal; tell whether it is to be written, or one of too many."""
        self._turn_over()
        self._counts[person] = self._counts.get(person, 0) + 1
        if self._counts[person] <= ROWS_A_MINUTE:
            return True
        self._unwritten[person, cause] = self._unwritten.get((person, cause), 0) + 1
        return False

    def is_flood(self, person: str) -> bool:
        """Tell whether this person was refused too often in this minute."""
        self._turn_over()
        return self._counts.get(person, 0) >= FLOOD

    def take(self) -> dict[tuple[str, str], int]:
        """Give what was only counted, by person and cause, and forget it."""
        taken, self._unwritten = self._unwritten, {}
        return taken

    def give_back(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count again what could not be written, by person and cause."""
        for which, times in counts.items():
            self._unwritten[which] = self._unwritten.get(which, 0) + times

    def _turn_over(self) -> None:
        minute = _minute(self._clock())
        if minute != self._minute:
            self._minute, self._counts = minute, {}


def _minute(now: datetime) -> datetime:
    return now - timedelta(seconds=now.second, microseconds=now.microsecond)
