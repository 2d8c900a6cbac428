"""Promise 6: a plan is decided before it is done; look-ups at once, one question at a time, effects in order."""

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.types import Command

from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, World, question, results

LOOK = ("get_account", {"account_id": "A-2001"})


def pay(amount: str, to: str = "A-2003") -> tuple[str, dict[str, Any]]:
    return ("transfer_funds", {"from_account": "A-2001", "to_account": to, "amount": amount})


async def test_look_ups_run_first_and_effects_only_when_all_is_decided(world: World) -> None:
    world.model.will_say(calls(pay("5000"), LOOK, pay("900"), pay("6000", "A-2002")))

    first = await world.say("pay")
    assert len(results(first)) == 1
    assert "Priya" in results(first)[0]
    assert question(first)["action_request"]["args"]["amount"] == "5000.00"

    second = await world.answer(True)
    assert question(second)["action_request"]["args"]["amount"] == "900.00"
    assert world.transfers() == []

    third = await world.answer(True)
    assert world.transfers() == []
    assert question(third)["action_request"]["args"]["amount"] == "6000.00"

    done = await world.answer(True)
    assert [amount for _, _, amount in world.transfers()] == [500_000, 90_000, 600_000]
    assert len(results(done)) == 4


async def test_a_question_shows_the_whole_plan(world: World) -> None:
    world.model.will_say(calls(pay("5000"), pay("6000", "A-2002")))

    asked = question(await world.say("pay them"))

    assert asked["turn"]["message"] == "pay them"
    assert [(one["state"], one["this"]) for one in asked["turn"]["requests"]] == [("asked", True), ("asked", False)]
    assert "$6,000.00" in asked["turn"]["requests"][1]["sentence"]
    assert "The whole plan:" in asked["description"]
    assert "A-2002" in asked["description"]


async def test_decisions_in_any_order_leave_the_effects_in_the_models_order(world: World) -> None:
    world.model.will_say(calls(pay("5000"), pay("6000", "A-2002"), pay("7000")))
    await world.say("pay")

    assert await world.decide(True, by=ANA, call="call-2")
    assert await world.decide(True, by=BEN, call="call-1")
    await world.go_on()
    assert world.transfers() == []

    await world.answer(True)
    assert [amount for _, _, amount in world.transfers()] == [500_000, 600_000, 700_000]


async def test_what_is_decided_elsewhere_is_carried_out_by_a_run_without_input(world: World) -> None:
    world.model.will_say(calls(pay("5000")), AIMessage("Paid."))
    await world.say("pay")

    await world.decide(True, by=ANA)
    done = await world.go_on()

    assert len(world.transfers()) == 1
    assert done["messages"][-1].content == "Paid."


async def test_what_is_approved_with_a_rejection_in_sight_stands(world: World) -> None:
    world.model.will_say(calls(pay("5000"), pay("6000"), pay("7000")))
    await world.say("pay")

    await world.answer(False)
    await world.answer(True)
    await world.answer(True)

    assert world.states() == ["rejected", "executed", "executed"]


async def test_a_failure_asks_for_the_later_approvals_again_with_the_reason(world: World) -> None:
    world.model.will_say(calls(pay("84000"), pay("5000"), pay("400", "A-2002")))
    world.use_policy(world.policy.replace("approvals = 2", "").replace('approvers = "treasurer"', ""))
    await world.say("pay")
    for _ in range(2):
        await world.answer(True)
    world.execute(_spend("A-2001", 100_000))

    asked = question(await world.answer(True))

    assert world.states() == ["refused", "asked", "asked"]
    assert asked["notice"] == "An earlier call of this plan was not carried out."
    assert asked["revision"] == 2
    assert len(world.transfers()) == 0
    await world.answer(True)
    await world.answer(True)
    assert world.states() == ["refused", "executed", "executed"]


async def test_answers_by_id_reach_their_request_only(world: World) -> None:
    world.model.will_say(calls(pay("5000"), pay("6000")))
    first = await world.say("pay")
    (interrupt,) = first["__interrupt__"]

    second = await world.answer({interrupt.id: {"approved": True}})
    again = await world.answer({interrupt.id: {"approved": True}}, by=BEN)

    assert question(second)["turn"]["requests"][0]["state"] == "approved"
    assert "__interrupt__" not in again or question(again)["id"] == question(second)["id"]
    assert world.states() == ["approved", "asked"]


async def test_the_same_call_ids_in_two_turns_are_two_requests(world: World) -> None:
    world.model.will_say(calls(pay("900")), AIMessage("Done."), calls(pay("800")))

    await world.say("pay")
    await world.say("again")

    assert [amount for _, _, amount in world.transfers()] == [90_000, 80_000]
    assert [request.tool_call_id for request in world.requests()] == ["call-0", "call-0"]


async def test_two_calls_with_one_id_are_two_requests(world: World) -> None:
    world.model.will_say(calls(pay("900"), pay("800"), ids=["same", "same"]))

    done = await world.say("pay both")

    assert [amount for _, _, amount in world.transfers()] == [90_000, 80_000]
    assert len(results(done)) == 2
    assert world.states() == ["executed", "executed"]


async def test_plans_of_a_turn_follow_one_another(world: World) -> None:
    world.model.will_say(calls(pay("5000")), calls(pay("6000")), AIMessage("Both done."))
    await world.say("pay")

    asked = question(await world.answer(True))
    assert asked["action_request"]["args"]["amount"] == "6000.00"
    done = await world.answer(True)

    assert done["messages"][-1].content == "Both done."
    assert len(world.transfers()) == 2


async def test_a_question_put_by_a_pointer_to_a_later_revision_takes_no_answer(world: World) -> None:
    """An answer to it counted for the edit that came afterwards, which the reviewer had never seen."""
    world.model.will_say(calls(pay("5000")))
    await world.say("pay")
    message_id = world.model_message_id()
    forged = world.sent({"message_id": message_id, "tool_call_id": "call-0", "revision": 2})
    await world.run(Command(goto=forged), by=OLGA)
    await world.decide({"approved": True, "edited_args": {"amount": "24000"}}, by=BEN)
    assert world.states() == ["asked"]

    await world.answer(True, by=ANA)

    assert world.transfers() == []


def _spend(account_id: str, amount: int) -> str:
    return (
        "INSERT INTO transfers (transfer_id, number, from_account, to_account, amount_minor, made_at)"
        f" SELECT 'T-' || (max(number) + 1), max(number) + 1, '{account_id}', 'A-2003', {amount}, max(made_at)"
        " FROM transfers"
    )
