"""Lists: who must decide what, by when, and what became of it since one looked."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import HTTPException, Query, Request, Response

from clearance.contract import Tab
from clearance.desk import lists
from clearance.desk.desk import Desk
from clearance.desk.lists import CursorError, Wanted
from clearance.journal.requests import Request as Asked
from clearance.parts import Parts
from clearance.server.entry.dependencies import OfDesk
from clearance.server.entry.wall import wall
from clearance.server.inbox import list_rows
from clearance.server.inbox.filters import AGES, RISKS, Narrowed
from clearance.server.inbox.frame import capped, frame, page
from clearance.server.inbox.list_rows import Row
from clearance.server.inbox.route import pages_router
from clearance.server.inbox.session import InSession, Session
from clearance.server.inbox.wording import clock
from clearance.text.rendering import line

router = pages_router()

_ON_A_PAGE = 50
_MOST_LIVE = 60

After = Annotated[str | None, Query(max_length=400)]


@router.get("")
async def show_list(
    session: InSession,
    desk: OfDesk,
    filters: Narrowed,
    after: After = None,
) -> Response:
    """Show who must decide what, by when."""
    tab = filters.tab
    around = await frame(session, desk, here="inbox")
    try:
        listed, following = await desk.listed_page(session.person, filters.wanted, after=after, limit=_ON_A_PAGE)
    except CursorError as exc:
        raise HTTPException(422, "This page of the list is none of ours.") from exc
    parts = (await wall()).parts
    shown = [list_rows.row(one, session.person, around["now"]) for one in listed]
    own = (
        await _approved_rows(parts, desk, session, around["now"])
        if tab == "mine" and not after and not filters.is_set
        else []
    )
    requesters = await _requesters(parts, filters.tab) if session.is_decider else []
    beside: tuple[Tab, Tab] = ("open", "in_flight")
    wanted = [*map(Wanted, beside), *([filters.wanted] if filters.is_set else [])]
    numbers = [capped(number) for number in await desk.counts(session.person, wanted)]
    counted: dict[Tab, str] = {"mine": around["mine"], **dict(zip(beside, numbers, strict=False))}
    total = numbers[-1] if filters.is_set else counted.get(tab, "")
    response = page(
        "list.html",
        **around,
        filters=filters,
        rows=shown,
        own=own,
        total=total,
        counted=counted,
        actions=[cls.tool_name() for cls in parts.gate.judge.actions],
        risks=RISKS,
        ages=AGES,
        older=filters.address(after=following) if following else "",
        is_first=after is None,
        since=around["now"].isoformat(),
        requesters=requesters,
    )
    # Where only the list is put in place, the address that one can come back to, without what narrows nothing.
    response.headers["HX-Push-Url"] = f"/inbox{filters.suffix}"
    return response


async def _requesters(parts: Parts, tab: Tab) -> list[str]:
    """List who asked for what a list may hold; names that do not show as they are cannot be picked."""
    known = await parts.database.read(lambda c: lists.read_requesters(c, tab))
    return [name for name in known if line(name) == name]


async def _rows(desk: Desk, session: Session, requests: list[Asked], now: datetime, *, gone: bool = False) -> list[Row]:
    return [list_rows.row(one, session.person, now, is_gone=gone) for one in await desk.listed(requests)]


async def _approved_rows(parts: Parts, desk: Desk, session: Session, now: datetime) -> list[Row]:
    """List what the viewer approved and what has not run yet."""
    found = await parts.database.read(lambda c: lists.approved_by(c, session.person.id, limit=20))
    return await _rows(desk, session, found, now)


@router.get("/live")
async def show_live(
    request: Request,
    session: InSession,
    desk: OfDesk,
    filters: Narrowed,
    since: datetime,
    ids: Annotated[str, Query(max_length=4_000)] = "",
) -> Response:
    """Tell what became of a list since it was shown: how many are new, and which rows are decided."""
    tab = filters.tab
    shown = [one for one in ids.split(",") if one][:_MOST_LIVE]
    found = await desk.some(session.person, shown)
    changed = [one for one in found if not (one.is_in_flight if tab == "in_flight" else one.is_open)]
    new = 0
    if tab == "in_flight":
        # By what is not shown: when it was asked tells nothing of when it was started.
        new = max(await desk.count(session.person, filters.wanted) - (len(found) - len(changed)), 0)
        new = new if len(shown) < _ON_A_PAGE else 0
    elif tab != "decided" and since.tzinfo is not None:
        new = await desk.count(session.person, replace(filters.wanted, opened_after=since))
    now = datetime.now(UTC)
    gone = await _rows(desk, session, changed if tab != "decided" else [], now, gone=True)
    switch = await desk.switch()
    return page(
        "live.html",
        new=new,
        new_words=capped(new),
        rows=gone,
        clock=clock(now, now, seconds=True),
        suffix=filters.suffix,
        # What a tab that nobody looks at says.
        mine=capped(await desk.count(session.person, Wanted("mine"))) if tab == "mine" else "",
        switch=switch,
        was_frozen=request.query_params.get("frozen") == "1",
    )
