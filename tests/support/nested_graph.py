"""Graphs of a server with agents of ours inside. One is not ours: what its own steps say is not behind the gate.

`transfer …` leads to an agent that is a node; `each: transfer …; transfer …` to one call of an agent for each sentence,
all at once; `first: transfer …; transfer …` to two calls in a row; `beside: transfer …` to a call of one beside a node
that asks something itself, `own: what` to that node alone; `chat` past the agents, and `slowly` for some seconds.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from clearance import lookup
from tests.support.aegra import Aegra
from tests.support.server import Server

#: A second graph, which is ours: an agent that has another one do what each sentence says, all at once.
SUPERVISED = "supervised"
#: One without agents inside, which is ours: words that are an amount are a transfer, beside a look-up that asks itself.
CONSULTING = "consulting"
#: Seconds of `slowly`.
SLOW_S = 15


class NestedServer(Server):
    """`langgraph dev` with these graphs."""

    def _configuration(self) -> Path:
        return _changed(self.folder, super()._configuration())


class NestedAegra(Aegra):
    """Aegra with these graphs."""

    def _configuration(self) -> Path:
        return _changed(self.folder, super()._configuration())


def _changed(folder: Path, configuration: Path) -> Path:
    link = folder / "nested_graph.py"
    if not link.exists():
        link.symlink_to(Path(__file__))
    names = {"clearance": "graph", SUPERVISED: SUPERVISED, CONSULTING: CONSULTING}
    graphs = {name: f"./nested_graph.py:{variable}" for name, variable in names.items()}
    changed = folder / "nested.json"
    changed.write_text(json.dumps({**json.loads(configuration.read_text()), "graphs": graphs}))
    return changed


def _graph() -> Any:
    from agent.app import clearance
    from agent.offline_model import OfflineModel

    inner = StateGraph(MessagesState)
    inner.add_edge(START, clearance.add_to(inner, model=OfflineModel()))
    agent = inner.compile()

    async def route(state: MessagesState) -> Command[Any]:
        kind, _, rest = str(state["messages"][-1].content).partition(": ")
        if kind == "each":
            return Command(goto=[Send("called", {"messages": [HumanMessage(one)]}) for one in rest.split("; ")])
        if kind == "beside":
            return Command(goto=["own", Send("called", {"messages": [HumanMessage(rest)]})])
        if kind == "own":
            return Command(goto="own")
        if kind == "slowly":
            return Command(goto="slowly")
        if kind == "first":
            return Command(goto="both")
        if kind == "chat":
            return Command(update={"messages": [AIMessage("Let us chat.")]}, goto=END)
        return Command(goto="pay")

    async def called(state: MessagesState) -> dict[str, Any]:
        done = await agent.ainvoke({"messages": state["messages"]})
        return {"messages": done["messages"][-1:]}

    async def own(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"You said {interrupt({'question': 'what?'})}.")]}

    async def slowly(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(SLOW_S)
        return {"messages": [AIMessage("It took a while.")]}

    async def both(state: MessagesState) -> dict[str, Any]:
        said = []
        for one in str(state["messages"][-1].content).partition(": ")[2].split("; "):
            done = await agent.ainvoke({"messages": [HumanMessage(one)]})
            said.append(done["messages"][-1])
        return {"messages": said}

    @lookup
    async def payments(task: str) -> str:
        """Ask the agent that pays."""
        return str((await agent.ainvoke({"messages": [HumanMessage(task)]}))["messages"][-1].content)

    outer = StateGraph(MessagesState)
    outer.add_edge(START, clearance.add_to(outer, model=_Supervisor(), tools=[payments], prefix="outer_"))

    builder = StateGraph(MessagesState)
    builder.add_node("route", route, destinations=("called", "own", "slowly", "both", "pay", END))
    builder.add_node("pay", agent)
    builder.add_node("called", called)
    builder.add_node("own", own)
    builder.add_node("slowly", slowly)
    builder.add_node("both", both)
    builder.add_edge(START, "route")

    @lookup
    async def consult(what: str) -> str:
        """Ask whoever speaks."""
        return f"They said {interrupt({'question': what})}."

    consulting = StateGraph(MessagesState)
    consulting.add_edge(START, clearance.add_to(consulting, model=_Consulting(), tools=[consult]))
    return builder.compile(name="clearance"), outer.compile(name=SUPERVISED), consulting.compile(name=CONSULTING)


class _Supervisor(BaseChatModel):
    """Hand each sentence of a message to the agent that pays, and repeat what it says."""

    @property
    def _llm_type(self) -> str:
        return "supervisor"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        said = messages[-1]
        if isinstance(said, HumanMessage):
            tasks = enumerate(str(said.content).split("; "))
            calls = [tool_call(name="payments", args={"task": one}, id=f"ask-{at}") for at, one in tasks]
            message = AIMessage("", tool_calls=calls, response_metadata={"finish_reason": "tool_calls"})
        else:
            told = [str(one.content) for one in messages if isinstance(one, ToolMessage)]
            message = AIMessage("\n".join(told), response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])


class _Consulting(_Supervisor):
    """Transfer what is said, and consult whoever said it, at once."""

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        said = messages[-1]
        if isinstance(said, HumanMessage):
            args = {"from_account": "A-2001", "to_account": "A-2003", "amount": str(said.content)}
            calls = [
                tool_call(name="consult", args={"what": "how?"}, id="consult"),
                tool_call(name="transfer_funds", args=args, id="pay"),
            ]
            message = AIMessage("", tool_calls=calls, response_metadata={"finish_reason": "tool_calls"})
            return ChatResult(generations=[ChatGeneration(message=message)])
        return super()._generate(messages)


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    graph, supervised, consulting = _graph()
