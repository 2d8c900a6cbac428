"""Where no server's door does, a compiled graph tells the gate whether a run brought an answer that names no question.

One that an earlier run left behind is not this person's. A server's door says it for each run, over whatever was sent.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from clearance.gate.question import IS_RESUME


def guarded(graph: CompiledStateGraph[Any, Any, Any, Any]) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Give the same graph, guarded: for programs that run it themselves and tell the gate who each run is of."""
    return _Guarded(**{name: value for name, value in vars(graph).items() if name != "__orig_class__"})


class _Guarded(CompiledStateGraph[Any, Any, Any, Any]):
    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:
        return super().stream(input, _told(input, config), **options)

    def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        return super().astream(input, _told(input, config), **options)


def _told(given: Any, config: RunnableConfig | None) -> RunnableConfig:
    configurable = (config or {}).get("configurable", {})
    if configurable.get("__pregel_task_id"):  # inside another graph, which hands its own answers down
        return config or {}
    is_resume = isinstance(given, Command) and given.resume is not None
    return {**(config or {}), "configurable": {IS_RESUME: is_resume, **configurable}}
