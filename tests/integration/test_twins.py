"""The same call again: a rejection is not asked about twice, and what was done already is seen first."""

from typing import Any

import pytest

from clearance.desk.desk import Desk
from clearance.gate import twins
from clearance.journal.requests import same_calls
from clearance.principal import Principal
from tests.support.scripted_model import calls
from tests.support.world import ANA, World, question, results

ANA_READS = Principal("ana", roles=frozenset({"approver"}))


def pay(amount: str = "2000", to: str = "A-2003", **more: Any) -> tuple[str, dict[str, Any]]:
    return ("transfer_funds", {"from_account": "A-2001", "to_account": to, "amount": amount, **more})


async def test_what_was_rejected_is_not_asked_of_anybody_again_in_its_turn(world: World) -> None:
    """A model that asked again for what ana just rejected was asked six times."""
    world.model.will_say(calls(pay()), calls(pay("2000.00"), pay("2,000")))
    await world.say("pay 2000")

    done = await world.answer({"approved": False, "reason": "no"})

    assert world.states() == ["rejected", "refused", "refused"]
    told = results(done)[1:]
    assert all("ana rejected exactly this in this turn" in sentence for sentence in told)
    assert len(told) == 2
    assert await world.open_question() is None
    assert world.transfers() == []
    assert world.audit_is_whole()


async def test_the_person_may_ask_for_it_again_and_another_call_is_asked(world: World) -> None:
    world.model.will_say(calls(pay()), calls(pay("2001")))
    await world.say("pay 2000")
    await world.answer(False)
    assert world.states() == ["rejected", "asked"]
    await world.answer(False)
    world.model.will_say(calls(pay()))

    again = question(await world.say("pay 2000 after all"))

    assert again["action_requests"][0]["args"]["amount"] == "2000.00"
    # Whoever decides now need not be ana: else one asks until somebody says yes.
    said = "Exactly this was rejected lately, under 1 min ago. Not done: ana rejected it, without a reason"
    assert again["look_first"] == [said]


async def test_twins_within_one_message_are_named_and_asked_each(world: World) -> None:
    world.model.will_say(calls(pay(), pay()))

    first = question(await world.say("pay twice"))

    assert first["look_first"] == ["Call 2 of the same message is exactly this, too."]
    second = question(await world.answer(False))
    assert second["look_first"] == [
        "Exactly this was rejected in this turn, under 1 min ago. Not done: ana rejected it, without a reason"
    ]
    assert world.states() == ["rejected", "asked"]


@pytest.mark.parametrize("thread", ["thread", "another thread"])
async def test_what_was_done_already_is_the_first_thing_a_reviewer_sees(world: World, thread: str) -> None:
    """After a payment the identical one was asked at once, and its page said "The only action of its turn"."""
    world.model.will_say(calls(pay()))
    await world.say("pay 2000")
    await world.answer(True)
    (receipt,) = world.receipts().values()
    world.model.will_say(calls(pay()))

    again = question(await world.say("pay 2000", thread=thread))

    assert again["look_first"] == [f"Exactly this was done lately, under 1 min ago. {receipt}"]
    assert again["description"].startswith("Look: Transfer $2,000.00")
    assert receipt in again["description"]


async def test_of_many_the_last_of_each_kind_is_told_and_how_often_it_was_done(world: World) -> None:
    """All that were for the same call were read for these two sentences."""
    for is_approved in (True, False, True, True, False):
        world.model.will_say(calls(pay()))
        await world.say("pay 2000")
        await world.answer(is_approved)
    request = world.request()

    found = world.read(lambda c: same_calls(c, [str(request.digest)], world.clock() - twins.LATELY))
    world.model.will_say(calls(pay()))
    again = question(await world.say("pay 2000"))

    assert [(one.state, one.number, one.times) for one in found] == [("executed", 4, 3), ("rejected", 5, 2)]
    done, rejected = again["look_first"]
    assert done.startswith("Exactly this was done lately")
    assert done.endswith("3 times in 7 days.")
    assert rejected.startswith("Exactly this was rejected lately")


async def test_what_was_done_in_this_turn_counts_to_it_and_stands_in_its_conversation(world: World) -> None:
    world.model.will_say(calls(pay("500")), calls(pay()), calls(pay()))
    await world.say("pay")
    await world.answer(True)

    detail = await Desk(world.gate).detail(ANA_READS, world.requests()[-1].request_id)

    assert [one.state for one in detail.of_turn] == ["executed", "executed", "asked"]
    (found,) = detail.question.concerns
    assert found.title == ("Exactly this was done in this turn, under 1 min ago.",)
    assert {one.request_id for one in detail.of_turn[:2]} <= set(detail.receipts)


async def test_what_was_done_long_ago_is_no_twin(world: World) -> None:
    world.model.will_say(calls(pay()))
    await world.say("pay the rent")
    await world.answer(True)
    world.clock.advance(days=twins.LATELY.days, hours=1)
    world.model.will_say(calls(pay()))

    again = question(await world.say("pay the rent"))

    assert again["look_first"] == []


async def test_the_same_asked_elsewhere_is_told(world: World) -> None:
    world.model.will_say(calls(pay()))
    await world.say("pay 2000")
    first = world.request()
    world.model.will_say(calls(pay()))

    asked = question(await world.say("pay 2000", thread="other"))

    assert asked["look_first"] == [f"Exactly this is asked for by another request, too: {first.request_id[:8]}"]


async def test_a_request_whose_action_is_gone_says_so_before_somebody_approves_it(world: World) -> None:
    world.model.will_say(calls(pay()))
    await world.say("pay 2000")
    world.actions = tuple(cls for cls in world.actions if cls.tool_name() != "transfer_funds")
    world.use_policy('[roles]\napprover = "a"\n[defaults]\napprovers = "approver"\n')

    detail = await Desk(world.gate).detail(ANA_READS, world.request().request_id)

    (found,) = detail.question.concerns
    assert found.is_bad
    assert found.text == ("The program has no action transfer_funds any more.",)
    await world.answer(True, by=ANA)
    assert world.transfers() == []
