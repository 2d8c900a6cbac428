"""What a database hears: every statement as its driver sends it, whoever made it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from clearance.db.engine import Database
from clearance.db.postgres import Cursor

#: Hears a statement and its values; None where the statement is told with them in it.
Hear = Callable[[str, Any], None]


@contextmanager
def heard(database: Database, hear: Hear) -> Iterator[None]:
    """Let `hear` hear what is sent in the transactions that begin in this block, in the thread that sends it."""

    class Heard(Cursor):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            hear(str(query), params)
            return super().execute(query, params, **options)

        def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
            hear(str(query), list(params_seq))
            super().executemany(query, params_seq, **options)

    def begin(driver: Any, *_: Any) -> None:
        if isinstance(driver, psycopg.Connection):
            driver.cursor_factory = Heard
        else:
            driver.set_trace_callback(lambda statement: hear(statement, None))

    def end(driver: Any, *_: Any) -> None:
        if isinstance(driver, psycopg.Connection):
            driver.cursor_factory = Cursor
        elif driver is not None:
            driver.set_trace_callback(None)

    engines = {database._engine, database._reading}
    for engine in engines:
        sa.event.listen(engine, "checkout", begin)
        sa.event.listen(engine, "checkin", end)
    try:
        yield
    finally:
        for engine in engines:
            sa.event.remove(engine, "checkout", begin)
            sa.event.remove(engine, "checkin", end)
