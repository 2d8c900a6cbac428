"""Our graph with one pause: `receive` takes words in late that have the word for it, so that tests can strike before.

The graph of a server's own file; and the servers that have it. What it waits for is told by files in their folder: no
pause is ended by a clock that a slow machine outruns.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from agent import graph as module
from agent.graph import graph as graph
from agent.identity import thread_of
from tests.support.aegra import Aegra
from tests.support.server import Server

#: Words with this in them are taken in when the test lets them, or after so many seconds.
LATE, LATE_S = "late", 60


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


def let_in(folder: Path, thread_id: str) -> None:
    """Let the words of a thread be taken in, now and from now on."""
    (folder / f"{thread_id}.on").touch()


async def being_taken_in(folder: Path, thread_id: str) -> None:
    """Wait until a run of the thread is about to take words in."""
    until = time.monotonic() + LATE_S
    while not (folder / f"{thread_id}.in").exists():
        assert time.monotonic() < until, "nothing is being taken in"
        await asyncio.sleep(0.05)


_brought = vars(module)["brought"]


def _may_go_on(thread_id: str) -> bool:
    Path(f"{thread_id}.in").touch()
    return Path(f"{thread_id}.on").exists()


async def _late_brought(config: Any, standing: Any) -> Any:
    if standing and LATE in str(standing[-1].content).split():
        until = time.monotonic() + LATE_S
        while not await asyncio.to_thread(_may_go_on, thread_of(config)) and time.monotonic() < until:  # noqa: ASYNC110  told by a file
            await asyncio.sleep(0.05)
    return await _brought(config, standing)


def _strike() -> None:
    vars(module)["brought"] = _late_brought


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    _strike()
