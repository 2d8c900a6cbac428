"""The database of DATABASE_URL, for commands that work on this machine. Foreign errors become one sentence here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clearance.cli.terminal import Failed

if TYPE_CHECKING:
    from clearance.db.engine import Database
    from clearance.journal.signing import Keys
    from clearance.settings import Settings


@contextmanager
def existing_database(settings: "Settings") -> "Iterator[Database]":
    """Open a database that has a journal already; nothing is made or migrated.

    Raises:
        Failed: there is none, or it did not answer.
    """
    import sqlalchemy as sa

    with opened_database(settings) as database:
        url = sa.make_url(database.url)
        name = url.render_as_string()
        if database.is_sqlite and not _is_file(url.database):
            raise Failed(f"There is no database at {name} (DATABASE_URL); `clearance migrate` makes it.")
        if not database.read_now(lambda connection: sa.inspect(connection).has_table("audit_head")):
            raise Failed(f"The database {name} has no journal (DATABASE_URL); `clearance migrate` makes it.")
        yield database


@contextmanager
def opened_database(settings: "Settings") -> "Iterator[Database]":
    """Open the database, which may be empty or not there yet.

    Raises:
        Failed: it did not answer, or refused what was asked.
    """
    import sqlalchemy as sa

    from clearance.db.opening import open_database
    from clearance.errors import AuditKeyError, DatabaseUnavailable
    from clearance.key_files import left_by_change
    from clearance.settings import SettingsError

    try:
        database = open_database(settings)
        try:
            yield database
        finally:
            database.close()
    except AuditKeyError as exc:
        raise Failed(str(AuditKeyError(exc.expected, exc.given, left_by_change(settings, exc.expected)))) from exc
    except (SettingsError, DatabaseUnavailable) as exc:
        raise Failed(_first_line(exc)) from exc
    except sa.exc.DBAPIError as exc:
        raise Failed(f"The database refused it: {_first_line(exc.orig)}") from exc


def audit_keys(settings: "Settings") -> "Keys":
    """Give the key of a log that exists, and those before it: a new one would fit nothing in it.

    Raises:
        Failed: there is none.
    """
    from clearance.key_files import audit_keys as read_keys
    from clearance.settings import SettingsError

    try:
        return read_keys(settings, may_make=False)
    except SettingsError as exc:
        raise Failed(str(exc)) from exc


def _is_file(name: str | None) -> bool:
    from pathlib import Path

    return bool(name) and Path(name or "").is_file()


def _first_line(exc: BaseException | None) -> str:
    return str(exc).split("\n")[0]
