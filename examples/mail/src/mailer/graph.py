"""The agent's graph: the library's loop, with its one action."""

from langgraph.graph import START, MessagesState, StateGraph

from clearance import OfflineModel
from mailer.app import clearance

builder = StateGraph(MessagesState)
builder.add_edge(START, clearance.add_to(builder, model=OfflineModel()))
graph = builder.compile()
