"""An agent that works on tickets: a graph of a server's own file, and its server."""

import json
from pathlib import Path
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from clearance import OfflineModel
from tests.support.server import ROOT, Server, with_graph
from tests.support.tickets import CONNECTION, Tickets

POLICY = '[roles]\napprover = "decides"\n\n[defaults]\napprovers = "approver"\n'


class TicketDesk(Server):
    """`langgraph dev` with it; its MCP server is on stdio, over the folder `tickets`, unless `env` says otherwise."""

    def environment(self) -> dict[str, str]:
        policy = self.folder / "tickets.toml"
        policy.write_text(POLICY)
        return {
            CONNECTION: json.dumps(Tickets(self.folder / "tickets").on_stdio()),
            **super().environment(),
            "PYTHONPATH": str(ROOT),
            "CLEARANCE": "tests.support.tickets_app:clearance",
            "POLICY_FILE": str(policy),
        }

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


def _graph() -> Any:
    from tests.support.tickets_app import clearance

    builder = StateGraph(MessagesState)
    entry = clearance.add_to(builder, model=OfflineModel())
    builder.add_edge(START, entry)
    return builder.compile(name="clearance")


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    graph = _graph()
