"""The agent's graph: receive → model ⇄ dispatch → tools → dispatch, with every action behind the gate."""

from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from agent.analysis import analysis_tool
from agent.app import clearance
from agent.lookups import lookup_tools
from agent.model import the_model
from agent.prompts import the_prompt
from agent.settings import agent_settings


def _write(work: Any) -> None:
    clearance.parts_now().database.write_now(work)


builder = StateGraph(MessagesState)
entry = clearance.add_to(
    builder,
    model=the_model,
    tools=[*lookup_tools(clearance), analysis_tool(clearance, lambda: agent_settings().analysis_chunk, _write)],
    prompt=the_prompt,
)
builder.add_edge(START, entry)
graph = builder.compile(name="clearance")
