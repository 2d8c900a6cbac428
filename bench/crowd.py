"""Measure decisions through the real server while many people wait for them and others look things up.

    python -m bench.crowd

A hundred people ask for ten transfers each. Then twenty reviewers decide as fast as they can, now and then two of them
on the same request, while two hundred runs look things up. Times are printed; what is checked is that every transfer
was made once, that every look-up was answered and that every thread was told.
"""

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.ledger import check_ledger
from agent.bank.tables import transfers
from clearance.db.engine import Database
from clearance.db.tables import audit as audit_rows
from clearance.db.tables import requests
from clearance.journal.turns import open_turns
from clearance.journal.verification import verify
from tests.support.conversation import GRAPH, connected
from tests.support.crash import prepare
from tests.support.server import Server
from tests.support.tokens import bearer
from tests.support.world import Person

#: Runs that are waited for at a time while people ask, and while they look.
_AT_ONCE = 20
#: Every so many-th request is given to two reviewers.
_TWICE = 10
_AT_REST_S = 600


@dataclass
class Crowd:
    """Who is there, and what became of what they did; times in ms."""

    server: Server
    people: int
    each: int
    reviewers: int
    look_ups: int
    decisions: list[float] = field(default_factory=list)
    #: Of those that were recorded, while others of their plan were open; and of those that completed a plan, and were
    #: answered when all of it was carried out.
    recorded: list[float] = field(default_factory=list)
    completing: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    looked: list[float] = field(default_factory=list)
    #: Messages whose run ended before they were heard.
    said_again: int = 0
    #: Requests that were asked again when what they were approved with had changed.
    again: int = 0

    async def run(self) -> None:
        """Ask, decide, look and check; print.

        Raises:
            RuntimeError: something is doubled, missing or was not told.
        """
        database = Database(self.server.database_url)
        began = time.perf_counter()
        await _at_once(self._ask(number) for number in range(self.people))
        asked = await database.read(_asked)
        _expect("open requests", len(asked), self.people * self.each)
        took_s = time.perf_counter() - began
        print(f"{len(asked)} open requests of {self.people} people after {took_s:.0f} s, {self.said_again} said again")

        began, processor_s = time.perf_counter(), self._processor_s()
        looking = asyncio.create_task(_at_once(self._look(number) for number in range(self.look_ups)))
        await self._decide([*asked, *asked[::_TWICE]])
        decided_s, processor_s = time.perf_counter() - began, self._processor_s() - processor_s
        await looking
        looked_s = time.perf_counter() - began
        # What a payment changed for others that were approved, such as a payee that is new no more, is asked again.
        while await database.read(open_turns):
            if time.perf_counter() > began + _AT_REST_S:
                raise RuntimeError(f"{len(await database.read(open_turns))} turns are still open")
            again = await database.read(_asked)
            self.again += len(again)
            await self._decide(again)
            await asyncio.sleep(0.5)
        rest_s = time.perf_counter() - began
        print(
            f"{self.reviewers} reviewers: {len(self.decisions)} decisions in {decided_s:.0f} s,"
            f" {len(self.decisions) / decided_s:.0f} a second; {_spread(self.decisions)}; answered"
            f" {dict(sorted(self.answers.items()))}\n"
            f"  recorded, while others of the plan were open: {_spread(self.recorded)}\n"
            f"  the last of a plan, with its {self.each} effects: {_spread(self.completing)}\n"
            f"  the server had {processor_s:.0f} s of a processor meanwhile\n"
            f"{self.look_ups} look-ups beside them in {looked_s:.0f} s; {_spread(self.looked)}\n"
            f"all threads told {rest_s:.0f} s after the first decision"
        )
        self._check(database, len(asked))
        database.close()

    def _processor_s(self) -> float:
        """Give what the server has had of a processor so far: on a machine that others use, it waited for the rest."""
        assert self.server.process is not None
        told = Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def _check(self, database: Database, asked: int) -> None:
        made = Counter(database.read_now(lambda c: c.scalars(sa.select(transfers.c.memo)).all()))
        ours = Counter({memo: count for memo, count in made.items() if (memo or "").startswith("crowd")})
        _expect("transfers", len(ours), asked)
        _expect("transfers that were made twice", sum(count > 1 for count in ours.values()), 0)
        _expect("decisions that counted", self.answers[200], asked + database.read_now(_count_again))
        _expect("other answers than 200 and 409", self.answers.total() - self.answers[200] - self.answers[409], 0)
        _expect("look-ups", len(self.looked), self.look_ups)
        _expect("faults of the ledger", len(database.read_now(check_ledger)), 0)
        key = self.server.environment()["AUDIT_KEY"].encode()
        _expect("whole audit logs", int(database.read_now(lambda c: verify(c, key)).is_whole), 1)
        print("every transfer once, every look-up answered, every thread told, ledger balanced, audit log whole")

    async def _ask(self, number: int) -> None:
        source, target = ("A-2001", "A-2003") if number % 2 else ("A-2003", "A-2001")
        wishes = [f"transfer 20.50 from {source} to {target} for crowd{number}x{one}" for one in range(self.each)]
        await self._say(f"person-{number}", " and ".join(wishes))

    async def _look(self, number: int) -> None:
        began = time.perf_counter()
        said = await self._say(f"person-{number % self.people}", "balance of A-2001")
        if said["messages"][-1]["type"] == "ai" and not said["messages"][-1]["tool_calls"]:
            self.looked.append((time.perf_counter() - began) * 1000)

    async def _say(self, person: str, words: str) -> Any:
        said: Any = {"messages": [{"role": "user", "content": words}]}
        # On a busy machine a run ends where its checkpoint is not stored in time: said again, as one would.
        while True:
            try:
                return await self._said(person, said)
            except httpx.HTTPError:
                raise
            except Exception as exc:
                if "CheckpointNotStoredError" not in str(exc):
                    raise
                self.said_again += 1

    async def _said(self, person: str, said: Any) -> Any:
        # A connection each: one that was silent for 5 s the server closes, just when it is used.
        async with connected(self.server.url, **bearer(Person(person))) as client:
            thread = await client.threads.create()
        async with connected(self.server.url, **bearer(Person(person))) as client:
            return await client.runs.wait(thread["thread_id"], GRAPH, input=said)

    async def _decide(self, asked: Sequence[Any]) -> None:
        waiting = list(asked)
        random.Random(1).shuffle(waiting)

        async def reviewer(number: int) -> None:
            headers = bearer(Person(f"reviewer-{number}", ("approver",)))
            each = httpx.Limits(max_keepalive_connections=0)
            async with httpx.AsyncClient(base_url=self.server.url, headers=headers, timeout=60, limits=each) as http:
                while waiting:
                    one = waiting.pop()
                    body = {"decision": "approve", "digest": one.digest, "revision": one.revision}
                    began = time.perf_counter()
                    met = await http.post(f"/approvals/requests/{one.request_id}/decision", json=body)
                    took = (time.perf_counter() - began) * 1000
                    self.decisions.append(took)
                    self.answers[met.status_code] += 1
                    if met.status_code == 200:
                        (self.recorded if met.json()["receipt"] is None else self.completing).append(took)

        await asyncio.gather(*(reviewer(number) for number in range(self.reviewers)))


