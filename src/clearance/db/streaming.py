"""Rows one after another, as plain tuples: large tables in constant memory, and in SQLite at the driver's own speed."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: Rows that PostgreSQL sends at a time.
_BATCH = 5_000


class UnreadableRow(Exception):
    """The next row holds what no text is. SQLite takes any bytes for text; the rows before it were given."""


def stream(connection: Connection, query: sa.Select[Any], **values: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `query`. Select texts and integers only: column types are not asked.

    Raises:
        UnreadableRow: the next row cannot be read.
    """
    if connection.dialect.name == "postgresql":
        on_server = {"stream_results": True, "max_row_buffer": _BATCH}
        with connection.execute(query, values, execution_options=on_server) as rows:
            yield from map(tuple, rows)
        return
    driver = connection.dialect.loaded_dbapi
    with connection.execute(query, values) as result:
        try:
            # Past SQLAlchemy, which takes a third of the time, and takes an unreadable row for a lost connection.
            yield from result.cursor  # type: ignore[misc]  # the protocol leaves out what every driver's cursor is
        except driver.Error as exc:
            if "decode" in str(exc):
                raise UnreadableRow(str(exc)) from exc
            raise sa.exc.DBAPIError.instance(str(query), None, exc, driver.Error, dialect=connection.dialect) from exc
