"""Promise 6: what was cleared before a part of its plan was lost is asked once more; after a no, policy alone lets
nothing more of the turn through."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, World, question

Call = tuple[str, dict[str, Any]]
REASON = "After this was approved, ana rejected a part of its plan: call 1."


def pay(amount: str, to: str = "A-2003", source: str = "A-2001") -> Call:
    return ("transfer_funds", {"from_account": source, "to_account": to, "amount": amount})


async def test_an_approval_given_before_a_rejection_is_asked_once_more_and_runs_after_that(world: World) -> None:
    world.model.will_say(calls(pay("2000"), pay("3000")), AIMessage("Done."))
    await world.say("pay")
    await world.decide(True, by=BEN, call="call-1")

    asked = question(await world.answer({"approved": False, "reason": "paid already"}))

    assert world.states() == ["rejected", "asked"]
    assert world.transfers() == []
    assert asked["notice"] == REASON
    assert asked["revision"] == 2
    assert asked["approvals_given"] == []
    assert world.audit()[-1]["details"].items() >= {"cause": "rejection", "revision": 2}.items()
    await world.answer(True)
    assert world.states() == ["rejected", "executed"]
    assert world.audit_is_whole()


Way = Callable[[World], Any]


async def _in_the_thread(world: World) -> None:
    await world.answer(False)


async def _past_the_thread(world: World) -> None:
    await world.decide(False, by=ANA)
    await world.go_on()


@pytest.mark.parametrize("reject", [_in_the_thread, _past_the_thread], ids=["thread", "api"])
async def test_what_policy_allowed_is_asked_of_the_default_approvers_after_a_rejection(
    world: World, reject: Way
) -> None:
    world.model.will_say(calls(pay("1500"), pay("900")), AIMessage("Done."))
    await world.say("pay")
    assert world.states() == ["asked", "allowed"]

    await reject(world)

    request = world.request("call-1")
    assert (request.state, request.approvers, request.approvals) == ("asked", ["approver"], 1)
    assert "a part of this turn was rejected" in request.rule
    assert request.notice == "After this was allowed, ana rejected a part of its plan: call 1."
    assert world.transfers() == []
    await world.answer(True, by=BEN)
    assert [amount for _, _, amount in world.transfers()] == [90_000]


async def test_a_rejection_of_a_later_call_asks_for_the_earlier_ones_again(world: World) -> None:
    world.model.will_say(calls(pay("2000"), pay("3000")), AIMessage("Done."))
    await world.say("pay")
    await world.answer(True)

    asked = question(await world.answer(False))

    assert asked["id"] == world.request("call-0").request_id
    assert asked["notice"] == "After this was approved, ana rejected a part of its plan: call 2."
    assert world.transfers() == []


async def test_an_edit_counts_as_a_clearance_given_before(world: World) -> None:
    world.model.will_say(calls(pay("2000"), pay("3000")), AIMessage("Done."))
    await world.say("pay")
    await world.decide({"approved": True, "edited_args": {"amount": "1500"}}, by=BEN, call="call-1")
    assert world.states() == ["asked", "approved"]

    await world.answer(False)

    assert world.states() == ["rejected", "asked"]
    await world.answer(True)
    assert [amount for _, _, amount in world.transfers()] == [150_000]


async def test_the_first_of_two_approvals_given_before_is_given_again(world: World) -> None:
    world.model.will_say(calls(pay("2000"), pay("30000")), AIMessage("Done."))
    await world.say("pay")
    await world.decide(True, by=TESS, call="call-1")
    await world.answer(False)

    await world.answer(True, by=TOM)

    assert world.states() == ["rejected", "asked"]
    assert world.request("call-1").notice == REASON
    await world.answer(True, by=TESS)
    await world.answer(True, by=TOM)
    assert world.states() == ["rejected", "executed"]


async def test_twenty_calls_with_some_rejected_are_asked_about_twice_at_most(world: World) -> None:
    world.model.will_say(calls(*[pay(str(1_500 + n)) for n in range(20)]), AIMessage("Done."))
    state = await world.say("pay them all")
    asked = 0

    # The worst reviewer: approves all but the last one that is asked, each time.
    while "__interrupt__" in state:
        asked += 1
        last = [one["state"] for one in question(state)["turn"]["requests"]].count("asked") == 1
        state = await world.answer(not last)

    assert asked <= 40
    assert world.states().count("rejected") == 2
    assert world.states().count("executed") == 18
    assert world.events().count("asked_again") == 19
    assert world.audit_is_whole()


async def test_nothing_more_of_a_turn_is_allowed_by_policy_alone_once_a_part_was_rejected(world: World) -> None:
    """Reject 2,000, and the model's 990 and 990 went out unasked."""
    world.model.will_say(calls(pay("2000")), calls(pay("990"), pay("990")), AIMessage("Done."))
    await world.say("pay 2,000")

    asked = question(await world.answer(False))

    assert world.states() == ["rejected", "asked", "asked"]
    assert "a part of this turn was rejected" in asked["rule"]
    assert "small transfer" in asked["rule"]
    assert asked["approvers"] == ["approver"]
    assert world.transfers() == []


