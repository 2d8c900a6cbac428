"""A database that an earlier program wrote, by the rows that it left: before the log bound any (schema 0005).

`journal_of_0005.jsonl` was written by that program: threads of each outcome, an erasure, and requests that are open:
asked, approved by one of two, approved in a plan that is not wholly decided, approved and not carried out, changed.
"""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank import MIGRATIONS
from agent.bank.seed import seed
from clearance.db.engine import Database
from clearance.db.migrate import migrate

SCHEMA = "0005"
_FILE = Path(__file__).with_name("journal_of_0005.jsonl")
_KEYS = {"customers": "customer_id", "accounts": "account_id", "transfers": "transfer_id"}
_CHECKPOINTS = ("checkpoints", "writes")


def _rows() -> list[tuple[str, dict[str, Any]]]:
    return [(where, row) for where, row in map(json.loads, _FILE.read_text().splitlines())]


def written_at() -> datetime:
    """Give when its last row was written."""
    (head,) = [row for where, row in _rows() if where == "audit_head"]
    return datetime.fromisoformat(head["at"])


def write_old_journal(database: Database) -> None:
    """Make the old schema in an empty database, seed the bank, and write what the old program wrote."""
    migrate(database, MIGRATIONS, SCHEMA)
    database.write_now(lambda connection: seed(connection, size="small"))
    database.write_now(_write)


def _write(connection: Connection) -> None:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    for where, row in _rows():
        name, _, row_id = where.partition(" ")
        if name in _CHECKPOINTS:
            continue
        table = metadata.tables[name]
        values = ", ".join(f"{column} = :{column}" for column in row)
        for column in row.keys() & {column.name for column in table.columns if isinstance(column.type, sa.Boolean)}:
            row[column] = bool(row[column])
        if name == "audit_head":
            connection.execute(sa.text(f"UPDATE audit_head SET {values}"), row)
        elif row_id:
            connection.execute(sa.text(f"UPDATE {name} SET {values} WHERE {_KEYS[name]} = :id"), {**row, "id": row_id})
        else:
            names = ", ".join(f":{column}" for column in row)
            connection.execute(sa.text(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({names})"), row)


async def write_old_checkpoints(connection: aiosqlite.Connection) -> None:
    """Write where its threads stand into the tables of a checkpointer."""
    for name, row in _rows():
        if name in _CHECKPOINTS:
            values = [base64.b64decode(one["base64"]) if isinstance(one, dict) else one for one in row.values()]
            marks = ", ".join("?" * len(row))
            await connection.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})", values)
    await connection.commit()
