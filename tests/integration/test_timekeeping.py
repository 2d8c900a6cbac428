"""Deadlines pass, threads go on and totals are written down though nobody touches anything."""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage

from clearance.db.tables import leases, requests
from clearance.errors import DatabaseUnavailable
from clearance.gate import deadlines
from clearance.journal import notifications, turns
from clearance.journal.questions import questions_of
from clearance.journal.refusals import note_refused
from clearance.journal.turns import Turn
from clearance.server.upkeep import recovery, timekeeping
from clearance.server.upkeep.duties import Duty
from clearance.server.upkeep.timekeeping import Timekeeper
from tests.support.scripted_model import calls
from tests.support.world import ANA, World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
HUGE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "30000"})


class Waker:
    """Stands where the server starts a run: goes on with the graph, or does not."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.woken: list[str] = []
        #: What it gives instead of going on.
        self.gives: bool | Exception | None = None

    async def __call__(self, turn: Turn) -> bool:
        self.woken.append(turn.thread_id)
        if isinstance(self.gives, Exception):
            raise self.gives
        if self.gives is None:
            await self.world.go_on(thread=turn.thread_id)
            return False
        return self.gives


def keeper(world: World, waker: Waker, *, notifies: bool = True) -> Timekeeper:
    return Timekeeper(world.gate, waker, notifies=notifies, clock=world.clock)


async def tick(timekeeper: Timekeeper) -> None:
    for step in timekeeper.steps:
        await step()


async def ask(world: World, *pays: Any, thread: str = "thread") -> None:
    world.model.will_say(calls(*pays))
    await world.say("pay", thread=thread)


async def test_a_request_past_its_deadline_is_closed_and_its_requester_told(world: World) -> None:
    waker = Waker(world)
    timekeeper = keeper(world, waker)
    await ask(world, PAY)
    world.clock.advance(hours=23, minutes=59)
    await tick(timekeeper)
    assert world.states() == ["asked"]
    world.model.will_say(AIMessage("It was too late."))
    world.clock.advance(minutes=2)
    await tick(timekeeper)

    assert world.states() == ["expired"]
    assert world.events() == ["requested", "expired"]
    assert world.audit()[-1]["actor"] == "system"
    assert waker.woken == ["thread"]
    assert (await world.history())[-1].values["messages"][-1].content == "It was too late."
    assert world.audit_is_whole()


async def test_the_whole_plan_ends_and_other_threads_stay(world: World) -> None:
    timekeeper = keeper(world, Waker(world))
    await ask(world, PAY, HUGE)
    await world.decide(True, by=ANA)
    world.clock.advance(hours=20)
    await ask(world, PAY, thread="later")
    world.clock.advance(hours=5)
    await tick(timekeeper)

    assert world.states() == ["expired", "expired", "asked"]
    assert await world.open_question("later") is not None


async def test_many_that_are_due_end_in_short_transactions(world: World) -> None:
    for at in range(7):
        await ask(world, PAY, thread=f"thread-{at}")
    world.clock.advance(hours=25)

    ended = [await world.gate.write(lambda log: deadlines.expire(log, 3)) for _ in range(4)]

    assert [len(turns) for turns in ended] == [3, 3, 1, 0]
    assert set(world.states()) == {"expired"}


async def test_what_expires_and_what_was_decided_elsewhere_at_once_ends_once(world: World) -> None:
    for at in range(4):
        await ask(world, PAY, thread=f"thread-{at}")
    world.clock.advance(hours=25)

    expire = [world.gate.write(deadlines.expire) for _ in range(4)]
    go_on = [world.go_on(thread=f"thread-{at}") for at in range(4)]
    await asyncio.gather(*expire, *go_on)

    assert world.states() == ["expired"] * 4
    assert world.events().count("expired") == 4


async def test_a_thread_whose_request_was_decided_elsewhere_goes_on_after_a_while(world: World) -> None:
    waker = Waker(world)
    timekeeper = keeper(world, waker)
    await ask(world, PAY)
    await tick(timekeeper)
    await world.decide(True, by=ANA)
    await tick(timekeeper)
    assert waker.woken == []  # the run that brought the answer may be on it
    world.clock.advance(seconds=11)
    await tick(timekeeper)

    assert waker.woken == ["thread"]
    assert world.states() == ["executed"]
    world.clock.advance(hours=1)
    await tick(timekeeper)
    assert waker.woken == ["thread"]


async def test_what_a_broken_look_had_read_of_the_log_is_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that was decided meanwhile was not looked at for ten minutes."""
    waker = Waker(world)
    timekeeper = keeper(world, waker)
    await ask(world, PAY)
    await tick(timekeeper)
    await world.decide(True, by=ANA)
    whole = world.gate.database.read

    async def broken(work: Any) -> Any:
        def lost(connection: Any) -> None:
            work(connection)
            raise DatabaseUnavailable("gone")

        return await whole(lost)

    with monkeypatch.context() as patched:
        patched.setattr(world.gate.database, "read", broken)
        with pytest.raises(DatabaseUnavailable):
            await timekeeper.wake()
    await timekeeper.wake()
    world.clock.advance(seconds=11)
    await timekeeper.wake()

    assert waker.woken == ["thread"]


