"""An open transaction that is lent: an action reads or writes in it, and it is not the action's to end.

An effect that commits by itself would have happened without its receipt, and would happen again. What can be known
before is refused, see `kept`; what ends a transaction all the same is found, here or where the transaction ends.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection, NestedTransaction
from sqlalchemy.exc import DBAPIError

from clearance.db.compiled import run_text, shares_trips
from clearance.db.driver_errors import is_held_up, is_out_of_place
from clearance.db.kept import SENTENCE, Kept, inside
from clearance.db.orm_sessions import sessions_apart
from clearance.db.shadowed import refuse_shadows

#: The savepoint that is ours while a part of the transaction is lent.
_OURS = "clearance_part"
#: SQLite looks at a statement when it prepares it, once for each text, and at these while nobody is kept from them: so
#: they are in words that nobody else writes.
_BEGIN, _RELEASE, _UNDO = (
    f"{what} SAVEPOINT {_OURS} /* {secrets.token_hex(8)} */".lstrip() for what in ("", "RELEASE", "ROLLBACK TO")
)
#: To what the open transaction was lent last, in the `info` of its connection.
_LENT_TO = "clearance_lent_to"
#: To what it was lent to write in.
_WRITER = "clearance_writer"
#: Whether no transaction of it writes, there.
_READER = "clearance_reader"
#: The `_Now` of it, there; a connection that is detached goes on with a copy of its `info`.
_NOW = "clearance_now"
#: Refused by what `watch` sets; nothing to SQLite without it.
_PROBE = "PRAGMA clearance_is_watched = 1"


@dataclass
class _Now:
    """What keeps a part of a connection's open transaction now; None where nobody is kept from anything."""

    kept: Kept | None = None


class LentError(Exception):
    """What became of a transaction for what was done in a part that was lent.

    `of` is theirs who did it: what `kept_open` or `read_only` was called with.
    """

    def __init__(self, of: str, said: str) -> None:
        super().__init__(said)
        self.of = of


class TransactionEndedError(LentError):
    """Who was to write in a transaction ended it: whether what they wrote is kept nobody knows.

    Nothing more was done in it.
    """

    def __init__(self, of: str) -> None:
        super().__init__(of, f"{SENTENCE}, and what became of that nobody knows")


