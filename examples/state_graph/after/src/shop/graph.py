"""The agent's graph: the model, and its tools."""

from langgraph.graph import START, MessagesState, StateGraph

from shop.model import model
from shop.tools import clearance, get_order

builder = StateGraph(MessagesState)
builder.add_edge(START, clearance.add_to(builder, model=model, tools=[get_order]))
graph = builder.compile()
