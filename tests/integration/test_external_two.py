"""Two processes over one PostgreSQL: their claims, leases and look-ups of external actions do not meet."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from langchain_core.messages import AIMessage

from clearance.db.engine import Database
from clearance.journal.attempts import attempts_on
from tests.support.outside import OUTSIDE, POLICY
from tests.support.paying import ROLES
from tests.support.payments import Provider
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import ANA, World

pytestmark = pytest.mark.parametrize("world", ["postgres"], indirect=True)
ROUNDS = 8


@pytest.fixture
def one(world: World, provider: Provider) -> World:
    world.actions = OUTSIDE
    world.use_policy(ROLES + POLICY)
    return world


@pytest.fixture
def other(one: World) -> Iterator[World]:
    database = Database(one.database.url)
    yield World(database, ROLES + POLICY, OUTSIDE, one.checkpointer)
    database.close()


async def approved(world: World, *accounts: str) -> list[str]:
    """Ask for a payment to each account, each in a thread of its own, and approve it without a run; give the plans."""
    for at, account in enumerate(accounts):
        world.model.will_say(calls(("pay_out_blocking", {"account": account, "amount": 5000}), ids=[f"call-{at}"]))
        await world.say("pay", thread=f"thread-{at}")
        await world.decide(True, by=ANA, call=f"call-{at}")
    world.model.will_say(*[AIMessage("Done.")] * len(accounts))
    return [request.plan_id for request in world.requests()]


async def at_once(worlds: list[World], plans: list[str]) -> None:
    await asyncio.gather(
        *(world.database.run(partial(world.gate.carry_out_plan, plan)) for plan in plans for world in worlds)
    )


async def test_what_both_would_carry_out_is_started_by_one(one: World, other: World, provider: Provider) -> None:
    accounts = [f"X-{number}" for number in range(ROUNDS)]
    plans = await approved(one, *accounts)

    await at_once([one, other], plans)
    await until(lambda: set(one.states()) == {"executed"})

    assert sorted(provider.paid()) == [(account, 5000) for account in accounts]
    assert one.events().count("started") == ROUNDS
    assert one.audit_is_whole()


async def test_one_business_key_is_in_flight_once_in_both(one: World, other: World, provider: Provider) -> None:
    provider.mood, provider.takes_s = "pays, then hangs", 6
    plans = await approved(one, *["X-1"] * ROUNDS)

    await asyncio.gather(at_once([one], plans[::2]), at_once([other], plans[1::2]))
    await until(lambda: one.states().count("refused") == ROUNDS - 1)

    assert len(provider.asked) == 1
    assert one.events().count("started") == 1


async def test_what_is_unknown_is_looked_up_by_one_at_a_time(one: World, other: World, provider: Provider) -> None:
    provider.mood, provider.is_blind = "breaks after", True
    plans = await approved(one, *[f"X-{number}" for number in range(4)])
    await at_once([one, other], plans)
    await until(lambda: one.states() == ["unknown"] * 4)
    for world in (one, other):
        world.gate.flights.reconcile()
    await until(lambda: provider.lookups >= 8)
    provider.is_blind = False
    await until(lambda: one.states() == ["executed"] * 4)

    looks = [attempt.looks for request in one.requests()
             for attempt in one.read(partial(attempts_on, request_id=request.request_id))]  # fmt: skip
    assert sum(looks) == provider.lookups
    assert one.events().count("reconciled") == 4
    assert len(provider.asked) == 4


async def test_a_freeze_in_one_names_what_the_other_performs_and_lets_it_start_nothing(
    one: World, other: World, provider: Provider
) -> None:
    provider.mood, provider.takes_s = "slow", 1.5
    plans = await approved(one, "X-1", "X-2")
    await at_once([one], plans[:1])
    await until(lambda: provider.asked != [])

    await other.freeze()
    await at_once([one], plans[1:])
    await until(lambda: one.states() == ["executed", "refused"])

    frozen = next(row for row in one.audit() if row["event"] == "frozen")
    assert frozen["details"]["in_flight"] == [one.requests()[0].request_id]
    assert len(provider.asked) == 1
