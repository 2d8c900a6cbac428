"""An agent that pays out elsewhere: a graph of a server's own file, and its servers."""

from pathlib import Path
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from clearance import OfflineModel
from tests.support.aegra import Aegra
from tests.support.outside import POLICY, TIMEOUT, URL
from tests.support.paying_app import clearance
from tests.support.server import ROOT, Server, with_graph

ROLES = '[roles]\napprover = "decides"\n\n[defaults]\nexpires = "24h"\napprovers = "approver"\nrisk = "high"\n'


class PayingServer(Server):
    """`langgraph dev` with it; `env` names the provider."""

    def environment(self) -> dict[str, str]:
        policy = self.folder / "paying.toml"
        policy.write_text(ROLES + POLICY)
        return {
            **super().environment(),
            "PYTHONPATH": str(ROOT),
            "CLEARANCE": "tests.support.paying_app:clearance",
            "POLICY_FILE": str(policy),
        }

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


class PayingAegra(Aegra):
    """Aegra with it."""

    def environment(self) -> dict[str, str]:
        policy = self.folder / "paying.toml"
        policy.write_text(ROLES + POLICY)
        return {
            **super().environment(),
            "PYTHONPATH": str(ROOT),
            "CLEARANCE": "tests.support.paying_app:clearance",
            "POLICY_FILE": str(policy),
        }

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


def _graph() -> Any:
    builder = StateGraph(MessagesState)
    entry = clearance.add_to(builder, model=OfflineModel())
    builder.add_edge(START, entry)
    return builder.compile(name="clearance")


def environment(url: str) -> dict[str, str]:
    """Give what a server needs to know of the provider."""
    return {URL: url, TIMEOUT: "4"}


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    graph = _graph()
