"""Tools of MCP servers that only look, as look-ups: a trusted server says so, and the rest goes through the gate."""

import asyncio
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from clearance.actions.action import Action, read_action
from clearance.actions.mcp import McpTool
from clearance.errors import ActionError
from clearance.graph.action_tools import Assemble
from clearance.graph.lookups import READ_ONLY, logged


class _LookupTool(StructuredTool):
    """Takes the arguments as they are: they are read by the action, and may be called like something of langchain's."""

    def _parse_input(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> dict[str, Any]:
        return {"given": tool_input}


def lookup_tool(cls: type[Action[Any]], assemble: Assemble) -> BaseTool:
    """Make the look-up of an MCP server's tool. Every error is told to the model in a sentence."""
    assert issubclass(cls, McpTool)

    async def look(given: dict[str, Any] | None = None) -> str:  # a tool without arguments is called without any
        try:
            action = read_action(cls, given or {})
            assert isinstance(action, McpTool)
            elsewhere = (await assemble()).gate.elsewhere
            # On a loop of ours: it starts processes, which a server's loop may not.
            return await asyncio.wrap_future(elsewhere.submit(lambda: asyncio.wait_for(action.look(), cls.timeout_s)))
        except ActionError as exc:
            raise ToolException(str(exc)) from exc
        except TimeoutError as exc:
            raise ToolException(f"{cls.tool_name()} gave no answer within {cls.timeout_s:g} s.") from exc
        except Exception as exc:  # the last boundary before the model: whatever it is, the run goes on
            raise ToolException(f"{cls.tool_name()} failed unexpectedly ({logged(cls.tool_name())}).") from exc

    return _LookupTool(
        name=cls.tool_name(),
        description=(cls.__doc__ or "").strip(),
        args_schema=cls,
        coroutine=look,
        metadata=READ_ONLY,
        handle_tool_error=True,
    )
