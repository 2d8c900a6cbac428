"""What the model may call: look-ups, which run at once, and actions, which go through the gate."""

from collections.abc import Sequence

from langchain_core.tools import BaseTool

from agent.clearance.gate import Gate
from agent.tools.actions import action_tool


class Toolbox:
    """The tools of a deployment.

    Raises:
        ValueError: a plain tool that is not declared read-only, or two tools of one name.
    """

    def __init__(self, lookups: Sequence[BaseTool], gate: Gate) -> None:
        for tool in lookups:
            if (tool.metadata or {}).get("read_only") is not True:
                raise ValueError(f"{tool.name} is not declared read-only: what has an effect is written as an Action")
        if len({tool.name for tool in lookups}) != len(lookups):
            raise ValueError("two look-ups have the same name")
        self.lookups = {tool.name: tool for tool in lookups}
        self.actions = {cls.tool_name(): action_tool(cls, gate) for cls in gate.judge.actions}
        self.all: list[BaseTool] = [*self.lookups.values(), *self.actions.values()]
        if len({tool.name for tool in self.all}) != len(self.all):
            raise ValueError("two tools have the same name")

    def names(self) -> str:
        """List the names, for a model that called something else."""
        return ", ".join(tool.name for tool in self.all)
