"""Bring a database to the schema of this version."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from agent.db.engine import Database, sqlite_file
from agent.db.files import make_folder

#: Its own name: other software that shares the database (Aegra does) keeps an `alembic_version` there.
VERSION_TABLE = "clearance_schema_version"
_LOCK = 0x636C656172  # any constant: two servers that start at once migrate one after the other


def migrate(database: Database, until: str = "head") -> None:
    """Run the migrations that are missing, in one transaction; safe to run twice and from two processes at once."""

    def upgrade(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, until)

    file = sqlite_file(database.url)
    if file is not None:
        make_folder(file.parent)
    database.write_now(upgrade, is_long=True)
