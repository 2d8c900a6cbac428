"""The long job: read the ledger in chunks, tell how far it is, report what is odd."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

from langchain_core.tools import BaseTool
from langgraph.config import get_config, get_stream_writer
from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions import Note
from agent.bank.detectors import Detector, Finding, Kind, detectors
from agent.bank.ledger import Transfer, find_account, first_number_since, newest_transfer, read_ledger
from agent.bank.money import to_decimal_text
from agent.bank.notes import Notes, Write
from agent.bank.wording import quoted
from agent.lookups import Reader
from clearance import ActionError, lookup
from clearance.canonical import key
from clearance.db.types import from_text, to_text
from clearance.errors import DatabaseUnavailable

T = TypeVar("T")

_KINDS: dict[Kind, str] = {
    "outlier": "unusually large amounts",
    "burst": "bursts",
    "under_threshold": "runs just under a threshold",
    "round_trip": "round trips",
}
#: Findings of each kind that the model is told; people get all that were kept, as rows.
_TOLD = 5
#: Seconds between two notes of how far it is, at least; and so many times as long as noting takes.
_NOTED_S, _SHARE = 2, 20
#: What is read before the days that were asked for, so that accounts have a history to compare with.
_HISTORY = timedelta(days=90)


@dataclass(frozen=True)
class _Span:
    """Numbers of the transfers to read, fixed at the start: what is made meanwhile is not waited for."""

    first: int
    last: int
    #: Findings that ended before are not reported; None reports all.
    since: datetime | None

    @property
    def total(self) -> int:
        return self.last - self.first + 1


def analysis_tool(bank: Reader, chunk: Callable[[], int], write: Write | None = None) -> BaseTool:
    """Make `analyze_transactions` over a bank, reading `chunk()` transfers at a time.

    Each chunk is a transaction of its own and a point where a cancelled run stops. Memory holds one chunk and what
    `bank/detectors.py` keeps, whatever the length of the ledger.

    With `write`, which runs a function in a write transaction of the bank's database, it notes there how far it came:
    the same call in the same thread goes on from there, after a kill as after a cancel.
    """

    async def analyze_transactions(
        account_id: Annotated[
            Note, Field(description='report only what concerns this account, "A-2001"; empty for all')
        ] = "",
        days: Annotated[
            int, Field(ge=0, le=36_500, description="report only the last so many days of the ledger; 0 for all of it")
        ] = 0,
    ) -> tuple[str, list[dict[str, Any]]]:
        """Search the ledger for what is odd: unusually large amounts, bursts of transfers, runs of amounts just under
        1,000 dollars, and money that goes in a circle.

        Use it when the person asks to analyse or check transactions, or for anything suspicious. It takes a while on a
        large ledger and shows its progress. Example: account_id "A-2001" and days 30, or nothing for everything.
        """
        report = get_stream_writer()
        account = account_id.upper()
        span = await bank.read(lambda connection: _span(connection, account, days))
        if span is None:
            return "There are no transfers to analyse.", []
        job = _Job(bank, account, span, _notes(write, account, days))
        await _in_turn(job.resume)
        span = job.span
        begins = "Going on where it stopped" if job.after >= span.first else "Reading the ledger"
        report(_progress("running", job.after - span.first + 1, span.total, begins))
        try:
            while page := await _in_turn(partial(job.read_and_feed, chunk())):
                done = page[-1].number - span.first + 1
                report(_progress("running", done, span.total, f"Read up to {page[-1].made_at:%Y-%m-%d}"))
            text, rows = await _in_turn(partial(_result, job.found, account, span))
            await _in_turn(job.end)
        except asyncio.CancelledError:
            _computing.submit(job.note)  # behind the chunk that is being read, which nothing stops
            raise
        report(_progress("done", span.total, span.total, text.partition("\n")[0]))
        return text, rows

    return lookup(analyze_transactions, response_format="content_and_artifact")


def _span(connection: Connection, account: str, days: int) -> _Span | None:
    if account and find_account(connection, account) is None:
        raise ActionError(f"There is no account {quoted(account)}.")
    newest = newest_transfer(connection)
    if newest is None:
        return None
    since = newest.made_at - timedelta(days=days) if days else None
    first = first_number_since(connection, since - _HISTORY) if since else 1
    return _Span(first=first, last=newest.number, since=since)


def _concerns(finding: Finding, account: str, since: datetime | None) -> bool:
    return (not account or account in finding.accounts) and (since is None or finding.last_at >= since)


#: One for all: a chunk is some 50 ms of arithmetic, and several threads that compute at once would make every other
#: thread of the process, those of decisions too, wait for the interpreter behind all of them.
_computing = ThreadPoolExecutor(1, thread_name_prefix="analysis")


async def _in_turn(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_computing, work)


class _Job:
    """One analysis: what is to be read, how far it came, what was found. Used by one thread, which `_in_turn` gives."""

    def __init__(self, bank: Reader, account: str, span: _Span, notes: Notes | None) -> None:
        self._bank, self._account, self._notes = bank, account, notes
        self.span = span
        self.after = span.first - 1
        self.found = self._detectors()
        self._noted_at, self._took = time.monotonic(), 0.0

    def _detectors(self) -> list[Detector]:
        return detectors(lambda finding: _concerns(finding, self._account, self.span.since))

    def resume(self) -> None:
        """Go on from what was noted; from the beginning where nothing was, or it cannot be read."""
        noted = self._notes.read(self._bank.read_now) if self._notes else None
        if noted is None:
            return
        begun = self.span
        try:
            since = noted["since"] and from_text(noted["since"])
            # To where the ledger ends now: somebody who asks anew is not told what was so up to a day ago.
            self.span = _Span(int(noted["first"]), max(int(noted["last"]), begun.last), since)
            self.found = self._detectors()
            for detector, state in zip(self.found, noted["detectors"], strict=True):
                detector.restore(state)
            self.after = int(noted["after"])
        except (ValueError, TypeError, LookupError):
            self.span, self.found = begun, self._detectors()

    def read_and_feed(self, limit: int) -> Sequence[Transfer]:
        """Take the next chunk, and note it where the last note is a while ago."""
        page = self._bank.read_now(partial(read_ledger, after=self.after, until=self.span.last, limit=limit))
        _feed(self.found, page)
        if page:
            self.after = page[-1].number
            if time.monotonic() - self._noted_at >= max(_NOTED_S, self._took * _SHARE):
                self.note()
        return page

    def note(self) -> None:
        """Note how far it is."""
        if self._notes is None or self.after < self.span.first:
            return
        began = time.monotonic()
        since = self.span.since and to_text(self.span.since)
        with suppress(DatabaseUnavailable):  # it is noted later, and the job goes on
            self._notes.write({"first": self.span.first, "last": self.span.last, "since": since, "after": self.after,
                               "detectors": [detector.state() for detector in self.found]})  # fmt: skip
        self._noted_at = time.monotonic()
        self._took = self._noted_at - began

    def end(self) -> None:
        """Take away what was noted: the next call begins anew."""
        if self._notes is not None:
            with suppress(DatabaseUnavailable):  # it is too old in a day
                self._notes.drop()
            self._notes = None  # nor is it noted again by a cancel that comes only now


def _notes(write: Write | None, account: str, days: int) -> Notes | None:
    thread_id = get_config()["configurable"].get("thread_id")
    # Of this thread alone: who may speak in it may read what it found.
    return Notes(write, key("analysis", str(thread_id), account, str(days))) if write and thread_id else None


def _feed(found: Sequence[Detector], page: Sequence[Transfer]) -> None:
    for detector in found:
        for transfer in page:
            detector.feed(transfer)


def _progress(status: str, done: int, total: int, message: str) -> dict[str, Any]:
    return {"status": status, "done": done, "total": total, "message": message}


def _result(found: Sequence[Detector], account: str, span: _Span) -> tuple[str, list[dict[str, Any]]]:
    results = {detector.kind: detector.findings() for detector in found}
    totals = ", ".join(f"{title} {results[kind].total:,}" for kind, title in _KINDS.items())
    scope = (f" concerning {account}" if account else "") + (f" since {span.since:%Y-%m-%d}" if span.since else "")
    count = sum(result.total for result in results.values())
    oddities = f"{count:,} {'oddity' if count == 1 else 'oddities'}{scope}"
    lines = [f"Read {span.total:,} transfers and found {oddities}: {totals}."]
    for kind, title in _KINDS.items():
        largest = sorted(results[kind].kept, key=lambda finding: -finding.amount_minor)[:_TOLD]
        more = f", the largest {len(largest)}" if results[kind].total > len(largest) else ""
        lines += [f"{title.capitalize()}{more}:"] if largest else []
        lines += [f"- {finding.sentence}" for finding in largest]
    return "\n".join(lines), [_row(finding) for result in results.values() for finding in result.kept]


def _row(finding: Finding) -> dict[str, Any]:
    return {
        **asdict(finding),
        "accounts": list(finding.accounts),
        "transfer_ids": list(finding.transfer_ids),
        "amount": to_decimal_text(finding.amount_minor),
        "first_at": finding.first_at.isoformat(),
        "last_at": finding.last_at.isoformat(),
    }
