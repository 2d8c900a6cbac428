"""How awake reviewers are, how much policy asks, and what another policy would have done with what was recorded."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from clearance.actions.action import Actions
from clearance.db.tables import decisions
from clearance.desk.replay import Replayed, replay
from clearance.desk.statistics import Statistics, read_statistics
from clearance.gate.policy import Policy, parse_policy
from tests.support.scripted_model import calls
from tests.support.world import BEN, POLICY, World

pytestmark = pytest.mark.own_graph("counted from the database alone")

ASKED = {"from_account": "A-2001", "to_account": "A-2003"}


async def ask(world: World, amount: str, thread: str) -> None:
    """Let olga ask for a transfer."""
    world.model.will_say(calls(("transfer_funds", {**ASKED, "amount": amount})))
    await world.say("please", thread=thread)


def read(world: World, since: datetime | None = None) -> Statistics:
    """Read all there is."""
    return world.read(lambda c: read_statistics(c, since or datetime(2020, 1, 1, tzinfo=UTC)))  # type: ignore[no-any-return]  # World.read gives Any


async def work_a_day(world: World) -> None:
    """Five requests: let through, approved, approved after an hour, rejected, edited."""
    await ask(world, "100", "1")
    await ask(world, "5000", "2")
    await world.answer({"approved": True}, thread="2")
    await ask(world, "6000", "3")
    world.clock.advance(hours=1)
    await world.answer({"approved": True}, thread="3")
    await ask(world, "7000", "4")
    await world.answer({"approved": False}, thread="4", by=BEN)
    await ask(world, "8000", "5")
    await world.answer({"approved": True, "edited_args": {"amount": "3000"}}, thread="5", by=BEN)


async def test_reviewers_are_counted_and_hasty_approvals_stand_out(world: World) -> None:
    world.clock.stop()
    await work_a_day(world)

    ana, ben = read(world).reviewers

    assert (ana.person, ana.decisions, ana.approved, ana.edited, ana.rejected) == ("ana", 2, 2, 0, 0)
    assert (ben.person, ben.decisions, ben.approved, ben.edited, ben.rejected) == ("ben", 2, 0, 1, 1)
    assert (ana.hasty, ben.hasty) == (1, 0)
    assert abs(ana.median - timedelta(minutes=30)) < timedelta(seconds=1)
    assert ana.approved == ana.decisions


async def test_verdicts_are_counted_by_action_within_the_period(world: World) -> None:
    await work_a_day(world)

    assert read(world).verdicts == {"transfer_funds": {"allow": 1, "ask": 4, "deny": 0}}
    assert read(world, datetime.now(UTC) + timedelta(days=1)).totals == {"allow": 0, "ask": 0, "deny": 0}


def replayed(world: World, policy: str) -> list[Replayed]:
    """Judge what is recorded under another policy."""
    actions = Actions(world.actions)
    changed: Policy = parse_policy(policy, "new.toml", actions, {"usd": lambda dollars: dollars * 100})
    return world.read(lambda c: list(replay(c, changed, actions)))  # type: ignore[no-any-return]  # World.read gives Any


LAX = POLICY.replace("args.amount <= usd(1000)", "args.amount <= usd(8000)").replace("usd(2500)", "usd(100000)")


async def test_the_same_policy_changes_nothing(world: World) -> None:
    await work_a_day(world)

    found = replayed(world, POLICY)

    assert len(found) == 5
    # What was edited is judged as it was carried out.
    assert [one.is_other for one in found] == [False] * 5
    assert not any(one.is_lost or one.is_spared for one in found)


async def test_a_laxer_policy_spares_questions_and_loses_those_that_people_stopped(world: World) -> None:
    await work_a_day(world)

    found = replayed(world, LAX)

    words = [one.verdict.word for one in found if one.verdict]
    assert words == ["allow"] * 5
    assert [one.is_spared for one in found] == [False, True, True, False, False]
    assert [one.is_lost for one in found] == [False, False, False, True, True]


async def test_a_stricter_policy_asks_for_what_was_let_through(world: World) -> None:
    await work_a_day(world)

    found = replayed(world, POLICY.replace("args.amount <= usd(1000)", "args.amount <= usd(10)"))

    assert [one.verdict.word for one in found if one.verdict] == ["ask"] * 5
    assert [one.is_other for one in found] == [True, False, False, False, False]


async def test_what_was_erased_cannot_be_judged_and_is_not_guessed(world: World) -> None:
    await work_a_day(world)
    world.execute("UPDATE requests SET arguments = NULL, facts = NULL WHERE number = 2")

    found = replayed(world, LAX)

    assert [one.verdict is None for one in found] == [False, True, False, False, False]
    assert not found[1].is_spared


async def test_nothing_is_written_by_a_replay(world: World) -> None:
    await work_a_day(world)
    before = (world.events(), world.states(), made(world))

    replayed(world, LAX)

    assert (world.events(), world.states(), made(world)) == before


def made(world: World) -> int:
    """Count the decisions."""
    return int(world.read(lambda c: c.scalar(sa.select(sa.func.count(decisions.c.number)))))