async def test_a_question_that_waits_for_a_person_is_left_alone(world: World) -> None:
    waker = Waker(world)
    timekeeper = keeper(world, waker)
    await ask(world, PAY, PAY)
    await ask(world, PAY, PAY, thread="another")  # it was once taken for one behind the first thread's question
    await world.answer(True)
    for _ in range(5):
        world.clock.advance(minutes=10)
        await tick(timekeeper)

    assert waker.woken == []


async def test_one_that_does_not_go_on_is_tried_at_growing_intervals_and_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    waker = Waker(world)
    waker.gives = False
    timekeeper = keeper(world, waker)
    world.clock.stop()  # how long all this takes is no part of it
    await ask(world, PAY)
    world.clock.advance(hours=25)
    at: list[int] = []
    for second in range(0, 3600, 5):
        before = len(waker.woken)
        await tick(timekeeper)
        if len(waker.woken) > before:
            at.append(second)
        world.clock.advance(seconds=5)

    waits = [after - before for before, after in pairwise(at)]
    assert waits[:7] == [10, 20, 40, 80, 160, 320, 600]
    assert set(waits[7:]) == {600}
    assert caplog.text.count("does not go on") == 1


async def test_one_that_is_as_it_should_be_is_looked_at_again_when_it_changes(world: World) -> None:
    waker = Waker(world)
    waker.gives = True
    timekeeper = keeper(world, waker)
    await ask(world, PAY, PAY)
    await world.decide(True, by=ANA)
    for _ in range(5):
        world.clock.advance(minutes=1)
        await tick(timekeeper)
    assert waker.woken == ["thread"]
    await world.decide(True, by=ANA, call="call-1")
    for _ in range(5):
        world.clock.advance(minutes=1)
        await tick(timekeeper)

    assert waker.woken == ["thread", "thread"]


async def test_one_thread_that_fails_does_not_keep_the_others_from_going_on(world: World) -> None:
    waker = Waker(world)
    timekeeper = keeper(world, waker)
    await ask(world, PAY, thread="first")
    await ask(world, PAY, thread="second")
    world.clock.advance(hours=25)
    waker.gives = RuntimeError("boom")
    duty = Duty(world.gate, "timekeeping", 5, timekeeper.steps)
    await duty.once()
    await duty.once()

    assert waker.woken == ["first", "second"]
    waker.gives = None
    world.clock.advance(seconds=11)
    await duty.once()
    assert waker.woken == ["first", "second", "first", "second"]


