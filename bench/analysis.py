"""Time the long job, `analyze_transactions`, over ledgers of several sizes: `make bench-analysis`.

    python -m bench.analysis --sizes 50000 500000 5000000

Each size in a SQLite file of its own and each measure in a process of its own, which tells the peak of its memory: a
plain scan of the same columns by the driver, then the job as the agent runs it, in chunks, noting how far it is.
"""

import argparse
import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from agent.analysis import analysis_tool
from agent.bank import MIGRATIONS
from agent.bank.tables import transfers
from bench.scale import _peak_mib
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.types import to_text

_ACCOUNTS, _YEAR_S = 2_000, 365 * 86_400
_CHUNK = 2_000


def fill(file: Path, count: int) -> None:
    """Fill a ledger with a year of transfers, of all amounts between all accounts, past its triggers."""
    database = Database(f"sqlite:///{file}")
    migrate(database, MIGRATIONS)
    database.close()
    names = ("transfer_id", "number", "from_account", "to_account", "amount_minor", "memo", "made_at")
    with closing(sqlite3.connect(file)) as connection, connection:
        # Entries are not read by the job, nor is anything found by these indexes.
        made = connection.execute(
            "SELECT type, name FROM sqlite_master WHERE tbl_name = 'transfers' AND sql IS NOT NULL"
        )
        for kind, name in made.fetchall():
            if kind in ("trigger", "index"):
                connection.execute(f"DROP {kind} {name}")
        holes = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO transfers ({', '.join(names)}) VALUES ({holes})", _transfers(count))


def _transfers(count: int) -> Iterator[tuple[Any, ...]]:
    random, begin = Random(1), datetime(2025, 11, 1, tzinfo=UTC)
    for number in range(1, count + 1):
        source = random.randrange(_ACCOUNTS)
        target = (source + 1 + random.randrange(_ACCOUNTS - 1)) % _ACCOUNTS
        amount, at = int(random.lognormvariate(9, 1)) + 1, begin + timedelta(seconds=_YEAR_S * number / count)
        yield f"T-{number}", number, f"A-{source}", f"A-{target}", amount, "rent", to_text(at)


def scan(file: Path) -> int:
    """Read every transfer as the driver gives it."""
    with closing(sqlite3.connect(file)) as connection:
        columns = ", ".join(column.name for column in transfers.columns)
        return sum(1 for _ in connection.execute(f"SELECT {columns} FROM transfers ORDER BY number"))


def analyse(file: Path) -> int:
    """Run the job in a graph, and give what it read."""
    database = Database(f"sqlite:///{file}")
    tool = analysis_tool(database, lambda: _CHUNK, lambda work: database.write_now(work))

    async def node(state: MessagesState) -> MessagesState:
        return {"messages": [await tool.ainvoke({"type": "tool_call", "id": "1", "name": tool.name, "args": {}})]}

    async def run() -> int:
        graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()
        steps = [0]
        async for step in graph.astream(
            {"messages": []}, {"configurable": {"thread_id": "bench"}}, stream_mode="custom"
        ):
            steps.append(step["done"])
        assert steps == sorted(steps)
        return int(steps[-1])

    read = asyncio.run(run())
    database.close()
    return read


def _apart(how: str, file: Path) -> tuple[int, float, float, float]:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.analysis", "--measure", how, str(file)],
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(json.loads(ran.stdout.splitlines()[-1]))


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description="time the long job over ledgers of several sizes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 500_000, 5_000_000], help="transfers")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        how, file = arguments.measure
        began, worked = time.perf_counter(), time.process_time()
        read = {"scan": scan, "job": analyse}[how](Path(file))
        print(json.dumps([read, time.perf_counter() - began, time.process_time() - worked, _peak_mib()]))
        return
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="clearance-analysis-") as name:
            file = Path(name) / "bank.db"
            fill(file, size)
            plain, job = _apart("scan", file), _apart("job", file)
            assert plain[0] == job[0] == size, (plain, job)
        print(
            f"{size:,} transfers: {size / job[1]:,.0f} a second ({size / job[2]:,.0f} a processor second),"
            f" peak {job[3]:.0f} MiB; a plain scan {size / plain[1]:,.0f} ({size / plain[2]:,.0f}), which is"
            f" {job[2] / plain[2]:.0f} times as quick",
            flush=True,
        )


if __name__ == "__main__":
    main()