class NotKeptError(LentError):
    """What was written broke a rule of the schema that is looked at with COMMIT: nothing of the transaction is kept."""


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Undo what the block writes in the open transaction when it raises."""
    run_text(connection, _BEGIN)
    try:
        yield
    except BaseException:  # a cancel as well: what it cut off is half written
        if not connection.invalidated:
            run_text(connection, _UNDO)
        raise
    run_text(connection, _RELEASE)


@contextmanager
def read_only(connection: Connection, of: str = "a look") -> Iterator[None]:
    """Let the rest of the open transaction keep nothing that is written in it, for the length of the block, nor end.

    What an action reads as facts runs inside this, also within the executing transaction. PostgreSQL refuses what
    writes; in SQLite it is undone at the end of the block, which raises then.

    Raises:
        TransactionEndedError: the block ended the transaction.
    """
    if _READER in connection.info:  # there it is refused anyhow
        with _kept(connection, of, Kept(_OURS, is_look=True)):
            yield
    else:
        with (_undone if connection.dialect.name == "sqlite" else _refused)(connection, of):
            yield


@contextmanager
def _undone(connection: Connection, of: str) -> Iterator[None]:
    # To refuse it there is `query_only`: with it SQLite prepares all statements of the connection anew, each time that
    # it is turned on and off, and that took longer than to run them.
    driver: Any = connection.connection.dbapi_connection
    before, outer = driver.total_changes, connection.get_nested_transaction()
    run_text(connection, _BEGIN)
    try:
        with _kept(connection, of, Kept(_OURS, is_look=True)):
            yield
        if driver.total_changes != before:
            raise RuntimeError("what only looks wrote something, and that is undone")
    finally:
        if not connection.invalidated:
            _undo(connection, of, outer)


@contextmanager
def _refused(connection: Connection, of: str) -> Iterator[None]:
    # PostgreSQL restores read-write at the end of the savepoint that made it read-only, and only there.
    driver: Any = connection.connection.dbapi_connection
    outer = connection.get_nested_transaction()
    run_text(connection, _BEGIN)
    run_text(connection, "SET TRANSACTION READ ONLY")
    driver.is_read_only = True
    try:
        with _kept(connection, of, Kept(_OURS, is_look=True)):
            yield
        end_inner(connection, outer, is_kept=False)
        if not driver.has_failed:
            # Settings, too: a search path that facts left would hold for what the gate reads and writes.
            driver.hold(_UNDO, only_reads=True)
        # Fails where the block hid that a statement of its own did.
        run_text(connection, _RELEASE)
    except BaseException:  # a cancel as well: else the rest of the transaction would stay read-only
        if not connection.invalidated:
            _undo(connection, of, outer)
        raise
    finally:
        driver.is_read_only = False


def _undo(connection: Connection, of: str, outer: NestedTransaction | None) -> None:
    try:
        end_inner(connection, outer, is_kept=False)
        run_text(connection, _UNDO)
        run_text(connection, _RELEASE)
    except DBAPIError as exc:
        if not (is_out_of_place(exc) or is_held_up(exc)):
            raise
        _drop(connection)
        raise TransactionEndedError(of) from exc


def end_inner(connection: Connection, outer: NestedTransaction | None, *, is_kept: bool) -> None:
    """End the savepoints that an action left open in `outer`: else SQLAlchemy would take them to be there still."""
    while (inner := connection.get_nested_transaction()) is not None and inner is not outer:
        if is_kept and inner.is_active:
            inner.commit()
        else:
            inner.rollback()
        if connection.get_nested_transaction() is inner:
            break


def roll_back(connection: Connection | None) -> None:
    """Roll back what is to be closed: SQLite would keep it open, and locked, for a cursor that somebody still has."""
    if connection is None or connection.invalidated or connection.dialect.name != "sqlite":
        return
    with suppress(sqlite3.Error):  # it is closed already
        driver: Any = connection.connection.dbapi_connection
        driver.set_authorizer(None)  # which may be another's by now
        driver.rollback()


def _drop(connection: Connection) -> None:
    roll_back(connection)
    connection.invalidate()


@contextmanager
def kept_open(connection: Connection, of: str) -> Iterator[None]:
    """Let nobody end the open transaction, nor the `savepoint` it is in, for the length of the block.

    An effect that commits by itself would have happened without its receipt, and would happen again. What cannot be
    refused is found: here, or where the transaction ends, and then it ends with nothing more done.

    Raises:
        TransactionEndedError: the block ended it all the same.
        RuntimeError: it made what would stand before the journal's tables, on SQLite. On PostgreSQL the transaction
            fails then, see `tell_of_refusal`.
    """
    with _kept(connection, of, Kept(_OURS)):
        yield


@contextmanager
def _kept(connection: Connection, of: str, kept: Kept) -> Iterator[None]:
    driver: Any = connection.connection.dbapi_connection
    shares = shares_trips(driver)
    info = connection.info
    info[_LENT_TO] = of
    if not kept.is_look:
        info[_WRITER] = of
    if shares:
        driver.keep(kept)
    else:
        now = info.setdefault(_NOW, _Now())
        now.kept = kept
        if not _is_watched(driver, kept):  # whoever had the connection before took that away
            watch(driver, info, is_reader=_READER in info)
    invalidate = connection.invalidate

    def refuse() -> None:
        raise RuntimeError(SENTENCE)

    def refuse_but_lost(exception: BaseException | None = None) -> None:
        if exception is None:  # else SQLAlchemy calls it, where the connection is lost: that commits nothing
            raise RuntimeError(SENTENCE)
        invalidate(exception)

    here: Any = connection
    for name in _ENDS:
        setattr(here, name, refuse)
    here.invalidate = refuse_but_lost
    is_done = False
    try:
        with inside(), sessions_apart(connection):
            yield
        is_done = True
    finally:
        for name in (*_ENDS, "invalidate"):
            delattr(here, name)
        is_over = kept.is_over or (
            not connection.invalidated
            and (connection.connection.dbapi_connection is not driver or _is_over(driver, kept, shares=shares))
        )
        if shares:
            driver.kept = None
        else:
            now.kept = None
            driver.row_factory, driver.text_factory = None, str  # how it reads rows is ours again
        if shares and is_done and not is_over:
            driver.let_go()
            is_over = kept.is_passed and driver.is_another
        if is_over:
            if connection.invalidated or connection.connection.dbapi_connection is not driver:
                connection.invalidate()  # whatever is left of it
            else:
                _drop(connection)
            raise TransactionEndedError(of)
    if not kept.is_look and not connection.invalidated:
        refuse_shadows(driver)


#: By the last two one comes to the transaction itself, which has such methods, too.
_ENDS = ("commit", "rollback", "close", "get_transaction", "get_nested_transaction")


def _is_over(driver: Any, kept: Kept, *, shares: bool) -> bool:
    if shares:
        return bool(driver.is_over)
    try:
        return not driver.in_transaction or not _is_watched(driver, kept)
    except sqlite3.ProgrammingError:  # closed: with it all that was written is gone, and each statement says so
        return False


def _is_watched(driver: Any, kept: Kept) -> bool:
    """Tell whether SQLite asks us still, and not whom an action set in our place."""
    kept.is_asked = False
    try:
        driver.execute(_PROBE).close()
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError:
        pass
    return kept.is_asked


def watch(driver: Any, info: Any, *, is_reader: bool) -> None:
    """Let SQLite ask about each statement that a connection prepares; `info` is the connection's."""
    now: _Now = info.setdefault(_NOW, _Now())

    def authorize(code: int, first: str | None, second: str | None, *_: Any) -> int:
        return sqlite3.SQLITE_OK if now.kept is None else now.kept.authorize(code, first, second)

    # Once: each time that it is set, SQLite prepares all statements anew.
    driver.set_authorizer(authorize)
    if is_reader:
        info[_READER] = True


def take_back(driver: Any, info: Any) -> None:
    """End what is lent of a connection of SQLite that somebody gave back to whom it was not to give.

    Else what it is kept from would hold for the next who gets it.
    """
    now: _Now | None = info.get(_NOW)
    if now is not None and now.kept is not None:
        now.kept = None
        driver.rollback()


def forget(info: Any) -> None:
    """Forget to whom the last transaction of a connection was lent."""
    info.pop(_LENT_TO, None)
    info.pop(_WRITER, None)


def tell_of_end(info: Any, exc: DBAPIError) -> None:
    """Tell of an end that is heard of late, since it was on its way with other statements.

    Raises:
        TransactionEndedError: `exc` says that the transaction which was lent is not there any more.
    """
    if _LENT_TO in info and is_out_of_place(exc):
        raise TransactionEndedError(info[_LENT_TO]) from exc


def tell_of_refusal(info: Any, exc: DBAPIError) -> None:
    """Tell whose writing it was that the schema refused with COMMIT, or after which it refused the gate's own.

    Raises:
        NotKeptError: the transaction was lent to somebody to write in.
    """
    if _WRITER in info:
        raise NotKeptError(info[_WRITER], str(exc.orig)) from exc