async def test_a_question_whose_request_changed_elsewhere_is_put_anew_under_its_own_id(world: World) -> None:
    """An edit past the thread: the new revision stood under the first one's id, where every answer came too late."""
    waker = Waker(world)
    timekeeper = keeper(world, waker)
    await ask(world, PAY)
    first = await world.open_question()
    await world.decide({"approved": True, "edited_args": {"amount": "6000"}}, by=ANA)
    assert world.request().revision == 2
    world.clock.advance(seconds=1)
    await tick(timekeeper)
    world.clock.advance(seconds=11)
    await tick(timekeeper)
    second = await world.open_question()

    assert first is not None
    assert second is not None
    assert second.value["revision"] == 2
    assert second.id != first.id
    put = world.read(lambda c: questions_of(c, "thread"))
    assert [(one.interrupt_id, one.revision) for one in put] == [(first.id, 1), (second.id, 2)]


async def test_totals_of_refusals_are_chained_once_a_minute(world: World) -> None:
    timekeeper = keeper(world, Waker(world))
    await tick(timekeeper)
    world.database.write_now(lambda c: note_refused(c, world.clock(), "olga", "a cause"))
    await tick(timekeeper)
    assert world.events() == []
    world.clock.advance(minutes=2)
    await tick(timekeeper)
    await tick(timekeeper)

    assert world.events() == ["refusals"]


async def test_where_nothing_is_sent_nothing_is_kept_for_later(world: World) -> None:
    await world.gate.write(notifications.collect)
    await tick(keeper(world, Waker(world), notifies=False))
    await world.freeze()
    await world.gate.write(notifications.collect)

    assert world.read(lambda c: notifications.due(c, world.clock() + timedelta(days=9), 9)) == []


# Duties


async def test_of_two_servers_one_does_it_until_it_is_gone(world: World) -> None:
    done: list[str] = []

    def duty(name: str) -> Duty:
        async def step() -> bool:
            done.append(name)
            return False

        return Duty(world.gate, "a duty", 5, [step])

    first, second = duty("first"), duty("second")
    await first.once()
    await second.once()
    assert done == ["first"]
    world.clock.advance(seconds=16)  # the first one was killed
    await second.once()
    assert done == ["first", "second"]


@pytest.mark.own_graph("no graph has to do with it")
async def test_a_step_that_takes_longer_than_the_lease_keeps_it(world: World) -> None:
    """Another server had it after 15 s, and both kept time."""
    done: list[str] = []

    async def take_long() -> bool:
        for _ in range(3):
            before = _until(world)
            world.clock.advance(seconds=0.5)
            async with asyncio.timeout(20):
                while _until(world) == before:  # noqa: ASYNC110  it is renewed beside us
                    await asyncio.sleep(0.05)
            await second.once()
        done.append("first")
        return False

    async def step() -> bool:
        done.append("second")
        return False

    second = Duty(world.gate, "a duty", 5, [step])
    await Duty(world.gate, "a duty", 5, [take_long], lease_s=0.9).once()

    assert done == ["first"]


@pytest.mark.own_graph("no graph has to do with it")
async def test_who_stood_still_and_lost_the_lease_ends_what_it_was_at(world: World) -> None:
    done: list[str] = []

    async def stand_still() -> bool:
        while not done:
            world.clock.advance(minutes=1)
            await second.once()
        await asyncio.sleep(30)
        done.append("first")
        return True

    async def step() -> bool:
        done.append("second")
        return False

    second = Duty(world.gate, "a duty", 5, [step])
    first = Duty(world.gate, "a duty", 5, [stand_still], lease_s=0.9)
    is_more = await first.once()
    await first.once()

    assert done == ["second"]
    assert not is_more


def _until(world: World) -> datetime:
    (lease,) = world.read(lambda c: c.execute(sa.select(leases)).all())
    until: datetime = lease.until
    return until


