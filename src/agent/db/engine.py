"""Transactions: one function of the caller's, run whole in one worker thread, committed or rolled back.

The work is synchronous on purpose. A cancelled run abandons the `await`, never the transaction in its thread,
so no cancellation can tear a clearance from its effect; and one hop per transaction is cheaper than one per statement.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
Work = Callable[[Connection], T]

#: Seconds that a writer waits for another process's lock, and that one statement may take.
_WAIT_S = 20
_THREADS = 8
_ATTEMPTS = 4
_PG_RETRY = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, a lock that nobody let go
_PG_TIMEOUT = "57014"


class DatabaseUnavailable(Exception):
    """The database did not answer; nothing was changed, or what was changed is found again under its key."""


class Database:
    """One database and its threads. Create one per process; `close()` when done."""

    def __init__(self, url: str) -> None:
        self.url = normalise_url(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self._engine = _engine(self.url)
        # A connection of SQLite's is read-only or not for good: saves two statements in each transaction.
        self._reading = _engine(self.url, read_only=True) if self.is_sqlite else self._engine
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="clearance-db")
        # SQLite lets one writer in at a time; waiting here is fair and free, its own busy loop sleeps and polls.
        self._writing = threading.Lock() if self.is_sqlite else None

    def read_now(self, work: Work[T]) -> T:
        """Run `work` in a read-only transaction and return what it returns. Blocks: not for the event loop.

        Raises:
            DatabaseUnavailable: no connection, or the statement ran out of time.
        """
        return self._run(work, writing=False)

    def write_now(self, work: Work[T]) -> T:
        """Run `work` in a write transaction, commit, and return what it returned. Blocks: not for the event loop.

        `work` may run more than once, when the database lost the transaction: it has to be safe to repeat.

        Raises:
            DatabaseUnavailable: no connection, a lock that nobody let go, or the statement ran out of time.
        """
        if self._writing is None:
            return self._run(work, writing=True)
        with self._writing:
            return self._run(work, writing=True)

    async def read(self, work: Work[T]) -> T:
        """`read_now` in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, work)

    async def write(self, work: Work[T]) -> T:
        """`write_now` in a worker thread. It ends there even when the caller is cancelled meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.write_now, work)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, which makes transactions of its own, in a worker thread. It ends there as `write` does."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for what runs and close all connections."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()
        self._reading.dispose()

    def _run(self, work: Work[T], *, writing: bool) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with (self._engine if writing else self._reading).begin() as connection:
                    _limit(connection, writing=writing)
                    return work(connection)
            except DBAPIError as exc:
                is_late = getattr(exc.orig, "sqlstate", None) == _PG_TIMEOUT
                if not (is_late or is_lost(exc)):
                    raise
                if is_late or attempt == _ATTEMPTS:
                    raise DatabaseUnavailable(f"The database did not answer ({attempt} tries): {exc.orig}") from exc
                time.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable")


@contextmanager
def read_only(connection: Connection) -> Iterator[None]:
    """Make the rest of the open transaction refuse writes for the length of the block.

    What an action reads as facts runs inside this, also within the executing transaction.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = 1")
        try:
            yield
        finally:
            connection.exec_driver_sql("PRAGMA query_only = 0")
    else:
        # PostgreSQL restores read-write at the end of the savepoint that made it read-only, and only there.
        with connection.begin_nested():
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield


def normalise_url(url: str) -> str:
    """Give the SQLAlchemy URL with the driver this package ships for it.

    Raises:
        ValueError: neither SQLite nor PostgreSQL.
    """
    scheme, separator, rest = url.partition("://")
    backend = scheme.split("+")[0]
    if separator and backend == "sqlite":
        return f"sqlite://{rest}"
    if separator and backend in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    raise ValueError(f"must begin with sqlite:// or postgresql://, not {scheme!r}")


def _engine(url: str, *, read_only: bool = False) -> Engine:
    engine = _sqlite_engine(url, read_only=read_only) if url.startswith("sqlite") else _postgres_engine(url)
    sa.event.listen(engine, "handle_error", _drop_after_failed_commit)
    return engine


def _drop_after_failed_commit(context: sa.engine.ExceptionContext) -> None:
    # COMMIT itself failed (it has no statement): whether it happened nobody knows, and in SQLite the connection may
    # still be inside the transaction, holding its lock. So it is closed, and the work is tried again as a whole.
    if context.statement is None:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _postgres_engine(url: str) -> Engine:
    return sa.create_engine(url, pool_size=_THREADS, max_overflow=4, pool_pre_ping=True)


def _sqlite_engine(url: str, *, read_only: bool) -> Engine:
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _WAIT_S, "check_same_thread": False},
        pool_size=_THREADS,
        pool_reset_on_return=None,  # every transaction here ends by commit or rollback
    )

    def prepare(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by itself, too late for BEGIN IMMEDIATE.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        if read_only:
            connection.execute("PRAGMA query_only = ON").close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def _limit(connection: Connection, *, writing: bool) -> None:
    if connection.dialect.name == "postgresql":
        # A reader has one snapshot, as SQLite gives it: else the audit log's rows would not fit the head read before.
        connection.exec_driver_sql(
            f"SET LOCAL statement_timeout = '{_WAIT_S}s'; SET LOCAL lock_timeout = '{_WAIT_S}s'"
            + ("" if writing else "; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        )


def is_lost(exc: DBAPIError) -> bool:
    """Tell whether the transaction is gone for a reason outside it: worth another try as a whole."""
    if exc.connection_invalidated:
        return True
    sqlstate = getattr(exc.orig, "sqlstate", None)
    if sqlstate in _PG_RETRY or (sqlstate or "").startswith(("08", "57P")):
        return True
    if isinstance(exc, sa.exc.OperationalError):
        text = str(exc.orig)
        return sqlstate is None and ("locked" in text or "connect" in text or "unable to open" in text)
    return False
