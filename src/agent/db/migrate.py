"""Bring a database to the schema of this version."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from agent.db.engine import Database

#: Its own name: other software that shares the database (Aegra does) keeps an `alembic_version` there.
VERSION_TABLE = "clearance_schema_version"
_LOCK = 0x636C656172  # any constant: two servers that start at once migrate one after the other


def migrate(database: Database) -> None:
    """Run the migrations that are missing, in one transaction; safe to run twice and from two processes at once."""

    def upgrade(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    if database.is_sqlite:
        _make_folder(database.url)
    database.write_now(upgrade, is_long=True)


def _make_folder(url: str) -> None:
    name = sa.make_url(url).database
    if name and name != ":memory:":
        Path(name).parent.mkdir(parents=True, exist_ok=True)
