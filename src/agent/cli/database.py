"""The database of DATABASE_URL, for commands that work on this machine. Foreign errors become one sentence here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.cli.terminal import Failed

if TYPE_CHECKING:
    from agent.clearance.signing import Keys
    from agent.db.engine import Database
    from agent.settings import Settings


def current_settings() -> "Settings":
    """Read the settings anew.

    Raises:
        Failed: a setting cannot be.
    """
    from agent.settings import SettingsError, read_settings

    try:
        return read_settings()
    except SettingsError as exc:
        raise Failed(str(exc)) from exc


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

    from agent.clearance.errors import AuditKeyError
    from agent.db.engine import DatabaseUnavailable
    from agent.settings import SettingsError
    from agent.wiring import open_database

    try:
        database = open_database(settings)
        try:
            yield database
        finally:
            database.close()
    except (SettingsError, DatabaseUnavailable, AuditKeyError) as exc:
        raise Failed(_first_line(exc)) from exc
    except sa.exc.DBAPIError as exc:
        raise Failed(f"The database refused it: {_first_line(exc.orig)}") from exc


def audit_keys(settings: "Settings") -> "Keys":
    """Give the key of a log that exists, and those before it: a new one would fit nothing in it.

    Raises:
        Failed: there is none.
    """
    from agent import wiring
    from agent.settings import SettingsError

    try:
        return wiring.audit_keys(settings, may_make=False)
    except SettingsError as exc:
        raise Failed(str(exc)) from exc


def _is_file(name: str | None) -> bool:
    from pathlib import Path

    return bool(name) and Path(name or "").is_file()


def _first_line(exc: BaseException | None) -> str:
    return str(exc).split("\n")[0]
