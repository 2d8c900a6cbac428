"""The gate in `create_agent` and deep agents: a middleware whose hooks are the four steps.

    abefore_agent     receive
    abefore_model     dispatch: every edge from the tools to the model leads here first
    awrap_model_call  model
    awrap_tool_call   tools

langchain sends every call of a message to its tools, as soon as the model has spoken: look-ups run then. An action acts
only where it carries a pointer into the journal, and with that dispatch sends it, as a task of its own.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Annotated, Any, NoReturn, NotRequired, Required, cast

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langgraph.config import get_config
from langgraph.graph import END
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from clearance.actions.action import Actions
from clearance.gate.unread import unparsed_call
from clearance.graph.action_tools import Assemble
from clearance.graph.looked_up import Came
from clearance.graph.lookups import READ_ONLY, as_sentences
from clearance.graph.messages import MessagesChannel
from clearance.graph.state import CallState, State
from clearance.graph.step_model import Spoken
from clearance.graph.steps import Steps
from clearance.graph.toolbox import HOW, Toolbox, no_tool
from clearance.graph.transcript import RESULT
from clearance.models import Told, asked
from clearance.models.failure import Nonsense
from clearance.parts import Parts

Handler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
Run = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]

_ASYNC_ONLY = (
    "Clearance's middleware is asynchronous only: run the agent by ainvoke or astream, not by invoke or stream."
)


#: model, tools, dispatch, tools, dispatch, model; hooks of others between them come on top.
_CYCLE = 6


def _last(_: Any, new: Any) -> Any:
    return new


class GateState(AgentState[Any]):
    """What a thread keeps for the gate; nothing in it is believed."""

    #: Points to the turn in the journal; see `State`.
    turn_id: NotRequired[Annotated[str, PrivateStateAttr, _last]]
    #: Words came in place of an answer: they are heard before anything goes on.
    is_spoken_to: NotRequired[Annotated[bool, PrivateStateAttr, _last]]


class KeptState(AgentState[Any]):
    """The state of an agent whose checkpoints keep what is new of its messages; see `Clearance.agent_state`."""

    messages: Required[Annotated[list[AnyMessage], MessagesChannel()]]


class GateMiddleware(AgentMiddleware[GateState, Any, Any]):
    """See `Clearance.middleware`.

    Raises:
        ValueError: a tool named as read-only is an action.
    """

    state_schema = GateState

    def __init__(self, assemble: Assemble, actions: Actions, read_only: Collection[str]) -> None:
        super().__init__()
        self._assemble = assemble
        self._toolbox = _OpenToolbox(actions, assemble, read_only)
        self._steps = Steps(assemble, self._toolbox, cycle=_CYCLE)
        self.tools: Sequence[BaseTool] = list(self._toolbox.actions.values())

    @property
    def name(self) -> str:
        """What its nodes are called: `clearance.before_agent`, `clearance.before_model`."""
        return "clearance"

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: GateState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Receive: open the turn, withdraw what was left open, put the transcript right."""
        return await self._receive(state)

    @hook_config(can_jump_to=["tools", "end"])
    async def abefore_model(self, state: GateState, runtime: Runtime[Any]) -> Any:
        """Dispatch: send what comes next, or let the model speak."""
        if state.get("is_spoken_to"):
            # On to the model, which speaks only when it may.
            return {**await self._receive(state), "is_spoken_to": False}
        command = await self._steps.dispatch(_ours(state), get_config())
        update = _update(command)
        sends = [one for one in command.goto if isinstance(one, Send)] if isinstance(command.goto, list) else []
        if sends:
            messages = [*state["messages"], *update.get("messages", [])]
            calls = [Send("tools", [_sent(messages, one.arg)]) for one in sends]
            # The jump only leads past the model: its own task does nothing.
            return Command(update={**update, "jump_to": "tools"}, goto=calls)
        if command.goto == "model" and state.get("structured_response") is not None:
            # All that was called beside it is done, and it is the answer.
            await self._steps.end(_ours(state), get_config())
            return {**update, "jump_to": "end"}
        return _or_end(update, command)

    async def _receive(self, state: GateState) -> dict[str, Any]:
        stand_ins = _stand_ins(state["messages"])
        messages = [one for one in state["messages"] if one not in stand_ins]
        command = await self._steps.receive(_ours({**state, "messages": messages}), get_config())
        update = _update(command)
        if stand_ins and "messages" not in update:
            update["messages"] = [RemoveMessage(id=one.id or "") for one in stand_ins]
        if state.get("structured_response") is not None:
            update["structured_response"] = None  # an earlier turn's
        return _or_end(update, command)

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ModelResponse[Any]:
        """Let the model speak and store what it said; run again, give what is stored.

        Raises:
            ValueError: a tool of the agent is neither an action nor declared read-only, or has an action's name.
        """
        await self._assemble()
        # What was found when the journal was opened: the agent was made before.
        found = self._toolbox.with_found([tool for tool in request.tools if isinstance(tool, BaseTool)])
        others = [tool for tool in request.tools if not isinstance(tool, BaseTool)]
        if len(found) + len(others) > len(request.tools):
            request = request.override(tools=[*found, *others])
        self._toolbox.check(request.tools)
        speaker = _Speaker(request, handler)
        command = await self._steps.model(_ours(request.state), get_config(), speaker)
        messages: list[BaseMessage] = _update(command).get("messages", [])
        structured = speaker.structured_in(messages)
        if structured is not None and command.goto == "dispatch" and not _open_calls(messages):
            # langchain ends the run here.
            await self._steps.end(_ours(request.state), get_config())
        return ModelResponse(result=messages, structured_response=structured)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Run) -> ToolMessage | Command[Any]:
        """Run one call: a look-up that the model made just now, or what dispatch sent."""
        pointer = self._pointer(request)
        if pointer is None:
            return self._back(request, {})

        async def look_up(stored: dict[str, Any]) -> Came:
            tools = self._toolbox.with_found(request.runtime.tools)
            refused = self._toolbox.refused(stored["name"], tools)
            if refused is not None:
                return ToolMessage(refused, tool_call_id=stored["id"], name=stored["name"], status="error")
            tool = next((one for one in tools if one.name == stored["name"]), None)
            called = cast("Any", {**stored, "type": "tool_call"})
            # None for one that another middleware runs: only its name is known.
            try:
                with as_sentences(stored["name"]):  # of whoever wrote it: not all tools tell their errors themselves
                    return cast("Came", await handler(request.override(tool_call=called, tool=cast("Any", tool))))
            except ToolException as exc:
                return ToolMessage(str(exc), tool_call_id=stored["id"], name=stored["name"], status="error")

        command = await self._steps.tools(pointer, request.runtime.config, look_up)
        if command.goto == "receive":
            return Command(update={**_update(command), "is_spoken_to": True})
        if command.goto != "dispatch":
            return command  # a look-up's own, which leads elsewhere
        if _returns_directly(request):
            await self._steps.end(_ours(request.state), request.runtime.config)
        return self._back(request, command.update)

    def _pointer(self, request: ToolCallRequest) -> CallState | None:
        """Give the pointer to the call that is to be run now, or None: dispatch sends it later, or did already."""
        call = cast("dict[str, Any]", request.tool_call)
        if "revision" in call:
            return CallState(message_id=call.get("message_id", ""), tool_call_id=call["id"], revision=call["revision"])
        is_jump = request.state.get("jump_to") == "tools"
        if is_jump or call["name"] in self._toolbox.actions or unparsed_call(call) is not None:
            return None
        said = (one for one in reversed(request.state["messages"]) if isinstance(one, AIMessage))
        found = next((one for one in said if any(made["id"] == call["id"] for made in one.tool_calls)), None)
        return CallState(message_id=found.id or "", tool_call_id=call["id"], revision=0) if found else None

    def _back(self, request: ToolCallRequest, update: Any) -> Command[Any]:
        """Lead back to dispatch. langchain does, but ends the run where structured output stands beside a call."""
        is_beside = _is_beside_structured(request, self._toolbox.with_found(request.runtime.tools))
        return Command(update=update, goto=f"{self.name}.before_model" if is_beside else ())

    def before_agent(self, state: GateState, runtime: Runtime[Any]) -> NoReturn:
        """Tell that there is no such way."""
        raise NotImplementedError(_ASYNC_ONLY)

    def before_model(self, state: GateState, runtime: Runtime[Any]) -> NoReturn:
        """Tell that there is no such way."""
        raise NotImplementedError(_ASYNC_ONLY)

    def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> NoReturn:
        """Tell that there is no such way."""
        raise NotImplementedError(_ASYNC_ONLY)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Any) -> NoReturn:
        """Tell that there is no such way."""
        raise NotImplementedError(_ASYNC_ONLY)


