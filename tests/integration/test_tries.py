"""What never gets anywhere comes to an end that is told, and a restart does not begin to count anew."""

from contextlib import suppress

import pytest
from langchain_core.messages import AIMessage

from agent.actions import TransferFunds
from clearance.actions.action import Effect
from clearance.gate.ending import begin_run
from clearance.journal.tries import MOST_TRIES
from tests.support.scripted_model import calls
from tests.support.world import ANA, World, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
ENDED = f"Not done: it was tried {MOST_TRIES} times and broke off each time; nothing of it was done."


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A perform that takes the connection with it, so that not even a receipt can be written; counts its tries."""
    tried: list[str] = []

    def perform(self: TransferFunds, effect: Effect) -> str:
        tried.append(self.from_account)
        driver = effect.connection.connection.dbapi_connection
        assert driver is not None
        driver.close()
        return "Transferred."

    monkeypatch.setattr(TransferFunds, "perform", perform)
    return tried


async def test_an_effect_that_always_breaks_off_ends_as_failed_over_restarts(world: World, breaking: list[str]) -> None:
    """What went wrong: at each restart it was carried out again, some sixty times."""
    world.model.will_say(calls(PAY), AIMessage("Did not work."))
    await world.say("pay")
    await world.decide(True, by=ANA)
    turn_id = world.request().turn_id

    for _ in range(MOST_TRIES):
        assert world.states() == ["approved"]
        world.use_policy(world.policy)  # another process
        with suppress(Exception):
            await world.gate.carry_out_turn(turn_id)
    tried = len(breaking)
    await world.gate.carry_out_turn(turn_id)
    done = await world.go_on()

    assert tried >= MOST_TRIES
    assert len(breaking) == tried
    assert (world.states(), world.transfers()) == (["failed"], [])
    assert results(done) == [ENDED]
    assert world.audit()[-2]["details"].get("cause", "tries") == "tries"
    assert world.audit_is_whole()


async def test_a_run_that_goes_on_after_a_restart_counts_before_it_tries(world: World, breaking: list[str]) -> None:
    """A perform that ends the process would otherwise never be counted: the platform tries its run again by itself."""
    world.model.will_say(calls(SMALL), AIMessage("Did not work."))
    with suppress(Exception):
        await world.say("pay")

    for _ in range(MOST_TRIES + 1):
        world.use_policy(world.policy)
        with suppress(Exception):
            done = await world.go_on()

    assert world.states() == ["failed"]
    assert results(done) == [ENDED]
    assert world.transfers() == []


async def test_what_got_somewhere_is_counted_anew(world: World, breaking: list[str]) -> None:
    world.model.will_say(calls(PAY), AIMessage("Did not work."))
    await world.say("pay")
    await world.decide(True, by=ANA)
    for _ in range(MOST_TRIES - 1):
        with suppress(Exception):
            await world.gate.carry_out_turn(world.request().turn_id)
    world.execute("UPDATE customers SET name = 'Somebody Else'")
    await world.gate.carry_out_turn(world.request().turn_id)
    assert world.states() == ["asked"]

    await world.decide(True, by=ANA)
    with suppress(Exception):
        await world.gate.carry_out_turn(world.request().turn_id)

    assert world.states() == ["approved"]


async def test_a_turn_that_no_run_carries_on_ends_and_its_thread_can_be_told(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    turn_id = world.request().turn_id

    came = [await world.gate.write(lambda log: begin_run(log, turn_id)) for _ in range(MOST_TRIES + 1)]

    assert came[:-1] == [None] * MOST_TRIES
    assert came[-1] is not None
    notice_id, text = came[-1]
    assert "could not be carried on" in text
    assert world.states() == ["withdrawn"]
    truth = await world.gate.records.truth("thread", [notice_id])
    assert truth.notices == {notice_id: text}
    assert await world.gate.write(lambda log: begin_run(log, turn_id)) is None
    assert world.audit_is_whole()
