"""In which graph a thread is at home: it belongs to one from its first run, and no other runs in it if one is gated.

A run of another graph writes messages into the thread that nobody said, and takes its question out of sight.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from clearance.db.engine import Database
from clearance.journal.turns import read_placed
from clearance.server import graphs
from clearance.text.rendering import line

#: Seconds for which the first run of a thread is remembered here: until then the server's row of it tells its graph.
_REMEMBERED_S = 30


@dataclass(frozen=True)
class Home:
    """Where a thread is at home."""

    #: None where no run began in it yet, or nobody noted it.
    graph: str | None
    #: Whether a turn of ours is or was in it.
    had_turn: bool

    def takes(self, graph: str | None) -> bool:
        """Tell whether a run of a graph may be let into the thread. None: there is no such assistant, and no run."""
        if graph is None or self.graph == graph:
            return True
        gated = graphs.gated()
        if self.graph is None:
            return not self.had_turn or graph in gated
        return not (self.had_turn or graph in gated or self.graph in gated)

    def sentence(self, graph: str | None) -> str:
        """Say why a run of a graph is not let in."""
        whose = (
            f"to the graph {line(self.graph)!r}" if self.graph else "to a graph that holds what it does for approval"
        )
        return f"This thread belongs {whose}: talk to {line(str(graph))!r} in a thread of its own."


class Homes:
    """The homes of threads: by the journal, by the server's row, and by what was let in just now."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: By person and thread, oldest first: somebody else's runs in a thread say nothing, the server refuses them.
        self._begun: dict[tuple[str, str], tuple[str, float]] = {}

    async def of(self, thread_id: str) -> Home:
        """Give the home of a thread.

        Raises:
            DatabaseUnavailable: ours, or the server's own, did not answer.
        """
        placed = await self._database.read(partial(read_placed, thread_id=thread_id))
        if placed is not None and placed.graph_id is not None:
            graphs.note_gated({placed.graph_id})
            return Home(placed.graph_id, had_turn=True)
        named = await graphs.graph_of_row(thread_id)
        if placed is None:
            return Home(named, had_turn=False)
        # From before turns noted it. What the row names may be of a run that was let in then, and is no home.
        return Home(named if named in graphs.gated() else graphs.only_gated(), had_turn=True)

    def begin(self, person: str, thread_id: str, graph: str | None) -> Home:
        """Note a run that is let in, and give the thread's home by those of the last seconds.

        Nothing is waited for between this and the run: of two at once in a new thread the second finds the first.
        """
        now = time.monotonic()
        while self._begun and now - self._begun[first := next(iter(self._begun))][1] > _REMEMBERED_S:
            del self._begun[first]
        if graph is None:
            return Home(None, had_turn=False)
        return Home(self._begun.setdefault((person, thread_id), (graph, now))[0], had_turn=False)


async def graph_of_run(value: dict[str, Any]) -> str | None:
    """Give the graph that a run is of, in any of the shapes of a run; None where there is no such assistant.

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    is_command = "method" in value
    params = value.get("params") if is_command else value
    named = params.get("assistant_id") if isinstance(params, dict) else None
    if is_command and not (isinstance(named, str) and named):
        # An answer by the second protocol may name none: the server takes that of the thread's last run.
        return await graphs.graph_of_row(str(value.get("thread_id")))
    return await graphs.graph_of_assistant(named)
