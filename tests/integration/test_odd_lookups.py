"""Look-ups that give or raise what nobody expects: the model is told, and the run and the thread go on."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, ToolException, tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.types import Command

from agent.lookups import lookup_tools
from clearance import Clearance, OfflineModel, lookup
from tests.support.scripted_model import calls
from tests.support.world import AgentOf, World, results


def _raise(exc: BaseException) -> Any:
    raise exc


def _message(text: str) -> ToolMessage:
    return ToolMessage(text, tool_call_id="call-0")


FAILED = "odd failed unexpectedly (error id "
#: What it gives, and how what the model is told begins.
GIVEN: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, "null"),
    "a mapping": (lambda: {"a": 1}, '{"a": 1}'),
    "half of a character": (lambda: "a\ud800", "a"),
    "another's message": (lambda: ToolMessage("of another", tool_call_id="another"), "of another"),
    "an error": (lambda: 1 // 0, FAILED),
    "an error in words": (lambda: _raise(ToolException("no such account")), "no such account"),
    "an exit": (lambda: _raise(SystemExit(3)), FAILED),
    "what is no Exception": (lambda: _raise(BaseException("stop")), FAILED),
    "a cancel of its own": (lambda: _raise(asyncio.CancelledError()), FAILED),
    "a way without a result": (lambda: Command(goto="model"), "odd gave no result."),
    "the end without a result": (lambda: Command(goto="__end__"), "odd gave no result."),
    "an answer to nobody": (lambda: Command(resume=True), "odd gave no result."),
    "its result in a command": (lambda: Command(update={"messages": [_message("seen")]}), "seen"),
    "its result in pairs": (lambda: Command(update=[("messages", [_message("seen")])]), "seen"),
    "a list": (lambda: [_message("one")], "one"),
}


@lookup
async def odd(way: str) -> Any:
    """Look in an odd way."""
    return GIVEN[way][0]()


@lookup
def odd_in_a_thread(way: str) -> Any:
    """Look in an odd way, in a thread."""
    return GIVEN[way][0]()


@tool
async def theirs(way: str) -> Any:
    """Look in somebody else's way."""
    return GIVEN[way][0]()


@tool("pair", response_format="content_and_artifact")
def their_pair(way: str) -> Any:
    """Look, and keep something beside."""
    return ("seen", {"kept": 1}) if way == "both" else "only one"


def with_lookups(world: World, monkeypatch: pytest.MonkeyPatch, *tools: BaseTool, **of: Any) -> World:
    """Let the world's agent have more look-ups."""
    if world.way == "middleware":
        world.agent = AgentOf(tools=tools, **of)
    else:
        monkeypatch.setattr("tests.support.world.lookup_tools", lambda database: [*lookup_tools(database), *tools])
    world.use_policy(world.policy)
    return world


async def told(world: World, name: str, way: str, *, thread: str) -> ToolMessage:
    """Let the model call it, see that the thread goes on, and give what the model was told."""
    world.model.will_say_nothing_more()
    world.model.will_say(calls((name, {"way": way})), AIMessage("I see."))
    said = await asyncio.wait_for(world.say("look", thread=thread), 20)
    (message,) = [one for one in said["messages"] if isinstance(one, ToolMessage)]
    world.model.will_say_nothing_more()
    world.model.will_say(AIMessage("Again."))
    again = await asyncio.wait_for(world.say("and now?", thread=thread), 20)
    assert again["messages"][-1].content == "Again."
    return message


@pytest.mark.parametrize("name", ["odd", "odd_in_a_thread", "theirs"])
async def test_whatever_a_look_up_gives_or_raises_its_call_has_a_result_and_the_thread_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with_lookups(world, monkeypatch, odd, odd_in_a_thread, lookup(theirs))
    for way, (_, begins) in GIVEN.items():
        if world.way == "middleware" and way == "its result in pairs":
            continue  # which langchain's node of tools does not take
        message = await told(world, name, way, thread=f"{name} {way}")
        assert str(message.content).startswith(begins.replace("odd", name, 1)), way
    assert world.requests() == []
    assert world.audit_is_whole()


async def test_a_tool_that_is_declared_keeps_its_artifact_and_one_that_gives_none_is_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_lookups(world, monkeypatch, lookup(their_pair))

    both, one = await told(world, "pair", "both", thread="1"), await told(world, "pair", "one", thread="2")

    assert (both.content, both.artifact) == ("seen", {"kept": 1})
    assert str(one.content).startswith("pair failed unexpectedly (error id ")
    assert (one.status, their_pair.metadata) == ("error", None)


@pytest.mark.parametrize("world", ["middleware"], indirect=True)
async def test_a_tool_that_is_only_named_as_read_only_does_not_fail_the_run_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_lookups(world, monkeypatch, theirs, read_only=["theirs"])

    assert str((await told(world, "theirs", "an error", thread="1")).content).startswith("theirs failed unexpectedly")
    for way in ("a way without a result", "its result in a command"):
        assert (await told(world, "theirs", way, thread=way)).content


async def test_a_run_that_is_cancelled_in_a_look_up_is_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()

    @lookup
    async def waits() -> str:
        """Wait."""
        began.set()
        await asyncio.sleep(60)
        return "never"

    with_lookups(world, monkeypatch, waits)
    world.model.will_say(calls(("waits", {})), AIMessage("Never said."))
    run = asyncio.create_task(world.say("look"))
    await began.wait()
    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
    assert results((await world.graph.aget_state(world.config(None))).values) == []


@lookup
async def of_a_state(way: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Look into the state."""
    return way


@lookup
async def of_a_runtime(way: str, runtime: ToolRuntime) -> str:
    """Look into the run."""
    return way


@lookup
async def of_a_call(way: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Look by the call."""
    return tool_call_id


@pytest.mark.parametrize(("given", "name"), [(of_a_state, "state"), (of_a_runtime, "runtime")])
def test_what_only_langchains_node_puts_in_is_refused_in_a_graph_of_ones_own(given: BaseTool, name: str) -> None:
    from langgraph.graph import MessagesState, StateGraph

    with pytest.raises(TypeError, match=f"{given.name}: {name} is put in by langchain's agents"):
        Clearance(actions=[]).add_to(StateGraph(MessagesState), model=OfflineModel(), tools=[given])


async def test_its_calls_id_is_put_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with_lookups(world, monkeypatch, of_a_call)

    assert (await told(world, "of_a_call", "x", thread="1")).content == "call-0"


@pytest.mark.parametrize("given", [HumanMessage, "get_item", 5], ids=["a class", "a name", "a number"])
def test_what_is_neither_a_function_nor_a_tool_is_no_look_up(given: Any) -> None:
    with pytest.raises(TypeError, match="is neither a function nor a tool"):
        lookup(given)
