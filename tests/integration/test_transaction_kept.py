"""An action that ends the transaction it runs in: refused, or found and told; effect and receipt are one or nothing.

What went wrong: only the methods of SQLAlchemy's connection were refused. With COMMIT as text the effect was kept and
its receipt said that it failed, or was left out, and then it was done again.
"""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar

import psycopg
import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage
from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions import ACTIONS as BANK_ACTIONS
from clearance import ExternalAction
from clearance.actions import Call, Done
from clearance.actions.action import Action, ActionError, Effect, Facts, Reading, Volatile
from clearance.db.engine import Database
from clearance.db.kept import Kept
from clearance.desk.desk import Desk, Standing
from clearance.errors import DatabaseUnavailable
from clearance.journal import audit
from clearance.journal.exported import check
from clearance.principal import Principal
from tests.integration.test_carried_out_at_once import decide
from tests.integration.test_external import woken
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import BEN, World, results

pytestmark = pytest.mark.own_graph("it is about the database")

POLICY = """
[roles]
approver = "decides"
[defaults]
approvers = "approver"
[[rule]]
action = "slip"
when = "facts.size < 1000"
verdict = "allow"
[[rule]]
action = "note_slip"
when = "args.way != ''"
verdict = "allow"
"""

WRITE = "INSERT INTO slips (way) VALUES ('{}')"
Way = Callable[[Connection], object]

#: Of transactions and their savepoints, on either; and what would hold for what the gate does after it.
TEXTS = (
    "COMMIT", "END", "ROLLBACK", "commit work", "/* a /* b */ */ -- c\n Commit", "BEGIN", "ROLLBACK TO clearance_part",
    "RELEASE clearance_part", "SAVEPOINT clearance_part",
)  # fmt: skip
POSTGRES_TEXTS = (
    "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "START TRANSACTION", "PREPARE TRANSACTION 'x'", "COMMIT; BEGIN",
    "SELECT 'a;b'; COMMIT", "DO $$ BEGIN COMMIT; END $$", "ROLLBACK; " + WRITE.format("after it"),
    'RELEASE SAVEPOINT "clearance_part"', "ROLLBACK WORK TO SAVEPOINT CLEARANCE_PART",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET TRANSACTION READ ONLY", "SET LOCAL lock_timeout = 0",
    "SET statement_timeout = 0", "RESET ALL", "DISCARD ALL",
)  # fmt: skip
SQLITE_TEXTS = ("PRAGMA query_only = 1", "PRAGMA busy_timeout = 0")


def _write(connection: Connection, way: str = "written") -> None:
    connection.execute(sa.text(WRITE.format(way)))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _in_text(sql: str) -> Way:
    return lambda connection: connection.exec_driver_sql(sql)


def _raw(sql: str) -> Way:
    return lambda connection: _driver(connection).cursor().execute(sql)


def _past_ours(sql: str) -> Way:
    """By a cursor of psycopg's that nobody here has made."""
    return lambda connection: psycopg.ClientCursor(_driver(connection)).execute(sql)


def _by_the_server(connection: Connection) -> None:
    with _driver(connection).cursor("far") as cursor:
        cursor.execute("COMMIT")


def _another(connection: Connection) -> None:
    with connection.engine.begin() as second:
        _write(second, "by another connection")


def _in_a_thread(connection: Connection) -> None:
    raised: list[Exception] = []

    def run() -> None:
        try:
            connection.exec_driver_sql("COMMIT")
        except Exception as exc:  # noqa: BLE001  it is raised below
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise raised[0]


def _autocommit(connection: Connection) -> None:
    driver = _driver(connection)
    if isinstance(driver, psycopg.Connection):
        driver.autocommit = False
    else:
        driver.isolation_level = None  # by which the driver commits


