"""External actions: started once, performed outside every transaction, and the truth told of what became of them."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from agent.actions import ACTIONS
from clearance.actions import Looking
from clearance.journal.tries import MOST_TRIES
from tests.support.outside import OUTSIDE, POLICY, PayeeFacts, PayOut
from tests.support.payments import Provider
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import ANA, World, question, results
from tests.support.world import POLICY as BANK_POLICY

PAY = ("pay_out", {"account": "X-1", "amount": 5000})
PAID = "Paid 5000 to X-1 (P-1)."


@pytest.fixture
def outside(world: World, provider: Provider) -> World:
    world.actions = (*ACTIONS, *OUTSIDE)
    world.use_policy(BANK_POLICY + POLICY)
    return world


async def woken(world: World) -> dict[str, Any]:
    """Run a thread at rest again by words that are known, as the server does."""
    state = await world.graph.aget_state(world.config(None))
    known = [one for one in state.values["messages"] if isinstance(one, HumanMessage)]
    return await world.run({"messages": known}, by=None)


async def test_it_is_asked_and_performed_once_and_its_receipt_is_told(outside: World, provider: Provider) -> None:
    outside.model.will_say(calls(PAY), AIMessage("Paid."))

    asked = question(await outside.say("pay"))
    before = provider.paid()
    done = await outside.answer(True)

    assert (asked["action"], asked["amount"], asked["facts"]) == ("pay_out", 5000, {"is_closed": False, "pending": 0})
    assert before == []
    assert provider.paid() == [("X-1", 5000)]
    assert results(done) == [PAID]
    assert done["messages"][-1].content == "Paid."
    assert outside.events() == ["requested", "approved", "started", "executed"]
    assert outside.audit_is_whole()


async def test_one_that_policy_allows_is_performed_without_asking(outside: World, provider: Provider) -> None:
    outside.model.will_say(calls(("pay_out", {"account": "X-1", "amount": 60})), AIMessage("Paid."))

    done = await outside.say("pay")

    assert results(done) == ["Paid 60 to X-1 (P-1)."]
    assert provider.paid() == [("X-1", 60)]


async def test_what_the_provider_refuses_surely_did_not_happen(outside: World, provider: Provider) -> None:
    provider.mood = "refuses"
    outside.model.will_say(calls(PAY), AIMessage("Refused."))
    await outside.say("pay")

    done = await outside.answer(True)

    assert results(done) == ["Not done: The provider refused it: the account is closed."]
    assert outside.states() == ["failed"]
    assert outside.audit_is_whole()


@pytest.mark.parametrize("action", ["pay_out", "pay_out_blocking"])
@pytest.mark.parametrize("mood", ["pays, then hangs", "breaks after"])
async def test_a_lost_answer_is_looked_up_and_told_in_the_thread(
    outside: World, provider: Provider, action: str, mood: str
) -> None:
    provider.next, provider.takes_s = [mood], 6
    provider.is_blind = True
    outside.model.will_say(calls((action, PAY[1])), AIMessage("Paid."))
    await outside.say("pay")

    resting = await outside.answer(True)
    unknown = outside.states()
    provider.is_blind = False
    await until(lambda: outside.states() == ["executed"])
    told = await woken(outside)

    assert unknown == ["unknown"]
    assert resting["messages"][-1].content.startswith(f"Nobody knows yet whether {action} was done")
    assert provider.paid() == [("X-1", 5000)]
    assert results(told) == [PAID]
    assert told["messages"][-1].content == "Paid."
    events = [event for event in outside.events() if event != "reconciling"]
    assert events == ["requested", "approved", "started", "unknown", "reconciled", "executed"]
    assert outside.audit_is_whole()


async def test_what_did_not_arrive_is_started_again_only_once_that_is_certain(
    outside: World, provider: Provider
) -> None:
    provider.next = ["breaks before"]
    outside.model.will_say(calls(PAY), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    await until(lambda: outside.states() == ["executed"])

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 2
    assert len({one["key"] for one in provider.asked}) == 1
    events = [event for event in outside.events() if event != "reconciling"]
    assert events == ["requested", "approved", "started", "unknown", "released", "started", "executed"]


async def test_absence_is_not_believed_while_it_may_be_on_its_way(outside: World, provider: Provider) -> None:
    """It pays after our patience ended, and before the time after which it does not arrive any more."""
    provider.next, provider.takes_s = ["hangs, then pays"], 4
    outside.model.will_say(calls(PAY), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    await until(lambda: outside.states() == ["executed"])

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 1


async def test_the_late_answer_of_code_that_blocks_settles_it(outside: World, provider: Provider) -> None:
    provider.next, provider.takes_s = ["slow"], 6
    provider.is_blind = True
    outside.model.will_say(calls(("pay_out_blocking", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    unknown = outside.states()
    await until(lambda: outside.states() == ["executed"])

    assert unknown == ["unknown"]
    assert outside.receipts() == {"call-0": PAID}
    assert outside.audit()[-1]["details"]["via"] == "late"


async def test_without_a_look_up_it_is_sent_again_under_its_key(outside: World, provider: Provider) -> None:
    provider.knows_keys, provider.next = True, ["breaks after"]
    outside.model.will_say(calls(("pay_out_by_key", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    await until(lambda: outside.states() == ["executed"])

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 2


async def test_with_neither_it_stays_unknown(outside: World, provider: Provider) -> None:
    provider.next = ["breaks after"]
    outside.model.will_say(calls(("pay_out_blindly", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    await asyncio.sleep(4.5)

    assert outside.states() == ["unknown"]
    assert len(provider.asked) == 1


async def test_a_new_message_withdraws_what_is_not_started(outside: World, provider: Provider) -> None:
    provider.next, provider.is_blind = ["breaks after"], True
    outside.model.will_say(calls(PAY, ("pay_out", {"account": "X-2", "amount": 700})), AIMessage("Hello."))
    await outside.say("pay")
    await outside.answer(True)
    await outside.answer(True)

    said = await outside.say("hello")
    before = outside.states()
    provider.is_blind = False
    await until(lambda: outside.states() == ["executed", "withdrawn"])
    outside.model.will_say(AIMessage("Hello again."))
    again = await outside.say("hello again")

    assert before == ["unknown", "withdrawn"]
    assert results(said)[0].startswith("Nobody knows yet whether this was done")
    assert said["messages"][-1].content == "Hello."
    assert results(again)[0] == PAID
    assert provider.paid() == [("X-1", 5000)]


async def test_a_freeze_returns_at_once_and_lets_nothing_start(outside: World, provider: Provider) -> None:
    provider.mood, provider.takes_s = "slow", 1.5
    outside.model.will_say(calls(PAY, ("pay_out", {"account": "X-2", "amount": 700})), AIMessage("Done."))
    await outside.say("pay")
    await outside.answer(True)

    paying = asyncio.create_task(outside.answer(True))
    # Claimed and not yet sent, it would look once more, and settle as surely not done.
    await until(lambda: provider.asked != [])
    await outside.freeze()
    frozen = outside.states()
    done = await paying

    assert frozen == ["executing", "approved"]
    assert results(done)[0] == PAID
    assert results(done)[1].startswith("Refused: all effects are frozen")
    assert provider.paid() == [("X-1", 5000)]
    assert outside.audit_is_whole()


async def test_the_same_business_key_is_not_in_flight_twice(outside: World, provider: Provider) -> None:
    provider.next, provider.is_blind = ["breaks after"], True
    outside.model.will_say(calls(PAY), calls(("pay_out", {"account": "X-1", "amount": 1200})), AIMessage("Done."))
    await outside.say("pay", thread="one")
    await outside.answer(True, thread="one")
    await outside.say("pay", thread="two")

    done = await outside.answer(True, thread="two")

    assert "in flight" in results(done)[0]
    assert outside.states() == ["unknown", "refused"]
    assert provider.paid() == [("X-1", 5000)]


async def test_facts_that_changed_elsewhere_ask_again(outside: World, provider: Provider) -> None:
    outside.model.will_say(calls(PAY), AIMessage("Done."))
    await outside.say("pay")
    provider.closed.add("X-1")

    again = question(await outside.answer(True))

    assert again["notice"] == "Since it was approved, this changed: is closed."
    assert again["facts"]["is_closed"] is True
    assert provider.paid() == []


async def test_who_is_cancelled_while_it_is_performed_stops_nothing(outside: World, provider: Provider) -> None:
    provider.mood, provider.takes_s = "slow", 0.4
    outside.model.will_say(calls(PAY), AIMessage("Paid."))
    await outside.say("pay")

    paying = asyncio.create_task(outside.answer(True))
    await until(lambda: "executing" in outside.states())
    paying.cancel()
    await until(lambda: outside.states() == ["executed"])

    assert provider.paid() == [("X-1", 5000)]


async def test_what_is_decided_without_a_run_goes_on_without_one(outside: World, provider: Provider) -> None:
    outside.model.will_say(calls(PAY, ("pay_out", {"account": "X-2", "amount": 700})), AIMessage("Paid."))
    await outside.say("pay")

    for call in ("call-0", "call-1"):
        await outside.decide(True, by=ANA, call=call)
    outside.gate.carry_out_plan(outside.request().plan_id)
    await until(lambda: outside.states() == ["executed", "executed"])
    done = await outside.go_on()

    assert provider.paid() == [("X-1", 5000), ("X-2", 700)]
    assert results(done) == [PAID, "Paid 700 to X-2 (P-2)."]


class PaySlowlyKnown(PayOut):
    """Pay an amount to an account of which it takes long to know anything."""

    async def facts(self, looking: Looking) -> PayeeFacts:
        await asyncio.sleep(0.4)
        return PayeeFacts(is_closed=False)


async def test_what_takes_long_to_be_known_is_tried_once_however_often_its_turn_is_looked_after(
    world: World, provider: Provider
) -> None:
    """What went wrong: woken again and again while its facts were read, it was counted as broken off each time."""
    world.actions = (*ACTIONS, PaySlowlyKnown)
    world.use_policy(BANK_POLICY)
    world.model.will_say(calls(("pay_slowly_known", PAY[1])), AIMessage("Paid."))
    await world.say("pay")
    await world.decide(True, by=ANA)

    for _ in range(2 * MOST_TRIES):
        await world.gate.carry_out_turn(world.request().turn_id)
    await until(lambda: world.states() != ["approved"])
    await until(lambda: world.states() != ["executing"])

    assert world.states() == ["executed"]
    assert provider.paid() == [("X-1", 5000)]
