"""Promise 11: late is no, when it is answered and when it is carried out."""

from typing import Any

from langchain_core.messages import AIMessage

from tests.support.scripted_model import calls
from tests.support.world import ANA, World, question, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
HUGE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "30000"})


def with_short_deadline(policy: str) -> str:
    """Give transfers above 25,000 an hour instead of a day."""
    return policy.replace("approvals = 2", 'approvals = 1\nexpires = "1h"')


async def test_an_answer_after_the_deadline_is_told_and_does_nothing(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Too late."))
    await world.say("pay")
    world.clock.advance(hours=24, seconds=1)

    done = await world.answer(True)

    assert results(done)[0].startswith("Not done: it was not cleared in time; the deadline was ")
    assert done["messages"][-1].content == "Too late."
    assert world.states() == ["expired"]
    assert world.transfers() == []
    assert world.events() == ["requested", "expired", "answer_late"]
    assert world.audit()[-1]["actor"] == "ana"


async def test_an_answer_before_the_deadline_counts(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    world.clock.advance(hours=23, minutes=59)

    await world.answer(True)

    assert len(world.transfers()) == 1


async def test_an_approval_that_is_carried_out_too_late_is_not(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Too late."))
    await world.say("pay")
    await world.decide(True, by=ANA)
    world.clock.advance(hours=25)

    done = await world.go_on()

    assert world.states() == ["expired"]
    assert world.transfers() == []
    assert done["messages"][-1].content == "Too late."


async def test_a_plan_is_due_at_its_earliest_deadline(world: World) -> None:
    world.use_policy(with_short_deadline(world.policy))
    world.model.will_say(calls(PAY, HUGE))
    asked = question(await world.say("pay"))

    assert {request.expires_at for request in world.requests()} == {world.requests()[1].expires_at}
    assert asked["expires_at"] == world.requests()[1].expires_at.isoformat()
    world.clock.advance(hours=1, seconds=1)
    await world.answer(True)

    assert world.states() == ["expired", "expired"]


async def test_what_is_asked_again_has_its_time_anew(world: World) -> None:
    world.model.will_say(calls(PAY, ("transfer_funds", {**PAY[1], "to_account": "A-2002"}), PAY))
    await world.say("pay")
    await world.answer(True)
    world.clock.advance(hours=20)
    world.execute("UPDATE customers SET name = 'Other' WHERE customer_id = 'C-1001'")
    await world.answer(True)
    await world.answer(True)
    # The first was asked again with a day of its own; the others keep the plan's deadline.
    assert world.states() == ["asked", "approved", "approved"]
    world.clock.advance(hours=5)

    await world.answer(True)
    # Whoever approved was shown the others as cleared: with their end in sight it is asked once more.
    assert world.states() == ["asked", "expired", "expired"]

    await world.answer(True)

    assert world.states() == ["executed", "expired", "expired"]
    assert len(world.transfers()) == 1


async def test_allowed_effects_wait_no_longer_than_their_plan(world: World) -> None:
    small: tuple[str, dict[str, Any]] = ("transfer_funds", {**PAY[1], "amount": "100"})
    world.model.will_say(calls(small, PAY), AIMessage("Late."))
    await world.say("pay")
    world.clock.advance(hours=25)

    await world.answer(True)

    assert world.states() == ["expired", "expired"]
    assert world.transfers() == []