REFUSED: dict[str, Way] = {
    **{sql: _in_text(sql) for sql in TEXTS},
    **{f"cursor: {sql}": _raw(sql) for sql in ("COMMIT", "ROLLBACK")},
    "as text()": lambda c: c.execute(sa.text("COMMIT")),
    "executemany": lambda c: _driver(c).cursor().executemany("COMMIT", [()]),
    "driver commits": lambda c: _driver(c).commit(),
    "driver rolls back": lambda c: _driver(c).rollback(),
    "autocommit of the driver": _autocommit,
    "autocommit": lambda c: c.execution_options(isolation_level="AUTOCOMMIT"),
    "commits": lambda c: c.commit(),
    "the transaction commits": lambda c: c.get_transaction().commit(),  # type: ignore[union-attr]
    "the savepoint commits": lambda c: c.get_nested_transaction().commit(),  # type: ignore[union-attr]
    "invalidates": lambda c: c.invalidate(),
    "another connection": _another,
    "in a thread": _in_a_thread,
}
REFUSED_BY_POSTGRES: dict[str, Way] = {
    **{sql: _in_text(sql) for sql in POSTGRES_TEXTS},
    "bytes": lambda c: _driver(c).execute(b"COMMIT"),
    "composed": lambda c: _driver(c).execute(psycopg.sql.SQL("COMMIT")),
    "a stream": lambda c: list(_driver(c).cursor().stream("COMMIT")),
    "a copy": lambda c: _driver(c).cursor().copy("COMMIT").__enter__(),
    "a cursor of the server": _by_the_server,
}
REFUSED_BY_SQLITE: dict[str, Way] = {
    **{sql: _in_text(sql) for sql in SQLITE_TEXTS},
    # Commits by itself before it begins.
    "a script": lambda c: _driver(c).executescript(WRITE.format("by a script")),
}


def _roll_back_by_conflict(connection: Connection) -> None:
    with suppress(sa.exc.IntegrityError):
        connection.exec_driver_sql("INSERT OR ROLLBACK INTO customers SELECT * FROM customers")


def _past_the_guard(connection: Connection) -> None:
    _driver(connection).set_authorizer(None)
    connection.exec_driver_sql("COMMIT")


def _guarded_by_another(connection: Connection) -> None:
    """As a library does that lets a model's SQL only read, and forgets to take its guard away."""
    denied = (sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_DELETE)
    _driver(connection).set_authorizer(lambda code, *_: sqlite3.SQLITE_DENY if code in denied else sqlite3.SQLITE_OK)


def _give_back(connection: Connection) -> None:
    connection.connection.close()


#: What nobody refuses, and how many rows are kept of it: the transaction was over, and went on as another.
FOUND_BY_SQLITE: dict[str, tuple[Way, int]] = {
    "conflict": (_roll_back_by_conflict, 1),
    "past the guard": (_past_the_guard, 2),
    "guard taken away": (lambda c: _driver(c).set_authorizer(None), 0),
    "another guard": (_guarded_by_another, 0),
    "gives it back": (_give_back, 0),
}
FOUND_BY_POSTGRES: dict[str, tuple[Way, int]] = {
    # COMMIT fails there, whatever way it comes, and the connection is closed behind it.
    "commit": (_past_ours("COMMIT"), 0),
    "commit and chain": (_past_ours("COMMIT AND CHAIN"), 0),
    "rollback": (_past_ours("ROLLBACK"), 0),
    "rollback and chain": (_past_ours("ROLLBACK AND CHAIN"), 0),
    "rollback and write": (_past_ours(f"ROLLBACK; {WRITE.format('after it')}"), 1),
    "release": (_past_ours("RELEASE SAVEPOINT clearance_part"), 0),
    "raw commit": (lambda c: _driver(c).pgconn.exec_(b"COMMIT"), 0),
    "raw rollback and chain": (lambda c: _driver(c).pgconn.exec_(b"ROLLBACK AND CHAIN"), 0),
    "gives it back": (_give_back, 0),
}


def _in_parts(connection: Connection) -> None:
    with connection.begin_nested():
        _write(connection)
    with suppress(KeyError), connection.begin_nested():
        _write(connection, "undone")
        raise KeyError
    connection.exec_driver_sql("SAVEPOINT mine")
    _write(connection, "undone")
    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT mine")
    connection.exec_driver_sql("RELEASE SAVEPOINT mine")


def _left_open(connection: Connection) -> None:
    connection.begin_nested()
    _write(connection)
    connection.begin_nested()


def _undone_and_left(connection: Connection) -> None:
    connection.begin_nested().rollback()
    _write(connection)


def _by_the_driver(connection: Connection) -> None:
    driver = _driver(connection)
    if isinstance(driver, psycopg.Connection):
        with driver.transaction():
            driver.execute(WRITE.format("written"))
    else:
        driver.execute(WRITE.format("written"))


def _in_many(connection: Connection) -> None:
    connection.execute(sa.text("INSERT INTO slips (way) VALUES (:way)"), [{"way": "one"}, {"way": "two"}])
    connection.execute(sa.text("DELETE FROM slips WHERE way = 'two'"))


def _detached(connection: Connection) -> None:
    connection.detach()
    _write(connection)


def _a_cursor_closed(connection: Connection) -> None:
    connection.connection.cursor().close()
    _write(connection)


#: Cursors that an action has not read to their end, and has still.
HELD: list[sqlite3.Cursor] = []


