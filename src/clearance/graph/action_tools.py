"""Every action as a tool. Running one means going through the gate, which pauses by `interrupt()` inside the tool."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.config import get_stream_writer
from langgraph.types import Command

from clearance.actions.action import Action
from clearance.gate.answers import NewMessage
from clearance.gate.caller import Caller
from clearance.gate.execution import InFlight
from clearance.gate.gate import Outcome
from clearance.gate.question import Question
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request
from clearance.parts import Parts

#: Gives the parts behind a graph, opened at first use.
Assemble = Callable[[], Awaitable[Parts]]


@dataclass(frozen=True)
class Site:
    """Which call of the journal runs now, and for whom."""

    question: Question
    #: The revision that the graph sent the task for.
    revision: int
    caller: Caller
    #: What came of it, where the gate brought it on as it reached the call.
    outcome: Outcome | None = None
    #: Whether the gate put its question.
    is_put: bool = False


#: Set by the graph around a tool's run. The gate believes the journal, so this only points there.
site: ContextVar[Site] = ContextVar("site")


class _ActionTool(StructuredTool):
    """Does not look at the arguments: the request in the journal counts, and those were read when it was opened.

    To check them here would end in an error, on every resume, where a later program knows other fields.
    """

    def _parse_input(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> dict[str, Any]:
        return {}

    def _filter_injected_args(self, tool_input: dict[str, Any]) -> dict[str, Any]:
        # langchain's goes through the annotations of all fields each time, for what it puts in itself: an action has
        # no such ones.
        return dict(tool_input)

    async def _arun(self, *_: Any, **__: Any) -> Any:
        # langchain's reads the annotations of what it runs each time, for what else that takes: nothing.
        assert self.coroutine is not None
        return await self.coroutine()


def _progress_of(action: str, request: Request) -> Callable[[Any], None]:
    """Pass on how far an action elsewhere is to the stream of the run that waits for it."""
    write = get_stream_writer()
    return lambda said: write({"action": action, "id": request.request_id, "progress": said})


def action_tool(cls: type[Action[Any]], assemble: Assemble) -> BaseTool:
    """Make the tool of an action. It may pause for a person, and returns a sentence, never raises one.

    What it carries out is the request in the journal, whatever arguments it is called with.
    """

    async def run() -> Any:
        here = site.get(None)
        if here is None:
            return f"Not done: {cls.tool_name()} only runs inside the agent's graph."
        gate = (await assemble()).gate
        if here.outcome is not None:
            outcome = here.outcome.of
        else:
            outcome = await gate.clear(here.question, here.revision, here.caller, is_put=here.is_put)
        if isinstance(outcome, InFlight):
            outcome = await gate.flights.follow(outcome, _progress_of(cls.tool_name(), here.question.request))
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
            case None | InFlight():
                return Command(goto="dispatch")

    return _ActionTool(
        name=cls.tool_name(),
        description=(cls.__doc__ or "").strip(),
        args_schema=cls,
        coroutine=run,
    )
