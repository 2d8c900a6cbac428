"""What deciders watch over: the audit log, the switch that stops every effect, and how decisions went."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Response
from starlette.responses import RedirectResponse, StreamingResponse

from clearance.db.engine import DatabaseBusy
from clearance.desk import labels, statistics
from clearance.desk.choices import is_confirmed
from clearance.desk.comparison import as_asked
from clearance.desk.desk import MAX_FREEZE_REASON, Desk, WrongInputError, not_frozen
from clearance.server.entry.dependencies import OfDesk
from clearance.server.entry.wall import wall
from clearance.server.inbox import list_rows, request_view, wording
from clearance.server.inbox.frame import deciders_only, frame, page
from clearance.server.inbox.list_rows import Row
from clearance.server.inbox.route import pages_router
from clearance.server.inbox.session import Form, InSession, Session
from clearance.server.inbox.wording import clock
from clearance.text.rendering import span

router = pages_router()

_ON_A_PAGE = 50
#: Rows of a download that are read and sent at a time.
_AT_ONCE = 1_000
_LAST_SEQ = 2**63 - 1
#: More of a log than this is verified when somebody asks for it.
_MOST_VERIFIED = 20_000


# The switch


@router.get("/freeze")
async def show_freeze(session: InSession, desk: OfDesk) -> Response:
    """Show the switch that stops every effect."""
    return await _freeze_page(session, desk)


@router.post("/freeze")
async def freeze(form: Form, desk: OfDesk) -> Response:
    """Stop every effect."""
    deciders_only(form.session)
    try:
        await desk.freeze(form.session.person.id, form.get("reason"), via="inbox")
    except WrongInputError:
        said = "Say why" if not form.get("reason").strip() else "Say it shorter"
        error = f"{said}: a sentence of at most {MAX_FREEZE_REASON} characters"
        return await _freeze_page(form.session, desk, 422, error=error, typed=form.get("reason"))
    except DatabaseBusy as exc:
        return await _freeze_page(form.session, desk, 503, error=not_frozen(exc), typed=form.get("reason"))
    return RedirectResponse("/inbox/freeze", 303)


@router.post("/unfreeze")
async def unfreeze(form: Form, desk: OfDesk) -> Response:
    """Let effects run again."""
    deciders_only(form.session)
    if not is_confirmed(form.get("confirm"), "effects on"):
        error = "Type “effects on” to turn them on"
        return await _freeze_page(form.session, desk, 422, error=error, typed=form.get("confirm"))
    await desk.unfreeze(form.session.person.id, via="inbox")
    return RedirectResponse("/inbox/freeze", 303)


async def _freeze_page(
    session: Session, desk: Desk, status: int = 200, *, error: str = "", typed: str = ""
) -> Response:
    around = await frame(session, desk, here="freeze")
    flying = await _in_flight(session, desk, around["now"])
    counts = await _open_counts(desk, around)
    return page("freeze.html", status, **around, flying=flying, open_counts=counts, error=error, typed=typed)


async def _open_counts(desk: Desk, around: dict[str, Any]) -> dict[str, int]:
    """Count what is open, which is told while effects are frozen alone: all of it is looked at."""
    return await desk.open_counts() if around["switch"].frozen_by else {}


async def _in_flight(session: Session, desk: Desk, now: datetime) -> list[Row]:
    """List what no switch calls back."""
    return [list_rows.row(one, session.person, now) for one in await desk.in_flight(session.person)]


# The log


class EventFilters:
    """What the log is narrowed to, as its address says."""

    def __init__(
        self,
        event: Annotated[str, Query(max_length=40)] = "",
        who: Annotated[str, Query(max_length=200)] = "",
        request: Annotated[str, Query(max_length=100)] = "",
    ) -> None:
        self.event, self.who, self.request = event.strip(), who.strip(), request.strip()

    @property
    def only(self) -> dict[str, str]:
        """Give the columns that narrow it."""
        named = {"event": self.event, "actor": self.who, "request_id": self.request}
        return {name: value for name, value in named.items() if value}

    def address(self, before: int) -> str:
        """Give the query of the page before a row."""
        named = {"event": self.event, "who": self.who, "request": self.request, "before": str(before)}
        return urlencode({name: value for name, value in named.items() if value})


@router.get("/audit")
async def show_audit(
    session: InSession,
    desk: OfDesk,
    filters: Annotated[EventFilters, Depends()],
    before: Annotated[int | None, Query(ge=1, le=_LAST_SEQ)] = None,
    check: str = "",
) -> Response:
    """Show the audit log, and whether it is whole."""
    deciders_only(session)
    around = await frame(session, desk, here="audit")
    rows = await desk.events(before=before, limit=_ON_A_PAGE, only=filters.only)
    head = await desk.head()
    before_this = None if check else desk.checked
    found, took = None, 0.0
    if check or head.seq - (before_this.head.seq if before_this else 0) <= _MOST_VERIFIED:
        began = asyncio.get_running_loop().time()
        found = await (desk.verify_on(before_this) if before_this else desk.verify())
        took = asyncio.get_running_loop().time() - began
    about = await desk.some(session.person, sorted({row["request_id"] for row in rows if row["request_id"]}))
    actions = (await wall()).parts.gate.judge.actions
    return page(
        "audit.html",
        **around,
        flying=await _in_flight(session, desk, around["now"]),
        open_counts=await _open_counts(desk, around),
        rows=[_row(row, around["now"]) for row in rows],
        words={one.request_id: as_asked(actions, one).review for one in about},
        head=head,
        found=found,
        checked_at=clock(before_this.at, around["now"], seconds=True) if before_this else "",
        took=f"{took:.2f} s",
        kinds=labels.EVENTS,
        filters=filters,
        older=filters.address(rows[-1]["seq"]) if len(rows) == _ON_A_PAGE else "",
    )


def _row(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        **row,
        "happened": request_view.happened([row], now)[0],
        "look": wording.LOOKS.get(row["event"], ""),
    }


@router.get("/audit.jsonl")
async def give_log(session: InSession, desk: OfDesk) -> Response:
    """Give the whole log as JSON Lines, as `clearance audit export` writes it."""
    deciders_only(session)
    head = await desk.head()
    headers = {"Content-Disposition": f'attachment; filename="clearance-audit-to-{head.seq}.jsonl"'}
    return StreamingResponse(log_lines(desk, head.seq), media_type="application/x-ndjson", headers=headers)


async def log_lines(desk: Desk, until: int) -> AsyncIterator[str]:
    """Yield the log up to a row, some rows at a time: rows never change, and no reader holds a transaction open.

    Raises:
        BrokenLogError: rows at the end are missing. The download breaks off: rows missing before it show by their
            numbers, these would not.
    """
    seq = 0
    while seq < until:
        rows = await desk.events(after=seq, limit=min(_AT_ONCE, until - seq))
        if not rows:
            raise BrokenLogError(f"the log ends at row {seq}, its head says {until}")
        yield "".join(f"{json.dumps(row)}\n" for row in rows)
        seq = rows[-1]["seq"]


class BrokenLogError(Exception):
    """The log cannot be given as a whole; the text says why."""


# The statistics

_PERIODS = {"1": "24 hours", "7": "7 days", "30": "30 days"}


@router.get("/statistics")
async def show_statistics(session: InSession, desk: OfDesk, days: str = "7") -> Response:
    """Show how long decisions took, how many were hasty, and how much policy asks."""
    deciders_only(session)
    chosen = days if days in _PERIODS else "7"
    around = await frame(session, desk, here="statistics")
    since = around["now"] - timedelta(days=int(chosen))
    found = await desk.statistics(since)
    return page("statistics.html", **around, found=found, chosen=chosen, periods=_PERIODS,
                 is_cut=found.since > since, cut_at=wording.clock(found.since, around["now"]),
                 most=statistics.MOST_DECISIONS, hasty_s=int(statistics.HASTY.total_seconds()),
                 span=_seconds)  # fmt: skip


def _seconds(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.1f} s" if seconds < 120 else span(length)
