"""What does not end holds up its own thread: every other wait has a bound, and says what it waited for."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage

from agent.actions import TransferFunds
from clearance.actions.action import Effect
from clearance.db import engine
from clearance.db.engine import Database, DatabaseBusy
from clearance.desk.desk import Desk
from clearance.errors import DatabaseUnavailable
from clearance.journal.audit import Log
from clearance.journal.requests import count_open
from tests.support.faults import end_all
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import World, results

SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
PAID = "Transferred $900.00 from A-2001 to A-2003 (T-301)."
LOOK = ("get_account", {"account_id": "A-2001"})
_HOUR = timedelta(hours=1)
#: A statement without an end.
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i > 0) SELECT count(*) FROM n"

Perform = Callable[[TransferFunds, Effect], str]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a lock one second at most."""
    monkeypatch.setattr(engine, "_WAIT_S", 1.5)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a lock longer than a busy machine takes for reads that wait for none."""
    monkeypatch.setattr(engine, "_WAIT_S", 6)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A perform that hangs until `go`; `started` tells that it does."""
    started, go = threading.Event(), threading.Event()
    perform = TransferFunds.perform

    def hang(self: TransferFunds, effect: Effect) -> str:
        started.set()
        go.wait(60)
        return perform(self, effect)

    monkeypatch.setattr(TransferFunds, "perform", hang)
    yield started, go
    go.set()


