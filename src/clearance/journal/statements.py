"""How rows of the journal are read and written: by statements that stand in modules, each built and compiled once."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db import compiled
from clearance.db.compiled import ask, rows_of
from clearance.journal.binding import BOUND, next_version, note_written, read_since_written

T = TypeVar("T")


def param(name: str) -> sa.BindParameter[Any]:
    """Give a place for a value in a statement."""
    return sa.bindparam(name)


def among(name: str) -> sa.BindParameter[Any]:
    """Give a place for several values, of which one is to be equal."""
    return sa.bindparam(name, expanding=True)


def written_out(values: Sequence[str]) -> list[sa.ColumnElement[str]]:
    """Give values as the condition of an index says them: by a parameter SQLite would not know that it is the same."""
    return [sa.literal_column(f"'{value}'") for value in values]


def read_all(connection: Connection, query: sa.Select[Any], into: Callable[..., T], **given: Any) -> list[T]:
    """Read all rows of a query."""
    rows = rows_of(connection, query, given)
    is_filled = is_dataclass(into)
    return [filled(into, row) if is_filled else into(*row) for row in rows]


def read_one(connection: Connection, query: sa.Select[Any], into: Callable[..., T], **given: Any) -> T | None:
    """Read the one row of a query, or None."""
    found = read_all(connection, query, into, **given)
    if len(found) > 1:
        raise sa.exc.MultipleResultsFound(f"{len(found)} rows where there is one: {query}")
    return found[0] if found else None


def filled(into: Callable[..., T], row: Sequence[Any]) -> T:
    """Give a row as the dataclass whose fields its columns are, in their order."""
    # Not by its own `__init__`: a frozen one sets each field by a function, which takes as long as to read the row.
    made: Any = object.__new__(into)  # type: ignore[arg-type]  # it is a class
    made.__dict__.update(zip(_fields_of(into), row, strict=True))
    return cast("T", made)


@lru_cache(maxsize=100)
def _fields_of(into: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(into))


def prefetch(connection: Connection, query: sa.Select[Any], **given: Any) -> None:
    """Ask for what is read presently, with the same values, see `compiled.prefetch`."""
    compiled.prefetch(connection, query, given)


def run(connection: Connection, statement: sa.Insert | sa.Update, **given: Any) -> None:
    """Write rows that the audit log does not bind."""
    ask(connection, statement, given)


def read_once(connection: Connection, *key: str, read: Callable[[], T]) -> T:
    """Read what was not read yet since this transaction wrote something, see `binding.read_since_written`."""
    known = read_since_written(connection)
    if key not in known:
        known[key] = read()
    found: T = known[key]
    return found


def insert(table: sa.Table) -> sa.Insert:
    """Make the statement that adds a row, and gives it back for the log."""
    return sa.insert(table).returning(*BOUND[table.name].shown)


def update(table: sa.Table, **values: Any) -> sa.Update:
    """Make a statement that changes rows, each a version further, and gives them back for the log."""
    return sa.update(table).values(version=next_version(table), **values).returning(*BOUND[table.name].shown)


def write(connection: Connection, statement: sa.Insert | sa.Update, **given: Any) -> None:
    """Write rows that the audit log binds, and note them for it as they are now."""
    table = statement.table
    assert isinstance(table, sa.Table)
    note_written(connection, table, ask(connection, statement, given), are_new=isinstance(statement, sa.Insert))
