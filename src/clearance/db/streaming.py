"""Rows one after another, as plain tuples: large tables in constant memory, and in SQLite at the driver's own speed."""

from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.compiled import driver_form

#: Rows that PostgreSQL sends at a time.
_BATCH = 5_000


class UnreadableRow(Exception):
    """The next row holds what no text is. SQLite takes any bytes for text; the rows before it were given."""


def stream(connection: Connection, query: sa.Select[Any], **values: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `query`. Select texts and integers only: column types are not asked.

    Raises:
        UnreadableRow: the next row cannot be read.
    """
    driver = connection.dialect.loaded_dbapi
    opened: Any = connection.connection.dbapi_connection
    # Past SQLAlchemy, which takes a third of the time, and takes an unreadable row for a lost connection.
    sql, given = driver_form(connection, query, values)
    try:
        if connection.dialect.name == "postgresql":
            with opened.cursor(f"stream_{next(_numbers)}") as cursor:
                cursor.execute(sql, given)
                # psycopg takes as long to go on by itself from row to row as to read them.
                while rows := cursor.fetchmany(_BATCH):
                    yield from rows
                    if len(rows) < _BATCH:
                        break
        else:
            with closing(opened.execute(sql, given)) as cursor:
                yield from cursor
    except driver.Error as exc:
        if "decode" in str(exc):
            raise UnreadableRow(str(exc)) from exc
        raise sa.exc.DBAPIError.instance(sql, None, exc, driver.Error, dialect=connection.dialect) from exc


def in_lists(rows: Iterator[tuple[Any, ...]], most: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield what `stream` gives in lists, each but the last of `most` rows.

    Raises:
        UnreadableRow: the next row cannot be read; the rows before it were given.
    """
    unreadable: UnreadableRow | None = None
    some: list[tuple[Any, ...]] = []
    while unreadable is None:
        try:
            some.extend(islice(rows, most))  # keeps what came before one that cannot be read
        except UnreadableRow as exc:
            unreadable = exc
        if not some:
            break
        yield some
        some = []
    if unreadable is not None:
        raise unreadable


#: So that several can be open in one transaction.
_numbers = count()
