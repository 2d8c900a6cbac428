"""Time what one waits for before anything happens: `make bench-start`.

    python -m bench.start --rounds 9 --open 10000

The commands that need no model, in turn with a Python that does nothing; `langgraph dev` with our graph until it
answers, in turn with one that serves an empty graph, and the first page of the inbox, for which the rest is loaded;
and a start over many open requests: first where the server lost their threads, which are made again and asked anew,
then after kill -9, where they are there; with what a decision takes meanwhile.
"""

import argparse
import json
import os
import random
import resource
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx

from agent.bank import MIGRATIONS
from bench.journal import KEY, fill
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from tests.support.server import ROOT, Server

_EMPTY = """
from langgraph.graph import START, MessagesState, StateGraph

graph = StateGraph(MessagesState).add_node("rest", lambda state: {}).add_edge(START, "rest").compile()
"""
_RECOVERED_S = 3_600
#: Requests that are decided while it recovers.
_DECIDED = 20

#: Of each, round by round: seconds, and seconds of a processor.
Taken = dict[str, list[tuple[float, float]]]


def commands(rounds: int, folder: Path) -> Taken:
    """Run each command in every round."""
    bin_ = Path(sys.executable).parent
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/empty.db", "AUDIT_KEY": KEY.decode(),
                   "AUTH": "off", "LANGGRAPH_URL": "http://127.0.0.1:1"}  # fmt: skip
    clearance = str(bin_ / "clearance")
    timed = {
        "python that does nothing": [sys.executable, "-c", "pass"],
        "import clearance": [sys.executable, "-c", "import clearance"],
        "from clearance import Clearance": [sys.executable, "-c", "from clearance import Clearance"],
        "clearance --help": [clearance, "--help"],
        "clearance pending (no server)": [clearance, "pending"],
        "clearance status": [clearance, "status"],
        "clearance audit verify (empty)": [clearance, "audit", "verify"],
    }
    subprocess.run([clearance, "migrate"], env=environment, cwd=ROOT, check=True, capture_output=True)
    taken: Taken = {}
    for _ in range(rounds):
        for name, command in timed.items():
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True)
            wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            taken.setdefault(name, []).append((wall, worked))
    return taken


class _SignedIn(Server):
    """Ours as deployed: who calls is told by a token."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(folder, database_url, auth="on")


class _Empty(Server):
    """A server that has nothing of ours."""

    def _configuration(self) -> Path:
        (self.folder / "empty.py").write_text(_EMPTY)
        written = self.folder / "empty.json"
        written.write_text(json.dumps({"dependencies": ["."], "graphs": {"empty": "./empty.py:graph"}}))
        return written


@contextmanager
def started(server: Server) -> Iterator[tuple[float, float]]:
    """Start a server; give seconds until it answered, and those of a processor. It is killed at the end."""
    began = time.perf_counter()
    server.start()
    try:
        yield time.perf_counter() - began, _worked(server)
    finally:
        server.kill()


def _worked(server: Server) -> float:
    """Sum what the processes of a server took of a processor. Linux."""
    assert server.process is not None
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == server.process.pid else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def servers(rounds: int, folder: Path) -> Taken:
    """Start each server in every round, over a database that is there."""
    taken: Taken = {}
    kinds: dict[str, Callable[..., Server]] = {"an empty graph": _Empty, "ours": Server, "ours, signed in": _SignedIn}
    for number in range(rounds):
        for name, kind in kinds.items():
            here = folder / f"{name.split()[-1]}"
            here.mkdir(exist_ok=True)
            server = kind(here, f"sqlite:///{here}/journal.db")
            with started(server) as took:
                if not number:  # it compiles, and makes the database
                    continue
                taken.setdefault(f"langgraph dev, {name}", []).append(took)
                if kind is Server:
                    began, before = time.perf_counter(), _worked(server)
                    httpx.get(f"{server.url}/inbox", follow_redirects=True, timeout=60).raise_for_status()
                    page = time.perf_counter() - began, _worked(server) - before
                    taken.setdefault("the first page of the inbox, asked for at once", []).append(page)
    return taken


def recovery(open_requests: int, folder: Path) -> Iterator[str]:
    """Start over many open requests, whose threads are lost; and once more after a kill."""
    url = f"sqlite:///{folder}/open.db"
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.close()
    fill([url], open_requests=open_requests, decided=0)
    server = Server(folder, url, env={"AUDIT_KEY": KEY.decode()})
    for what in ("threads lost", "after kill -9"):
        began = time.perf_counter()
        with started(server) as (answered_s, _):
            with httpx.Client(base_url=server.url, timeout=60) as client:
                asked = time.perf_counter()
                client.get("/approvals/requests", params={"limit": 20}).raise_for_status()
                listed_s = time.perf_counter() - asked
                decided = [decide(client) for _ in range(_DECIDED)]
            recovered = _recovered(folder / "open.db", began)
        yield (
            f"{open_requests:,} open requests, {what}: answers after {answered_s:.1f} s, the list of what is open"
            f" {listed_s * 1000:.0f} ms later, a decision meanwhile in {statistics.median(decided) * 1000:.0f} ms"
            f" (at most {max(decided) * 1000:.0f}), recovery done after {recovered}"
        )


def decide(client: httpx.Client) -> float:
    """Approve some open transfer; give the seconds until its effect was in."""
    wanted: dict[str, str | int] = {"limit": 50, "action": "transfer_funds", "risk": "high"}
    listed = client.get("/approvals/requests", params=wanted).raise_for_status().json()["requests"]
    one = random.choice([one for one in listed if one["state"] == "asked"])
    time.sleep(0.5)
    asked = time.perf_counter()
    decision = {"decision": "approve", "digest": one["digest"], "revision": one["revision"]}
    client.post(f"/approvals/requests/{one['id']}/decision", json=decision).raise_for_status()
    return time.perf_counter() - asked


def _recovered(file: Path, began: float) -> str:
    """Wait until the lease of recovery was taken and is given back."""
    while time.perf_counter() - began < _RECOVERED_S:
        time.sleep(0.2)
        with closing(sqlite3.connect(file, timeout=60)) as connection:
            if not connection.execute("SELECT 1 FROM leases WHERE name = 'recovery'").fetchone():
                return f"{time.perf_counter() - began:.1f} s"
    return f"more than {_RECOVERED_S} s"


def table(taken: Taken, beside: str) -> Iterator[str]:
    """Write medians, and what each takes more than what it stands beside, round by round."""
    for name, rounds in taken.items():
        pairs = list(zip(rounds, taken[beside], strict=True))
        wall, worked = (statistics.median(one[at] for one in rounds) for at in (0, 1))
        more = [statistics.median(one[at] - other[at] for one, other in pairs) for at in (0, 1)]
        yield (
            f"{name}: {wall:.2f} s, {worked:.2f} s of a processor; {more[0]:+.2f} and {more[1]:+.2f} s beside {beside}"
        )


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description="time what one waits for before anything happens")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--open", type=int, default=10_000, help="requests that wait when the server is killed")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers end, too
    with tempfile.TemporaryDirectory(prefix="clearance-start-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        print("\n".join(table(commands(arguments.rounds, folder), "python that does nothing")), flush=True)
        print("\n".join(table(servers(arguments.rounds, folder), "langgraph dev, an empty graph")), flush=True)
        for line in recovery(arguments.open, folder) if arguments.open else ():
            print(line, flush=True)


if __name__ == "__main__":
    main()
