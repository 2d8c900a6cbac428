"""Every column of every table, bent by somebody who may do everything in the database and has not the key.

The tables are walked as the database has them, so that a column that is added later and not bound fails here.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage
from sqlalchemy.engine import Connection

from clearance import gated
from clearance.actions.definition import ToolDefinition
from clearance.db.migrate import VERSION_TABLE
from clearance.db.tables import metadata
from clearance.gate.listing import accept, note_listing
from clearance.journal import notifications
from clearance.journal.refusals import chain_totals, note_refused
from clearance.journal.verification import verify
from tests.support.scripted_model import calls
from tests.support.world import AUDIT_KEY, TESS, World

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

_BANKS = "the bank's own; what of it was read for a request stands in the request's facts, which are bound"
_ERASURE = "whom an erasure will find; whom a request concerned stands in its event `executed`"
_OUTBOX = "what is still to be sent; the log, from which it is filled, is what counts"
_NEXT = "what was refused since it was last told is taken as it stands when its minute is over"
#: What `verify` does not see when it is bent, by table or column, and why.
NOT_COVERED: dict[str, str] = {
    VERSION_TABLE: "the schema's version: tells nobody what was done",
    "bank_schema_version": "the version of the bank's tables: tells nobody what was done",
    "accounts": _BANKS,
    "customers": _BANKS,
    "transfers.memo": "erasure may take it; the memo that was asked for is bound with the arguments",
    "transfers.number": "the order of the bank's own ledger",
    "transfers.(made up)": "a transfer of a request that is none: what the bank books past the gate is the bank's",
    "entries": "only of transfers that the gate made, of which one made up beside them is none",
    "request_subjects": _ERASURE,
    "plans.opened": "how far the program is: requests that are opened again are the same ones",
    "refusal_totals.count": _NEXT,
    "leases": "who does the server's duties for some seconds",
    "cursors": _OUTBOX,
    "notifications": _OUTBOX,
    "tries": "how often the server tried to carry something on",
    "notices": "words of ours for a thread, of no request; the messages themselves are the platform's",
}
#: Rows that are tried where not all are alike.
_OF_THE_GATE = {
    "transfers": "request_id IS NOT NULL",
    "entries": "transfer_id IN (SELECT transfer_id FROM transfers WHERE request_id IS NOT NULL)",
}
#: In place of a column: a row that is there again under another key.
_MADE_UP = "(made up)"
_ROWS = 3
_OTHERS = 1


def _pay(amount: int, to: str = "A-2003", **more: str) -> tuple[str, dict[str, Any]]:
    return "transfer_funds", {"from_account": "A-2001", "to_account": to, "amount": str(amount), **more}


def send_mail(to: str) -> str:
    """Send a mail."""
    if to == "ben":
        raise ConnectionError
    return f"Sent to {to}."


async def _let_something_happen(world: World) -> None:
    """Let a mail be sent and one be lost; let a payment be made, one changed and made, one rejected and erased, and two
    of a plan wait; freeze.
    """
    world.actions = (*world.actions, gated(send_mail))
    world.use_policy(world.policy)
    say = world.model.will_say
    say(calls(("send_mail", {"to": "ada"}), ("send_mail", {"to": "ben"}), ids=["sent", "lost"]))
    await world.say("write to both", thread="elsewhere")
    await world.answer(True, thread="elsewhere")
    await world.answer(True, thread="elsewhere")
    say(calls(_pay(5000, memo="rent")), AIMessage("Paid."))
    await world.say("pay the rent", thread="one")
    await world.answer(True, thread="one")
    say(calls(_pay(7000), ids=["changed"]), AIMessage("Paid less."))
    await world.say("pay seven", thread="one")
    await world.answer({"approved": True, "reason": "less", "edited_args": {"amount": "1500"}}, thread="one")
    say(calls(_pay(5100, to="A-2005"), ids=["no"]), AIMessage("No."))
    await world.say("pay Ada Quist", thread="erased")
    await world.answer(False, thread="erased")
    say(
        calls(("delete_user", {"user_id": "C-1003", "reason": "Ada Quist moved away"}), ids=["gone"]),
        AIMessage("Gone."),
    )
    await world.say("delete Ada Quist", thread="erased")
    await world.answer(True, thread="erased")
    say(calls(_pay(5600), ids=["rejected"]), AIMessage("Not paid."))
    await world.say("pay six", thread="rejected")
    await world.answer({"approved": False, "reason": "No."}, thread="rejected")
    say(calls(_pay(30_000), _pay(5500), ids=["half", "other"]))
    await world.say("pay 30,000", thread="open")
    await world.answer(True, by=TESS, thread="open")
    assert await world.run({"messages": [("user", "pay me")]}, by=None, thread="nobody's")
    now = world.clock()
    for who in ("olga", "ben"):
        world.database.write_now(partial(note_refused, now=now, person=who, cause="goto", attempt="goto"))
    world.clock.advance(minutes=1)
    await world.gate.write(chain_totals)
    await world.gate.write(notifications.collect)
    await world.gate.write(notifications.collect)
    await world.gate.take_lease("duty", "somebody", timedelta(minutes=1))
    world.execute("INSERT INTO tries (subject, mark, count) VALUES ('turn', 'mark', 1)")
    for said in ("Once.", "And otherwise."):
        tools = [ToolDefinition("tickets", name, said, {"type": "object"}, {}) for name in ("open", "close")]
        await world.gate.write(partial(note_listing, server="tickets", listed=tools))
    await world.gate.write(partial(accept, digest=tools[0].digest, by="os:root", via="command line"))
    await world.freeze(reason="drill")


@dataclass(frozen=True)
class Bent:
    """A statement that bends one thing, and the table and column that it bends; None: the whole row."""

    table: str
    column: str | None
    statement: sa.Executable
    what: str

    @property
    def names(self) -> tuple[str, ...]:
        """What stands for it in `NOT_COVERED`."""
        return (self.table,) if self.column is None else (self.table, f"{self.table}.{self.column}")


def _everything(connection: Connection) -> Iterator[Bent]:
    """Give every column of some rows with other values, every row gone, and every row twice."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    for table in metadata.sorted_tables:
        where = sa.text(_OF_THE_GATE.get(table.name, "1 = 1"))
        rows = [dict(row) for row in connection.execute(sa.select(table).where(where)).mappings()]
        # PostgreSQL takes ten times as long, and shows columns otherwise, not rows.
        most = _ROWS if connection.dialect.name == "sqlite" and table.name not in NOT_COVERED else 1
        for row in _some(rows, most):
            is_it = sa.and_(*(table.c[key.name] == row[key.name] for key in table.primary_key))
            said = json.dumps({key.name: row[key.name] for key in table.primary_key}, default=str)
            for column in table.columns:
                for value in _others(column, row[column.name], [one[column.name] for one in rows]):
                    statement = table.update().where(is_it).values({column.name: value})
                    yield Bent(table.name, column.name, statement, f"{said}: {column.name} = {value!r:.60}")
            yield Bent(table.name, None, table.delete().where(is_it), f"{said}: gone")
            for copy in _copies(table, row):
                if "version" in copy:
                    unbound = table.insert().values({**copy, "version": None})
                    yield Bent(table.name, _MADE_UP, unbound, f"{said}: made up, as if never bound")
                yield Bent(table.name, _MADE_UP, table.insert().values(copy), f"{said}: made up")


