"""The desk's graph: the library's loop, between a node that says hello and the end."""

from langgraph.graph import START, MessagesState, StateGraph

from clearance import OfflineModel
from support.app import clearance
from support.lookups import find_order, list_tickets

PROMPT = """\
You help the people of a support desk. Look orders and tickets up before you act, and never guess an id. Refunds and
answers may wait until a lead has approved them; what happened is what the results say."""

builder = StateGraph(MessagesState)
# A real model is another line: model=lambda: init_chat_model("openai:gpt-5-mini").
entry = clearance.add_to(builder, model=OfflineModel(), tools=[find_order, list_tickets], prompt=PROMPT)
builder.add_edge(START, entry)
graph = builder.compile()
