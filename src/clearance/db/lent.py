"""An open transaction that is lent: an action reads or writes in it, and it is not the action's to end.

An effect that commits by itself would have happened without its receipt, and would happen again. What can be known
before is refused, see `kept`; what ends a transaction all the same is found, here or where the transaction ends.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from clearance.db.compiled import shares_trips
from clearance.db.driver_errors import is_out_of_place
from clearance.db.kept import SENTENCE, Kept, inside

_LOOK = "clearance_look"
#: To what the open transaction was lent last, in the `info` of its connection.
_LENT_TO = "clearance_lent_to"
#: Whether no transaction of it writes, there.
_READER = "clearance_reader"
#: What keeps a part of it now, there.
_KEPT = "clearance_kept"
#: What SQLite asks about each statement that it prepares, there.
_AUTHORIZE = "clearance_authorize"
#: SQLite prepares a statement once for each text: in these words nobody else's turns it on and off.
_QUERY_ONLY = f"PRAGMA query_only = {{}} /* {secrets.token_hex(8)} */"


class TransactionEndedError(Exception):
    """Who was to write in a transaction ended it: whether what they wrote is kept nobody knows.

    Nothing more was done in it. `of` is theirs: what `kept_open` or `read_only` was called with.
    """

    def __init__(self, of: str) -> None:
        super().__init__(f"{SENTENCE}, and what became of that nobody knows")
        self.of = of


@contextmanager
def read_only(connection: Connection, of: str = "a look") -> Iterator[None]:
    """Make the rest of the open transaction refuse writes, and its end, for the length of the block.

    What an action reads as facts runs inside this, also within the executing transaction.

    Raises:
        TransactionEndedError: the block ended the transaction.
    """
    if connection.dialect.name == "sqlite":
        is_reader = _READER in connection.info
        if not is_reader:
            connection.exec_driver_sql(_QUERY_ONLY.format(1))
        try:
            with _kept(connection, of, Kept(None)):
                yield
        finally:
            if not is_reader and not connection.invalidated:
                connection.exec_driver_sql(_QUERY_ONLY.format(0))
    else:
        # PostgreSQL restores read-write at the end of the savepoint that made it read-only, and only there.
        driver: Any = connection.connection.dbapi_connection
        connection.exec_driver_sql(f"SAVEPOINT {_LOOK}")
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        driver.is_read_only = True
        try:
            with _kept(connection, of, Kept(_LOOK)):
                yield
            # Fails where the block hid that a statement of its own did.
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {_LOOK}")
        except BaseException:
            if not connection.invalidated:
                _undo_look(connection, of)
            raise
        finally:
            driver.is_read_only = False


def _undo_look(connection: Connection, of: str) -> None:
    try:
        connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_LOOK}; RELEASE SAVEPOINT {_LOOK}")
    except DBAPIError as exc:
        if not is_out_of_place(exc):
            raise
        connection.invalidate()
        raise TransactionEndedError(of) from exc


@contextmanager
def kept_open(connection: Connection, of: str) -> Iterator[None]:
    """Let nobody end the open transaction, nor the savepoint it is in, for the length of the block.

    An effect that commits by itself would have happened without its receipt, and would happen again. What cannot be
    refused is found: here, or where the transaction ends, and then it ends with nothing more done.

    Raises:
        TransactionEndedError: the block ended it all the same.
    """
    nested: Any = connection.get_nested_transaction()
    authorize = connection.info.get(_AUTHORIZE)
    if authorize is not None:
        # What it has prepared in these very words, for us, is prepared anew then, and looked at.
        driver: Any = connection.connection.dbapi_connection
        driver.set_authorizer(authorize)
    with _kept(connection, of, Kept(nested._savepoint if nested is not None else None)):
        yield


@contextmanager
def _kept(connection: Connection, of: str, kept: Kept) -> Iterator[None]:
    driver: Any = connection.connection.dbapi_connection
    shares = shares_trips(driver)
    info = connection.info
    info[_LENT_TO] = of
    if shares:
        driver.keep(kept)
    else:
        info[_KEPT] = kept
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
        with inside():
            yield
        is_done = True
    finally:
        for name in (*_ENDS, "invalidate"):
            delattr(here, name)
        if shares:
            driver.kept = None
        else:
            info.pop(_KEPT, None)
        is_over = kept.is_over or (
            not connection.invalidated
            and (connection.connection.dbapi_connection is not driver or _is_over(driver, shares=shares))
        )
        if shares and is_done and not is_over:
            driver.let_go()
            is_over = kept.is_passed and driver.is_another
        if is_over:
            connection.invalidate()  # whatever is left of it
            raise TransactionEndedError(of)


#: By the last two one comes to the transaction itself, which has such methods, too.
_ENDS = ("commit", "rollback", "close", "get_transaction", "get_nested_transaction")


def _is_over(driver: Any, *, shares: bool) -> bool:
    if shares:
        return bool(driver.is_over)
    try:
        return not driver.in_transaction
    except sqlite3.ProgrammingError:  # closed: with it all that was written is gone, and each statement says so
        return False


def watch(driver: Any, info: Any, *, is_reader: bool) -> None:
    """Let SQLite ask about each statement that a new connection prepares; `info` is the connection's."""

    def authorize(code: int, first: str | None, second: str | None, *_: Any) -> int:
        kept: Kept | None = info.get(_KEPT)
        return sqlite3.SQLITE_OK if kept is None else kept.authorize(code, first, second)

    driver.set_authorizer(authorize)
    info[_AUTHORIZE] = authorize
    if is_reader:
        info[_READER] = True


def take_back(driver: Any, info: Any) -> None:
    """End what is lent of a connection of SQLite that somebody gave back to whom it was not to give.

    Else what it is kept from would hold for the next who gets it.
    """
    if info.pop(_KEPT, None) is not None:
        driver.rollback()
        if _READER not in info:
            driver.execute(_QUERY_ONLY.format(0)).close()


def forget(info: Any) -> None:
    """Forget to whom the last transaction of a connection was lent."""
    info.pop(_LENT_TO, None)


def tell_of_end(info: Any, exc: DBAPIError) -> None:
    """Tell of an end that is heard of late, since it was on its way with other statements.

    Raises:
        TransactionEndedError: `exc` says that the transaction which was lent is not there any more.
    """
    if _LENT_TO in info and is_out_of_place(exc):
        raise TransactionEndedError(info[_LENT_TO]) from exc
