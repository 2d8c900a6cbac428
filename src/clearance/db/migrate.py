"""Bring a database to the schema of this version: the journal's, and after it the project's own."""

import re
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.chain import Migrations
from clearance.db.engine import Database, sqlite_file
from clearance.db.files import make_folder
from clearance.errors import ClearanceError

#: Its own name: other software that shares the database (Aegra does) keeps an `alembic_version` there.
VERSION_TABLE = "clearance_schema_version"
_LOCK = 0x636C656172  # any constant: two servers that start at once migrate one after the other


class NewerSchemaError(ClearanceError):
    """The database was migrated by a newer version: this one does not know what it would write beside."""

    def __init__(self, chain: str, revision: str) -> None:
        #: The version table of the chain, and the revision that it names.
        self.chain = chain
        self.revision = revision
        super().__init__(
            f"the database is of a newer version: {chain} says {revision!r}, which this version does not have. Start"
            " the newer version; the way back is the backup"
        )


_JOURNAL = Migrations(Path(__file__).parent / "migrations", VERSION_TABLE)


def migrate(database: Database, own: Sequence[Migrations] = (), until: str = "head") -> None:
    """Run the migrations that are missing, in one transaction; safe to run twice and from two processes at once.

    `until` is where the journal's chain stops.

    Raises:
        FileNotFoundError: a folder of the project's own is not there, or holds no `env.py`.
        NewerSchemaError: a newer version migrated the database; nothing was changed.
    """

    for chain in own:
        if not (chain.folder / "env.py").is_file():
            raise FileNotFoundError(
                f"migrations: there is no env.py in {chain.folder.absolute()}; build the path from __file__, and let"
                " package-data name the folder where the project is installed from a wheel"
            )

    def upgrade(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        _run(connection, _JOURNAL, until)
        for chain in own:
            _run(connection, chain, "head")

    file = sqlite_file(database.url)
    if file is not None:
        make_folder(file.parent)
    database.write_now(upgrade, is_long=True)


def _run(connection: Connection, chain: Migrations, until: str) -> None:
    if until == "head" and _is_current(connection, chain):
        return
    # Heavy: who only names a project's migrations runs none, and most starts have none to run.
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(chain.folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = chain.version_table
    found = MigrationContext.configure(connection, opts={"version_table": chain.version_table}).get_current_heads()
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in found:
        if revision not in known:
            raise NewerSchemaError(chain.version_table, revision)
    command.upgrade(config, until)


def _is_current(connection: Connection, chain: Migrations) -> bool:
    """Tell whether a chain has run to its end. False where that takes Alembic to tell."""
    if not sa.inspect(connection).has_table(chain.version_table):
        return False
    names = sa.table(chain.version_table, sa.column("version_num"))
    found = set(connection.scalars(sa.select(names.c.version_num)))
    own, before = set[str](), set[str]()
    for file in (chain.folder / "versions").glob("*.py"):
        told = dict(_TOLD.findall(file.read_text(encoding="utf-8")))
        if file.name != "__init__.py" and told.keys() != {"revision", "down_revision"}:
            return False
        own |= {told["revision"]} if told else set()
        before |= set(_NAMES.findall(told.get("down_revision", "")))
    return found == {_NAMES.findall(one)[0] for one in own if _NAMES.findall(one)} - before


_TOLD = re.compile(r"^(revision|down_revision)\b[^=\n]*=[ \t]*(.*)$", re.MULTILINE)
_NAMES = re.compile(r"""["']([^"']+)["']""")
