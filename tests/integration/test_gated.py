"""Tools that exist already, behind the gate by one line each."""

from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import InjectedToolCallId, StructuredTool, ToolException, tool
from pydantic import Field

from agent.actions import ACTIONS
from clearance import Facts, Material
from clearance.actions import Absent, Call, Done, Looking, gated, gated_all
from clearance.actions.action import read_action
from clearance.errors import ActionError
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import POLICY as BANK_POLICY
from tests.support.world import World, question, results

SENT: list[tuple[str, str]] = []


@tool
def send_mail(to: Annotated[str, Field(max_length=20)], text: str = "hello") -> str:
    """Send a mail."""
    SENT.append((to, text))
    return f"Sent to {to}."


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    SENT.clear()


def with_tools(world: World, *kinds: Any, policy: str = "") -> None:
    world.actions = (*ACTIONS, *kinds)
    world.use_policy(BANK_POLICY + policy)


async def test_a_tool_is_asked_with_all_its_arguments_and_runs_once(world: World) -> None:
    with_tools(world, gated(send_mail))
    world.model.will_say(calls(("send_mail", {"to": "ada@example.com"})), AIMessage("Sent."))

    asked = question(await world.say("write to ada"))
    before = list(SENT)
    done = await world.answer(True)

    assert (asked["action"], asked["to"], asked["text"]) == ("send_mail", "ada@example.com", "hello")
    assert before == []
    assert SENT == [("ada@example.com", "hello")]
    assert results(done) == ["Sent to ada@example.com."]


async def test_its_constraints_hold(world: World) -> None:
    with_tools(world, gated(send_mail))
    world.model.will_say(calls(("send_mail", {"to": "a" * 21})), AIMessage("Too long."))

    done = await world.say("write")

    assert results(done)[0].startswith("Not done: send_mail was not called correctly: to: string should have at most")
    assert world.states() == ["refused"]


def test_a_function_is_taken_sync_or_async_and_so_is_a_whole_toolkit() -> None:
    def open_door(door: str) -> str:
        """Open a door."""
        return door

    async def close_door(door: str) -> str:
        """Close a door."""
        return door

    kinds = gated_all([open_door, close_door, send_mail], timeout_s=5)

    assert [kind.tool_name() for kind in kinds] == ["open_door", "close_door", "send_mail"]
    assert {kind.timeout_s for kind in kinds} == {5}
    with pytest.raises(ActionError, match="window"):
        read_action(kinds[0], {"door": "D-1", "window": "W-1"})


async def test_what_a_tool_raises_is_unknown_and_what_it_hands_over_as_an_error_too(world: World) -> None:
    def fail(door: str) -> str:
        """Open a door."""
        raise ToolException("it is stuck")

    told = StructuredTool.from_function(fail, name="told", handle_tool_error=True)
    with_tools(world, gated(told), gated(StructuredTool.from_function(fail, name="raised")))
    world.model.will_say(calls(("told", {"door": "D"}), ("raised", {"door": "D"})))
    await world.say("open")
    await world.answer(True)

    done = await world.answer(True)

    assert world.states() == ["unknown", "approved"]
    assert done["messages"][-1].content.startswith("Nobody knows yet whether told was done")


async def test_facts_a_key_and_a_look_up_can_be_given(world: World) -> None:
    class Box(Facts):
        """What is known of a mailbox."""

        exists: Material[bool]

    keys: list[str] = []

    async def box_of(arguments: dict[str, Any], looking: Looking) -> Box:
        return Box(exists=arguments["to"].startswith("ada"))

    def was_sent(arguments: dict[str, Any], call: Call) -> Done | Absent:
        return Done(f"Sent to {arguments['to']} after all.") if call.idempotency_key in keys else Absent()

    def send(to: str, key: str) -> str:
        """Send a mail."""
        keys.append(key)
        raise ConnectionError

    kind = gated(send, facts=box_of, look_up=was_sent, key="key")
    with_tools(world, kind)
    world.model.will_say(calls(("send", {"to": "ada"})), AIMessage("Sent."))
    asked = question(await world.say("write"))

    await world.answer(True)
    await until(lambda: world.states() == ["executed"])

    assert "key" not in kind.model_fields
    assert asked["facts"] == {"exists": True}
    assert len(keys) == 1
    assert world.receipts() == {"call-0": "Sent to ada after all."}


def test_what_cannot_be_an_action_is_refused_by_name() -> None:
    @tool
    def told(to: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Tell."""
        return to

    def facts(facts: str) -> str:
        """Tell."""
        return facts

    with pytest.raises(TypeError, match="told: 'tool_call_id' is put in by the graph"):
        gated(told)
    with pytest.raises(TypeError, match="facts: an action has something called 'facts'"):
        gated(facts)
    with pytest.raises(TypeError, match="send_mail has no argument 'key' for the idempotency key"):
        gated(send_mail, key="key")
    with pytest.raises(TypeError, match="is neither a tool nor a function"):
        gated("send_mail")  # type: ignore[arg-type]  # that it is refused is what is tried
