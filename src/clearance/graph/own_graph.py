"""The gate in a `StateGraph` of one's own: four nodes in place of the model's node and the tools' node."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph._internal._runnable import RunnableCallable
from langgraph.graph import END, StateGraph
from langgraph.graph._branch import BranchSpec
from langgraph.types import Command, Send

from clearance.actions.action import Actions
from clearance.actions.soundness import described
from clearance.graph.action_tools import Assemble
from clearance.graph.identity import is_in_run
from clearance.graph.messages import keep_changes
from clearance.graph.state import CallState, State
from clearance.graph.step_model import Spoken
from clearance.graph.steps import Steps
from clearance.graph.toolbox import Toolbox
from clearance.models import Told, speak
from clearance.parts import Parts

#: Where each step leads, as `Steps` names them.
_LEADS_TO = {
    "receive": ("model", "dispatch", END),
    "model": ("tools", "dispatch", END),
    "dispatch": ("tools", "model", END),
    "tools": ("model", "dispatch", "receive"),
}
#: model, dispatch, tools, dispatch, model: the longest way of one call.
_CYCLE = 5
#: Where the journal is asked what comes next, when somebody who debugs writes the state in a step's name.
_AFTER = {"receive": "dispatch", "model": "dispatch", "dispatch": "model", "tools": "dispatch"}


def add_loop(
    builder: StateGraph[Any, Any, Any, Any],
    assemble: Assemble,
    actions: Actions,
    model: BaseChatModel | Callable[[], BaseChatModel],
    tools: Sequence[BaseTool],
    *,
    prompt: str | Callable[[], str],
    after: str | None,
    prefix: str,
) -> str:
    """See `Clearance.add_to`."""
    names = {**{step: f"{prefix}{step}" for step in _LEADS_TO}, END: after or END}
    _check(builder, model, names)
    keep_changes(builder)
    toolbox = Toolbox(tools, actions, assemble)
    steps = Steps(assemble, toolbox, cycle=_CYCLE, model_node=f"{prefix}model", is_straight=True)
    speaker = _Speaker(model, prompt, toolbox)

    async def receive(state: State, config: RunnableConfig) -> Command[str]:
        return _placed(await steps.receive(state, config), names)

    async def speaks(state: State, config: RunnableConfig) -> Command[str]:
        return _placed(await steps.model(state, config, speaker), names)

    async def dispatch(state: State, config: RunnableConfig) -> Command[str]:
        return _placed(await steps.dispatch(state, config), names)

    async def run_tools(state: CallState, config: RunnableConfig) -> Command[str]:
        return _placed(await steps.tools(state, config), names)

    nodes: dict[str, tuple[Callable[..., Awaitable[Command[str]]], Any]] = {
        "receive": (receive, State), "model": (speaks, State), "dispatch": (dispatch, State),
        "tools": (run_tools, CallState),
    }  # fmt: skip
    for step, (node, schema) in nodes.items():
        builder.add_node(names[step], node, input_schema=schema)
        # Where its command may lead is drawn by this edge. To declare it at the node, too, breaks the drawing.
        leads_to = [names[one] for one in _LEADS_TO[step]]
        builder.add_conditional_edges(names[step], _when_debugged(names[_AFTER[step]]), leads_to)
        of_step = builder.branches[names[step]]
        of_step[_WHEN_DEBUGGED] = _Unread(*of_step[_WHEN_DEBUGGED])
    return names["receive"]


def _check(builder: object, model: object, names: dict[str, str]) -> None:
    """See `Clearance.add_to`: told here by what was given, for langgraph would say it of nodes that nobody wrote."""
    if not isinstance(builder, StateGraph):
        raise TypeError(f"builder: {described(builder)} is no StateGraph; give the graph before it is compiled")
    if builder.channels.get("messages") != StateGraph(State).channels["messages"]:
        raise ValueError(
            f"{builder.state_schema.__name__} needs `messages: Annotated[list[AnyMessage], add_messages]`, as"
            " langgraph's MessagesState has it: derive the state of the graph from that"
        )
    if taken := sorted({names[step] for step in _LEADS_TO} & builder.nodes.keys()):
        raise ValueError(
            f"the graph has a node {taken[0]!r} already: give a prefix for ours, for example prefix='gate_'"
        )
    if not isinstance(model, BaseChatModel) and not callable(model):
        raise TypeError(f"model: {described(model)} {_NO_MODEL}")


#: What else may be given for a model.
_NO_MODEL = (
    "is no chat model; give one without tools bound to it, or a function that makes one:"
    " model=lambda: init_chat_model('openai:…')"
)


#: The name of that edge.
_WHEN_DEBUGGED = "when_debugged"


class _Unread(BranchSpec):
    """An edge that needs no state: langgraph would copy all of it for one, behind each step."""

    def run(self, writer: Any, reader: Any = None) -> RunnableCallable:
        """Make what leads on."""
        return super().run(writer, None)


def _when_debugged(leads_to: str) -> RunnableCallable:
    """Lead on from a step in whose name somebody writes the state: no step of ours ran that would say where."""

    def follow(_: Any, config: RunnableConfig) -> list[str]:
        return [] if is_in_run(config) else [leads_to]

    async def afollow(state: Any, config: RunnableConfig) -> list[str]:
        return follow(state, config)

    # As it is, for a plain function would be traced as a step of its own, behind each of ours.
    return RunnableCallable(follow, afollow, name=_WHEN_DEBUGGED, trace=False)


class _Speaker:
    """The model of a graph, made at its first use, and what it is told."""

    def __init__(
        self, model: BaseChatModel | Callable[[], BaseChatModel], prompt: str | Callable[[], str], toolbox: Toolbox
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._toolbox = toolbox

    async def __call__(self, parts: Parts, messages: Told) -> Spoken:
        if not isinstance(self._model, BaseChatModel):
            made = await asyncio.to_thread(self._model)
            if not hasattr(made, "bind_tools"):
                raise TypeError(f"model: the function returned {described(made)}, which {_NO_MODEL}")
            self._model = made
        if not isinstance(self._prompt, str):
            self._prompt = await asyncio.to_thread(self._prompt)
        said = await speak(
            self._model,
            self._toolbox.all,
            messages,
            prompt=self._prompt,
            context_tokens=parts.settings.model_context_tokens,
            timeout_s=parts.settings.model_timeout_s,
        )
        return Spoken(said)


def _placed(command: Command[str], names: dict[str, str]) -> Command[str]:
    goto = command.goto
    if isinstance(goto, str | Send):
        goto = [goto]
    there = [Send(names[one.node], one.arg) if isinstance(one, Send) else names[one] for one in goto]
    return replace(command, goto=there)
