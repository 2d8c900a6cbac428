"""What the model may call: look-ups, which run at once, and actions, which go through the gate."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId

from clearance.actions.action import Action, Actions
from clearance.actions.soundness import described
from clearance.graph.action_tools import Assemble, action_tool
from clearance.graph.looked_up import Came
from clearance.graph.lookups_elsewhere import lookup_tool


class Toolbox:
    """The tools of a deployment.

    Raises:
        TypeError: something that is no tool.
        ValueError: a tool that is not declared read-only, or two tools of one name.
    """

    def __init__(self, lookups: Sequence[BaseTool], actions: Actions, assemble: Assemble) -> None:
        for tool in lookups:
            _check_read_only(tool)
            _check_arguments(tool)
        self._given = list(lookups)
        self._known = actions
        self._assemble = assemble
        #: Made once: an agent that was made before keeps those that it was given.
        self._tools: dict[type[Action[Any]], BaseTool] = {}
        self._made = self._make()

    @property
    def lookups(self) -> dict[str, BaseTool]:
        """The look-ups, by name; those of MCP servers once they are known."""
        return self._current.lookups

    @property
    def actions(self) -> dict[str, BaseTool]:
        """The actions, by name; those of MCP servers once they are known."""
        return self._current.actions

    @property
    def all(self) -> list[BaseTool]:
        """All of them, as the model is offered them."""
        return self._current.all

    @property
    def found(self) -> list[BaseTool]:
        """Those that were not known when the graph was made: of MCP servers."""
        return self._current.found

    @property
    def _current(self) -> "_Tools":
        if self._made.version != self._known.version:
            self._made = self._make()
        return self._made

    def _make(self) -> "_Tools":
        known = self._known
        actions = {cls.tool_name(): self._tool(cls, action_tool) for cls in known}
        outside = [self._tool(cls, lookup_tool) for cls in known.lookups.values()]
        names = [*(tool.name for tool in [*self._given, *outside]), *actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tools have the same name: {', '.join(twice)}")
        found = [*outside, *(actions[cls.tool_name()] for cls in known if cls.tool_origin.server is not None)]
        lookups = {tool.name: tool for tool in [*self._given, *outside]}
        return _Tools(known.version, lookups, actions, [*lookups.values(), *actions.values()], found)

    def _tool(self, cls: type[Action[Any]], make: Callable[[type[Action[Any]], Assemble], BaseTool]) -> BaseTool:
        if cls not in self._tools:
            self._tools[cls] = make(cls, self._assemble)
        return self._tools[cls]

    def has_lookup(self, name: str) -> bool:
        """Tell whether a call of this name is run as a look-up."""
        return name in self.lookups

    async def look_up(self, call: dict[str, Any], config: RunnableConfig) -> Came:
        """Run a look-up as the model called it."""
        came: Came = await self.lookups[call["name"]].ainvoke({**call, "type": "tool_call"}, config)
        return came

    def absent(self, name: str) -> str:
        """Say that there is no such tool, or why it is not there, to a model that called one."""
        return self._known.absent.get(name) or no_tool(name, self.all)


@dataclass(frozen=True)
class _Tools:
    #: Of `Actions`, as they were made.
    version: int
    lookups: dict[str, BaseTool]
    actions: dict[str, BaseTool]
    all: list[BaseTool]
    found: list[BaseTool]


#: What to do about a tool that nobody declared.
HOW = "declare what has no effect with `clearance.lookup`, and write what has one as an Action"


def _check_read_only(tool: object) -> None:
    if isinstance(tool, type) and issubclass(tool, Action):
        raise TypeError(
            f"tools: {tool.__name__} is an action; list it in Clearance(actions=[…]), which brings it along"
        )
    if not isinstance(tool, BaseTool):
        raise TypeError(f"tools: {described(tool)} is no tool: {HOW}")
    if (tool.metadata or {}).get("read_only") is not True:
        raise ValueError(f"{tool.name} is not declared read-only: {HOW}")


def _check_arguments(tool: BaseTool) -> None:
    """Check that a look-up wants nothing that only langchain's own node of tools puts in.

    Raises:
        TypeError: it does, and would fail at each call.
    """
    shown: Any = tool.tool_call_schema
    fields = getattr(tool.get_input_schema(), "model_fields", {})
    for name in fields.keys() - getattr(shown, "model_fields", fields).keys():
        marks = fields[name].metadata
        if not any(mark is InjectedToolCallId or isinstance(mark, InjectedToolCallId) for mark in marks):
            raise TypeError(
                f"{tool.name}: {name} is put in by langchain's agents, and by nobody in a graph of your own; take "
                "`config: RunnableConfig`, or ask langgraph's `get_store` and `get_runtime`"
            )


def no_tool(name: str, tools: Iterable[BaseTool]) -> str:
    """Say that there is no tool of this name, and which there are."""
    return f"There is no tool {name!r}. There are: {', '.join(tool.name for tool in tools)}."
