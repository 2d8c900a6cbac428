"""The rows that the log binds, compared with it: what `counterparts` hears, table by table, in constant memory."""

import json
from collections.abc import Collection, Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.streaming import UnreadableRow, stream
from clearance.db.tables import audit, questions, refusal_totals, refusals
from clearance.db.types import from_text, to_text
from clearance.journal import binding
from clearance.journal.binding import Bound, Row, Told

#: Rows that are compared at a time; few enough that a statement for so many is compiled once.
_CHUNK = 1_000
#: Of a row as `Bound.by_id` gives it: where its salt stands, and what stands before its columns.
_SALT, _BEFORE = 5, 6
#: What a salt is; erasure takes it away.
_SALTS = (str, type(None))
_DIGEST = 64
#: Of a row that is not read quickly: any mention of it is looked at.
_UNREAD = -1, "not read"
#: What the log calls the refusals of one person in one minute.
REFUSALS = "refusals"


def disagreement(bound: Bound, row_id: str, row: Row | None, told: Told) -> str | None:
    """Say what a row says otherwise than the log last told of it; None when it agrees, or was told of again later."""
    of = f"{bound.name} {row_id}"
    if row is None:
        return f"{of} is not there"
    for column, value, kind in (("version", row.version, int), ("salt", row.salt, str)):
        if value is not None and type(value) is not kind:  # SQLite takes anything
            return f"{bound.name}.{column} of {row_id} is not what was written"
    if row.version is None or row.version < told.version:
        return f"{of} is an older version than the one told"
    if row.version > told.version or told.digest == binding.digest(bound.name, row, told.many):
        return None
    columns = binding.differing(bound, row, told)
    if len(columns) > len(bound.columns) // 2:  # chance alone leaves few hints equal
        return f"{of}: it was erased, or its salt changed, and no event tells so"
    named = ", ".join(f"{bound.name}.{column}" for column in columns) or f"a column of {bound.name}"
    return f"{named} of {row_id} is not what was written"


