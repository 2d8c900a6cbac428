"""The kill campaign for external actions: the server is killed while it pays elsewhere, and the provider's books judge.

    python -m tests.support.crash_outside --kills 100

Every round pays three times, by a provider that can be asked, by one that does a key once, and by one that has neither;
kills the server at a random moment, starts it again, and waits until everything is known that can be.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

from clearance.db.engine import Database
from clearance.db.tables import requests as request_rows
from clearance.journal.attempts import all_in_flight
from clearance.journal.receipts import read_receipt
from clearance.journal.requests import Request
from clearance.journal.verification import verify
from tests.support.conversation import GRAPH, Conversation, connected
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider

#: The ways by which what became of a payment can be known, and the action of each.
WAYS = {"look-up": "pay out blocking", "key": "pay out by key", "neither": "pay out blindly"}
#: After a kill: a lease that ends, a start, what has to arrive, and look-ups on a busy machine.
_KNOWN_S = 120
#: What it says in a thread where nobody knows.
UNKNOWN = "Nobody knows yet whether"


@dataclass
class Payment:
    """One that somebody wants, found again in the provider's books by its account."""

    way: str
    account: str
    thread_id: str = ""

    @property
    def words(self) -> str:
        return f"{WAYS[self.way]}: account {self.account}, amount 5000"


@dataclass
class Judged:
    """What became of the payments of one way."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = ("right", "doubled", "lost", "unknown", "told")
        return ", ".join(f"{self.counts[name]} {name}" for name in names) + f" of {self.counts['all']}"


@dataclass
class Seen:
    """What a campaign saw, by way."""

    kills: int = 0
    #: Kills that left something in flight.
    in_flight: int = 0
    by_way: dict[str, Judged] = field(default_factory=lambda: {way: Judged() for way in WAYS})
    audit_is_whole: bool = False
    seconds: float = 0

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing was doubled or lost, all of it was told, and known where there is a way to know."""
        known = all(one.counts["right"] == one.counts["all"] for way, one in self.by_way.items() if way != "neither")
        told = all(one.counts["told"] == one.counts["all"] for one in self.by_way.values())
        return self.audit_is_whole and known and told and not any(one.wrong for one in self.by_way.values())

    def __str__(self) -> str:
        ways = "; ".join(f"{way}: {one}" for way, one in self.by_way.items())
        whole = "whole" if self.audit_is_whole else "BROKEN"
        return (
            f"{self.kills} kills, {self.in_flight} with a payment in flight; {ways};"
            f" audit log {whole}; {self.seconds:.0f} s"
        )


async def campaign(server: PayingServer, provider: Provider, kills: int, seed: int, *, say: Any = None) -> Seen:
    """Run `kills` rounds on a server that is not running; it is stopped at the end."""
    chance, seen, began = random.Random(seed), Seen(), time.monotonic()
    database = Database(server.database_url)
    provider.knows_keys_of, provider.takes_s = "-key-", 1.5
    wanted: list[Payment] = []
    server.start()
    try:
        for number in range(kills):
            round_of = [Payment(way, f"X-{way}-{number}") for way in WAYS]
            wanted += round_of
            provider.next = [chance.choice(["works", "slow", "pays, then hangs"]) for _ in WAYS]
            await _pay_until_killed(server, database, round_of, chance)
            seen.kills += 1
            provider.next = []
            seen.in_flight += _is_any_in_flight(database)
            server.start()
            async with connected(server.url) as client:
                await asyncio.gather(*(_known(client, database, one) for one in round_of))
                for one in round_of:
                    await _judge(client, database, provider, one, seen.by_way[one.way])
            if say:
                say(f"kill {number + 1} of {kills}: {seen.by_way}")
    finally:
        server.stop()
    for payment in wanted:
        times = sum(account == payment.account for account, _ in provider.paid())
        if times > 1:
            seen.by_way[payment.way].counts["doubled"] += 1
            seen.by_way[payment.way].wrong.append(f"{payment.account} was paid {times} times")
    seen.audit_is_whole = database.read_now(lambda c: verify(c, server.environment()["AUDIT_KEY"].encode())).is_whole
    seen.seconds = time.monotonic() - began
    database.close()
    return seen


