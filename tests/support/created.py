"""The sample agent as `create_agent` makes it, with the middleware: a graph of a server's own file, and its server."""

import os
from pathlib import Path
from typing import Any

from langchain.agents import create_agent

from agent.analysis import analysis_tool
from agent.app import clearance
from agent.lookups import lookup_tools
from agent.model import the_model
from agent.prompts import the_prompt
from agent.settings import agent_settings
from tests.support.aegra import Aegra
from tests.support.server import ROOT, Server, with_graph


class CreatedServer(Server):
    """`langgraph dev` with the agent of `create_agent`."""

    def environment(self) -> dict[str, str]:
        return _with_tests(super().environment())

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


class CreatedAegra(Aegra):
    """Aegra with the agent of `create_agent`."""

    def environment(self) -> dict[str, str]:
        return _with_tests(super().environment())

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


def _with_tests(given: dict[str, str]) -> dict[str, str]:
    return {**given, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), given.get("PYTHONPATH")]))}


def created_agent() -> Any:
    """Make the sample with the middleware."""
    return create_agent(
        the_model(),
        [*lookup_tools(clearance), analysis_tool(clearance, lambda: agent_settings().analysis_chunk)],
        system_prompt=the_prompt(),
        middleware=[clearance.middleware()],
        name="clearance",
    )


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    graph = created_agent()
