"""What a project has in another module than its graph, which it imports where it needs it."""

from langgraph.graph import START, MessagesState, StateGraph

from clearance import Clearance
from tests.support.scripted_model import ScriptedModel

of_elsewhere = Clearance(actions=[])

_builder = StateGraph(MessagesState)
_builder.add_edge(START, of_elsewhere.add_to(_builder, model=ScriptedModel()))
agent_elsewhere = _builder.compile()
