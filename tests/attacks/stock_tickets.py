"""A deliberately stock LangGraph agent with the tools of an MCP server, as the adapters' documentation has it.

What says `readOnlyHint` runs, every other call is put by an `interrupt()` first. Its authentication is `stock`'s.
"""

import json
import os
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition
from langgraph.types import interrupt

from clearance import OfflineModel
from tests.support.tickets import CONNECTION


async def graph() -> Any:
    """Make the agent, with the tools as their server lists them now."""
    client = MultiServerMCPClient({"tickets": json.loads(os.environ[CONNECTION])})
    tools = {tool.name: tool for tool in await client.get_tools()}
    speaking = OfflineModel().bind_tools(list(tools.values()))

    async def model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await speaking.ainvoke(state["messages"])]}

    async def run_tools(state: MessagesState) -> dict[str, Any]:
        said = state["messages"][-1]
        assert isinstance(said, AIMessage)
        return {"messages": [await _called(tools[call["name"]], call) for call in said.tool_calls]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", run_tools)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


async def _called(tool: BaseTool, call: Any) -> ToolMessage:
    if not (tool.metadata or {}).get("readOnlyHint"):
        answer = interrupt({"action": call["name"], "message": f"{call['name']} {call['args']}?", **call["args"]})
        if not (answer.get("approved") if isinstance(answer, dict) else answer):
            return ToolMessage("Rejected.", tool_call_id=call["id"])
    came: ToolMessage = await tool.ainvoke({**call, "type": "tool_call"})
    return came
