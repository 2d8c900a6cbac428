"""Which graphs are gated is found in the graphs themselves."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from clearance import Clearance
from clearance.graph.reach import is_gated, model_node
from tests.support import elsewhere
from tests.support.scripted_model import ScriptedModel

clearance = Clearance(actions=[])


def gated_graph(prefix: str = "") -> Any:
    builder = StateGraph(MessagesState)
    entry = clearance.add_to(builder, model=ScriptedModel(), prefix=prefix)
    builder.add_edge(START, entry)
    return builder.compile()


def graph_of(node: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile()


inner = gated_graph()
modules = SimpleNamespace(inner=inner)
assert elsewhere.agent_elsewhere  # it is loaded, as by a project's graph


async def _nothing(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage("nothing")]}


async def _by_name(state: MessagesState, config: RunnableConfig) -> Any:
    return await inner.ainvoke(state, config)


async def _by_attribute(state: MessagesState) -> Any:
    return await modules.inner.ainvoke(state)


async def _by_a_helper(state: MessagesState) -> Any:
    return await _by_attribute(state)


def _held_in_a_closure() -> Callable[[MessagesState], Any]:
    held = gated_graph()

    async def call(state: MessagesState) -> Any:
        return await held.ainvoke(state)

    return call


@tool
async def delegate(task: str) -> str:
    """Let another agent do it."""
    return str(await inner.ainvoke({"messages": [("user", task)]}))


@tool
async def look(what: str) -> str:
    """Look something up with what the project reads by."""
    return str(await clearance.read(lambda connection: what))


def make_gated(config: RunnableConfig) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_edge(START, clearance.add_to(builder, model=ScriptedModel()))
    return builder


def make_gated_of_imports(config: RunnableConfig) -> Any:
    from tests.support.elsewhere import of_elsewhere

    return create_agent(ScriptedModel(), tools=[], middleware=[of_elsewhere.middleware()])


def make_gated_of_what_is_not_loaded(config: RunnableConfig) -> Any:
    from tests.support.loaded_by_nobody import clearance as known  # type: ignore[import-not-found]  # nothing runs this

    return create_agent(ScriptedModel(), tools=[], middleware=[known.middleware()])


async def _imported(state: MessagesState) -> Any:
    from tests.support.elsewhere import agent_elsewhere

    return await agent_elsewhere.ainvoke(state)


class Caller:
    """A node that is an object of a project's class."""

    async def __call__(self, state: MessagesState) -> Any:
        return await self.ask(state)

    @staticmethod
    async def ask(state: MessagesState) -> Any:
        """Let another agent do it."""
        return await inner.ainvoke(state)


class Delegate(BaseTool):
    """A tool that is a class."""

    name: str = "delegate"
    description: str = "Let another agent do it."

    def _run(self, task: str) -> str:
        raise NotImplementedError

    async def _arun(self, task: str) -> str:
        return str(await inner.ainvoke({"messages": [("user", task)]}))


class PlainTool(BaseTool):
    """A tool that is a class, with nothing of ours."""

    name: str = "plain"
    description: str = "Say it back."

    def _run(self, task: str) -> str:
        return task


def make_plain(config: RunnableConfig) -> Any:
    return graph_of(_nothing)


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(inner, id="our steps"),
        pytest.param(gated_graph("own_"), id="under names of their own"),
        pytest.param(create_agent(ScriptedModel(), tools=[], middleware=[clearance.middleware()]), id="create_agent"),
        pytest.param(graph_of(inner), id="as a node"),
        pytest.param(graph_of(graph_of(inner)), id="two levels down"),
        pytest.param(graph_of(_by_name), id="called inside a node"),
        pytest.param(graph_of(_by_attribute), id="reached through an object"),
        pytest.param(graph_of(_by_a_helper), id="called by what a node calls"),
        pytest.param(graph_of(_held_in_a_closure()), id="held in a closure"),
        pytest.param(graph_of(ToolNode([delegate])), id="called inside a tool"),
        pytest.param(make_gated, id="made with each run"),
        pytest.param(make_gated_of_imports, id="made with each run, of what it imports itself"),
        pytest.param(make_gated_of_what_is_not_loaded, id="made with each run, of what is not loaded yet"),
        pytest.param(graph_of(_imported), id="imported inside a node"),
        pytest.param(graph_of(Caller()), id="called by an object that is a node"),
        pytest.param(graph_of(Caller().ask), id="called by a function of a class"),
        pytest.param(graph_of(ToolNode([Delegate()])), id="called inside a tool that is a class"),
        pytest.param(make_gated(RunnableConfig()), id="not compiled"),
    ],
)
def test_a_graph_that_leads_to_our_steps_is_gated(graph: Any) -> None:
    assert is_gated(graph)


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(graph_of(_nothing), id="nothing of ours"),
        pytest.param(graph_of(graph_of(_nothing)), id="nested"),
        pytest.param(create_agent(ScriptedModel(), tools=[look]), id="create_agent"),
        pytest.param(graph_of(ToolNode([look])), id="look-ups over our database"),
        pytest.param(graph_of(ToolNode([PlainTool()])), id="a tool that is a class"),
        pytest.param(make_plain, id="made with each run"),
        pytest.param(None, id="nothing"),
    ],
)
def test_any_other_graph_is_not(graph: Any) -> None:
    assert not is_gated(graph)


@pytest.mark.parametrize(
    ("graph", "name"),
    [
        (gated_graph(), "model"),
        (gated_graph("gate_"), "gate_model"),
        (graph_of(_by_name), "model"),
        (create_agent(ScriptedModel(), middleware=[clearance.middleware()]), "model"),
        (None, "model"),
    ],
)
def test_where_the_model_of_a_graph_speaks_is_found_in_it(graph: Any, name: str) -> None:
    assert model_node(graph) == name
