"""Our graph with one pause: `receive` takes words in late that have the word for it, so that tests can strike before.

The graph of a server's own file; and the servers that have it. What it waits for is told by files in their folder: no
pause is ended by a clock that a slow machine outruns. Only the run that came first to the words of a thread is held:
one of recovery's, which may come as soon as that is stopped, would wait for the test, and the test for it.
"""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.graph import graph as graph
from clearance.graph import step_receive as module
from clearance.graph.identity import run_id_of, thread_of
from tests.support.aegra import Aegra
from tests.support.server import Server, with_graph

#: Words with this in them are taken in when the test lets them, or after so many seconds.
LATE, LATE_S = "late", 60


class LateServer(Server):
    """`langgraph dev` with the late graph."""

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


class LateAegra(Aegra):
    """Aegra with the late graph."""

    def _configuration(self) -> Path:
        return with_graph(self.folder, super()._configuration(), Path(__file__))


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


def _may_go_on(thread_id: str, run_id: str) -> bool:
    first = Path(f"{thread_id}.in")
    with suppress(FileExistsError), first.open("x") as file:
        file.write(run_id)
    return Path(f"{thread_id}.on").exists() or first.read_text() not in ("", run_id)


async def _late_brought(config: Any, standing: Any, is_same: Any) -> Any:
    if standing and LATE in str(standing[-1].content).split():
        until = time.monotonic() + LATE_S
        its = thread_of(config), str(run_id_of(config))
        while not await asyncio.to_thread(_may_go_on, *its) and time.monotonic() < until:  # noqa: ASYNC110  told by a file
            await asyncio.sleep(0.05)
    return await _brought(config, standing, is_same)


def _strike() -> None:
    vars(module)["brought"] = _late_brought


if not __name__.startswith("tests."):  # loaded by the server as its graph's file
    _strike()