def _asked(connection: Connection) -> Sequence[Any]:
    return connection.execute(sa.select(requests).where(requests.c.state == "asked")).all()


def _count_again(connection: Connection) -> int:
    again = sa.select(sa.func.count()).select_from(audit_rows).where(audit_rows.c.event == "asked_again")
    return connection.scalar(again) or 0


async def _at_once(work: Iterable[Awaitable[None]]) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(awaitable: Awaitable[None]) -> None:
        async with places:
            await awaitable

    await asyncio.gather(*(one(each) for each in work))


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"{found} {what}, not {wanted}")


def _spread(times: Sequence[float]) -> str:
    if len(times) < 2:
        return f"{len(times)} of them"
    of = statistics.quantiles(times, n=100)
    return f"p50 {of[49]:.0f} ms, p95 {of[94]:.0f} ms, p99 {of[98]:.0f} ms, longest {max(times):.0f} ms"


def main() -> None:
    """Run it on a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--each", type=int, default=10, help="requests of one person, in one message")
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--look-ups", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder:
        server = prepare(Path(folder))
        server.auth = "on"
        server.start()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the server goes on
        try:
            asyncio.run(Crowd(server, given.people, given.each, given.reviewers, given.look_ups).run())
        finally:
            server.stop()


if __name__ == "__main__":
    main()
