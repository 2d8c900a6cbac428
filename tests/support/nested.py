"""Agents of ours inside other graphs, in the world of a test: as nodes, called in a node, as look-ups of others."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Checkpointer, Interrupt

from clearance.actions.action import Actions
from clearance.graph.guard import guarded
from clearance.graph.lookups import lookup
from clearance.graph.middleware import GateMiddleware
from clearance.graph.own_graph import add_loop
from clearance.parts import Parts
from tests.support.scripted_model import Said, ScriptedModel
from tests.support.world import World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
PAY_MORE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2002", "amount": "6000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
APPROVE = {"approved": True}


def agent(
    world: World,
    *lines: Said,
    tools: Sequence[BaseTool] = (),
    model: ScriptedModel | None = None,
    keeps_history: bool = False,
) -> Any:
    """Make an agent that says these lines, as a graph to be put into another: it keeps what the graph around keeps."""
    return _agent(world, tools, model or _speaking(lines), True if keeps_history else None)


def outermost(world: World, model: ScriptedModel, tools: Sequence[BaseTool]) -> None:
    """Make the world's graph an agent of ours that has these look-ups."""
    world.graph = guarded(_agent(world, tools, model, world.checkpointer))


def use(world: World, builder: StateGraph[Any, Any, Any, Any]) -> None:
    """Make a graph the world's."""
    world.graph = guarded(builder.compile(world.checkpointer, name="clearance"))


def parent(*nodes: tuple[str, Any]) -> StateGraph[Any, Any, Any, Any]:
    """Build a plain graph of these nodes, one after the other."""
    builder = StateGraph(MessagesState)
    builder.add_sequence(list(nodes))
    builder.add_edge(START, nodes[0][0])
    return builder


def at_once(*nodes: tuple[str, Any]) -> StateGraph[Any, Any, Any, Any]:
    """Build a plain graph of these nodes, all at once."""
    builder = StateGraph(MessagesState)
    for name, node in nodes:
        builder.add_node(name, node)
        builder.add_edge(START, name)
    return builder


def calling(graph: Any, text: str = "pay it") -> Callable[[MessagesState], Awaitable[dict[str, Any]]]:
    """Make a node that asks an agent in words of its own, and gives what it said last."""

    async def call(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await ask(graph, text)]}

    return call


async def ask(graph: Any, text: str) -> AnyMessage:
    """Ask an agent inside a graph, and give what it said last."""
    done = await graph.ainvoke({"messages": [HumanMessage(text)]})
    last: AnyMessage = done["messages"][-1]
    return last


def subagent(name: str, graph: Any) -> BaseTool:
    """Make a look-up that asks an agent."""

    async def delegate(task: str) -> str:
        return str((await ask(graph, task)).content)

    delegate.__name__, delegate.__doc__ = name, f"Ask {name}."
    return lookup(delegate)


async def questions(world: World, thread: str = "thread") -> dict[str, Interrupt]:
    """Give what a thread waits with, by the call that is asked about."""
    interrupts = (await world.graph.aget_state(world.config(None, thread))).interrupts
    calls = {request.request_id: request.tool_call_id for request in world.requests()}
    return {calls[one.value["id"]]: one for one in interrupts}


def _speaking(lines: Sequence[Said]) -> ScriptedModel:
    model = ScriptedModel()
    model.will_say(*lines)
    return model


def _agent(world: World, tools: Sequence[BaseTool], model: ScriptedModel, checkpointer: Checkpointer) -> Any:
    """Make an agent in the world's way."""
    parts, known = world.parts, Actions(world.actions)

    async def assemble() -> Parts:
        return parts

    if world.way == "middleware":
        gate = GateMiddleware(assemble, known, ())
        return create_agent(model, list(tools), middleware=[gate], checkpointer=checkpointer)
    builder = StateGraph(MessagesState)
    entry = add_loop(builder, assemble, known, model, tools, prompt="", after=None, prefix="")
    builder.add_edge(START, entry)
    return builder.compile(checkpointer)
