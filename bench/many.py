"""Measure one process under many clients: full asked cycles a second, and how long one takes, with 1 to 64 at once.

    python -m bench.many --seconds 10

A client begins a thread, is asked, approves, and begins the next. All of them share one process, so each has to wait
for the others' processor time: a cycle's fair share is the number of clients times what a cycle of one client alone
takes of the processor. What p99 is beyond that, it waited for something else.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from langgraph.types import Command

from bench.gate import Contender, OneCall, keep, ours
from clearance.db.engine import Database
from tests.support.postgres import administer, postgres

CLIENTS = (1, 4, 16, 64)
#: Cycles before it is measured.
_WARM_UP = 40


@dataclass(frozen=True)
class Measured:
    """What some clients did in some time; times in ms."""

    clients: int
    seconds: float
    took: Sequence[float]
    #: Of this process, in all its threads, a cycle.
    processor: float

    @property
    def a_second(self) -> float:
        """Cycles a second, of all clients."""
        return len(self.took) / self.seconds

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.took, n=100)[98]


async def at_work(contender: Contender, clients: int, seconds: float) -> Measured:
    """Let so many clients run one cycle after the other for so long.

    Raises:
        RuntimeError: a cycle did not pause or end, or there is not one effect for each.
    """
    before, took = contender.count(), list[float]()
    began, processor = time.perf_counter(), time.process_time()

    async def client() -> None:
        while time.perf_counter() < began + seconds:
            took.append(await _cycle(contender))

    await asyncio.gather(*(client() for _ in range(clients)))
    took_s, processor_s = time.perf_counter() - began, time.process_time() - processor
    if contender.count() < before + len(took):
        raise RuntimeError(f"{len(took)} cycles had {contender.count() - before} effects")
    return Measured(clients, took_s, took, processor_s / len(took) * 1000)


async def _cycle(contender: Contender) -> float:
    config = {"configurable": {"thread_id": uuid.uuid4().hex}}
    began = time.perf_counter()
    held = await contender.graph.ainvoke({"messages": [("user", "record 5")]}, {**config, "run_id": uuid.uuid4()})
    (question,) = held["__interrupt__"]
    resume: Command[str] = Command(resume={question.id: contender.answer})
    done = await contender.graph.ainvoke(resume, {**config, "run_id": uuid.uuid4()})
    if done["messages"][-1].content != "Done.":
        raise RuntimeError(f"it did not end: {done['messages'][-1]}")
    return (time.perf_counter() - began) * 1000


async def warmed_up(contender: Contender) -> None:
    """Run some cycles that do not count."""
    for _ in range(_WARM_UP):
        await _cycle(contender)


async def compare(url: str, checkpoints: Path, seconds: float) -> AsyncIterator[str]:
    """Write a line for each number of clients."""
    contender = ours(Database(url), OneCall())
    await keep(contender, checkpoints)
    await warmed_up(contender)
    alone = 0.0
    for clients in CLIENTS:
        seen = await at_work(contender, clients, seconds)
        alone = alone or seen.processor
        share = clients * alone
        yield (
            f"{clients:>7} {seen.a_second:>10.1f} {statistics.median(seen.took):>8.0f} {seen.p99:>8.0f}"
            f" {seen.processor:>10.1f} {share:>8.0f} {seen.p99 / share:>10.2f}"
        )
    await contender.graph.checkpointer.conn.close()
    assert contender.database is not None
    contender.database.close()


async def _print(name: str, url: str, checkpoints: Path, seconds: float) -> None:
    print(f"{name}\nclients   cycles/s   median      p99  processor    share  p99/share", flush=True)
    async for line in compare(url, checkpoints, seconds):
        print(line, flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each number of clients")
    given = parser.parse_args()
    print("full asked cycles in one process; times in ms; share: clients x the processor time of a cycle alone")
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder, postgres(is_durable=True) as server:
        administer(server, "CREATE DATABASE many")
        for name, url in {
            "SQLite": f"sqlite:///{folder}/many.db",
            "PostgreSQL": sa.make_url(server).set(database="many").render_as_string(hide_password=False),
        }.items():
            asyncio.run(_print(name, url, Path(folder) / f"{name}-checkpoints.db", given.seconds))


if __name__ == "__main__":
    main()
