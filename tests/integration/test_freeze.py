"""Promise 12: one switch stops everything."""

import asyncio
import threading

import pytest
from langchain_core.messages import AIMessage

from agent.actions import TransferFunds
from clearance.actions.action import Effect
from tests.support.scripted_model import calls
from tests.support.world import ANA, World, question, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
LOOK = ("get_account", {"account_id": "A-2001"})
STOPPED = "Refused: all effects are frozen since ops stopped them (drill)."


async def test_while_frozen_an_approval_is_refused_and_a_rejection_counts(world: World) -> None:
    world.model.will_say(calls(PAY, PAY))
    await world.say("pay")
    await world.freeze()

    asked = question(await world.answer(True))
    assert "all effects are frozen by ops (drill)" in asked["notice"]
    asked = question(await world.answer({"approved": True, "edited_args": {"amount": "10"}}))
    assert "frozen" in asked["notice"]
    await world.answer(False)

    assert world.states() == ["rejected", "asked"]
    assert world.transfers() == []
    await world.unfreeze()
    await world.answer(True)
    assert world.states() == ["rejected", "executed"]


async def test_while_frozen_an_allowed_effect_is_refused_and_look_ups_go_on(world: World) -> None:
    await world.freeze()
    world.model.will_say(calls(LOOK, SMALL))

    done = await world.say("pay")

    looked_up, refused = results(done)
    assert "Priya" in looked_up
    assert refused == STOPPED
    assert world.states() == ["refused"]
    assert world.events() == ["frozen", "requested", "refused"]


async def test_what_was_approved_before_the_freeze_is_refused_and_nothing_runs_when_it_ends(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Stopped."))
    await world.say("pay")
    await world.decide(True, by=ANA)
    await world.freeze()

    done = await world.go_on()
    await world.unfreeze()
    await world.go_on()

    assert results(done) == [STOPPED]
    assert world.states() == ["refused"]
    assert world.transfers() == []


async def test_a_plan_stopped_in_the_middle_does_not_go_on_without_its_beginning(world: World) -> None:
    world.model.will_say(calls(PAY, PAY), AIMessage("Stopped."))
    await world.say("pay")
    await world.decide(True, by=ANA, call="call-0")
    await world.decide(True, by=ANA, call="call-1")
    await world.freeze()

    asked = question(await world.go_on())
    await world.unfreeze()

    assert world.states() == ["refused", "asked"]
    assert asked["notice"] == "An earlier call of this plan was not carried out."
    assert world.transfers() == []


async def test_nothing_runs_by_itself_when_the_freeze_is_lifted(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await world.freeze()
    await world.unfreeze()

    await world.go_on()

    assert world.states() == ["asked"]
    assert world.events() == ["requested", "frozen", "unfrozen"]


async def test_freezing_twice_is_one_freeze(world: World) -> None:
    await world.freeze()
    await world.freeze(by="somebody else")
    await world.unfreeze()
    await world.unfreeze()

    assert world.events() == ["frozen", "unfrozen"]


async def test_a_freeze_waits_for_the_effect_in_flight_and_none_starts_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go = threading.Event(), threading.Event()
    perform = TransferFunds.perform

    def slow(self: TransferFunds, effect: Effect) -> str:
        started.set()
        assert go.wait(10)
        return perform(self, effect)

    monkeypatch.setattr(TransferFunds, "perform", slow)
    world.model.will_say(calls(SMALL), AIMessage("Done."), calls(SMALL))
    first = asyncio.create_task(world.say("pay", thread="first"))
    await asyncio.to_thread(started.wait, 10)

    freezing = asyncio.create_task(world.freeze())
    await asyncio.sleep(0.3)
    assert not freezing.done()
    go.set()
    await freezing
    assert results(await first) == ["Transferred $900.00 from A-2001 to A-2003 (T-301)."]

    second = await world.say("pay", thread="second")

    assert results(second) == [STOPPED]
    assert len(world.transfers()) == 1
