"""What an error of a driver means: whether the work is worth another try, came too late, or is no use for now."""

import threading

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

_PG_RETRY = {"40001", "40P01"}  # serialization failure, deadlock
_PG_BUSY = "55P03"  # a lock that nobody let go
_PG_TIMEOUT = "57014"
#: No such savepoint, no such cursor, no transaction.
_PG_GONE = ("3B001", "34000", "25P01")
#: What SQLite says of a disk that is full, gone or broken; PostgreSQL of too few resources, of its system, of itself.
_SQLITE_REFUSING = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_NOMEM", "SQLITE_CANTOPEN")
_PG_REFUSING = ("53", "58", "XX")
#: What a rule of the schema says that is looked at with COMMIT, or the trigger that looks; nothing is kept then.
_PG_RULES = ("22", "23", "42", "44", "P0")


def is_timeout(exc: DBAPIError) -> bool:
    """Tell whether a statement was given up since its time, or that for a lock, was over."""
    return getattr(exc.orig, "sqlstate", None) in (_PG_TIMEOUT, _PG_BUSY) or _is_interrupted(exc)


def is_busy(exc: DBAPIError) -> bool:
    """Tell whether somebody else's lock was in the way for as long as one waits."""
    if getattr(exc.orig, "sqlstate", None) == _PG_BUSY:
        return True
    return isinstance(exc, sa.exc.OperationalError) and str(exc.orig) == "database is locked"


def is_lost(exc: DBAPIError) -> bool:
    """Tell whether the transaction is gone for a reason outside it: worth another try as a whole."""
    if exc.connection_invalidated or is_busy(exc):
        return True
    sqlstate = getattr(exc.orig, "sqlstate", None)
    if sqlstate in _PG_RETRY or (sqlstate or "").startswith(("08", "57P")):
        return True
    if isinstance(exc, sa.exc.OperationalError):
        text = str(exc.orig)
        return sqlstate is None and ("locked" in text or "connect" in text or "unable to open" in text)
    return False


def is_against_a_rule(exc: DBAPIError) -> bool:
    """Tell whether the schema refused what was written, which it would again: nothing of it is kept."""
    if str(getattr(exc.orig, "sqlite_errorname", "")).startswith("SQLITE_CONSTRAINT"):
        return True
    return str(getattr(exc.orig, "sqlstate", None) or "").startswith(_PG_RULES)


def is_from_outside(exc: BaseException) -> bool:
    """Tell whether this process is told to end, where an action ran: anything else that ends one is its own."""
    return isinstance(exc, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def is_out_of_place(exc: DBAPIError) -> bool:
    """Tell whether a savepoint, a cursor or the transaction that was begun is not there any more."""
    if getattr(exc.orig, "sqlstate", None) in _PG_GONE:
        return True
    return isinstance(exc, sa.exc.OperationalError) and str(exc.orig).startswith("no such savepoint")


def is_held_up(exc: DBAPIError) -> bool:
    """Tell whether SQLite cannot end a savepoint or the transaction since what writes in it was not read to its end."""
    return isinstance(exc, sa.exc.OperationalError) and str(exc.orig).endswith("SQL statements in progress")


def is_refusing(exc: DBAPIError) -> bool:
    """Tell whether the database cannot do anything for now, so that another try is no use."""
    name = str(getattr(exc.orig, "sqlite_errorname", ""))
    # An action whose facts write hears the same of a statement; of a file that nobody may write to, it comes at BEGIN.
    is_read_only = name.startswith("SQLITE_READONLY") and (exc.statement or "BEGIN").startswith("BEGIN")
    sqlstate = str(getattr(exc.orig, "sqlstate", None) or "")
    return is_read_only or name.startswith(_SQLITE_REFUSING) or sqlstate.startswith(_PG_REFUSING)


def _is_interrupted(exc: DBAPIError) -> bool:
    """Tell whether SQLite gave up a statement since its time was over."""
    return isinstance(exc, sa.exc.OperationalError) and str(exc.orig) == "interrupted"
