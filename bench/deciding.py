"""Time a decision through the approvals API on the real server, until its effect is committed: `make bench-deciding`.

    python -m bench.deciding --decisions 40 --beside 150

One person decides on what others hold, one after another with a second between them: alone, then beside a queue full
of look-ups ("analyze transactions", each in a thread of its own). An answer counts when it brings the receipt of the
effect, which is committed by then. Prints medians and 95th percentiles, in ms, and how much of the queue was left.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.support.server import Server
from tests.support.tokens import bearer
from tests.support.world import ANA, OLGA, Person

#: There and back, so that no account runs dry.
WAYS = ("from A-2001 to A-2003", "from A-2003 to A-2001")
#: A person's unfinished runs have a bound; these are some of each of so many people.
PEOPLE = 30
PAUSE_S = 1


async def hold(server: Server, client: LangGraphClient, api: httpx.AsyncClient, number: int) -> dict[str, Any]:
    """Ask for a transfer in a thread of its own; give the request that waits for a decision."""
    thread_id = (await client.threads.create())["thread_id"]
    await say(client, thread_id, f"transfer {1_500 + number} {WAYS[number % 2]}", is_waited_for=True)
    found = (await api.get("/requests", params={"thread_id": thread_id})).json()["requests"]
    return dict(found[0])


async def say(client: LangGraphClient, thread_id: str, text: str, *, is_waited_for: bool) -> None:
    """Send a message as a run."""
    words: Any = {"messages": [{"role": "user", "content": text}]}
    await (client.runs.wait if is_waited_for else client.runs.create)(thread_id, "clearance", input=words)


async def approve(api: httpx.AsyncClient, request: dict[str, Any]) -> float:
    """Approve, and give the ms until the receipt was there. Waits before, for the run that tells the one before."""
    await asyncio.sleep(PAUSE_S)
    body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
    began = time.perf_counter()
    answered = await api.post(f"/requests/{request['id']}/decision", json=body)
    took_ms = (time.perf_counter() - began) * 1000
    receipt = answered.json().get("receipt")
    if receipt is None or receipt["outcome"] != "executed":
        raise RuntimeError(f"not carried out: {answered.status_code} {answered.text}")
    return took_ms


async def fill_queue(server: Server, runs: int) -> list[tuple[LangGraphClient, str]]:
    """Queue look-ups, each in a thread of its own."""
    threads = []
    for number in range(runs):
        client = get_client(url=server.url, headers=bearer(Person(f"person-{number % PEOPLE}")))
        thread_id = (await client.threads.create())["thread_id"]
        await say(client, thread_id, "analyze transactions", is_waited_for=False)
        threads.append((client, thread_id))
    return threads


async def left(queued: list[tuple[LangGraphClient, str]]) -> int:
    """Count the runs that have not begun."""
    return sum([len(await client.runs.list(thread_id, status="pending")) for client, thread_id in queued])


def told(name: str, took_ms: list[float]) -> str:
    """Give a line of the result."""
    ordered = sorted(took_ms)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return f"{name:32} median {statistics.median(ordered):6.1f} ms   p95 {p95:6.1f} ms   most {ordered[-1]:6.1f} ms"


async def measure(server: Server, decisions: int, beside: int) -> None:
    """Measure both, and print."""
    olga = get_client(url=server.url, headers=bearer(OLGA))
    async with httpx.AsyncClient(base_url=f"{server.url}/approvals", headers=bearer(ANA), timeout=120) as api:
        for number in range(2):  # a payee is new once
            await approve(api, await hold(server, olga, api, number))
        held = [await hold(server, olga, api, number) for number in range(2 * decisions)]
        print(told("alone", [await approve(api, request) for request in held[:decisions]]))
        queued = await fill_queue(server, beside)
        before = await left(queued)
        took_ms = [await approve(api, request) for request in held[decisions:]]
        after = await left(queued)
        print(told(f"beside {beside} queued look-ups", took_ms))
        print(f"{'':32} of the queue {before} had not begun before these decisions, {after} after them")


def main() -> None:
    """Start a server over a seeded bank of its own, measure, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=40)
    parser.add_argument("--beside", type=int, default=150)
    parser.add_argument("--database-url", default="", help="an empty database; default: a SQLite file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.database_url or f"sqlite:///{folder}/clearance.db"
        server = Server(Path(folder), url, auth="on")
        environment = {**os.environ, **server.environment()}
        subprocess.run([str(Path(sys.executable).with_name("clearance")), "seed"], env=environment, check=True)
        server.start()
        try:
            asyncio.run(measure(server, given.decisions, given.beside))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
