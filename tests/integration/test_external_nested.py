"""External actions of agents inside other graphs: done once, and told where the agent or the graph around it runs."""

from collections.abc import Collection
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Command

from agent.actions import ACTIONS
from clearance.journal.turns import Turn
from tests.integration.test_external import PAID, PAY
from tests.support.nested import agent, calling, outermost, parent, questions, subagent, use
from tests.support.outside import OUTSIDE, POLICY
from tests.support.payments import Provider
from tests.support.scripted_model import ScriptedModel, calls
from tests.support.waiting import until
from tests.support.world import ANA, OLGA, World
from tests.support.world import POLICY as BANK_POLICY

KNOWN = "It is known now what became of pay_out, which was started before: it was done."
pytestmark = pytest.mark.parametrize("world", ["sqlite", "middleware"], indirect=True)


@pytest.fixture
def outside(world: World, provider: Provider) -> World:
    world.actions = (*ACTIONS, *OUTSIDE)
    world.use_policy(BANK_POLICY + POLICY)
    return world


async def asked_and_approved(world: World) -> None:
    await world.say("pay")
    (asked,) = (await questions(world)).values()
    await world.run(Command(resume={asked.id: True}), by=ANA)


@pytest.mark.parametrize("nest", ["as a look-up", "called in a node"])
async def test_what_a_nested_agent_did_not_know_is_told_where_it_runs_next(
    outside: World, provider: Provider, nest: str
) -> None:
    """It was told nowhere: the agent inside was gone, and the one around it had not done it."""
    provider.next, provider.is_blind = ["breaks after"], True
    model = ScriptedModel()
    model.will_say(calls(PAY), AIMessage("It is paid."), AIMessage("It is paid."))
    inner = agent(outside, model=model)
    if nest == "as a look-up":
        outside.model.will_say(calls(("payments", {"task": "pay it"}), ids=["ask"]), AIMessage("Wait."))
        outermost(outside, outside.model, [subagent("payments", inner)])
    else:
        use(outside, parent(("pay", calling(inner))))
    await asked_and_approved(outside)
    unknown = outside.states()

    provider.is_blind = False
    await until(lambda: outside.states() == ["executed"])
    await outside.say("hello")
    await outside.say("hello again")

    read = (outside.model if nest == "as a look-up" else model).read
    times = [sum(KNOWN in str(message.content) for message in one) for one in read]
    assert unknown == ["unknown"]
    assert provider.paid() == [("X-1", 5000)]
    assert times[-2] == 1  # by whoever is asked next
    assert times[-1] == (1 if nest == "as a look-up" else 0)  # where it is kept it stays, and is not told twice
    assert outside.receipts() == {"call-0": PAID}


async def test_what_a_run_was_told_that_ended_before_its_thread_kept_it_is_told_when_it_is_tried_again(
    outside: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was noted as told, and stood nowhere."""
    provider.next, provider.is_blind = ["breaks after"], True
    model = ScriptedModel()
    model.will_say(calls(PAY), AIMessage("It is paid."))
    outside.model.will_say(calls(("payments", {"task": "pay it"}), ids=["ask"]), AIMessage("Wait."))
    outermost(outside, outside.model, [subagent("payments", agent(outside, model=model))])
    await asked_and_approved(outside)
    provider.is_blind = False
    await until(lambda: outside.states() == ["executed"])
    tell, run_id = outside.gate.tell_outcomes_inside, str(uuid4())

    async def tell_and_end(turn: Turn, seen: Collection[str]) -> None:
        await tell(turn, seen)
        raise ConnectionAbortedError

    with monkeypatch.context() as patched:
        patched.setattr(outside.gate, "tell_outcomes_inside", tell_and_end)
        with pytest.raises(ConnectionAbortedError):
            await outside.say("hello", run_id=run_id)
    await outside.run(None, by=OLGA, run_id=run_id)
    await outside.say("hello again")

    assert [sum(KNOWN in str(message.content) for message in one) for one in outside.model.read[-2:]] == [1, 1]
    assert outside.audit_is_whole()