async def _pay_until_killed(
    server: PayingServer, database: Database, wanted: list[Payment], chance: random.Random
) -> None:
    async with connected(server.url) as client:
        paying = [asyncio.create_task(_pay(client, payment)) for payment in wanted]
        # Anywhere between the message and the receipt; every other time once something is in flight.
        within_s, is_later = chance.uniform(0.5, 3.5), chance.random() < 0.5
        until = time.monotonic() + (5 if is_later else within_s)
        while time.monotonic() < until and not (is_later and _is_any_in_flight(database)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(within_s / 3 if is_later else 0)
        if chance.random() < 0.9:
            server.kill()
        else:
            server.stop()
        for task in paying:
            task.cancel()  # the SDK would go on connecting to the dead server
        await asyncio.gather(*paying, return_exceptions=True)


async def _pay(client: LangGraphClient, payment: Payment) -> None:
    payment.thread_id = (await client.threads.create())["thread_id"]
    talk = Conversation(client, payment.thread_id)
    await talk.say(payment.words)
    if question := await talk.question():
        await talk.answer_by_id({"approved": True, "digest": question["digest"]})


def _requests(database: Database) -> list[Request]:
    rows = database.read_now(lambda c: c.execute(request_rows.select().order_by(request_rows.c.number)).all())
    return [Request(**row._mapping) for row in rows]


def _is_any_in_flight(database: Database) -> bool:
    return any(one.state == "executing" for one in database.read_now(all_in_flight))


def _request(database: Database, payment: Payment) -> Request | None:
    made = [one for one in _requests(database) if (one.arguments or {}).get("account") == payment.account]
    return made[-1] if made else None


async def _known(client: LangGraphClient, database: Database, payment: Payment) -> None:
    """Wait until it is known what became of a payment, where that can be; say it again where it was not heard."""
    until, quiet_since = time.monotonic() + _KNOWN_S, time.monotonic()
    while time.monotonic() < until:
        request = _request(database, payment)
        if request is None and time.monotonic() - quiet_since > 5 and not await _is_busy(client, payment):
            await _pay(client, payment)
        elif request is not None and request.state == "asked":
            await _answer(Conversation(client, payment.thread_id))
        elif request is not None and _is_known(request, payment) and await _is_told(client, database, payment):
            return
        await asyncio.sleep(0.2)


def _is_known(request: Request, payment: Payment) -> bool:
    return request.is_over or (request.state == "unknown" and payment.way == "neither")


async def _is_busy(client: LangGraphClient, payment: Payment) -> bool:
    try:
        return bool(payment.thread_id) and (await client.threads.get(payment.thread_id))["status"] == "busy"
    except httpx.HTTPStatusError:
        return False


async def _answer(talk: Conversation) -> None:
    try:
        if await talk.status() == "interrupted" and (question := await talk.question()):
            await talk.answer_by_id({"approved": True, "digest": question["digest"]})
    except (httpx.HTTPStatusError, ValueError):
        pass  # not made again yet, or answered before the kill


async def _is_told(client: LangGraphClient, database: Database, payment: Payment) -> bool:
    """Tell whether the thread says what became of it, or that nobody knows."""
    request = _request(database, payment)
    assert request is not None
    receipt = database.read_now(partial(read_receipt, request_id=request.request_id))
    wanted = UNKNOWN if receipt is None else receipt.sentence or ""
    try:
        messages = await Conversation(client, request.thread_id).messages()
    except NotFoundError:
        if request.is_over:  # the server lost the row of a thread that had nothing to go on with; its checkpoints stay
            await client.threads.create(thread_id=request.thread_id, graph_id=GRAPH, if_exists="do_nothing")
        return False
    return any(wanted in str(message["content"]) for message in messages)


async def _judge(
    client: LangGraphClient, database: Database, provider: Provider, payment: Payment, judged: Judged
) -> None:
    request = _request(database, payment)
    judged.counts["all"] += 1
    if request is None:
        judged.counts["lost"] += 1
        judged.wrong.append(f"{payment.account} was never asked for")
        return
    times = sum(account == payment.account for account, _ in provider.paid())
    is_as_told = times == (1 if request.state == "executed" else 0)
    if request.state == "unknown":
        judged.counts["unknown"] += 1
    elif request.is_over and is_as_told:
        judged.counts["right"] += 1
    else:
        judged.counts["lost"] += 1
        judged.wrong.append(f"{payment.account} is {request.state}, and was paid {times} times")
    if await _is_told(client, database, payment):
        judged.counts["told"] += 1
    else:
        judged.wrong.append(f"{payment.account} is {request.state}, which its thread does not tell")


def main() -> int:
    """Run a campaign and print what it saw; 0 when nothing was lost or doubled, and everything told."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=0, help="0 takes one from the clock")
    arguments.add_argument("--isolated", action="store_true", help="each run on a loop of its own")
    given = arguments.parse_args()
    seed = given.seed or int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="clearance-crash-"))
    try:
        with Provider() as provider:
            env = environment(provider.url) | ({"BG_JOB_ISOLATED_LOOPS": "true"} if given.isolated else {})
            server = PayingServer(folder, f"sqlite:///{folder / 'clearance.db'}", env=env)
            seen = asyncio.run(
                campaign(server, provider, given.kills, seed, say=lambda text: print(text, flush=True))  # noqa: T201  a program
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"seed {seed}: {seen}")  # noqa: T201  a program
    for way in seen.by_way.values():
        for problem in way.wrong:
            print(f"  {problem}")  # noqa: T201  a program
    return 0 if seen.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
