"""Every action as a tool. Running one means going through the gate, which pauses by `interrupt()` inside the tool."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command

from agent.clearance.action import Action
from agent.clearance.answers import NewMessage
from agent.clearance.approval import Question
from agent.clearance.gate import Caller, Gate
from agent.clearance.journal import Receipt


@dataclass(frozen=True)
class Site:
    """Which call of the journal runs now, and for whom."""

    question: Question
    #: The revision that the graph sent the task for.
    revision: int
    caller: Caller


#: Set by the graph around a tool's run. The gate believes the journal, so this only points there.
site: ContextVar[Site] = ContextVar("site")


class _ActionTool(StructuredTool):
    """Does not look at the arguments: the request in the journal counts, and those were read when it was opened.

    To check them here would end in an error, on every resume, where a later program knows other fields.
    """

    def _parse_input(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> dict[str, Any]:
        return {}


def action_tool(cls: type[Action[Any]], gate: Gate) -> BaseTool:
    """Make the tool of an action. It may pause for a person, and returns a sentence, never raises one.

    What it carries out is the request in the journal, whatever arguments it is called with.
    """

    async def run() -> Any:
        here = site.get(None)
        if here is None:
            return f"Not done: {cls.tool_name()} only runs inside the agent's graph."
        outcome = await gate.clear(here.question, here.revision, here.caller)
        match outcome:
            case Receipt():
                return ToolMessage(
                    outcome.sentence or "",
                    tool_call_id=here.question.request.tool_call_id,
                    # CopilotKit's client breaks off the whole stream of a result without a name.
                    name=cls.tool_name(),
                    status="success" if outcome.outcome == "executed" else "error",
                    artifact=outcome.artifact,
                )
            case NewMessage():
                # Words, and whose they are is certain only here: the graph hears them at once.
                call_id = here.question.request.tool_call_id
                return ToolMessage("", tool_call_id=call_id, name=cls.tool_name(), artifact=outcome)
            case None:
                return Command(goto="dispatch")

    return _ActionTool(
        name=cls.tool_name(),
        description=(cls.__doc__ or "").strip(),
        args_schema=cls,
        coroutine=run,
    )
