"""A decision that completes a plan carries it out there and then, in the process that records it, without a run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from clearance.db.engine import Database
from clearance.desk.desk import Desk, Seen, Standing
from clearance.gate.answers import Edit, NewMessage, Reference, parse
from clearance.gate.decision import Refusal
from clearance.principal import Principal
from tests.support.faults import failing_commits, slow_writes
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, TESS, TOM, Person, World, question, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
LESS = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2002", "amount": "2000"})
MUCH = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "26000"})
PAID = "Transferred $5,000.00 from A-2001 to A-2003 (T-301)."


async def decide(world: World, answer: Any, *, by: Person = ANA, call: str = "call-0") -> Standing | Refusal:
    """Decide as the approvals API does."""
    request = world.request(call)
    assert request.digest
    parsed = parse(answer) if not isinstance(answer, Edit) else answer
    assert not isinstance(parsed, NewMessage)
    principal = Principal(by.identity, roles=frozenset(by.roles))
    seen = Seen(request.digest, request.revision)
    return await Desk(world.gate).decide(principal, request.request_id, parsed, seen)  # type: ignore[arg-type]  # an Unclear would fail the test


async def hold(world: World, *wished: tuple[str, dict[str, Any]]) -> None:
    """Say something that is held."""
    world.model.will_say(calls(*wished), AIMessage("Done."), AIMessage("Done."))
    await world.say("pay")


async def test_an_approval_is_carried_out_without_a_run_and_the_run_that_follows_tells_it(world: World) -> None:
    await hold(world, PAY)

    decided = await decide(world, True)

    assert isinstance(decided, Standing)
    assert decided.receipt is not None
    assert (decided.receipt.outcome, decided.receipt.sentence) == ("executed", PAID)
    assert world.transfers() == [("A-2001", "A-2003", 5_000_00)]
    done = await world.go_on()
    assert results(done) == [PAID]
    assert done["messages"][-1].content == "Done."
    assert len(world.transfers()) == 1
    assert world.events() == ["requested", "approved", "executed"]
    assert world.audit_is_whole()


async def test_a_plan_is_carried_out_in_its_order_whoever_was_decided_last(world: World) -> None:
    await hold(world, PAY, LESS)

    early = await decide(world, True, call="call-1")
    assert isinstance(early, Standing)
    assert (early.receipt, [one.tool_call_id for one in early.waits_for]) == (None, ["call-0"])
    assert world.transfers() == []
    await decide(world, True, by=BEN)

    assert [amount for _, _, amount in world.transfers()] == [5_000_00, 2_000_00]
    assert len(results(await world.go_on())) == 2
    assert len(world.transfers()) == 2


async def test_a_thread_is_to_be_woken_only_where_it_asks_something_else_than_what_is_next(world: World) -> None:
    """What went wrong: each decision woke its thread, and in a crowd looking at threads was more work than deciding."""
    await hold(world, PAY, LESS, ("transfer_funds", {**LESS[1], "amount": "3000"}))

    behind = await decide(world, True, call="call-1")
    asked = await decide(world, Edit({"amount": "9000"}, is_whole=False, about=Reference(None, None)))
    await world.go_on()
    anew = await decide(world, True, by=BEN)
    last = await decide(world, True, call="call-2")

    # The question that stood in the thread; its next revision; the one behind, which was not put there yet; and none.
    assert [one.is_asking for one in (behind, asked, anew, last) if isinstance(one, Standing)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert len(world.transfers()) == 3


async def test_the_second_of_two_approvals_carries_it_out(world: World) -> None:
    await hold(world, MUCH)

    first = await decide(world, True, by=TESS)
    assert isinstance(first, Standing)
    assert (first.receipt, first.approvals_missing) == (None, 1)
    second = await decide(world, True, by=TOM)

    assert isinstance(second, Standing)
    assert second.receipt is not None
    assert world.transfers() == [("A-2001", "A-2003", 26_000_00)]


async def test_an_edit_that_counts_is_carried_out_as_edited(world: World) -> None:
    await hold(world, PAY)

    edited = await decide(world, Edit({"amount": "1500"}, is_whole=False, about=Reference(None, None)))

    assert isinstance(edited, Standing)
    assert edited.receipt is not None
    assert world.transfers() == [("A-2001", "A-2003", 1_500_00)]


async def test_a_rejection_that_completes_a_plan_leaves_nothing_waiting_for_a_run(world: World) -> None:
    await hold(world, PAY, LESS)

    await decide(world, {"approved": False}, call="call-0")
    await decide(world, True, call="call-1")

    assert world.states() == ["rejected", "executed"]


async def test_what_is_asked_again_right_before_its_effect_is_not_carried_out(world: World) -> None:
    await hold(world, PAY)
    world.execute("UPDATE customers SET name = 'Somebody Else'")

    decided = await decide(world, True)

    assert isinstance(decided, Standing)
    assert (decided.receipt, decided.request.state, decided.request.revision) == (None, "asked", 2)
    assert world.transfers() == []


async def test_a_decision_by_a_process_that_died_after_it_is_carried_out_once(world: World) -> None:
    await hold(world, PAY, LESS)
    await world.decide(True, by=ANA, call="call-0")
    turn_id = world.request().turn_id
    await world.gate.carry_out_turn(turn_id)
    assert world.transfers() == []

    await world.decide(True, by=ANA, call="call-1")
    await asyncio.gather(*(world.gate.carry_out_turn(turn_id) for _ in range(5)), world.go_on())

    assert [amount for _, _, amount in world.transfers()] == [5_000_00, 2_000_00]


async def test_a_freeze_between_the_decision_and_its_effect_refuses_it(world: World) -> None:
    await hold(world, PAY)
    await world.decide(True, by=ANA)
    await world.freeze()

    await world.gate.carry_out_turn(world.request().turn_id)

    assert (world.states(), world.transfers()) == (["refused"], [])


async def test_a_database_that_is_lost_after_the_decision_loses_neither(world: World) -> None:
    await hold(world, PAY)

    with failing_commits(world, 4, after=1):
        decided = await decide(world, True)

    assert isinstance(decided, Standing)
    assert (decided.receipt, decided.request.state) == (None, "approved")
    assert world.transfers() == []
    await world.gate.carry_out_turn(world.request().turn_id)
    assert len(world.transfers()) == 1
    assert results(await world.go_on()) == [PAID]


async def test_who_is_cancelled_after_a_decision_has_begun_does_not_stop_it(world: World) -> None:
    await hold(world, PAY)

    with slow_writes(world) as (started, go):
        deciding = asyncio.create_task(decide(world, True))
        assert await asyncio.to_thread(started.wait, 10)
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
        go.set()
    for _ in range(1200):
        if world.states() == ["executed"]:
            break
        await asyncio.sleep(0.05)

    assert len(world.transfers()) == 1
    assert results(await world.go_on()) == [PAID]


@asynccontextmanager
async def second_process(world: World) -> AsyncIterator[World]:
    """Another process over the same database: engine, lock and gate of its own."""
    database = Database(world.database.url)
    yield World(database, world.policy, world.actions)
    database.close()


async def test_two_deciders_at_once_in_two_processes_and_a_run_end_in_one_effect_each(world: World) -> None:
    await hold(world, PAY, LESS)

    async with second_process(world) as other:
        came = await asyncio.gather(
            decide(world, True, by=ANA, call="call-0"),
            decide(other, True, by=BEN, call="call-1"),
            decide(other, True, by=ANA, call="call-1"),
            world.go_on(),
        )

    assert [type(one) for one in came[1:3]].count(Refusal) == 1
    assert [amount for _, _, amount in world.transfers()] == [5_000_00, 2_000_00]
    assert len(results(await world.go_on())) == 2
    assert world.audit_is_whole()


async def test_what_a_new_message_withdrew_is_not_carried_out(world: World) -> None:
    await hold(world, PAY)
    await world.decide(True, by=ANA)
    turn_id = world.request().turn_id
    await world.say("never mind")

    await world.gate.carry_out_turn(turn_id)

    assert (world.states(), world.transfers()) == (["withdrawn"], [])


async def test_the_question_that_follows_is_put_by_the_run(world: World) -> None:
    await hold(world, PAY, LESS)
    await decide(world, True, call="call-0")

    asked = question(await world.go_on())

    assert asked["to_account"] == "A-2002"
