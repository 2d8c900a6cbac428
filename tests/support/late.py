"""Our graph with one pause: `receive` takes words in late that have the word for it, so that tests can strike before.

The graph of a server's own file; and the servers that have it.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from agent import graph as module
from agent.graph import graph as graph
from tests.support.aegra import Aegra
from tests.support.server import Server

#: Words with this in them are taken in so many seconds late, on a server of this file's.
LATE, LATE_S = "late", 3


class LateServer(Server):
    """`langgraph dev` with the late graph."""

    def _configuration(self) -> Path:
        return _changed(self.folder, super()._configuration())


class LateAegra(Aegra):
    """Aegra with the late graph."""

    def _configuration(self) -> Path:
        return _changed(self.folder, super()._configuration())


def _changed(folder: Path, configuration: Path) -> Path:
    link = folder / "late_graph.py"
    if not link.exists():
        link.symlink_to(Path(__file__))
    changed = folder / "late.json"
    read = json.loads(configuration.read_text())
    changed.write_text(json.dumps({**read, "graphs": {"clearance": "./late_graph.py:graph"}}))
    return changed


_brought = vars(module)["brought"]


async def _late_brought(config: Any, standing: Any) -> Any:
    if standing and LATE in str(standing[-1].content).split():
        await asyncio.sleep(LATE_S)
    return await _brought(config, standing)


def _strike() -> None:
    vars(module)["brought"] = _late_brought


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    _strike()
