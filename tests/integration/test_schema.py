"""The schema holds what Python promises."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from agent.bank import MIGRATIONS
from agent.bank.tables import metadata as bank
from clearance.db.engine import Database
from clearance.db.migrate import VERSION_TABLE, migrate
from clearance.db.partial import partial_index
from clearance.db.tables import audit, audit_head, metadata


def test_migrations_give_the_tables_that_the_code_knows(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        versions = {VERSION_TABLE, *(chain.version_table for chain in MIGRATIONS)}
        opts = {"include_name": lambda name, kind, parents: not (kind == "table" and name in versions)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=opts), cast("Any", [metadata, bank])))

    assert database.read_now(differences) == []


@pytest.mark.parametrize("is_apart", [False, True], ids=["with the table", "apart"])
def test_a_partial_index_that_the_code_makes_has_its_condition(database: Database, *, is_apart: bool) -> None:
    """It is said when the index is created: an index made anew by itself was without, and unique among all rows."""
    made = sa.MetaData()
    table = sa.Table("made", made, sa.Column("name", sa.Text), sa.Column("state", sa.Text))
    index = partial_index("uq_made_open", table.c.name, where=table.c.state == "open", unique=True)

    def create(connection: sa.Connection) -> int:
        if is_apart:
            connection.exec_driver_sql("CREATE TABLE made (name text, state text)")
            index.create(connection)
        else:
            made.create_all(connection)
        rows = [{"name": "a", "state": state} for state in ("open", "closed", "closed")]
        connection.execute(sa.insert(table), rows)
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    assert database.write_now(create) == 3
    with pytest.raises(sa.exc.IntegrityError):
        database.write_now(lambda c: c.execute(sa.insert(table), {"name": "a", "state": "open"}))


def test_migrating_twice_changes_nothing(database: Database) -> None:
    migrate(database, MIGRATIONS)

    assert database.read_now(lambda c: c.execute(sa.select(audit_head.c.seq)).all()) == [(0,)]


@pytest.mark.parametrize("statement", [sa.update(audit).values(event="other"), sa.delete(audit)])
def test_audit_rows_can_be_neither_changed_nor_deleted(database: Database, statement: sa.Executable) -> None:
    row = {"seq": 1, "at": "t", "event": "e", "actor": "a", "details": "{}", "mac": "m"}
    database.write_now(lambda c: c.execute(sa.insert(audit), row))

    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        database.write_now(lambda c: c.execute(statement))

    assert database.read_now(lambda c: c.scalar(sa.select(audit.c.event))) == "e"


def test_a_read_transaction_refuses_writes(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
        database.read_now(lambda c: c.execute(sa.update(audit_head).values(seq=7)))

    database.write_now(lambda c: c.execute(sa.update(audit_head).values(seq=8)))
    assert database.read_now(lambda c: c.scalar(sa.select(audit_head.c.seq))) == 8


def test_a_database_that_is_current_is_left_to_no_alembic(tmp_path: Path) -> None:
    code = f"""
import sys
from agent.bank import MIGRATIONS
from clearance.db.engine import Database
from clearance.db.migrate import migrate
migrate(Database("sqlite:///{tmp_path / "some.db"}"), MIGRATIONS)
print("alembic" in sys.modules)
"""

    ran = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)]

    assert ran == ["True\n", "False\n"]
