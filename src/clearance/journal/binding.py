"""What the audit log binds: the rows that people read, each by a salted digest in the event of its change.

Every function that writes such a row notes it here, and the log, at the end of the transaction, writes
its digest into the last event about the row: `rows: {table: {id: "version:digest+hints"}}`. The digest is over the
row as the database holds it, read back by the statement that wrote it, so that what is checked later is what was
written. Erasure takes the salt away and writes the row's digest anew, without one.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles

from clearance.canonical import dense, is_dense
from clearance.db.among import among
from clearance.db.compiled import Answer
from clearance.db.tables import (
    attempts,
    decisions,
    erasures,
    plans,
    questions,
    receipts,
    requests,
    tool_definitions,
    turns,
)
from clearance.db.types import UtcTime


class _UtcText(sa.sql.expression.ColumnElement[str]):
    """A column's moment as the log writes it, on both databases."""

    inherit_cache = True
    type = sa.Text()
    _traverse_internals = [("column", sa.sql.visitors.InternalTraversal.dp_clauseelement)]  # noqa: RUF012  SQLAlchemy's

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        self.column = column


@compiles(_UtcText)
def _as_stored(element: _UtcText, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(_UtcText, "postgresql")
def _as_the_log_writes(element: _UtcText, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


_NONE: sa.ColumnElement[Any] = sa.cast(sa.null(), sa.Text)


@dataclass(frozen=True)
class Bound:
    """A table whose rows the log binds."""

    table: sa.Table
    #: In the order of the digest. Only ever appended to: how many a digest covers is told by its hints.
    columns: tuple[str, ...]
    #: The row's id in the log.
    id: sa.ColumnElement[str]
    request_id: sa.ColumnElement[str | None]
    turn_id: sa.ColumnElement[str | None]
    thread_id: sa.ColumnElement[str | None]
    salt: sa.ColumnElement[str | None]
    #: The column that rows are found by; the id begins with it.
    found_by: sa.Column[str]
    #: Id, version, request, turn, thread, salt, then the columns: as texts and integers, the same on both databases.
    shown: tuple[sa.ColumnElement[Any], ...] = field(init=False)
    #: The same by `ids`, without what only tells where it belongs.
    by_id: sa.Select[Any] = field(init=False)
    #: By `ids`, in SQLite: id, version, salt, and what is digested of the row, as bytes, where that is plain ASCII.
    written_by_id: sa.Select[Any] = field(init=False)

    def __post_init__(self) -> None:
        before = (self.id, self.table.c.version, self.request_id, self.turn_id, self.thread_id, self.salt)
        plain = tuple(_plain(self.table.c[name]) for name in self.columns)
        object.__setattr__(self, "shown", (*before, *plain))
        lean = (self.id, self.table.c.version, _NONE, _NONE, _NONE, self.salt, *plain)
        object.__setattr__(self, "by_id", sa.select(*lean).where(among(self.found_by)))
        # Written by SQLite: a row of thirty values costs Python as much as one of three.
        text = sa.func.json_array(sa.literal(self.name, sa.Text()), self.id, self.table.c.version, *plain)
        written = sa.select(self.id, self.table.c.version, self.salt, sa.cast(text, sa.LargeBinary))
        object.__setattr__(self, "written_by_id", written.where(among(self.found_by)))

    @property
    def name(self) -> str:
        """Name it as the log does."""
        # As a plain text: SQLAlchemy's own kind is none to `canonical`, which then takes ten times as long.
        return str.__str__(self.table.name)


class Row(NamedTuple):
    """A row as it is bound."""

    id: str
    version: int | None
    request_id: str | None
    turn_id: str | None
    thread_id: str | None
    salt: str | None
    values: tuple[Any, ...]

    @classmethod
    def read(cls, row: Iterable[Any]) -> "Row":
        """Read what a statement over `Bound.shown` gave."""
        row_id, version, request_id, turn_id, thread_id, salt, *values = row
        return cls(row_id, version, request_id, turn_id, thread_id, salt, tuple(values))


def _plain(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Give a column as text or integer: JSON as the text that is stored, moments as the log writes them."""
    match column.type:
        case sa.Boolean():
            return sa.cast(column, sa.Integer)
        case UtcTime():
            return _UtcText(column)
        case sa.JSON():
            return sa.cast(column, sa.Text)
        case _:
            return column


def _of_request(column: str, table: str) -> sa.ColumnElement[Any]:
    # As text: in RETURNING SQLAlchemy does not correlate.
    return sa.literal_column(
        f"(SELECT r.{column} FROM requests AS r WHERE r.request_id = {table}.request_id)", sa.Text()
    )


_OF_TURN = "(SELECT t.salt FROM turns AS t WHERE t.turn_id = plans.turn_id)"
# The request that erased somebody keeps its receipt, which says ids only, and loses its salt with the rest.
_UNSALTED_OF_ERASERS = (
    "(SELECT r.salt FROM requests AS r WHERE r.request_id = receipts.request_id"
    " AND NOT EXISTS (SELECT 1 FROM erasures AS e WHERE e.request_id = receipts.request_id))"
)
#: By table, in the order in which disagreements are told.
BOUND: dict[str, Bound] = {
    bound.name: bound
    for bound in (
        Bound(
            requests,
            (
                *("request_id", "number", "plan_id", "turn_id", "thread_id", "tool_call_id", "position"),
                *("requested_by", "action", "arguments", "digest", "facts", "sentence", "verdict", "rule", "risk"),
                *("approvers", "approvals", "state", "revision", "notice", "opened_at", "expires_at", "asked_ms"),
                *("refused_answers", "needs", "finished_at", "business_key"),
            ),
            requests.c.request_id,
            requests.c.request_id,
            requests.c.turn_id,
            requests.c.thread_id,
            requests.c.salt,
            requests.c.request_id,
        ),
        Bound(
            decisions,
            (
                *("decision_id", "number", "request_id", "revision", "digest", "decision", "decided_by"),
                *("decider_kind", "decider_roles", "reason", "edited", "counts", "lapsed", "decided_at"),
            ),
            decisions.c.decision_id,
            decisions.c.request_id,
            _of_request("turn_id", "decisions"),
            _of_request("thread_id", "decisions"),
            _of_request("salt", "decisions"),
            decisions.c.decision_id,
        ),
        Bound(
            receipts,
            ("request_id", "outcome", "revision", "sentence", "finished_at"),
            receipts.c.request_id,
            receipts.c.request_id,
            _of_request("turn_id", "receipts"),
            _of_request("thread_id", "receipts"),
            sa.literal_column(_UNSALTED_OF_ERASERS, sa.Text()),
            receipts.c.request_id,
        ),
        Bound(
            attempts,
            (
                *("attempt_id", "request_id", "number", "revision", "idempotency_key", "cleared_as", "state", "holder"),
                *("started_at", "late_at", "absent_at", "cause", "looks", "last_look", "next_look_at", "ended_at"),
                *("settled_by", "reason", "told_at"),
            ),
            attempts.c.attempt_id,
            attempts.c.request_id,
            _of_request("turn_id", "attempts"),
            _of_request("thread_id", "attempts"),
            _of_request("salt", "attempts"),
            attempts.c.attempt_id,
        ),
        Bound(
            turns,
            (
                *("turn_id", "thread_id", "number", "run_id", "requested_by", "requester_kind", "requester_roles"),
                *("message_id", "messages", "is_durable", "state", "opened_at", "closed_at", "place", "checkpoint_id"),
                "graph_id",
            ),
            turns.c.turn_id,
            _NONE,
            turns.c.turn_id,
            turns.c.thread_id,
            turns.c.salt,
            turns.c.turn_id,
        ),
        Bound(
            plans,
            ("plan_id", "turn_id", "position", "thread_id", "message_id", "message", "digest", "stored_at"),
            plans.c.plan_id,
            _NONE,
            plans.c.turn_id,
            plans.c.thread_id,
            sa.literal_column(_OF_TURN, sa.Text()),
            plans.c.plan_id,
        ),
        Bound(
            questions,
            ("thread_id", "interrupt_id", "request_id", "revision", "checkpoint_id", "asked_ms"),
            questions.c.interrupt_id + " " + questions.c.thread_id,
            questions.c.request_id,
            _of_request("turn_id", "questions"),
            questions.c.thread_id,
            _NONE,
            questions.c.interrupt_id,
        ),
        Bound(
            erasures,
            ("subject", "request_id", "erased_at"),
            erasures.c.subject,
            erasures.c.request_id,
            _of_request("turn_id", "erasures"),
            _of_request("thread_id", "erasures"),
            _NONE,
            erasures.c.subject,
        ),
        Bound(
            tool_definitions,
            (
                *("tool_id", "server", "name", "number", "digest", "definition", "state", "seen_at"),
                *("decided_at", "decided_by"),
            ),
            tool_definitions.c.tool_id,
            _NONE,
            _NONE,
            _NONE,
            _NONE,
            tool_definitions.c.tool_id,
        ),
    )
}

#: Columns that are not bound: what binds them, what is erased apart, and what only tells how far the program is.
UNBOUND = {"salt", "version", "opened"}


def next_version(table: sa.Table) -> sa.ColumnElement[int]:
    """Give a changed row's next version; 1 for one that was there before the log bound any."""
    return sa.func.coalesce(table.c.version, 0) + 1


# What is written

_WRITTEN = "clearance_written"


@dataclass
class WrittenRows:
    """The bound rows that a transaction wrote, by table and id, as they are now; and which of them are new."""

    #: What was written, in its order: the table, the statement's answer, and whether the rows are new.
    _noted: list[tuple[str, Answer, bool]] = field(default_factory=list)
    #: What was read since the last of them, see `read_since_written`.
    read: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def note(self, table: str, answer: Answer, *, are_new: bool) -> None:
        """Note what a statement wrote."""
        self._noted.append((table, answer, are_new))
        self.read.clear()

    def copy(self) -> "WrittenRows":
        """Give a copy, to come back to."""
        return WrittenRows(self._noted.copy())

    def become(self, other: "WrittenRows") -> None:
        """Become as `other` was."""
        self._noted = other._noted.copy()
        self.read.clear()

    def rows(self) -> dict[tuple[str, str], tuple[Row, bool]]:
        """Give the rows as they are now, by table and id, and whether each is new."""
        found: dict[tuple[str, str], tuple[Row, bool]] = {}
        for table, answer, are_new in self._noted:
            for row in map(Row.read, answer.rows()):
                at = (table, row.id)
                found[at] = row, are_new or (at in found and found[at][1])
        return found

    def mentions(self) -> Iterator[tuple[str, Row, str]]:
        """Give table, row and what the log says of it."""
        for (table, _), (row, is_new) in self.rows().items():
            yield table, row, mention(table, row, is_new=is_new)


def begin_noting(info: Any) -> WrittenRows:
    """Note what the open transaction writes from here on, in the `info` of its connection; `end_noting` ends that."""
    written = info[_WRITTEN] = WrittenRows()
    return written


def end_noting(info: Any) -> None:
    """Note nothing more."""
    info.pop(_WRITTEN, None)


def note_written(connection: Connection, table: sa.Table, answer: Answer, *, are_new: bool) -> None:
    """Note rows of `table`, given by the statement that wrote them. Outside the lock nothing hears it: it will show."""
    written: WrittenRows | None = connection.info.get(_WRITTEN)
    if written is not None:
        written.note(BOUND[table.name].name, answer, are_new=are_new)


def is_noting(connection: Connection) -> bool:
    """Tell whether what the open transaction writes is noted: it may write, and be rolled back."""
    return _WRITTEN in connection.info


def read_since_written(connection: Connection) -> dict[tuple[str, ...], Any]:
    """Give what this transaction read since it last wrote: under the lock nobody else changes it. Empty without one."""
    written: WrittenRows | None = connection.info.get(_WRITTEN)
    return {} if written is None else written.read


# Digests

#: Hex digits by which a column is told to have changed.
HINT = 4
_HINT_BYTES = HINT // 2


def mention(table: str, row: Row, *, is_new: bool) -> str:
    """Write what the log says of a row: version, digest, and a hint to each column, to tell which changed.

    `+` before it stands for a new row.
    """
    return f"{'+' if is_new else ''}{row.version}:{digest(table, row, len(row.values))}{_hints(row)}"


def digest(table: str, row: Row, many: int) -> str:
    """Digest the first `many` columns of a row, salted."""
    return digest_of(table, row.id, row.version, row.salt, row.values[:many])


def digest_as_written(salt: str | None, text: bytes) -> str:
    """Digest a row that `Bound.written_by_id` gave, as `digest_of` does.

    Of one with a value that is neither text nor integer it gives another digest, which no row has.

    Raises:
        ValueError: it is no JSON: SQLite had other bytes than those of a text.
    """
    if not is_dense(text):  # SQLite writes letters as they are
        text = dense(orjson.loads(text))
    return hashlib.sha256((salt or "").encode() + text).hexdigest()


def digest_of(table: str, row_id: str, version: int | None, salt: str | None, values: Iterable[Any]) -> str:
    """Digest columns of a row, salted."""
    # Bytes stand where SQLite holds what is no text: nobody wrote that.
    text = dense([table, row_id, version, *values], is_lenient=True)
    return hashlib.sha256((salt or "").encode() + text).hexdigest()


class Told(NamedTuple):
    """A mention, read."""

    is_new: bool
    version: int
    digest: str
    hints: str

    @property
    def many(self) -> int:
        """How many columns it is about."""
        return len(self.hints) // HINT


def read_mention(text: str) -> Told:
    """Read what `mention` wrote.

    Raises:
        ValueError: it did not.
    """
    version, _, rest = text.partition(":")
    return Told(text.startswith("+"), int(version), rest[:64], rest[64:])


def key_of(bound: Bound, row_id: str) -> str:
    """Give what a row of this id is found by."""
    return row_id.split(" ")[0] if bound.found_by is questions.c.interrupt_id else row_id


def differing(bound: Bound, row: Row, told: Told) -> list[str]:
    """Name the columns of a row that are not what was told; empty when all are, or the hints cannot tell.

    A hint misses one change in 65,536; the digest misses none.
    """
    then, now = _parted(told.hints), _parted(_hints(row))
    return [name for name, one, other in zip(bound.columns, then, now, strict=False) if one != other]


def _parted(hints: str) -> list[str]:
    return [hints[at : at + HINT] for at in range(0, len(hints), HINT)]


def _hints(row: Row) -> str:
    """Give the hint to each column of a row. Nothing is called that need not be: each row that is written has some."""
    salt, blake2b = row.salt or "", hashlib.blake2b
    hints = []
    for number, value in enumerate(row.values):
        # The encoder's bytes; it takes five times as long for what is no text.
        kind = type(value)
        text = _quoted(value) if kind is str else value if kind is int else "null" if value is None else _written(value)
        hints.append(blake2b(f"{salt}{number}:{text}".encode(), digest_size=_HINT_BYTES).hexdigest())
    return "".join(hints)


# Bytes stand where SQLite holds what is no text: nobody wrote that.
_written = json.JSONEncoder(default=repr).encode
