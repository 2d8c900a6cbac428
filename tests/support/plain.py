"""A graph without anything of ours: it says back what it hears, asks when told to, and keeps things in the store.

The graph of a server's own file.
"""

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt


async def _say_back(state: MessagesState) -> dict[str, Any]:
    said = str(state["messages"][-1].text)
    if said.startswith("ask "):
        said = f"{said.removeprefix('ask ')}: {interrupt({'question': said})}"
    return {"messages": [AIMessage(f"You said {said}")]}


builder = StateGraph(MessagesState)
builder.add_node("say_back", _say_back)
builder.add_edge(START, "say_back")
graph = builder.compile()