async def test_nor_once_a_part_was_not_cleared_in_time(world: World) -> None:
    world.model.will_say(calls(pay("2000")), calls(pay("990"), pay("990")), AIMessage("Done."))
    await world.say("pay 2,000")
    world.clock.advance(hours=25)

    await world.answer(True)

    assert world.states() == ["expired", "asked", "asked"]
    assert "was not cleared in time" in world.request("call-0").rule


async def test_all_later_plans_of_that_turn_are_asked_and_no_other_turns(world: World) -> None:
    world.model.will_say(calls(pay("2000")), calls(("get_account", {"account_id": "A-2001"})), calls(pay("400")))
    await world.say("pay 2,000")
    world.model.will_say(calls(pay("300")), AIMessage("Done."))
    await world.answer(False)
    assert world.states() == ["rejected", "asked"]

    world.model.will_say(calls(pay("300")), AIMessage("Done."))
    await world.say("pay 300", thread="other")
    assert world.states()[-1] == "executed"

    world.model.will_say(calls(pay("200")), AIMessage("Done."))
    await world.say("pay 200 then", by=OLGA)  # new words: a turn of their own
    assert [amount for _, _, amount in world.transfers()][-1] in (20_000, 30_000)
    assert world.states().count("executed") == 2


async def test_what_was_allowed_before_a_failure_is_asked_of_the_default_approvers(world: World) -> None:
    world.model.will_say(calls(pay("1500", "A-2005"), pay("900")), AIMessage("Done."))
    await world.say("pay")
    world.execute("UPDATE accounts SET status = 'closed' WHERE account_id = 'A-2005'")

    await world.answer(True)

    assert world.states() == ["refused", "asked"]
    assert world.request("call-1").approvers == ["approver"]
    assert world.request("call-1").notice == "An earlier call of this plan was not carried out."
    assert world.transfers() == []


async def test_what_policy_refused_from_the_start_was_in_sight_of_what_it_allowed(world: World) -> None:
    world.model.will_say(calls(pay("900000"), pay("900")), AIMessage("Done."))

    await world.say("pay")

    assert world.states() == ["refused", "executed"]


async def test_a_plan_that_a_program_of_before_left_half_decided_is_asked_about_before_it_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.model.will_say(calls(pay("2000"), pay("3000"), pay("400")), AIMessage("Done."))
    await world.say("pay")
    with monkeypatch.context() as before:
        before.setattr("clearance.gate.decision.reconsider", lambda *_: False)
        await world.decide(True, by=BEN, call="call-1")
        await world.decide(True, by=BEN, call="call-2")
        await world.decide(False, by=ANA, call="call-0")
    assert world.states() == ["rejected", "approved", "approved"]

    await world.go_on()

    assert world.states() == ["rejected", "asked", "asked"]
    assert world.transfers() == []


@pytest.mark.parametrize("way", ["thread", "api"])
async def test_an_approval_in_whose_transaction_another_part_expires_is_asked_once_more(world: World, way: str) -> None:
    """Who approved was shown the other part as open: both have one time in the log, and the approval stood."""
    world.model.will_say(calls(pay("2000"), pay("3000", to="A-2004")), AIMessage("Done."))
    await world.say("pay")
    await world.answer(True)
    world.clock.advance(hours=23)
    world.execute("UPDATE customers SET name = 'Somebody Else' WHERE customer_id = 'C-1002'")
    await world.answer(True, by=BEN)
    assert world.states() == ["asked", "approved"]  # its facts changed, so it waits for another day
    world.clock.advance(hours=2)

    if way == "thread":
        await world.answer(True)
    else:
        assert await world.decide(True, by=ANA)
        await world.go_on()

    assert world.states() == ["asked", "expired"]
    assert world.request("call-0").notice == "A later call of this plan expired, so the plan is not what was approved."
    assert world.transfers() == []
    await world.answer(True)
    assert [amount for _, _, amount in world.transfers()] == [200_000]
    assert world.audit_is_whole()


async def test_what_policy_allowed_stands_beside_what_it_refused_in_the_same_message(world: World) -> None:
    """Judged together, at one time: neither is a loss after the other."""
    world.model.will_say(calls(pay("900"), pay("2000", to="A-0000")), AIMessage("Done."))

    await world.say("pay")

    assert world.states() == ["executed", "refused"]
    assert world.request("call-0").opened_at == world.request("call-1").finished_at
