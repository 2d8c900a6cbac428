"""What is refused before the gate: few rows, counted all, and the totals chained; a flood costs counters only."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from clearance.db.tables import refusal_totals, refusals
from clearance.errors import DatabaseUnavailable
from clearance.journal.refusals import FLOOD, ROWS_A_MINUTE, Floods, chain_totals, note_refused
from clearance.journal.verification import verify
from clearance.server.entry.refusal_counts import RefusalCounts
from tests.support.scripted_model import calls
from tests.support.world import ANA, OLGA, World, question

NOON = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def rows(world: World) -> list[Any]:
    """Read the table, oldest first."""
    return list(world.read(lambda c: c.execute(sa.select(refusals).order_by(refusals.c.refusal_id)).all()))


def refuse(world: World, times: int, person: str = "olga", now: datetime = NOON) -> None:
    """Refuse a call of somebody's so many times."""
    for _ in range(times):
        world.database.write_now(lambda c: note_refused(c, now, person, "goto", thread_id="t", attempt="goto tools"))


async def test_few_rows_of_each_person_and_minute_are_kept(world: World) -> None:
    refuse(world, ROWS_A_MINUTE + 5)
    refuse(world, 1, person="ben")
    refuse(world, 1, now=NOON + timedelta(minutes=1))

    kept = [(row.person, row.cause, row.attempt) for row in rows(world)]

    assert kept == [("olga", "goto", "goto tools")] * ROWS_A_MINUTE + [
        ("ben", "goto", "goto tools"),
        ("olga", "goto", "goto tools"),
    ]


async def test_refusals_at_the_same_moment_are_all_counted(world: World) -> None:
    """On PostgreSQL the second of two that came first failed, and its caller was answered 500."""
    now = datetime.now(UTC)

    for cause in "abcdef":  # each is the first of its kind for some
        counting = partial(note_refused, now=now, person="olga", cause=cause)
        await asyncio.gather(*(world.database.write(counting) for _ in range(8)))

    counted = sa.select(refusal_totals.c.cause, refusal_totals.c.count).order_by(refusal_totals.c.cause)
    assert [tuple(row) for row in world.read(lambda c: c.execute(counted).all())] == [(one, 8) for one in "abcdef"]


async def test_totals_of_each_person_and_minute_are_chained_once(world: World) -> None:
    world.clock.stop()  # no minute ends meanwhile
    now = world.clock()
    refuse(world, 25, now=now)
    refuse(world, 2, person="ben", now=now)
    await world.gate.write(chain_totals)
    too_early = world.events()

    world.clock.advance(minutes=1)
    await world.gate.write(chain_totals)
    await world.gate.write(chain_totals)

    told = [(row["event"], row["actor"], row["details"]["causes"]) for row in world.audit()]
    assert too_early == []
    assert told == [("refusals", "ben", {"goto": 2}), ("refusals", "olga", {"goto": 25})]
    assert world.audit_is_whole()


async def test_a_flood_of_refused_answers_grows_the_log_by_a_bounded_number(world: World) -> None:
    world.clock.stop()
    asked = {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"}
    world.model.will_say(calls(("transfer_funds", asked)))
    question(await world.say("please", by=OLGA))

    for _ in range(FLOOD + 20):
        await world.answer("nonsense", by=ANA)
    refused = world.events().count("answer_refused")
    world.clock.advance(minutes=1)
    await world.gate.write(chain_totals)

    (total,) = [row for row in world.audit() if row["event"] == "refusals"]
    assert refused == FLOOD
    assert total["details"]["causes"] == {"answer_refused": FLOOD + 20}
    assert world.states() == ["asked"]


def test_a_flood_is_told_without_the_database() -> None:
    now = [NOON]
    floods = Floods(lambda: now[0])

    written = [floods.count("olga", "goto") for _ in range(FLOOD)]

    assert written == [True] * ROWS_A_MINUTE + [False] * (FLOOD - ROWS_A_MINUTE)
    assert floods.is_flood("olga")
    assert not floods.is_flood("ben")
    assert floods.take() == {("olga", "goto"): FLOOD - ROWS_A_MINUTE}
    assert floods.take() == {}
    now[0] += timedelta(minutes=1)
    assert not floods.is_flood("olga")


async def test_what_is_refused_while_the_database_is_away_is_counted_when_it_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told in the server's log, and forgotten."""
    database = world.gate.database
    counts = RefusalCounts(database, Floods(lambda: datetime.now(UTC)))

    async def away(_work: Any) -> None:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", away)
        for _ in range(FLOOD):
            await counts.note("olga", "goto")
        keeping = asyncio.create_task(counts.keep())
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping])
    await counts.note("olga", "goto")  # of a flood by now
    keeping = asyncio.create_task(counts.keep())
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])

    kept = world.read(lambda c: c.scalar(sa.select(sa.func.sum(refusal_totals.c.count))))
    assert kept == FLOOD + 1


async def test_a_row_taken_away_shows_against_what_the_log_binds(world: World) -> None:
    refuse(world, 3, now=datetime.now(UTC))
    world.clock.advance(minutes=1)
    await world.gate.write(chain_totals)
    world.execute(sa.delete(refusals))

    (total,) = world.audit()

    assert total["details"]["causes"] == {"goto": 3}
    found = world.read(lambda c: verify(c, b"a key for tests, not a secret at all"))
    assert str(found.reason).startswith("refusals of olga at ")