class _OpenToolbox(Toolbox):
    """The actions, and whatever look-ups the agent has: which those are, only its requests tell."""

    def __init__(self, actions: Actions, assemble: Assemble, read_only: Collection[str]) -> None:
        super().__init__([], actions, assemble)
        self._read_only = frozenset(read_only)
        if both := sorted(self._read_only & self.actions.keys()):
            raise ValueError(f"{both[0]} is an action, and named as read-only")

    def has_lookup(self, name: str) -> bool:
        """Tell whether a call of this name is run as a look-up, or answered by `refused`."""
        return name not in self.actions

    def with_found(self, tools: Sequence[BaseTool]) -> list[BaseTool]:
        """Give the tools of an agent with those that were found since it was made."""
        have = {tool.name for tool in tools}
        return [*tools, *(tool for tool in self.found if tool.name not in have)]

    def check(self, tools: Iterable[BaseTool | dict[str, Any]]) -> None:
        """Check the tools that the model is offered.

        Raises:
            ValueError: one is neither an action nor declared read-only, or has an action's name.
        """
        for tool in tools:
            name = tool.name if isinstance(tool, BaseTool) else str(tool.get("name") or tool.get("type"))
            if name in self.actions:
                if tool is not self.actions[name]:
                    raise ValueError(f"two tools have the same name: {name} is an action, too")
            elif not self._is_read_only(name, tool):
                raise ValueError(f"{name} is not declared read-only: {_HOW}")

    def refused(self, name: str, tools: Sequence[BaseTool]) -> str | None:
        """Say why a call is not run, or None when it may be: `tools` are those that the agent can run."""
        tool = next((one for one in tools if one.name == name), None)
        if self._is_read_only(name, tool):
            return None
        if tool is None:
            if (why := self._known.absent.get(name)) is not None:
                return why
            return no_tool(name, [*(one for one in tools if one.name not in self.actions), *self.actions.values()])
        return f"Not done: {name} is neither an action nor declared read-only."

    def _is_read_only(self, name: str, tool: BaseTool | dict[str, Any] | None) -> bool:
        metadata = (tool.metadata or {}) if isinstance(tool, BaseTool) else {}
        return name in self._read_only or metadata.items() >= READ_ONLY.items()