async def test_a_failing_step_is_logged_once_and_keeps_nothing_from_being_done(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    async def fail() -> bool:
        raise failures[0]

    async def go() -> bool:
        done.append(1)
        return False

    duty = Duty(world.gate, "a duty", 5, [fail, go])
    failures: list[Exception] = [ValueError("boom")]
    for _ in range(3):
        await duty.once()
    failures = [DatabaseUnavailable("The database did not answer")]
    for _ in range(3):
        await duty.once()

    assert len(done) == 6
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_a_duty_that_is_ended_gives_its_lease_back(world: World) -> None:
    async def step() -> bool:
        return False

    task = asyncio.create_task(Duty(world.gate, "a duty", 5, [step]).run())
    await asyncio.sleep(0.5)
    assert len(world.read(lambda c: c.execute(sa.select(leases)).all())) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert world.read(lambda c: c.execute(sa.select(leases)).all()) == []


# What it costs


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_what_is_due_and_what_stalls_is_found_by_an_index(world: World) -> None:
    """PostgreSQL plans by the size of its tables, which are empty here."""
    plans: list[str] = []
    for query, values in (
        (deadlines._DUE, {"now": world.clock(), "most": 5}),
        (deadlines._STALLED, {"turn_ids": ["turn"]}),
        (deadlines._NESTED, {}),
        (turns._OPEN_AFTER, {"thread_id": "", "place": "", "most": 5}),
        (notifications._DUE, {"now": world.clock(), "most": 5}),
    ):

        def explain(connection: sa.Connection, query: Any = query, values: Any = values) -> None:
            shown: list[Any] = []
            sa.event.listen(connection, "before_cursor_execute", lambda *args: shown.append(args[2:4]))
            connection.execute(query, values)
            found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {shown[0][0]}", shown[0][1])
            plans.append("\n".join(row[3] for row in found))

        world.read(explain)

    assert "ix_requests_due" in plans[0]
    assert "SCAN" not in plans[1].replace("SCAN json_each", "").replace("SCAN EXISTS", "")
    assert "ix_turns_nested" in plans[2]
    assert "SEARCH turns USING INDEX uq_turns_open" in plans[3]
    assert "TEMP B-TREE" not in plans[3]
    assert "ix_notifications_next" in plans[4]


@pytest.mark.own_graph("the scans are the journal's, whatever graph runs")
async def test_all_that_is_open_is_looked_at_a_page_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand open turns were read at once, each ten minutes, for those that wait for nobody."""
    monkeypatch.setattr(timekeeping, "_PAGE", 2)
    waker = Waker(world)
    waker.gives = True
    for thread in ("a", "b", "c", "d", "e"):
        await ask(world, PAY, thread=thread)
    unput = sa.update(requests).where(requests.c.thread_id.in_(["b", "e"])).values(asked_ms=None)
    world.database.write_now(lambda c: c.execute(unput))
    looked: list[set[str]] = []
    read = deadlines.stalled

    def spy(connection: sa.Connection, turn_ids: Collection[str]) -> list[tuple[Turn, str]]:
        looked.append(set(turn_ids))
        return read(connection, turn_ids)

    monkeypatch.setattr(deadlines, "stalled", spy)
    timekeeper = keeper(world, waker)

    more = [await timekeeper.wake() for _ in range(4)]
    world.clock.advance(seconds=11)
    await timekeeper.wake()

    assert more == [True, True, False, False]
    # Those of the page, and those that stood in the pages before.
    assert [len(some) for some in looked] == [2, 3, 2, 2, 2]
    assert len(set.union(*looked)) == 5
    assert waker.woken == ["b", "e"]


@pytest.mark.own_graph("the scans are the journal's, whatever graph runs")
async def test_a_start_looks_first_at_what_waits_for_no_person(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_PAGE", 2)
    for thread in ("a", "b", "c", "d", "e"):
        await ask(world, PAY, thread=thread)
    unput = sa.update(requests).where(requests.c.thread_id.in_(["b", "e"])).values(asked_ms=None)
    world.database.write_now(lambda c: c.execute(unput))

    pages = [[turn.thread_id for turn in page] async for page in recovery._all_open(world.parts)]

    assert pages == [["b"], [], ["e"], ["a"], ["c", "d"], []]
