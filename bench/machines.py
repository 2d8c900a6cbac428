"""Measure what bounds several processes on one PostgreSQL: how long a cycle holds the log's head, and two beside one.

    python -m bench.machines --seconds 10

Every write of the gate locks the head of the audit log, so writes of all machines come one after the other: by how long
a cycle holds it, all of them together do no more cycles a second than fit into one. The rest of a cycle runs beside.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.distance import Distance
from bench.gate import OneCall, assembled, cycle, keep, ours, prepare
from bench.many import at_work, warmed_up
from clearance.db.engine import Database
from clearance.journal import audit
from tests.support.postgres import administer, postgres

#: Clients of each process: enough that it never waits for one.
_CLIENTS = 8


@dataclass(frozen=True)
class Hold:
    """What a transaction took from when the head of the log was its own until its COMMIT was answered."""

    ms: float
    #: Of the processor, in its thread.
    processor_ms: float
    trips: int


class Head:
    """Watches how long transactions hold the head of the log, and what goes to the database meanwhile."""

    def __init__(self, distance: Distance) -> None:
        self.holds: list[Hold] = []
        self._distance = distance
        self._since = threading.local()

    def _now(self) -> tuple[float, float, int]:
        return time.perf_counter() * 1000, time.thread_time() * 1000, self._distance.trips

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch this process for the length of the block."""
        lock, write = audit.locked, Database.write_now

        @contextmanager
        def locked(*given: Any, **named: Any) -> Iterator[Any]:
            with lock(*given, **named) as log:
                self._since.at = self._now()
                yield log

        def write_now(database: Database, work: Callable[..., Any], **named: Any) -> Any:
            self._since.at = None
            try:
                return write(database, work, **named)
            finally:
                if self._since.at is not None:
                    ms, processor_ms, trips = (b - a for a, b in zip(self._since.at, self._now(), strict=True))
                    self.holds.append(Hold(ms, processor_ms, int(trips)))

        audit.locked, Database.write_now = locked, write_now  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            audit.locked, Database.write_now = lock, write  # type: ignore[method-assign]


async def held(server: str, folder: Path, rounds: int) -> None:
    """Print how long the head is held in a cycle of one client, at some distances."""
    distance, url = Distance(), sa.make_url(_made(server, "held"))
    with distance.proxied(f"{url.query['host']}/.s.PGSQL.{url.port or 5432}") as port:
        near = url.set(host="127.0.0.1", port=port, query={"sslmode": "disable", "gssencmode": "disable"})
        database = Database(near.render_as_string(hide_password=False))
        contender = ours(database, OneCall())
        await keep(contender, folder / "held.db")
        await warmed_up(contender)
        for ms in (0, 1):
            distance.set(ms)
            heads, whole = [Head(distance) for _ in range(rounds)], []
            for head in heads:
                with head.watched():
                    whole.append((await cycle(contender)).whole)
            took, processor, trips = (
                statistics.median(sum(getattr(hold, figure) for hold in head.holds) for head in heads)
                for figure in ("ms", "processor_ms", "trips")
            )
            print(
                f"{ms} ms off: of {statistics.median(whole):.0f} ms a cycle the head is held {took:.1f} ms, in"
                f" {statistics.median(len(head.holds) for head in heads):.0f} transactions with {trips:.0f} round trips"
                f" and {processor:.1f} ms of our processor: at most {1000 / took:.0f} cycles a second, whatever the"
                " number of machines",
                flush=True,
            )
        await contender.graph.checkpointer.conn.close()
        database.close()


def beside(server: str, folder: Path, seconds: float, rounds: int) -> None:
    """Print the cycles a second of one process, and of two together, in turn."""
    url = _made(server, "beside")
    database = Database(url)
    prepare(database)
    database.close()
    seen: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for count in seen:
            seen[count].append(_together(url, folder, f"{number}-{count}", count, seconds))
    one, two = (statistics.median(seen[count]) for count in (1, 2))
    ratio = statistics.median(b / a for a, b in zip(seen[1], seen[2], strict=True))
    print(
        f"{_CLIENTS} clients each: one process {one:.1f} cycles a second, two together {two:.1f}, {ratio:.2f} times"
        f" ({multiprocessing.cpu_count()} cores, PostgreSQL on them, too)"
    )


def _together(url: str, folder: Path, name: str, count: int, seconds: float) -> float:
    """Give the cycles a second of so many processes that begin together."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(count), context.Queue()
    work = [(url, str(folder / f"{name}-{number}.db"), seconds, ready, done) for number in range(count)]
    processes = [context.Process(target=_one, args=one) for one in work]
    for process in processes:
        process.start()
    total = sum(done.get(timeout=seconds + 120) for _ in processes)
    for process in processes:
        process.join()
    return float(total)


def _one(url: str, checkpoints: str, seconds: float, ready: Any, done: Any) -> None:
    async def work() -> float:
        contender = assembled(Database(url), OneCall())
        await keep(contender, Path(checkpoints))
        await warmed_up(contender)
        await asyncio.to_thread(ready.wait)
        seen = await at_work(contender, _CLIENTS, seconds)
        await contender.graph.checkpointer.conn.close()
        return seen.a_second

    done.put(asyncio.run(work()))


def _made(server: str, name: str) -> str:
    administer(server, f"CREATE DATABASE {name}")
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


def main() -> None:
    """Print what bounds several machines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each number of processes, each round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder, postgres(is_durable=True) as server:
        asyncio.run(held(server, Path(folder), 20 * given.rounds))
        beside(server, Path(folder), given.seconds, given.rounds)


if __name__ == "__main__":
    main()
