"""The agent's graph: the model, and its tools."""

from typing import Any

from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from shop.model import model
from shop.tools import get_order, refund_order

tools = [get_order, refund_order]


async def call_model(state: MessagesState) -> dict[str, Any]:
    """Let the model speak."""
    return {"messages": [await model.bind_tools(tools).ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("model", call_model)
builder.add_node("tools", ToolNode(tools))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
graph = builder.compile()
