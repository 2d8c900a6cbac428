"""The agent's graph: the library's loop, with its one action."""

from langgraph.graph import START, MessagesState, StateGraph

from archive.app import clearance
from clearance import OfflineModel

builder = StateGraph(MessagesState)
builder.add_edge(START, clearance.add_to(builder, model=OfflineModel()))
graph = builder.compile()
