"""Another gated graph, in a file of its own: the same actions, its nodes under names of its own, and two of its own.

One before the gate asks whoever speaks when the words end in "for consent", and one behind it speaks.

The graph of a server's own file.
"""

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from agent.app import clearance
from agent.lookups import lookup_tools
from agent.model import the_model


async def _consent(state: MessagesState) -> dict[str, Any]:
    if state["messages"] and str(state["messages"][-1].text).endswith("for consent"):
        interrupt({"question": "do you consent?"})
    return {}


async def _close(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage("Said by the second graph.")]}


builder = StateGraph(MessagesState)
entry = clearance.add_to(builder, model=the_model, tools=lookup_tools(clearance), after="close", prefix="own_")
builder.add_node("close", _close)
builder.add_node("consent", _consent)
builder.add_edge(START, "consent")
builder.add_edge("consent", entry)
graph = builder.compile()
