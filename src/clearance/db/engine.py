"""Transactions: one function of the caller's, run whole in one worker thread, committed or rolled back.

The work is synchronous on purpose. A cancelled run abandons the `await`, never the transaction in its thread,
so no cancellation can tear a clearance from its effect; and one hop per transaction is cheaper than one per statement.

Every wait has a bound: for a thread, for another's lock, for a statement. What cannot be bounded is Python inside a
transaction that does not come back: in SQLite it holds the lock until it does or its process ends. Those who wait are
told what holds it and since when, and the log shows where it stands.
"""

import asyncio
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from clearance.db import lent
from clearance.db.compiled import shares_trips
from clearance.db.driver_errors import is_against_a_rule, is_busy, is_lost, is_refusing, is_timeout
from clearance.db.fair_lock import FairLock
from clearance.db.files import make_database_private
from clearance.db.kept import refuse_another
from clearance.db.orm_sessions import sessions_apart
from clearance.errors import DatabaseUnavailable
from clearance.loglines import logger_of

T = TypeVar("T")
Work = Callable[[Connection], T]

logger = logger_of(__name__)

#: Seconds that a transaction waits to begin: for a thread, and for the lock that another one holds.
_WAIT_S = 10
#: The same for migrations: at a start another server may be at them.
_LONG_WAIT_S = 60
#: Seconds that one statement may take; in SQLite all those of one transaction that writes.
_STATEMENT_S = 20
#: Seconds between two statements after which PostgreSQL ends a transaction that writes, and lets go of its locks.
_IDLE_S = 20
#: Reads have threads of their own: writers that wait for the lock must not keep others from looking.
_READERS, _WRITERS = 8, 8
#: What a person waits for at a page, such as a decision, has threads of its own, too, and goes before the rest. Who
#: carries out a whole plan keeps one for as long, so there is one for each of a crowd.
_URGENT = 32
#: To PostgreSQL, for what writes; waited for anew by each transaction.
_CONNECTIONS = 16
_ATTEMPTS = 4
_READERS_BUSY = "Nothing was read: the database is busy with what others read."
#: Instructions of SQLite's machine between two looks at the clock; some milliseconds.
_STEPS = 200_000


@dataclass
class Written:
    """What became of the writing that one request asked for."""

    #: Whether something was committed, or may have been.
    may_be: bool = False


#: Where the request of this task notes it; None where nobody asks.
written: ContextVar[Written | None] = ContextVar("written", default=None)


class DatabaseBusy(DatabaseUnavailable):
    """Something else held the database for too long; nothing was done. The text says what held it, and since when."""


@dataclass
class _Doing:
    """A transaction that writes, at work in a thread."""

    what: str
    since: float
    #: Whether it was logged that others wait for it.
    is_told: bool = False


