"""Statements that share a way to the database: in their order, and what fails undoes what it should and no more."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage
from sqlalchemy.engine import Connection

from agent.actions import TransferFunds
from clearance.actions.action import Effect, Reading
from clearance.db import engine, postgres
from clearance.db.compiled import Answer, ask, prefetch, rows_of, wait_for_all
from clearance.db.engine import Database
from clearance.db.tables import notices
from clearance.journal.statements import param
from tests.support.scripted_model import calls
from tests.support.world import World, results

_KEEP = sa.insert(notices)
_TEXTS = sa.select(notices.c.text).where(notices.c.thread_id == param("thread_id")).order_by(notices.c.text)
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "500"})


def _keep(connection: Connection, text: str) -> None:
    # By its message id it is unique.
    ask(connection, _KEEP, _row(text))


def _texts(connection: Connection) -> list[str]:
    return [text for (text,) in rows_of(connection, _TEXTS, {"thread_id": "t"})]


def test_what_is_asked_for_sees_what_was_written_before_it(database: Database) -> None:
    def work(connection: Connection) -> list[list[str]]:
        _keep(connection, "a")
        first = _texts(connection)
        _keep(connection, "b")
        by_sqlalchemy = [text for (text,) in connection.execute(_TEXTS, {"thread_id": "t"})]
        _keep(connection, "c")
        (number,) = connection.exec_driver_sql("SELECT count(*) FROM notices").one()
        return [first, by_sqlalchemy, ["c"] * number]

    assert database.write_now(work) == [["a"], ["a", "b"], ["c", "c", "c"]]
    assert database.read_now(_texts) == ["a", "b", "c"]


@pytest.mark.parametrize("way", ["ours", "by SQLAlchemy", "many", "by the driver"])
def test_what_was_asked_for_ahead_is_not_taken_for_what_is_there_after_a_write(database: Database, way: str) -> None:
    def work(connection: Connection) -> list[list[str]]:
        prefetch(connection, _TEXTS, {"thread_id": "t"})
        before = _texts(connection)
        prefetch(connection, _TEXTS, {"thread_id": "t"})
        if way == "ours":
            _keep(connection, "a")
        elif way == "by SQLAlchemy":
            connection.execute(_KEEP, _row("a"))
        elif way == "many":
            connection.execute(_KEEP, [_row("a"), _row("b")])
        else:
            connection.exec_driver_sql("INSERT INTO notices VALUES ('t', 'a', 'a', '2026-01-01T00:00:00Z')")
        return [before, _texts(connection)]

    assert database.write_now(work) == [[], ["a", "b"] if way == "many" else ["a"]]


def test_what_was_asked_for_ahead_does_not_outlive_its_transaction(database: Database) -> None:
    def ask_ahead(connection: Connection) -> None:
        prefetch(connection, _TEXTS, {"thread_id": "t"})
        raise LookupError

    with pytest.raises(LookupError):
        database.write_now(ask_ahead)
    database.write_now(lambda c: prefetch(c, _TEXTS, {"thread_id": "t"}))
    database.write_now(lambda c: _keep(c, "a"))

    assert database.write_now(_texts) == ["a"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_what_begins_and_ends_a_transaction_takes_no_place_among_what_is_prepared(database: Database) -> None:
    def work(connection: Connection) -> list[str]:
        with connection.begin_nested():
            prefetch(connection, _TEXTS, {"thread_id": "t"})
            _texts(connection)
        prepared = connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements")
        return [statement.split()[0] for (statement,) in prepared]

    for _ in range(8):
        prepared = database.write_now(work)
    assert "SELECT" in prepared
    assert set(prepared) <= {"SELECT", "INSERT", "UPDATE", "DELETE"}


def test_a_statement_that_fails_on_its_way_with_commit_is_told_as_that_and_nothing_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, tries = engine.Written(), []
    token = engine.written.set(noted)

    def work(connection: Connection) -> None:
        tries.append(1)
        _keep(connection, "a")
        _keep(connection, "a")

    with pytest.raises(sa.exc.IntegrityError):
        database.write_now(work)
    engine.written.reset(token)

    # Not as a COMMIT of which nobody knows, and is tried again for.
    assert (tries, noted.may_be) == ([1], False)
    assert database.read_now(_texts) == []
    database.write_now(lambda c: _keep(c, "b"))
    assert database.read_now(_texts) == ["b"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("way", ["ours", "by SQLAlchemy"])
def test_a_transaction_in_which_a_failed_statement_was_hidden_is_not_told_as_committed(
    database: Database, way: str
) -> None:
    """PostgreSQL answers its COMMIT with ROLLBACK, which is no error to the driver."""
    left_out: list[Answer] = []

    def work(connection: Connection) -> str:
        _keep(connection, "a")
        with suppress(sa.exc.DBAPIError):
            if way == "ours":
                again = ask(connection, _KEEP, _row("a"))
                left_out.append(ask(connection, _TEXTS, {"thread_id": "t"}))
                again.rows()
            connection.execute(_KEEP, _row("a"))
        return "kept"

    with pytest.raises(sa.exc.DBAPIError):
        database.write_now(work)

    for one in left_out:  # no rows would be an answer
        with pytest.raises(sa.exc.DBAPIError):
            one.rows()
    assert database.read_now(_texts) == []
    database.write_now(lambda c: _keep(c, "b"))
    assert database.read_now(_texts) == ["b"]


def test_a_look_in_which_a_failed_statement_was_hidden_is_answered(database: Database) -> None:
    def work(connection: Connection) -> list[str]:
        found = _texts(connection)
        with suppress(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT no_such_column FROM notices")
        return found

    assert database.read_now(work) == []
    assert database.read_now(_texts) == []


def test_what_was_not_waited_for_is_gone_with_its_transaction(database: Database) -> None:
    def work(connection: Connection) -> None:
        _keep(connection, "a")
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            database.write_now(work)
    database.write_now(lambda c: _keep(c, "b"))

    assert database.read_now(_texts) == ["b"]


def test_what_fails_in_a_savepoint_is_undone_with_it(database: Database) -> None:
    def keep_twice(connection: Connection) -> None:
        with connection.begin_nested():
            _keep(connection, "b")
            _keep(connection, "b")
            wait_for_all(connection)

    def work(connection: Connection) -> list[str]:
        _keep(connection, "a")
        with pytest.raises(sa.exc.IntegrityError):
            keep_twice(connection)
        _keep(connection, "c")
        return _texts(connection)

    assert database.write_now(work) == ["a", "c"]
    assert database.read_now(_texts) == ["a", "c"]


def test_a_savepoint_that_is_given_up_undoes_what_would_have_failed_in_it(database: Database) -> None:
    def give_up(connection: Connection) -> None:
        with connection.begin_nested():
            for _ in range(2):
                with suppress(sa.exc.IntegrityError):  # SQLite says so at once
                    _keep(connection, "b")
            raise LookupError

    def work(connection: Connection) -> list[str]:
        _keep(connection, "a")
        with pytest.raises(LookupError):
            give_up(connection)
        _keep(connection, "c")
        return _texts(connection)

    assert database.write_now(work) == ["a", "c"]
    assert database.read_now(_texts) == ["a", "c"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    "read",
    [
        lambda c: c.exec_driver_sql("SELECT text FROM notices WHERE thread_id = 't'").scalars().all(),
        lambda c: c.execute(sa.select(notices.c.text).execution_options(stream_results=True)).scalars().all(),
        lambda c: c.execute(sa.insert(notices), [_row("b"), _row("c")]) and [],
        lambda c: _driver(c).execute("SELECT text FROM notices").fetchall() and ["a"],
        lambda c: [text.decode().strip() for text in _copied(_driver(c))],
    ],
    ids=["driver", "server's cursor", "many", "past SQLAlchemy", "copy"],
)
def test_whatever_way_a_statement_goes_it_comes_after_those_before(
    database: Database, read: Callable[[Connection], Any]
) -> None:
    def work(connection: Connection) -> Any:
        _keep(connection, "a")
        return read(connection)

    found = database.write_now(work)

    assert found in (["a"], [])
    assert database.read_now(_texts)[0] == "a"


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_several_statements_in_one_come_after_those_before(database: Database) -> None:
    def work(connection: Connection) -> None:
        _keep(connection, "a")
        connection.exec_driver_sql("UPDATE notices SET text = text || '1'; UPDATE notices SET text = text || '2'")

    database.write_now(work)

    assert database.read_now(_texts) == ["a12"]


async def test_facts_that_hide_a_failed_statement_are_not_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = TransferFunds.facts

    def hide(self: TransferFunds, reading: Reading) -> Any:
        found = facts(self, reading)
        with suppress(sa.exc.DBAPIError):
            reading.connection.exec_driver_sql("SELECT no_such_column FROM customers")
        return found

    monkeypatch.setattr(TransferFunds, "facts", hide)
    world.model.will_say(calls(SMALL), AIMessage("Done."))

    done = await world.say("pay")

    if world.database.is_sqlite:  # there a statement fails alone
        assert world.states() == ["executed"]
    else:
        assert "what is true about it cannot be read" in results(done)[0]
        assert world.transfers() == []


async def test_an_action_that_hides_a_failed_statement_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL would leave out everything that follows, its receipt and all."""
    perform: Callable[[TransferFunds, Effect], str] = TransferFunds.perform

    def hide(self: TransferFunds, effect: Effect) -> str:
        said = perform(self, effect)
        with suppress(sa.exc.DBAPIError):
            effect.connection.exec_driver_sql("SELECT no_such_column FROM customers")
        return said

    monkeypatch.setattr(TransferFunds, "perform", hide)
    world.model.will_say(calls(SMALL), AIMessage("Done."))

    done = await world.say("pay")

    if world.database.is_sqlite:  # there a statement fails alone
        assert world.states() == ["executed"]
    else:
        assert results(done)[0].startswith("Not done: transfer_funds failed unexpectedly")
        assert (world.states(), world.transfers()) == (["failed"], [])


def _row(text: str) -> dict[str, Any]:
    return {"thread_id": "t", "message_id": text, "text": text, "at": datetime.now(UTC)}


def _driver(connection: Connection) -> postgres.Connection:
    driver: Any = connection.connection.dbapi_connection
    assert isinstance(driver, postgres.Connection)
    return driver


def _copied(driver: postgres.Connection) -> list[bytes]:
    with driver.cursor().copy("COPY (SELECT text FROM notices) TO STDOUT") as rows:
        return [bytes(row) for row in rows]
