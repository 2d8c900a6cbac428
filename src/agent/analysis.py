"""The long job: read the ledger in chunks, tell how far it is, report what is odd."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

from langchain_core.tools import BaseTool
from langgraph.config import get_stream_writer
from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions import Note
from agent.bank.detectors import Detector, Finding, Kind, detectors
from agent.bank.ledger import Transfer, find_account, first_number_since, newest_transfer, read_ledger
from agent.bank.money import to_decimal_text
from agent.bank.wording import quoted
from agent.lookups import Reader
from clearance import ActionError, lookup

T = TypeVar("T")

_KINDS: dict[Kind, str] = {
    "outlier": "unusually large amounts",
    "burst": "bursts",
    "under_threshold": "runs just under a threshold",
    "round_trip": "round trips",
}
#: Findings of each kind that the model is told; people get all that were kept, as rows.
_TOLD = 5
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


def analysis_tool(bank: Reader, chunk: Callable[[], int]) -> BaseTool:
    """Make `analyze_transactions` over a bank, reading `chunk()` transfers at a time.

    Each chunk is a transaction of its own and a point where a cancelled run stops. Memory holds one chunk and what
    `bank/analysis.py` keeps, whatever the length of the ledger.
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
        found = detectors(lambda finding: _concerns(finding, account, span.since))
        after = span.first - 1
        report(_progress("running", 0, span.total, "Reading the ledger"))
        while page := await _in_turn(partial(_read_and_feed, bank, found, after, span.last, chunk())):
            after = page[-1].number
            report(_progress("running", after - span.first + 1, span.total, f"Read up to {page[-1].made_at:%Y-%m-%d}"))
        text, rows = await _in_turn(partial(_result, found, account, span))
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


def _read_and_feed(bank: Reader, found: Sequence[Detector], after: int, until: int, limit: int) -> Sequence[Transfer]:
    page = bank.read_now(partial(read_ledger, after=after, until=until, limit=limit))
    _feed(found, page)
    return page


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