class Database:
    """One database and its threads. Create one per process; `close()` when done."""

    def __init__(self, url: str) -> None:
        self.url = normalise_url(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self._engine = _engine(self.url)
        # A connection is read-only or not for good, with the bounds of its kind: saves statements in each transaction.
        self._reading = _engine(self.url, read_only=True)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="clearance-read")
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="clearance-write")
        self._lane = threading.local()
        self._urgent = ThreadPoolExecutor(_URGENT, "clearance-urgent", setattr, (self._lane, "is_urgent", True))
        # SQLite lets one writer in at a time; waiting here is fair and free, its own busy loop sleeps and polls.
        self._writing = FairLock() if self.is_sqlite else None
        #: By thread.
        self._doing: dict[int, _Doing] = {}
        #: Whether it takes nothing more: what goes on by itself ends then.
        self.is_closed = False

    def read_now(self, work: Work[T]) -> T:
        """Run `work` in a read-only transaction and return what it returns. Blocks: not for the event loop.

        Raises:
            DatabaseUnavailable: no connection, or the statement ran out of time.
        """
        return self._run(work, writing=False, until=time.monotonic() + _WAIT_S)

    def write_now(self, work: Work[T], *, is_long: bool = False) -> T:
        """Run `work` in a write transaction, commit, and return what it returned. Blocks: not for the event loop.

        `work` may run more than once, when the database lost the transaction: it has to be safe to repeat. With
        `is_long` it may take its time: for migrations, beside which nothing else goes on.

        Raises:
            DatabaseBusy: another transaction held the lock; nothing was done.
            DatabaseUnavailable: no connection, or the statement ran out of time.
            TransactionEndedError: what ran in a part of it ended it, see `lent`.
            NotKeptError: what ran in a part of it broke a rule that the schema looks at with COMMIT; nothing is kept.
            RuntimeError: what runs in a part of another one asks for this.
        """
        refuse_another()
        until = time.monotonic() + (_LONG_WAIT_S if is_long else _WAIT_S)
        if self._writing is None:
            return self._run(work, writing=True, until=until, is_long=is_long)
        if not self._writing.acquire(timeout=_WAIT_S, is_urgent=getattr(self._lane, "is_urgent", False)):
            raise self._busy()
        try:
            return self._run(work, writing=True, until=until, is_long=is_long)
        finally:
            self._writing.release()

    def _hint(self, exc: DBAPIError) -> str:
        """Say what keeps SQLite from a file that this user may not write to; empty for anything else."""
        if not str(getattr(exc.orig, "sqlite_errorname", "")).startswith("SQLITE_READONLY"):
            return ""
        file = self._engine.url.database
        return (
            f". This user needs write permission for {file} and for its folder, to look as well: SQLite makes files"
            " beside it. To look at a copy, put it into a folder of yours."
        )

    async def read(self, work: Work[T]) -> T:
        """`read_now` in a worker thread."""
        return await self._in(self._readers, lambda: self.read_now(work))

    async def write(self, work: Work[T], *, is_urgent: bool = False) -> T:
        """`write_now` in a worker thread. It ends there even when the caller is cancelled meanwhile.

        What is urgent does not stand behind what is not: neither for a thread nor, with SQLite, for the lock.
        """
        return await self.run(lambda: self.write_now(work), is_urgent=is_urgent)

    async def run(self, work: Callable[[], T], *, is_urgent: bool = False) -> T:
        """Run `work`, which makes transactions of its own, in a worker thread. It ends there as `write` does."""
        return await self._in(self._urgent if is_urgent else self._writers, work)

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = work()
            except BaseException as exc:  # noqa: BLE001  raised where it is waited for
                _tell(loop, _fail, came, exc)
            else:
                _tell(loop, _give, came, result)

        # Told by hand: what asyncio puts between a thread's future and its own takes longer than many a transaction.
        handed = threads.submit(copy_context().run, run)
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = handed.cancel()  # False once it has begun: then it ends, and its result counts
            if is_late:
                came.cancel()

        timer = loop.call_later(_WAIT_S, give_up)
        try:
            return await came
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if is_late and not (task and task.cancelling()):
                raise (DatabaseBusy(_READERS_BUSY) if threads is self._readers else self._busy()) from None
            handed.cancel()
            if threads is not self._readers:
                _note_written()  # abandoned here, and carried on in its thread
            raise
        finally:
            timer.cancel()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Name what the open write transaction of this thread does, for those who wait for it and the log."""
        here = self._doing.get(threading.get_ident())
        if here is None:
            yield
            return
        before, here.what = here.what, what
        try:
            yield
        finally:
            here.what = before

    def close(self) -> None:
        """Wait for what runs and close all connections."""
        self.is_closed = True
        self._readers.shutdown(wait=True)
        self._writers.shutdown(wait=True)
        self._urgent.shutdown(wait=True)
        self._engine.dispose()
        self._reading.dispose()

    def _run(self, work: Work[T], *, writing: bool, until: float, is_long: bool = False) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            began, is_ending = time.monotonic(), False
            info: Any = {}
            try:
                # Both are classes of SQLAlchemy's: what its `Engine.begin` puts around them costs as much as they do.
                with (
                    (self._engine if writing else self._reading).connect() as connection,
                    connection.begin(),
                    nullcontext() if writing else sessions_apart(connection),  # a look-up may be all of it
                ):
                    unbound = None
                    if writing:
                        self._doing[threading.get_ident()] = _Doing("a transaction", began)
                    try:
                        unbound = _limit(connection, writing=writing, until=until, is_long=is_long)
                        info = connection.info
                        lent.forget(info)
                        result = work(connection)
                        is_ending = writing  # what is left is COMMIT
                    finally:
                        if unbound is not None:
                            unbound()
                        if writing:
                            del self._doing[threading.get_ident()]
                if writing:
                    _note_written()
                return result
            except sa.exc.TimeoutError as exc:
                raise DatabaseUnavailable("The database gave no connection in time.") from exc
            except DBAPIError as exc:
                if is_against_a_rule(exc):
                    lent.tell_of_refusal(info, exc)
                    raise
                if (
                    is_ending
                    and exc.connection_invalidated
                    and getattr(exc.orig, "sqlite_errorname", "") != "SQLITE_FULL"
                ):
                    # The answer to COMMIT was lost: nobody knows. A full disk kept SQLite from it, and PostgreSQL a
                    # statement that failed on its way there.
                    _note_written()
                lent.tell_of_end(info, exc)
                is_late = is_timeout(exc)
                if is_refusing(exc):
                    raise DatabaseUnavailable(f"The database takes nothing now: {exc.orig}{self._hint(exc)}") from exc
                if not (is_late or is_lost(exc)):
                    raise
                # What took that long would take it again, and hold up everybody each time.
                is_late = is_late or time.monotonic() - began > _WAIT_S - 1
                if (is_late or attempt == _ATTEMPTS) and is_busy(exc):
                    raise self._busy() from exc
                if is_late or attempt == _ATTEMPTS:
                    raise DatabaseUnavailable(f"The database did not answer ({attempt} tries): {exc.orig}") from exc
                # A connection that was lost while nobody used it is found so by its first statement, and with it the
                # others of its age go.
                if attempt > 1 or is_ending or not exc.connection_invalidated:
                    time.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable")

    def _busy(self) -> DatabaseBusy:
        """Say what holds the database, and log once where in its code that stands."""
        # What has been at it longest has the lock: each of those that wait for it gives up before that.
        holder = min(self._doing.copy().items(), key=lambda one: one[1].since, default=None)
        if holder is None:
            return DatabaseBusy("Nothing was done: another process or connection holds the database.")
        thread, doing = holder
        held_s = time.monotonic() - doing.since
        if not doing.is_told and held_s >= _WAIT_S / 2:
            doing.is_told = True
            frame = sys._current_frames().get(thread)
            stack = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
            logger.error("%s has held the database for %.0f s, and others wait for it:\n%s", doing.what, held_s, stack)
        return DatabaseBusy(f"Nothing was done: {doing.what} has held the database for {held_s:.0f} s.")


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
    make = _sqlite_engine if url.startswith("sqlite") else _postgres_engine
    engine = make(url, read_only=read_only)
    sa.event.listen(engine, "handle_error", _drop_after_failed_commit)
    return engine


def _drop_after_failed_commit(context: sa.engine.ExceptionContext) -> None:
    # COMMIT itself failed: no statement, and nothing that ran, as where a row cannot be read. Whether it happened
    # nobody knows, and in SQLite the connection may still be inside the transaction, with its lock. So it is closed,
    # and all of the work is tried again.
    if context.statement is None and context.execution_context is None and not _is_before_commit(context):
        lent.roll_back(context.connection)
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _is_before_commit(context: sa.engine.ExceptionContext) -> bool:
    """Tell whether a statement that was on its way with COMMIT failed, which leaves COMMIT out."""
    driver: Any = context.connection.connection.dbapi_connection if context.connection is not None else None
    return shares_trips(driver) and bool(driver.has_failed)


def _postgres_engine(url: str, *, read_only: bool) -> Engine:
    from clearance.db import postgres  # with its driver, which takes as long to load as all of this

    size = _READERS if read_only else _CONNECTIONS
    engine = sa.create_engine(url, pool_size=size, max_overflow=2, pool_timeout=_WAIT_S)

    def prepare(connection: Any, _record: Any) -> None:
        # For good: as settings of each transaction they would be a round trip in each.
        bounds = {"statement_timeout": f"{_STATEMENT_S}s", "lock_timeout": f"{int(_WAIT_S * 1000)}ms"}
        if read_only:
            # A reader has one snapshot, as SQLite gives it: else the log's rows would not fit the head read before.
            bounds |= {"default_transaction_isolation": "repeatable read", "default_transaction_read_only": "on"}
        else:
            bounds["idle_in_transaction_session_timeout"] = f"{_IDLE_S}s"
        connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in bounds.items()))
        connection.search_path = connection.execute("SELECT current_setting('search_path')").fetchone()[0]
        connection.commit()

    def connect(_dialect: Any, _record: Any, arguments: Sequence[Any], options: dict[str, Any]) -> postgres.Connection:
        made = postgres.Connection.connect(*arguments, **options, autocommit=True)
        made.is_reader = read_only
        return made

    def begin(connection: Connection) -> None:
        if not read_only:
            refuse_another()
        driver: Any = connection.connection.dbapi_connection
        driver.begin()

    sa.event.listen(engine, "do_connect", connect)
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "connect", prepare)
    return engine


def _sqlite_engine(url: str, *, read_only: bool) -> Engine:
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _WAIT_S, "check_same_thread": False},
        pool_size=_READERS if read_only else 2,
        pool_timeout=_WAIT_S,
        pool_reset_on_return=None,  # every transaction here ends by commit or rollback
    )

    def prepare(connection: Any, record: Any) -> None:
        # The driver would begin transactions by itself, too late for BEGIN IMMEDIATE.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        if read_only:
            connection.execute("PRAGMA query_only = ON").close()
        lent.watch(connection, record.info, is_reader=read_only)

    def given_back(connection: Any, record: Any) -> None:
        if connection is not None:
            lent.take_back(connection, record.info)

    statement = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    def begin(connection: Connection) -> None:
        if not read_only:
            refuse_another()
        # By the driver: through SQLAlchemy it takes longer than many a transaction's reads.
        driver = connection.connection.dbapi_connection
        assert driver is not None
        try:
            driver.execute(statement).close()
        except sqlite3.Error as exc:
            dialect = connection.dialect
            raise DBAPIError.instance(statement, (), exc, sqlite3.Error, dialect=dialect) from exc

    file = sqlite_file(url)
    if file is not None:
        # Before SQLite makes the file with whatever mode the umask leaves.
        sa.event.listen(engine, "do_connect", lambda *_: make_database_private(file))
    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "checkin", given_back)
    sa.event.listen(engine, "begin", begin)
    return engine


def sqlite_file(url: str) -> Path | None:
    """Give the file of a SQLite URL; None for one in memory, or for another database."""
    parsed = sa.make_url(url)
    name = parsed.database
    is_file = parsed.get_backend_name() == "sqlite" and name and name != ":memory:" and not name.startswith("file:")
    return Path(name) if is_file and name else None


def _limit(connection: Connection, *, writing: bool, until: float, is_long: bool) -> Callable[[], None] | None:
    """Bound what the open transaction waits for and holds others up with; give what ends that, where something has to.

    Without a block of its own, for each transaction has some.
    """
    if connection.dialect.name == "postgresql":
        # What is left of the wait, and a little in any case: for rows that somebody beside us holds.
        left_ms = max(int((until - time.monotonic()) * 1000), 1000)
        if is_long:
            connection.exec_driver_sql(
                f"SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
                f" SET LOCAL lock_timeout = '{left_ms}ms'"
            )
        elif writing and left_ms < (_WAIT_S - 1) * 1000:  # it tries again
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{left_ms}ms'")
        return None
    if not writing or is_long:
        return None
    driver: Any = connection.connection.dbapi_connection
    late = time.monotonic() + _STATEMENT_S
    driver.set_progress_handler(lambda: time.monotonic() > late, _STEPS)

    def unbound() -> None:
        with suppress(Exception):  # whatever became of the connection
            driver.set_progress_handler(None, 0)

    return unbound


def _tell(loop: asyncio.AbstractEventLoop, how: Callable[..., None], came: "asyncio.Future[Any]", what: Any) -> None:
    with suppress(RuntimeError):  # its loop is closed: nobody waits any more
        loop.call_soon_threadsafe(how, came, what)


def _give(came: "asyncio.Future[Any]", result: Any) -> None:
    if not came.done():  # else it was abandoned
        came.set_result(result)


def _fail(came: "asyncio.Future[Any]", exc: BaseException) -> None:
    if came.done():
        return
    if isinstance(exc, StopIteration):  # asyncio takes none, and who waits would wait for ever
        stopped, exc = exc, RuntimeError("what ran in a transaction raised StopIteration")
        exc.__cause__ = stopped
    came.set_exception(exc)


def _note_written() -> None:
    note = written.get()
    if note is not None:
        note.may_be = True
