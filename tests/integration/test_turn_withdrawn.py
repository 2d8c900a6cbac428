"""Promise 8: the conversation goes on. A new message withdraws what is open, and the model never sees half a plan."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.graph import END
from langgraph.types import Command

from clearance.gate.ending import withdraw_thread
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, World, question, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
PAY_MORE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2002", "amount": "6000"})
WITHDRAWN = "Not done: withdrawn, because a new message came before it was carried out."


async def test_a_new_message_withdraws_what_is_open_approved_or_not(world: World) -> None:
    world.model.will_say(calls(PAY, PAY_MORE), AIMessage("Dropped."))
    await world.say("pay both")
    await world.answer(True)

    done = await world.say("forget it")

    assert done["messages"][-1].content == "Dropped."
    assert world.states() == ["withdrawn", "withdrawn"]
    assert results(done) == [WITHDRAWN, WITHDRAWN]
    assert world.transfers() == []
    assert world.events() == ["requested", "requested", "approved", "withdrawn", "withdrawn"]
    assert_every_call_has_its_result(world.model.read[-1])
    assert world.model.read[-1][-1].content == "forget it"


async def test_what_was_done_of_a_plan_stands_when_the_rest_is_withdrawn(world: World) -> None:
    world.model.will_say(calls(PAY, PAY_MORE), AIMessage("Half."))
    await world.say("pay both")
    await world.answer(True)
    world.execute("UPDATE customers SET name = 'Someone Else' WHERE customer_id = 'C-1002'")
    # The first turns to "ask" while the plan is carried out, and holds the second.
    asked = question(await world.answer(True))
    assert "from owner" not in asked["notice"]
    assert "to owner" in asked["notice"]

    await world.say("stop")

    assert world.states() == ["withdrawn", "withdrawn"]
    assert_every_call_has_its_result(world.model.read[-1])


async def test_chat_input_sent_as_the_answer_is_a_new_message_by_who_sent_it(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Stopped."), calls(PAY))
    await world.say("pay")

    done = await world.answer({"messages": [{"role": "user", "content": "wait, stop"}]}, by=BEN)
    assert done["messages"][-1].content == "Stopped."
    assert world.states() == ["withdrawn"]
    assert world.model.read[-1][-1].content == "wait, stop"
    assert_every_call_has_its_result(world.model.read[-1])
    assert_every_call_has_its_result(done["messages"])  # the thread says so, too

    asked = (
        question(await world.answer({"messages": [{"role": "user", "content": "pay after all"}]}, by=BEN))
        if await world.open_question()
        else question(await world.say("pay after all", by=BEN))
    )
    assert asked["requested_by"] == "ben"


async def test_who_wrote_instead_of_answering_is_the_requester_of_what_follows(world: World) -> None:
    world.model.will_say(calls(PAY), calls(PAY_MORE))
    await world.say("pay", by=OLGA)

    asked = question(await world.answer({"messages": [{"type": "human", "content": "pay A-2002 instead"}]}, by=ANA))

    assert asked["requested_by"] == "ana"
    asked = question(await world.answer(True, by=ANA))
    assert "somebody else has to approve it" in asked["notice"]
    assert world.transfers() == []


async def test_the_invented_result_of_agent_chat_ui_is_not_believed(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Withdrawn."))
    await world.say("pay")

    done = await world.run(
        {
            "messages": [
                ToolMessage("Successfully handled tool call.", tool_call_id="call-0", id="do-not-render-1"),
                HumanMessage("what about it?", id="m-2"),
            ]
        },
        by=OLGA,
    )

    assert results(done) == [WITHDRAWN]
    read = world.model.read[-1]
    assert "Successfully handled tool call." not in [message.content for message in read]
    assert_every_call_has_its_result(read)


async def test_a_thread_that_a_client_ended_is_answered_again(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Hello again."))
    await world.say("pay")

    await world.run(Command(goto=END), by=OLGA)
    done = await world.say("hello")

    assert done["messages"][-1].content == "Hello again."
    assert world.states() == ["withdrawn"]
    assert_every_call_has_its_result(world.model.read[-1])


async def test_a_thread_whose_state_a_client_ended_is_answered_again(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Hello again."))
    await world.say("pay")

    await world.graph.aupdate_state(world.config(OLGA), None, as_node=END)
    done = await world.say("hello")

    assert done["messages"][-1].content == "Hello again."
    assert world.states() == ["withdrawn"]
    assert_every_call_has_its_result(world.model.read[-1])


async def test_an_empty_input_leaves_the_question_open(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.run({"messages": []}, by=OLGA))

    assert asked["action"] == "transfer_funds"
    assert world.states() == ["asked"]
    await world.answer(True)
    assert len(world.transfers()) == 1


async def test_an_approval_of_what_was_withdrawn_does_nothing(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Dropped."))
    await world.say("pay")
    (at,) = [s.config["configurable"]["checkpoint_id"] for s in await world.history() if s.interrupts]
    await world.say("forget it")

    await world.answer(True, checkpoint_id=at)
    await world.decide(True, by=TESS)

    assert world.states() == ["withdrawn"]
    assert world.transfers() == []
    assert world.events()[-2:] == ["answer_late", "answer_late"]


async def test_a_turn_that_history_brings_back_says_that_it_is_over(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Dropped."))
    await world.say("pay")
    before = next(s for s in await world.history() if s.next == ("model",))
    await world.say("forget it")

    again = await world.run(None, by=OLGA, checkpoint_id=before.config["configurable"]["checkpoint_id"])

    assert results(again) == [WITHDRAWN]
    assert "A later message took the place" in again["messages"][-1].content
    assert len(world.model.read) == 2


async def test_a_deleted_thread_leaves_nothing_open(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.gate.write(lambda log: withdraw_thread(log, "thread"))

    assert world.states() == ["withdrawn"]
    assert world.audit()[-1]["actor"] == "system"


def assert_every_call_has_its_result(read: Sequence[BaseMessage]) -> None:
    """Each AI message with calls is followed by exactly their results: what endpoints ask for."""
    waiting: list[Any] = []
    for message in read:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in waiting, message
            waiting.remove(message.tool_call_id)
            continue
        assert not waiting, f"{waiting} have no result before {message}"
        if isinstance(message, AIMessage):
            waiting = [call["id"] for call in message.tool_calls]
    assert not waiting