_HOW = f"{HOW}; or name one of somebody else's that has none in `middleware(read_only=[…])`"


class _Speaker:
    """Lets langchain's model speak once, as the agent around it has it speak."""

    def __init__(self, request: ModelRequest[Any], handler: Handler) -> None:
        self._request = request
        self._handler = handler
        self._said: AIMessage | None = None
        self._response: ModelResponse[Any] | None = None

    async def __call__(self, parts: Parts, messages: Told) -> Spoken:
        async def ask(history: list[AnyMessage]) -> AIMessage:
            self._response = await self._handler(self._request.override(messages=history))
            said = next((one for one in self._response.result if isinstance(one, AIMessage)), None)
            if said is None:
                raise Nonsense("answered with neither words nor calls")
            return said

        self._said = await asked(
            ask,
            self._request.model,
            messages,
            context_tokens=parts.settings.model_context_tokens,
            timeout_s=parts.settings.model_timeout_s,
        )
        came = self._response.result if self._response else []
        # Of structured output: langchain answers its call beside the model.
        return Spoken(self._said, [one for one in came if isinstance(one, ToolMessage)])

    def structured_in(self, messages: Sequence[BaseMessage]) -> Any:
        """Give the structured output of what was said, where that is what stands in `messages`; None otherwise."""
        if self._response is None or self._said is None:
            return None
        calls = [one.tool_calls for one in messages if isinstance(one, AIMessage)]
        return self._response.structured_response if self._said.tool_calls in calls else None


def _stand_ins(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """List what another's hook, such as a deep agent's, put in as the results of calls that have none yet.

    The gate tells the true ones. It is nobody's forgery, so nothing is said of it.
    """
    results = [one for one in messages if isinstance(one, ToolMessage)]
    answered = {one.tool_call_id for one in results if (one.id or "").startswith(RESULT)}
    return [
        one
        for one in results
        if one.status == "error" and not (one.id or "").startswith(RESULT) and one.tool_call_id not in answered
    ]


def _ours(state: Any) -> State:
    return cast("State", state)


def _update(command: Command[Any]) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", command.update or {}))


def _or_end(update: dict[str, Any], command: Command[Any]) -> dict[str, Any]:
    """Let the run end where a step says so. The jump takes one value at a time, so it is written only where needed."""
    return {**update, "jump_to": "end"} if command.goto == END else update


def _open_calls(messages: Sequence[BaseMessage]) -> list[Any]:
    answered = {one.tool_call_id for one in messages if isinstance(one, ToolMessage)}
    return [
        call for one in messages if isinstance(one, AIMessage) for call in one.tool_calls if call["id"] not in answered
    ]


def _sent(messages: Sequence[BaseMessage], pointer: CallState) -> dict[str, Any]:
    """Give a call as langchain's tools take it, with the pointer in it; what is run is the journal's."""
    said = [one for one in messages if isinstance(one, AIMessage) and one.id == pointer["message_id"]]
    calls = [call for one in said for call in one.tool_calls if call["id"] == pointer["tool_call_id"]]
    shown = cast("dict[str, Any]", calls[-1]) if calls else {"name": "", "args": {}}
    return {
        **shown,
        "type": "tool_call",
        "id": pointer["tool_call_id"],
        "message_id": pointer["message_id"],
        "revision": pointer["revision"],
    }


def _returns_directly(request: ToolCallRequest) -> bool:
    """Tell whether langchain ends the run with this result: all that the newest message calls are tools that say so."""
    tools = {tool.name: tool for tool in request.runtime.tools}
    said = next((one for one in reversed(request.state["messages"]) if isinstance(one, AIMessage)), None)
    called = [tools.get(call["name"]) for call in said.tool_calls] if said else []
    return bool(called) and all(tool is not None and tool.return_direct for tool in called)


def _is_beside_structured(request: ToolCallRequest, tools: Sequence[BaseTool]) -> bool:
    """Tell whether structured output stands behind the newest message: a result that is no tool's."""
    names = {tool.name for tool in tools}
    for message in reversed(request.state["messages"]):
        if isinstance(message, AIMessage):
            return False
        if isinstance(message, ToolMessage) and message.status != "error" and message.name not in names:
            return True
    return False