def _copies(table: sa.Table, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a row again under another key, and with other values where no two rows have the same."""
    keys = [key.name for key in table.primary_key]
    unique = {name for one in table.indexes if one.unique for name in one.columns.keys()}  # noqa: SIM118  no dict
    unique |= {c.name for one in table.constraints if isinstance(one, sa.UniqueConstraint) for c in one.columns}
    others = {name: _others(table.c[name], row[name], [])[-1] for name in unique - set(keys)}
    for key in keys:
        yield {**row, **others, key: _others(table.c[key], row[key], [])[-1]}


def _some(rows: list[Any], most: int) -> list[Any]:
    step = max(1, len(rows) // most)
    return rows[::step][:most]


def _others(column: sa.Column[Any], value: Any, held: list[Any]) -> list[Any]:
    """Give other values for a column: those of other rows, nothing, and one nobody wrote."""
    others: list[Any] = []
    for one in held:
        if one != value and one not in others and one is not None:
            others.append(one)
    others = others[:_OTHERS]
    if column.nullable and value is not None:
        others.append(sa.null())
    match column.type:
        case sa.Boolean():
            others.append(not value)
        case sa.Integer():
            others += [(value or 0) + 1, (value or 0) + 7_001]
        case sa.DateTime():
            others.append((value or datetime(2026, 1, 1)) + timedelta(days=400))
        case sa.JSON():
            others += [{"content": "made up"}, [] if value != [] else ["made up"]]
        case _:
            is_time = isinstance(value, str) and value[-1:] == "Z" and value[4:5] == "-"
            others.append(f"9{value[1:]}" if is_time else f"{value or ''}x")
    return others


def _unarmed(world: World, connection: Connection) -> None:
    """Take away what the schema holds against it: triggers, foreign keys, and on SQLite CHECKs."""
    if not world.database.is_sqlite:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        return
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


async def test_whatever_sql_bends_is_found_or_named_here_as_not_covered(world: World) -> None:
    await _let_something_happen(world)
    actions, now = world.gate.judge.actions, world.clock()
    tried: set[str] = set()
    unseen: dict[str, list[str]] = {}

    def work(connection: Connection) -> None:
        _unarmed(world, connection)
        assert verify(connection, AUDIT_KEY, actions=actions, now=now).reason is None
        for bent in list(_everything(connection)):
            savepoint = connection.begin_nested()
            try:
                if connection.execute(bent.statement).rowcount:
                    tried.update(bent.names)
                    if verify(connection, AUDIT_KEY, actions=actions, now=now).is_whole:
                        unseen.setdefault(bent.names[-1], []).append(bent.what)
            except sa.exc.DBAPIError:  # the schema does not hold it
                pass
            savepoint.rollback()

    world.database.write_now(work, is_long=True)

    assert {table.name for table in metadata.sorted_tables} - tried == set()
    missed = {name: what for name, what in unseen.items() if not {name, name.split(".")[0]} & NOT_COVERED.keys()}
    assert missed == {}
    # PostgreSQL's schema holds some of it, CHECKs among it, whatever one takes away.
    known = NOT_COVERED.keys() if world.database.is_sqlite else {*NOT_COVERED} & {*unseen}
    assert known <= {*unseen, *(name.split(".")[0] for name in unseen)}


#: What SQLite takes in any column, and no driver for a text, a number or a time.
_OF_NO_KIND = ("x'ff00'", "CAST(x'ff' AS TEXT)", "'no number'", "CAST({0} AS BLOB)", "{0} || ' '")


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_value_of_another_kind_ends_no_verification(world: World) -> None:
    """A version that is a text, a head that is no number or refusals that are bytes ended it with an error."""
    await _let_something_happen(world)
    actions, now = world.gate.judge.actions, world.clock()
    unseen: dict[str, list[str]] = {}
    tried: set[str] = set()

    def work(connection: Connection) -> None:
        _unarmed(world, connection)
        for table in (one for one in metadata.sorted_tables if one.name not in NOT_COVERED):
            for column in table.columns:
                for value in _OF_NO_KIND:
                    one = f"SELECT min(rowid) FROM {table.name} WHERE {column.name} IS NOT NULL"
                    savepoint = connection.begin_nested()
                    with suppress(sa.exc.DBAPIError):  # the schema does not hold it
                        connection.exec_driver_sql(
                            f"UPDATE {table.name} SET {column.name} = {value.format(column.name)} WHERE rowid = ({one})"
                        )
                        tried.add(f"{table.name}.{column.name}")
                    if verify(connection, AUDIT_KEY, actions=actions, now=now).is_whole:
                        unseen.setdefault(f"{table.name}.{column.name}", []).append(value)
                    savepoint.rollback()

    world.database.write_now(work, is_long=True)

    assert {"audit_head.seq", "requests.version", "requests.salt", "refusals.cause", "refusal_totals.salt"} <= tried
    # A blank after a number is none in a column of numbers.
    for name in ("audit_head.seq", "requests.version", "requests.salt", "refusals.cause", "refusals.at"):
        assert unseen.get(name, ["{0} || ' '"]) == ["{0} || ' '"]