async def test_beside_an_effect_that_hangs_the_freeze_answers_and_reads_go_on(
    patient: None, world: World, hanging: tuple[threading.Event, threading.Event], caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong: the freeze waited for ever; on PostgreSQL all threads waited for the lock, so nobody read."""
    started, go = hanging
    world.model.will_say(calls(SMALL), AIMessage("Done."))
    paying = asyncio.create_task(world.say("pay"))
    assert await asyncio.to_thread(started.wait, 60)

    writes = [asyncio.create_task(world.gate.take_lease(f"one {number}", "us", _HOUR)) for number in range(30)]
    freezing = asyncio.create_task(Desk(world.gate).freeze("ops", "drill"))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    for _ in range(20):
        await world.database.read(count_open)
    read_s = time.monotonic() - began
    with pytest.raises(DatabaseBusy, match=r"transfer_funds of request \w+ has held the database for \d+ s"):
        await freezing
    refused = await asyncio.gather(*writes, return_exceptions=True)
    took_s = time.monotonic() - began
    go.set()
    done = await paying

    assert read_s < 5
    assert took_s < 50
    assert {type(one) for one in refused} == {DatabaseBusy}
    assert "in hang" in caplog.text  # where in its code it stands
    assert caplog.text.count("others wait for it") == 1
    assert results(done) == [PAID]
    assert await Desk(world.gate).freeze("ops", "drill") is False
    assert world.events() == ["requested", "executed", "frozen"]


async def test_look_ups_of_others_go_on_beside_an_effect_that_hangs(
    world: World, hanging: tuple[threading.Event, threading.Event]
) -> None:
    started, go = hanging
    world.model.will_say(calls(SMALL), AIMessage("Done."))
    paying = asyncio.create_task(world.say("pay"))
    assert await asyncio.to_thread(started.wait, 60)

    asked = [Desk(world.gate).switch() for _ in range(40)]
    async with asyncio.timeout(30):
        await asyncio.gather(*asked)

    go.set()
    assert results(await paying) == [PAID]


async def test_a_decision_stands_behind_no_queue_of_what_runs_write(world: World) -> None:
    """What went wrong: beside many runs it waited for one of their threads, behind all that they would write."""
    started, go, order = threading.Event(), threading.Event(), list[str]()

    def hold(_: Log) -> None:
        started.set()
        assert go.wait(60)

    holding = asyncio.create_task(world.gate.write(hold))
    assert await asyncio.to_thread(started.wait, 60)
    runs = [asyncio.create_task(world.gate.write(lambda _: order.append("run"))) for _ in range(40)]
    try:
        await until(lambda: _waiting(world.database) == engine._WRITERS - 1)
        deciding = asyncio.create_task(world.gate.write(lambda _: order.append("decision"), is_urgent=True))
        await until(lambda: _waiting(world.database) == engine._WRITERS)
    finally:
        go.set()
    await asyncio.gather(holding, deciding, *runs)

    # SQLite's writers wait here, urgent ones apart. PostgreSQL gives a row to some other one of those that wait for it:
    # at worst to all that have a thread meanwhile, but one that waits for a thread is behind the last of them.
    assert order.index("decision") <= (0 if world.database.is_sqlite else 40 - engine._WRITERS - 1)


async def test_a_decision_waits_for_no_other_that_takes_long(world: World) -> None:
    """What went wrong: who completed a plan kept a thread until all of it was done, and those who came last had 503."""
    go = threading.Event()
    others = [asyncio.create_task(world.database.run(lambda: go.wait(60), is_urgent=True)) for _ in range(20)]
    await asyncio.sleep(0)  # they are first

    await world.gate.write(lambda _: None, is_urgent=True)
    go.set()

    assert await asyncio.gather(*others) == [True] * 20


def _waiting(database: Database) -> int:
    """Count the writers that wait behind one that holds the lock."""
    return database._writing.waiting if database._writing else len(database._doing) - 1


async def test_a_freeze_from_another_process_answers_too(
    world: World, monkeypatch: pytest.MonkeyPatch, hanging: tuple[threading.Event, threading.Event]
) -> None:
    started, go = hanging
    world.model.will_say(calls(SMALL), AIMessage("Done."))
    paying = asyncio.create_task(world.say("pay"))
    assert await asyncio.to_thread(started.wait, 60)
    monkeypatch.setattr(engine, "_WAIT_S", 1.5)
    elsewhere = Database(world.database.url)

    began = time.monotonic()
    with pytest.raises(DatabaseBusy, match="another process or connection holds the database"):
        await Desk(World(elsewhere).gate).freeze("ops", "drill")
    took_s = time.monotonic() - began
    elsewhere.close()
    go.set()

    assert took_s < 50
    assert results(await paying) == [PAID]


async def test_an_effect_whose_statement_does_not_end_fails_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_STATEMENT_S", 1)

    def endless(self: TransferFunds, effect: Effect) -> str:
        effect.connection.execute(sa.text(ENDLESS))
        return "never"

    monkeypatch.setattr(TransferFunds, "perform", endless)
    world.model.will_say(calls(SMALL), AIMessage("Did not work."))

    async with asyncio.timeout(60):
        done = await world.say("pay")

    assert results(done)[0].startswith("Not done: transfer_funds failed unexpectedly")
    assert world.states() == ["failed"]
    await world.freeze()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_postgres_lets_go_of_what_hangs_outside_a_statement(
    world: World, monkeypatch: pytest.MonkeyPatch, hanging: tuple[threading.Event, threading.Event]
) -> None:
    """In SQLite nothing can: the lock is the process's own."""
    monkeypatch.setattr(engine, "_IDLE_S", 1)
    monkeypatch.setattr(engine, "_WAIT_S", 5)
    started, go = hanging
    world.model.will_say(calls(SMALL), AIMessage("Done."))
    paying = asyncio.create_task(world.say("pay"))
    assert await asyncio.to_thread(started.wait, 60)

    await world.freeze()
    await asyncio.sleep(4)
    go.set()
    with pytest.raises(DatabaseUnavailable):
        await paying

    assert world.transfers() == []
    done = await world.go_on()
    assert "all effects are frozen" in results(done)[0]


async def test_reads_that_do_not_end_have_a_bound_for_others_and_leave_writers_alone(short: None, world: World) -> None:
    go = threading.Event()
    hung = [asyncio.create_task(world.database.read(lambda _: go.wait(20))) for _ in range(8)]
    await asyncio.sleep(0.2)

    await world.freeze()
    with pytest.raises(DatabaseBusy, match="busy with what others read"):
        await world.database.read(count_open)
    go.set()
    await asyncio.gather(*hung)

    assert sum((await world.database.read(count_open)).values()) == 0


@pytest.mark.own_graph("what is tried is the database's connections")
@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_connections_that_were_lost_while_nobody_used_them_are_replaced_at_once(world: World) -> None:
    world.model.will_say(calls(SMALL), AIMessage("Done."), calls(SMALL), AIMessage("Done."))
    await world.say("pay")
    end_all(world)

    done = await world.say("pay again")

    assert results(done)[-1].startswith("Transferred $900.00")
    assert len(world.transfers()) == 2
    assert world.audit_is_whole()


@pytest.mark.parametrize("is_writing", [False, True])
async def test_what_looks_for_the_next_of_nothing_is_an_error_and_hangs_nobody(world: World, is_writing: bool) -> None:
    nothing = iter(list[int]())

    def work(_: object) -> int:
        return next(nothing)

    run = world.database.write if is_writing else world.database.read
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(run(work), 10)