def _unread(connection: Connection) -> None:
    HELD.append(_driver(connection).execute("INSERT INTO slips VALUES ('one'), ('two'), ('three') RETURNING way"))


def _rolled_back(connection: Connection) -> None:
    _past_ours("ROLLBACK")(connection)
    _write(connection)


def _hidden(connection: Connection) -> None:
    with suppress(RuntimeError, sa.exc.DBAPIError):
        connection.exec_driver_sql("COMMIT")
    _write(connection)


def _against_a_rule(connection: Connection) -> None:
    """Break a rule that the schema looks at with COMMIT, and nowhere before."""
    connection.exec_driver_sql("INSERT INTO stubs (slip) VALUES ('of none')")


#: What changes nothing about effect and receipt: each writes one row more.
HARMLESS: dict[str, Way] = {
    "in parts": _in_parts,
    "left open": _left_open,
    "undone and left": _undone_and_left,
    "hidden": _hidden,
    "by the driver": _by_the_driver,
    "detached": _detached,
    "a cursor closed": _a_cursor_closed,
    "in many": _in_many,
}


def _temporary(table: str) -> Way:
    return _in_text(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM {table}")


def _renamed(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TEMPORARY TABLE harmless AS SELECT * FROM requests")
    connection.exec_driver_sql("ALTER TABLE harmless RENAME TO requests")


#: What has the gate's own statements mean something else than its tables, for this transaction and for all after it.
SHADOWING: dict[str, Way] = {
    **{f"temporary {table}": _temporary(table) for table in ("requests", "receipts", "audit", "audit_head", "leases")},
    "temporary, renamed": _renamed,
    "temporary view": _in_text("CREATE TEMPORARY VIEW requests AS SELECT * FROM plans"),
}
SHADOWING_SQLITE: dict[str, Way] = {
    "temporary trigger": _in_text("CREATE TEMPORARY TRIGGER t BEFORE UPDATE ON main.requests"
                                  " BEGIN SELECT RAISE(IGNORE); END"),
    "temporary, other case": _in_text("CREATE TEMPORARY TABLE Requests AS SELECT * FROM requests"),
}  # fmt: skip
SHADOWING_POSTGRES: dict[str, Way] = {
    "into temporary": _in_text("SELECT * INTO TEMPORARY requests FROM requests"),
    "path": _in_text("SELECT set_config('search_path', 'elsewhere', true)"),
    "path of the session": _in_text("SELECT set_config('search_path', 'elsewhere, public', false)"),
    "temporary elsewhere first": _in_text("SELECT set_config('search_path', 'pg_temp, public', false)"),
}

ENDINGS: dict[str, BaseException] = {
    "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "generator": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
}  # fmt: skip


def _raises(exc: BaseException) -> Way:
    def run(_: Connection) -> None:
        raise exc

    return run


WAYS: dict[str, Way] = {
    **REFUSED, **REFUSED_BY_POSTGRES, **REFUSED_BY_SQLITE, **HARMLESS,
    **{f"sqlite {name}": way for name, (way, _) in FOUND_BY_SQLITE.items()},
    **{f"postgres {name}": way for name, (way, _) in FOUND_BY_POSTGRES.items()},
    **{name: _raises(exc) for name, exc in ENDINGS.items()},
    "closed": lambda c: _driver(c).close(),
    "look": lambda c: c.exec_driver_sql("RELEASE SAVEPOINT clearance_part"),
    "writes": _write,
    "makes a table": lambda c: c.exec_driver_sql("CREATE TABLE more_slips (way TEXT)"),
    "query_only": lambda c: c.exec_driver_sql("PRAGMA query_only = 0"),
    "nothing": lambda _: None,
    "against a rule": _against_a_rule,
    "reads no text": lambda c: c.exec_driver_sql("SELECT CAST(x'ff' AS TEXT)").all(),
    "leaves a savepoint": lambda c: c.begin_nested(),
    "unread": _unread,
    "searches": lambda c: c.exec_driver_sql("SELECT * FROM places WHERE low > 1").all(),
    "fails": lambda c: c.exec_driver_sql("SELECT * FROM nothing"),
    "rolled back in the middle": _rolled_back,
    **SHADOWING, **SHADOWING_SQLITE, **SHADOWING_POSTGRES,
}  # fmt: skip


class SlipFacts(Facts):
    """Facts that are read in some way."""

    size: Volatile[int]


class Slip(Action[SlipFacts]):
    """Write a row, and do something to the transaction."""

    way: str = Field(description="in which way")
    where: str = "perform"

    performed: ClassVar[list[str]] = []

    def facts(self, reading: Reading) -> SlipFacts:
        if self.where == "facts":
            WAYS[self.way](reading.connection)
        return SlipFacts(size=1)

    def perform(self, effect: Effect) -> str:
        Slip.performed.append(self.way)
        _write(effect.connection, self.way.replace("'", "")[:20])
        if self.where == "perform":
            WAYS[self.way](effect.connection)
            if self.way.startswith("sqlite ") and self.way != "sqlite gives it back":
                _write(effect.connection)
        return "Done."


class NoteSlip(ExternalAction[Facts]):
    """Do something elsewhere, and write it down in some way."""

    way: str

    def business_key(self) -> str:
        return f"note:{self.way}"

    def perform(self, call: Call) -> Done:
        Slip.performed.append(self.way)
        return Done("Done elsewhere.")

    def write_down(self, effect: Effect) -> None:
        _write(effect.connection)
        WAYS[self.way](effect.connection)


@pytest.fixture
def slipping(world: World) -> World:
    """A world with an action that does to its transaction what it is told, and a table it writes to."""
    Slip.performed.clear()
    made = World(world.database, policy=POLICY, actions=(*BANK_ACTIONS, Slip, NoteSlip))
    made.execute("CREATE TABLE slips (way TEXT NOT NULL)")
    return made


def _elsewhere(world: World) -> None:
    """Make another schema with tables of the same names, as of another tenant."""
    world.execute("CREATE SCHEMA elsewhere")
    ours = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for table in world.read(lambda c: c.scalars(ours).all()):
        world.execute(f"CREATE TABLE elsewhere.{table} (LIKE public.{table} INCLUDING ALL)")
    world.execute("INSERT INTO elsewhere.audit_head SELECT * FROM public.audit_head")


def is_postgres(world: World) -> bool:
    return not world.database.is_sqlite


def slips(world: World) -> list[str]:
    return list(world.read(lambda c: c.scalars(sa.text("SELECT way FROM slips")).all()))


async def slip(world: World, way: str, where: str = "perform", *, thread: str) -> list[str]:
    """Let the model ask for it, and give what it was told."""
    world.model.will_say_nothing_more()
    world.model.will_say(calls(("slip", {"way": way, "where": where})), AIMessage("I see."))
    return results(await world.say("go", thread=thread))


async def each_fails(world: World, ways: Iterable[str]) -> None:
    """Let each effect be tried in a thread of its own, and see that nothing is kept of any."""
    many = 0
    for many, way in enumerate(ways, 1):
        (said,) = await slip(world, way, thread=str(many))

        assert said.startswith("Not done: slip failed unexpectedly"), way
        assert slips(world) == [], way
        assert world.states()[-1] == "failed", way
    assert world.events() == ["requested", "failed"] * many


async def test_what_would_end_the_transaction_is_refused_and_nothing_is_done(slipping: World) -> None:
    ways = {**REFUSED, **(REFUSED_BY_POSTGRES if is_postgres(slipping) else REFUSED_BY_SQLITE)}
    await each_fails(slipping, ways)
    assert Slip.performed == list(ways)
    assert slipping.audit_is_whole()


async def test_what_would_stand_before_the_gates_own_tables_is_undone_and_nothing_is_done(slipping: World) -> None:
    """What the gate writes of it would go where nobody looks."""
    ways = {**SHADOWING, **(SHADOWING_POSTGRES if is_postgres(slipping) else SHADOWING_SQLITE)}
    if is_postgres(slipping):
        _elsewhere(slipping)
    await each_fails(slipping, ways)
    assert await slip(slipping, "nothing", thread="after it") == ["Done."]
    assert Slip.performed == [*ways, "nothing"]
    assert slipping.audit_is_whole()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_nothing_that_facts_or_look_ups_set_holds_after_them(slipping: World) -> None:
    """On the connection of an effect, or on one that only reads, which the next gets."""
    _elsewhere(slipping)
    for number, way in enumerate(("path", "path of the session", "temporary elsewhere first")):
        assert await slip(slipping, way, "facts", thread=str(number)) == ["Done."], way
        slipping.read(WAYS[way])

    def path(connection: Connection) -> Any:
        return connection.scalar(sa.text("SELECT current_setting('search_path')"))

    assert {use(path) for use in (slipping.read, slipping.database.write_now) for _ in range(20)} == {'"$user", public'}
    assert slipping.states() == ["executed"] * 3
    assert slipping.audit_is_whole()


async def test_facts_do_not_end_the_transaction_either_nor_write(slipping: World) -> None:
    ways = {**REFUSED, **(REFUSED_BY_POSTGRES if is_postgres(slipping) else REFUSED_BY_SQLITE)}
    ways |= {name: WAYS[name] for name in ("look", "writes", "makes a table", "query_only")}
    for number, way in enumerate(ways):
        (said,) = await slip(slipping, way, "facts", thread=str(number))

        assert said.startswith("Not done: what is true about it cannot be read"), way
        assert slips(slipping) == [], way
    assert set(slipping.states()) == {"refused"}
    assert Slip.performed == []
    assert slipping.audit_is_whole()


async def test_facts_keep_nothing_that_they_write_in_words_of_an_effect(slipping: World) -> None:
    """SQLite has them prepared, and prepares nothing twice."""
    assert await slip(slipping, "writes", thread="1") == ["Done."]
    written = slips(slipping)

    (said,) = await slip(slipping, "writes", "facts", thread="2")

    assert said.startswith("Not done: what is true about it cannot be read")
    assert slips(slipping) == written
    assert slipping.states() == ["executed", "refused"]
    assert slipping.audit_is_whole()


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_facts_may_search_what_sqlite_connects_to_as_they_ask(slipping: World) -> None:
    """A virtual table: as it is connected to, SQLite asks whether the writes that it may need one day may be made."""
    slipping.execute("CREATE VIRTUAL TABLE places USING rtree (number, low, high)")
    slipping.database._engine.dispose()

    assert await slip(slipping, "searches", "facts", thread="1") == ["Done."]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_what_an_effect_and_its_facts_are_kept_from_has_nothing_prepared_anew(
    slipping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong: each cycle prepared all its statements a few times, which took longer than to run them."""
    asked: list[int] = []
    authorize = Kept.authorize

    def counting(kept: Kept, code: int, *given: Any) -> int:
        asked.append(code)
        return authorize(kept, code, *given)

    monkeypatch.setattr(Kept, "authorize", counting)
    for number in range(2):
        asked.clear()
        await slip(slipping, "writes", thread=str(number))

    # Whether it is asked, before and after: for the facts as it is opened, and for them and the effect as it is done.
    assert asked == [sqlite3.SQLITE_PRAGMA] * 6


async def test_facts_that_leave_a_savepoint_open_leave_the_effect_alone(slipping: World) -> None:
    """What went wrong: its savepoint went with ours, and where the effect ended it, nobody knew what became of that."""
    assert await slip(slipping, "leaves a savepoint", "facts", thread="1") == ["Done."]
    assert slips(slipping) == ["leaves a savepoint"]
    assert slipping.audit_is_whole()


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_an_effect_is_kept_on_a_connection_that_its_facts_detached(
    slipping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong: nobody was asked for it, so the effect was not done, and the lock was held on."""
    monkeypatch.setitem(WAYS, "detaches", lambda c: c.detach())

    assert await slip(slipping, "detaches", "facts", thread="1") == ["Done."]
    assert await slip(slipping, "nothing", thread="2") == ["Done."]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_facts_are_not_blamed_for_a_guard_that_was_gone_before(slipping: World) -> None:
    def look(connection: Connection) -> Any:
        requester = Principal("olga")
        action = Slip(way="COMMIT", where="facts") if is_ending else Slip(way="nothing", where="facts")
        return slipping.gate.judge.judge(
            connection, slipping.clock(), action, requester=requester, number=1, plan_id=""
        ).verdict.word

    for is_ending in (False, True):
        slipping.database.read_now(lambda c: _driver(c).set_authorizer(None))
        if is_ending:
            with pytest.raises(ActionError, match="cannot be read"):
                slipping.database.read_now(look)
        else:
            assert slipping.database.read_now(look) == "allow"


def _rows_of_its_own(connection: Connection) -> None:
    driver = _driver(connection)
    driver.text_factory = bytes
    driver.row_factory = lambda cursor, row: dict(zip((told[0] for told in cursor.description), row, strict=True))


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_rows_are_read_as_ever_after_an_action_had_them_otherwise(
    slipping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong: whoever had the connection next could not read the log any more."""
    monkeypatch.setitem(WAYS, "has rows of its own", _rows_of_its_own)
    for where in ("facts", "perform"):
        assert await slip(slipping, "has rows of its own", where, thread=where) == ["Done."]
    assert slipping.audit_is_whole()


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_cursor_that_facts_still_have_holds_up_nobody(slipping: World) -> None:
    """What went wrong: SQLite kept the connection that was closed, and its lock, as long as the cursor was there."""
    try:
        (said,) = await slip(slipping, "unread", "facts", thread="1")

        assert said.startswith("Not done: what is true about it cannot be read")
        assert await slip(slipping, "nothing", thread="2") == ["Done."]
        with pytest.raises(DatabaseUnavailable, match="did not answer"):
            await slip(slipping, "unread", thread="3")
        assert await slip(slipping, "nothing", thread="4") == ["Done."]
    finally:
        HELD.clear()
    assert slips(slipping) == ["nothing", "nothing"]
    assert slipping.audit_is_whole()


async def test_what_is_found_only_afterwards_is_known_by_nobody_and_not_done_again(slipping: World) -> None:
    name, ways = ("postgres", FOUND_BY_POSTGRES) if is_postgres(slipping) else ("sqlite", FOUND_BY_SQLITE)
    for number, (way, (_, kept)) in enumerate(ways.items()):
        slipping.execute("DELETE FROM slips")

        said = await slip(slipping, f"{name} {way}", thread=str(number))
        told = (await slipping.say("and?", thread=str(number)))["messages"]

        assert said == [], way
        assert slipping.states()[-1] == "unknown", way
        assert len(slips(slipping)) == kept, way
        assert any("Nobody knows yet whether slip was done" in str(one.content) for one in told), way
    slipping.gate.carry_out_plan(slipping.request().plan_id)
    assert Slip.performed == [f"{name} {way}" for way in ways]
    assert slipping.events().count("unknown") == len(ways)
    assert slipping.audit_is_whole()


async def test_an_approval_stands_of_what_ended_its_transaction(slipping: World) -> None:
    """It is recorded in the transaction that the effect ended: its row was kept without its part of the log."""
    slipping.use_policy(POLICY.replace('"allow"', '"ask"'))
    slipping.model.will_say(calls(("slip", {"way": _some_found(slipping)})), AIMessage("I see."))
    await slipping.say("go")

    await slipping.answer(True)

    assert slipping.states() == ["unknown"]
    assert slipping.events() == ["requested", "approved", "started", "unknown"]
    assert len(Slip.performed) == 1
    assert slipping.audit_is_whole()


def _some_found(world: World) -> str:
    return "postgres rollback and chain" if is_postgres(world) else "sqlite conflict"


@pytest.fixture
def ruled(slipping: World) -> World:
    """A table of which SQLite looks with COMMIT whether each row has its slip, and PostgreSQL by a trigger, too."""
    slipping.execute("CREATE TABLE kinds (name TEXT PRIMARY KEY)")
    rule = "REFERENCES kinds (name) DEFERRABLE INITIALLY DEFERRED"
    slipping.execute(f"CREATE TABLE stubs (slip TEXT NOT NULL {rule})")
    return slipping


@pytest.mark.parametrize("verdict", ["allow", "ask"])
async def test_what_the_schema_refuses_with_commit_fails_once_and_uses_up_its_clearance(
    ruled: World, verdict: str
) -> None:
    ruled.use_policy(POLICY.replace('"allow"', f'"{verdict}"'))
    ruled.model.will_say(calls(("slip", {"way": "against a rule"})), AIMessage("I see."))
    said = await ruled.say("go")
    if verdict == "ask":
        said = await ruled.answer(True)

    (told,) = results(said)
    assert told.startswith("Not done: slip failed unexpectedly (error id ")
    assert ruled.states() == ["failed"]
    assert ruled.events() == ["requested", *(["approved"] if verdict == "ask" else []), "failed"]
    assert Slip.performed == ["against a rule"]
    assert slips(ruled) == []
    ruled.gate.carry_out_plan(ruled.request().plan_id)
    assert Slip.performed == ["against a rule"]
    assert ruled.audit_is_whole()


async def test_nor_is_it_tried_again_where_a_decision_carries_it_out_without_a_run(ruled: World) -> None:
    """What an approval through the API, the inbox or the command does."""
    ruled.use_policy(POLICY.replace('"allow"', '"ask"'))
    ruled.model.will_say(calls(("slip", {"way": "against a rule"})), AIMessage("I see."))
    await ruled.say("go")

    decided = await decide(ruled, True)

    assert isinstance(decided, Standing)
    assert decided.receipt is not None
    assert (decided.receipt.outcome, Slip.performed) == ("failed", ["against a rule"])
    assert ruled.events() == ["requested", "approved", "failed"]
    assert ruled.audit_is_whole()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
@pytest.mark.parametrize("code", ["P0001", "23514", "22012"])
async def test_nor_is_what_a_trigger_refuses_with_commit_tried_again(ruled: World, code: str) -> None:
    ruled.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'it does not balance' USING ERRCODE = '{code}'; END $$"
    )
    ruled.execute("CREATE CONSTRAINT TRIGGER looks AFTER INSERT ON slips DEFERRABLE INITIALLY DEFERRED"
                  " FOR EACH ROW EXECUTE FUNCTION no()")  # fmt: skip

    (told,) = await slip(ruled, "nothing", thread="1")

    assert told.startswith("Not done: slip failed unexpectedly (error id ")
    assert (ruled.states(), Slip.performed) == (["failed"], ["nothing"])
    assert ruled.audit_is_whole()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_what_a_trigger_would_have_tried_again_with_commit_is(ruled: World) -> None:
    """A deadlock or a serialization failure says nothing about what was written."""
    ruled.execute("CREATE SEQUENCE times")
    ruled.execute(
        "CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('times') = 1 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$"
    )
    ruled.execute("CREATE CONSTRAINT TRIGGER looks AFTER INSERT ON slips DEFERRABLE INITIALLY DEFERRED"
                  " FOR EACH ROW EXECUTE FUNCTION once()")  # fmt: skip

    assert await slip(ruled, "nothing", thread="1") == ["Done."]

    assert (ruled.states(), Slip.performed) == (["executed"], ["nothing", "nothing"])
    assert slips(ruled) == ["nothing"]


async def test_of_two_effects_only_the_one_that_the_schema_refuses_with_commit_fails(ruled: World) -> None:
    ruled.model.will_say(
        calls(("slip", {"way": "nothing"}), ("slip", {"way": "against a rule"}), ("slip", {"way": "writes"})),
        AIMessage("I see."),
    )
    await ruled.say("go")

    assert ruled.states()[:2] == ["executed", "failed"]
    assert Slip.performed[:2] == ["nothing", "against a rule"]
    assert slips(ruled)[0] == "nothing"
    assert "against a rule" not in slips(ruled)
    assert ruled.audit_is_whole()


async def test_what_happened_elsewhere_is_told_though_the_schema_refuses_its_notes_with_commit(ruled: World) -> None:
    ruled.model.will_say(calls(("note_slip", {"way": "against a rule"})), AIMessage("I see."))

    await ruled.say("go")
    await until(lambda: ruled.states() == ["executed"])

    assert ruled.receipts()["call-0"].startswith("Done elsewhere. It is not recorded here (error id ")
    assert Slip.performed == ["against a rule"]
    assert slips(ruled) == []
    assert ruled.audit_is_whole()


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_row_that_cannot_be_read_fails_its_action_and_is_no_lost_connection(slipping: World) -> None:
    """As a lost one it was tried four times, told as a database that does not answer, and stayed cleared."""
    (effect,) = await slip(slipping, "reads no text", thread="1")
    (facts,) = await slip(slipping, "reads no text", "facts", thread="2")

    assert effect.startswith("Not done: slip failed unexpectedly (error id ")
    assert facts.startswith("Not done: what is true about it cannot be read")
    assert slipping.states() == ["failed", "refused"]
    assert Slip.performed == ["reads no text"]
    assert slips(slipping) == []


async def test_what_cannot_be_read_back_at_once_fails_its_action(
    slipping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the run with an error of the driver's, and its request stayed cleared."""

    def traces(connection: Connection, _: Any) -> Any:
        connection.exec_driver_sql("SELECT way FROM nowhere").all()

    monkeypatch.setattr(Slip, "traces", traces)
    (told,) = await slip(slipping, "nothing", thread="1")

    assert told.startswith("Not done: slip failed unexpectedly (error id ")
    assert (slipping.states(), slips(slipping)) == (["failed"], [])
    assert slipping.audit_is_whole()


async def test_nor_does_what_reads_it_back_end_the_transaction(
    slipping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its effect was kept without a receipt, and done again."""

    def traces(connection: Connection, _: Any) -> Any:
        connection.exec_driver_sql("COMMIT")

    monkeypatch.setattr(Slip, "traces", traces)
    (told,) = await slip(slipping, "nothing", thread="1")

    assert told.startswith("Not done: slip failed unexpectedly (error id ")
    assert (slipping.states(), slips(slipping), Slip.performed) == (["failed"], [], ["nothing"])
    assert slipping.audit_is_whole()


async def test_a_person_says_what_became_of_it(slipping: World) -> None:
    await slip(slipping, _some_found(slipping), thread="thread")
    ben = Principal(BEN.identity, roles=frozenset(BEN.roles))
    slipping.model.will_say(AIMessage("Then I leave it."))

    became = await Desk(slipping.gate).settle(ben, slipping.request().request_id, happened=False, reason="no such slip")
    told = results(await woken(slipping))

    assert isinstance(became, Standing)
    assert became.receipt is not None
    assert became.receipt.outcome == "failed"
    assert told[0].endswith("ben says that it did not happen: no such slip.")
    assert slipping.events() == ["requested", "started", "unknown", "settled", "failed"]
    assert len(Slip.performed) == 1
    assert slipping.audit_is_whole()
    rows = slipping.read(lambda c: [json.dumps(row) for row in audit.rows(c)])
    assert check(rows, None).findings == []


async def test_savepoints_of_its_own_and_what_was_left_open_are_kept_with_the_receipt(slipping: World) -> None:
    for number, way in enumerate(HARMLESS):
        slipping.execute("DELETE FROM slips")

        assert await slip(slipping, way, thread=str(number)) == ["Done."], way
        assert len(slips(slipping)) == 2, way
    # By now SQLite has all of these statements prepared.
    for number, way in enumerate(HARMLESS):
        assert await slip(slipping, way, thread=f"again {number}") == ["Done."], way
    assert set(slipping.states()) == {"executed"}
    assert slipping.audit_is_whole()


async def test_what_would_end_the_process_fails_the_action_and_the_server_goes_on(slipping: World) -> None:
    """What went wrong: `sys.exit` in an action ended the event loop, at each start again."""
    for where, state in (("perform", "failed"), ("facts", "refused")):
        for way in ENDINGS:
            (said,) = await slip(slipping, way, where, thread=f"{where} {way}")

            assert said.startswith("Not done: "), way
            assert slipping.states()[-1] == state
    assert slips(slipping) == []
    assert slipping.audit_is_whole()


async def test_another_connection_is_refused_at_once(slipping: World) -> None:
    """With SQLite it waited for the lock that its own transaction holds; with PostgreSQL it committed by itself."""
    began = time.monotonic()

    await slip(slipping, "another connection", thread="1")
    await slip(slipping, "another connection", "facts", thread="2")

    assert slips(slipping) == []
    assert slipping.states() == ["failed", "refused"]
    assert time.monotonic() - began < 8


async def test_a_connection_that_is_closed_keeps_nothing(slipping: World) -> None:
    with pytest.raises(Exception, match="The database did not answer"):
        await slip(slipping, "closed", thread="1")

    assert slips(slipping) == []
    assert slipping.states() == ["allowed"]
    assert await slip(slipping, "nothing", thread="2") == ["Done."]
    assert slipping.audit_is_whole()


async def test_a_look_up_cannot_write_after_facts_were_read_on_its_connection(slipping: World) -> None:
    """What went wrong: SQLite's connection for reads took writes from then on."""
    reading = Slip(way="nothing")

    def look(connection: Connection) -> None:
        slipping.gate.judge.judge(
            connection, slipping.clock(), reading, requester=Principal("olga"), number=1, plan_id=""
        )

    for _ in range(10):
        slipping.database.read_now(look)

    with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
        slipping.database.read_now(_write)


async def test_what_happened_elsewhere_is_told_though_its_notes_ended_the_transaction(slipping: World) -> None:
    slipping.model.will_say(calls(("note_slip", {"way": _some_found(slipping)})), AIMessage("I see."))

    await slipping.say("go")
    await until(lambda: slipping.states() == ["executed"])

    assert slipping.receipts()["call-0"] == "Done elsewhere. Nobody knows whether it is recorded here."
    assert len(Slip.performed) == 1
    assert slipping.audit_is_whole()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_facts_that_end_it_all_the_same_refuse_the_action_and_tear_nothing(slipping: World) -> None:
    for number, way in enumerate(FOUND_BY_POSTGRES):
        if way in ("release", "raw commit", "raw rollback and chain"):  # there it is none, or nothing was sent before
            continue
        (said,) = await slip(slipping, f"postgres {way}", "facts", thread=str(number))

        assert said.startswith("Not done: what is true about it cannot be read"), way
        assert slipping.states()[-1] == "refused"
    assert Slip.performed == []
    assert slipping.audit_is_whole()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_nothing_is_written_behind_what_rolled_back(slipping: World) -> None:
    await slip(slipping, "rolled back in the middle", thread="1")

    assert slips(slipping) == []
    assert slipping.states() == ["unknown"]


def test_a_connection_is_of_no_use_after_its_transaction(database: Database) -> None:
    kept: list[Connection] = []

    database.write_now(kept.append)

    with pytest.raises(sa.exc.ResourceClosedError):
        kept[0].exec_driver_sql("SELECT 1")