class BoundRows:
    """The rows of one table."""

    def __init__(self, connection: Connection, bound: Bound) -> None:
        self._connection = connection
        self._bound = bound
        self._chunk: list[tuple[int, dict[str, str]]] = []
        self._mentions = 0
        #: Rows that were there before the log bound any; that were made since; that agreed with the last told of them.
        self.unbound = self._made = self._agreed = 0

    def hear(self, seq: int, mentions: dict[str, str]) -> str | None:
        """Take what a row of the log says of some; say what disagrees in the chunk that it completes."""
        self._chunk.append((seq, mentions))
        self._mentions += len(mentions)
        return self.compare() if self._mentions >= _CHUNK else None

    def compare(self) -> str | None:
        """Compare the chunk and drop it; say the first thing that disagrees."""
        chunk, self._chunk, self._mentions = self._chunk, [], 0
        # What agrees is passed without a value of it being read: of these there are millions.
        left = [*self._left(chunk)]
        if not left:
            return None
        try:
            rows = stream(self._connection, self._bound.by_id, ids=self._keys({row_id for _, row_id, _ in left}))
            held = {row[0]: row for row in rows}
        except UnreadableRow as exc:
            return f"{self._bound.name} that rows {chunk[0][0]} to {chunk[-1][0]} tell of cannot be read ({exc})"
        return self._differs(left, held)

    def _keys(self, ids: Collection[str]) -> list[str]:
        """Give what rows of these ids are found by."""
        return list({binding.key_of(self._bound, one) for one in ids} if self._bound.table is questions else ids)

    def _left(self, chunk: list[tuple[int, dict[str, str]]]) -> Iterator[tuple[int, str, str]]:
        """Count the mentions that agree, and those told of again later; yield the others, for `_differs` to look at."""
        held = self._as_written({row_id for _, mentions in chunk for row_id in mentions})
        for seq, mentions in chunk:
            for row_id, mention in mentions.items():
                version, begins = held.get(row_id, _UNREAD)
                is_new = mention[0] == "+"
                if mention.startswith(begins, is_new):
                    self._agreed += 1
                elif int(mention.partition(":")[0]) >= version:
                    yield seq, row_id, mention
                    continue
                self._made += is_new

    def _as_written(self, ids: Collection[str]) -> dict[str, tuple[int, str]]:
        """Give by id the version of a row, and how a mention of it begins. Quickly, which is not every row's to be."""
        if self._connection.dialect.name != "sqlite":
            return {}
        rows = stream(self._connection, self._bound.written_by_id, ids=self._keys(ids))
        try:
            return {
                row_id: (version, f"{version}:{binding.digest_as_written(salt, text)}")
                for row_id, version, salt, text in rows
                if type(version) is int and type(salt) in _SALTS
            }
        except (UnreadableRow, sa.exc.DBAPIError, ValueError):
            return {}  # no text where one belongs: which row's, tells who reads them by their columns

    def _differs(self, chunk: list[tuple[int, str, str]], held: dict[str, tuple[Any, ...]]) -> str | None:
        name = self._bound.name
        for seq, row_id, mention in chunk:
            row = held.get(row_id)
            version, _, rest = mention.partition(":")
            told = int(version)
            self._made += version[0] == "+"
            is_last = row is not None and row[1] == told
            if row is not None and type(row[1]) is int and type(row[_SALT]) in _SALTS and row[1] >= told:
                if not is_last:
                    continue
                values = row[_BEFORE : _BEFORE + (len(rest) - _DIGEST) // binding.HINT]
                if rest[:_DIGEST] == binding.digest_of(name, row[0], told, row[_SALT], values):
                    self._agreed += 1
                    continue
            read = Row.read(row) if row is not None else None
            differs = disagreement(self._bound, row_id, read, binding.read_mention(mention))
            if differs:
                return f"{differs} (row {seq})"
            self._agreed += is_last
        return None

    def untold(self) -> str | None:
        """Say, after the last row, what the table holds and the log does not tell of."""
        name = self._bound.name
        ((held, bound),) = stream(self._connection, _counting(self._bound.table))
        if held != self.unbound + self._made:
            return f"the journal holds {held} {name}, the log tells of {self.unbound + self._made}{self._alone()}"
        if bound != self._agreed:
            return f"{bound} {name} say that the log binds them, it binds {self._agreed}{self._alone()}"
        return None

    def _alone(self) -> str:
        """Name one that the log does not tell of as it is."""
        turn_id = self._bound.turn_id
        mention = sa.func.concat if self._connection.dialect.name == "postgresql" else _joined
        told = sa.exists().where(
            audit.c.turn_id == turn_id,
            audit.c.details.contains(
                mention('"', self._bound.id, '":"', sa.cast(self._bound.table.c.version, sa.Text), ":")
            ),
        )
        query = sa.select(self._bound.id).where(self._bound.table.c.version.is_not(None), ~told).limit(1)
        return "".join(f" (nothing of {row[0]} as it is)" for row in stream(self._connection, query))


def _joined(*parts: Any) -> Any:
    whole: Any = sa.literal("")
    for part in parts:
        whole = whole + part
    return whole


class RefusedRows:
    """What was refused before the gate, by person and minute."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._agreed = 0
        #: Totals that were told before the log bound them; None where it does not say.
        self.unbound: int | None = 0

    def hear(self, seq: int, row_id: str, mention: str) -> str | None:
        """Compare what a row of the log says of a person's minute; say what disagrees."""
        told = binding.read_mention(mention)
        minute, upto, person = row_id.split(" ", 2)
        try:
            return self._compare(seq, told, minute, upto, person)
        except (AttributeError, TypeError, ValueError) as exc:  # what SQLite takes for text, for a time, for a number
            why: object = exc
        except sa.exc.DBAPIError as exc:
            if "decode" not in str(exc.orig):
                raise
            why = exc.orig
        return f"refusals of {person} at {minute} cannot be read ({why}) (row {seq})"

    def _compare(self, seq: int, told: Told, minute: str, upto: str, person: str) -> str | None:
        row = read_refused(self._connection, minute, int(upto), person)
        if row is None or row.version is None or row.version < told.version:
            return f"refusal_totals of {person} at {minute} are not what was told (row {seq})"
        if row.version > told.version:
            return None
        if binding.digest(REFUSALS, row, told.many) != told.digest:
            return f"refusals of {person} at {minute} are not what was written (row {seq})"
        self._agreed += 1
        if holds_more(self._connection, minute, int(upto), person):
            return f"refusals of {person} at {minute} are more than was told (row {seq})"
        return None

    def untold(self) -> str | None:
        """Say, after the last row, whether totals are there that the log does not tell of."""
        ((held,),) = stream(self._connection, _MINUTES)
        if held != self._agreed:
            return f"the totals of refusals are of {held} minutes of people, the log tells of {self._agreed}"
        ((held,),) = stream(self._connection, _TOLD_UNBOUND)
        if self.unbound is not None and held > self.unbound:
            return f"{held} totals of refusals say that they were told before the log bound any, {self.unbound} were"
        for row in stream(self._connection, _uncounted(self._connection.dialect.name)):
            return f"refusal {row[0]} is counted in no total"
        return None


def told_unbound() -> sa.ColumnElement[bool]:
    """Tell of totals that the log told without binding them."""
    return refusal_totals.c.version.is_(None) & (refusal_totals.c.chained > 0)


_MINUTES = sa.select(sa.func.count()).select_from(
    sa.select(refusal_totals.c.minute, refusal_totals.c.person)
    .where(refusal_totals.c.version.is_not(None))
    .distinct()
    .subquery()
)
_TOLD_UNBOUND = sa.select(sa.func.count()).select_from(refusal_totals).where(told_unbound())


@cache
def _counting(table: sa.Table) -> sa.Select[Any]:
    """Count all rows, and those that the log binds. Made once: statements are kept compiled."""
    counted: list[Any] = [sa.func.count(), sa.func.count(table.c.version)]
    return sa.select(*counted).select_from(table)


@cache
def _uncounted(dialect: str) -> sa.Select[Any]:
    is_counted = sa.exists().where(
        refusal_totals.c.person == refusals.c.person,
        refusal_totals.c.minute == _minute_of(dialect, refusals.c.at),
    )
    return sa.select(refusals.c.refusal_id).where(~is_counted).limit(1)


def _minute_of(dialect: str, at: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if dialect == "postgresql":
        return sa.func.date_trunc("minute", at)
    text: sa.ColumnElement[Any] = sa.func.substr(at, 1, len("2026-01-01T00:00")) + sa.literal(":00.000000Z", sa.Text())
    return sa.type_coerce(text, refusal_totals.c.minute.type)


def holds_more(connection: Connection, minute: str, upto: int, person: str) -> bool:
    """Tell whether a person's minute, of which all is told, holds rows beyond an id."""
    begins = from_text(minute)
    untold = sa.exists().where(
        refusal_totals.c.minute == begins,
        refusal_totals.c.person == person,
        refusal_totals.c.chained < refusal_totals.c.count,
    )
    query = sa.select(refusals.c.refusal_id).where(
        refusals.c.person == person,
        refusals.c.refusal_id > upto,
        refusals.c.at >= begins,
        refusals.c.at < begins + timedelta(minutes=1),
        ~untold,
    )
    return connection.execute(query.limit(1)).first() is not None


def read_refused(connection: Connection, minute: str, upto: int, person: str) -> Row | None:
    """Read a person's refusals of a minute as they are bound: totals by cause, and rows up to an id."""
    begins = from_text(minute)
    of = (refusal_totals.c.minute == begins, refusal_totals.c.person == person)
    query = sa.select(refusal_totals).where(*of).order_by(refusal_totals.c.cause)
    totals = [row for row in connection.execute(query) if row.version is not None]
    if not totals:
        return None
    shown = sa.select(refusals).where(
        refusals.c.person == person,
        refusals.c.at >= begins,
        refusals.c.at < begins + timedelta(minutes=1),
        refusals.c.refusal_id <= upto,
    )
    counted = json.dumps([[row.cause, row.chained] for row in totals])
    rows = [
        [row.refusal_id, to_text(row.at), row.cause, row.thread_id, row.attempt]
        for row in connection.execute(shown.order_by(refusals.c.refusal_id))
    ]
    row_id = f"{minute} {upto} {person}"
    return Row(row_id, totals[0].version, None, None, None, totals[0].salt, (counted, json.dumps(rows)))
