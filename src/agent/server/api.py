"""The approvals API: what a reviewer's program needs, without a thread or an interrupt of LangGraph in sight.

Every route asks for a token. What a decision is about is said by `digest` and `revision`, as they were shown.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from agent.clearance.answering import Refusal
from agent.clearance.desk import Decided, Desk, Seen, WrongInputError, not_frozen, read_decision
from agent.clearance.journal import Request
from agent.clearance.listing import CursorError, Wanted
from agent.clearance.reviewing import show
from agent.contract import (
    Checked,
    Counts,
    Decision,
    Edit,
    Entry,
    Event,
    Freeze,
    Me,
    Page,
    Reason,
    Shown,
    Standing,
    Statistics,
    Tab,
    Whole,
)
from agent.db.engine import DatabaseBusy, DatabaseUnavailable
from agent.server import shapes
from agent.server.deciding import close_lost, decide_and_wake, found, refused
from agent.server.failures import TellingRoute
from agent.server.ids import canonical_id
from agent.server.people import Decider, OfDesk, Person
from agent.server.request import read_request
from agent.server.wall import wall

router = APIRouter(prefix="/approvals", tags=["approvals"], route_class=TellingRoute)

_MOST_AT_ONCE = 200
_LAST_SEQ = 2**63 - 1
#: Seconds between two looks for changes, and between two signs of life.
_LOOK_S, _ALIVE_S = 0.5, 15

Limit = Annotated[int, Query(ge=1, le=_MOST_AT_ONCE, description="at most so many")]
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "no such request, or none that you may see"}}
_REFUSED = {
    **_NOT_FOUND,
    403: {"description": "the caller may not decide this"},
    409: {"description": "decided, changed or frozen meanwhile, or its thread is gone"},
    422: {"description": "not exactly a decision"},
}


@router.get("/me")
async def show_me(person: Person, desk: OfDesk) -> Me:
    """Tell whose token this is."""
    return Me(id=person.id, kind=person.kind, roles=sorted(person.roles), is_decider=desk.sees_all(person))


@router.get("/requests")
async def list_requests(
    person: Person,
    desk: OfDesk,
    tab: Tab = "open",
    action: str | None = None,
    risk: str | None = None,
    requested_by: str | None = None,
    thread_id: str | None = None,
    older_than_s: Annotated[int | None, Query(ge=0, le=10**9)] = None,
    after: str | None = None,
    limit: Limit = 50,
) -> Page:
    """List requests: open ones first to expire first, decided ones last first.

    `mine` is what waits for the caller. Who holds no role of the policy sees what they asked for themselves.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_s) if older_than_s is not None else None
    of_thread = canonical_id(thread_id) if thread_id is not None else None
    wanted = Wanted(tab, action, risk, requested_by, of_thread, before)
    try:
        page = await desk.page(person, wanted, after=after, limit=limit)
    except CursorError as exc:
        raise HTTPException(422, str(exc)) from exc
    return Page(requests=await _entries(desk, page.requests), next=page.next)


@router.get("/lookup")
async def look_up(
    person: Person,
    desk: OfDesk,
    begins: Annotated[str, Query(pattern="^[0-9a-f]+$", max_length=100)],
    limit: Limit = 10,
) -> list[Entry]:
    """List requests, open or not, whose id begins so, by id."""
    return await _entries(desk, await desk.beginning(person, begins, limit=limit))


@router.get("/counts")
async def count_requests(person: Person, desk: OfDesk) -> Counts:
    """Count what waits for the caller, what is open and what is decided."""
    tabs: tuple[Tab, Tab, Tab] = ("mine", "open", "decided")
    mine, is_open, decided = [await desk.count(person, Wanted(tab)) for tab in tabs]
    return Counts(mine=mine, open=is_open, decided=decided)


@router.get("/requests/{request_id}", responses=_NOT_FOUND)
async def show_request(person: Person, desk: OfDesk, request_id: str) -> Shown:
    """Show one request: what it does, facts as they are now, its turn, the talk, and all that happened to it."""
    detail = await found(desk, person, request_id)
    reading = await read_request((await wall()).parts, detail, person, datetime.now(UTC))
    return shapes.shown(reading, *await desk.listed([reading.request]))


@router.post("/requests/{request_id}/decision", responses=_REFUSED)
async def decide(person: Person, desk: OfDesk, request_id: str, body: Decision) -> Standing:
    """Decide, as the caller, and wake the thread; answers when the effect is in, or when it waits for others."""
    seen = Seen(body.digest, body.revision)
    try:
        answer = read_decision(body.decision, seen, body.reason, body.arguments)
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    return await _standing(desk, await decide_and_wake(desk, person, request_id, answer, seen))


@router.post("/requests/{request_id}/check", responses=_REFUSED)
async def check(person: Person, desk: OfDesk, request_id: str, body: Edit) -> Checked:
    """Tell what an edit would come to: new sentence, facts and rule. Nothing is recorded."""
    await found(desk, person, request_id)
    try:
        became = await desk.check_edit(person, request_id, body.arguments, Seen(body.digest, body.revision))
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    if isinstance(became, Refusal):
        raise refused(became, "It cannot be changed so")
    return shapes.checked(became, show(became.judged.action, became.judged.facts), datetime.now(UTC))


@router.post("/requests/{request_id}/close", responses=_REFUSED)
async def close(person: Decider, desk: OfDesk, request_id: str) -> Standing:
    """Close a request whose thread was deleted or lost: it and its turn are withdrawn."""
    await close_lost(desk, person, request_id)
    return await _standing(desk, await desk.standing(request_id))


@router.get("/freeze")
async def show_freeze(person: Person, desk: OfDesk) -> Freeze:
    """Tell whether effects may run."""
    return shapes.freeze(*await desk.switch(), datetime.now(UTC))


@router.post("/freeze")
async def freeze(person: Decider, desk: OfDesk, body: Reason) -> Freeze:
    """Stop every effect. When this answers 200 none is in flight, and none starts until it is lifted.

    503 says that an effect is in flight that does not end: then nothing is frozen yet.
    """
    try:
        await desk.freeze(person.id, body.reason, via="api")
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    except DatabaseBusy as exc:
        raise HTTPException(503, not_frozen(exc)) from exc
    return await show_freeze(person, desk)


@router.delete("/freeze")
async def unfreeze(person: Decider, desk: OfDesk) -> Freeze:
    """Let effects run again. Nothing runs by itself."""
    await desk.unfreeze(person.id, via="api")
    return await show_freeze(person, desk)


@router.get("/audit")
async def list_events(
    person: Decider, desk: OfDesk, before: Annotated[int | None, Query(ge=1, le=_LAST_SEQ)] = None, limit: Limit = 50
) -> list[Event]:
    """List the audit log, newest first; `before` is the `seq` that the page before ended with."""
    return [shapes.event(row) for row in await desk.events(before=before, limit=limit)]


@router.get("/audit/verification")
async def verify(person: Decider, desk: OfDesk) -> Whole:
    """Check every row of the audit log."""
    found = await desk.verify()
    return Whole(
        is_whole=found.is_whole,
        rows=found.rows,
        head=f"{found.head.seq}:{found.head.mac}",
        broken_at=found.broken_at,
        reason=found.reason,
        bound_from=found.bound_from,
        ahead_s=int(found.ahead.total_seconds()) if found.ahead else None,
    )


@router.get("/statistics")
async def show_statistics(person: Decider, desk: OfDesk, days: Annotated[int, Query(ge=1, le=3650)] = 7) -> Statistics:
    """Tell how long decisions took, how many were approved in haste, and how much policy asks."""
    return shapes.statistics(await desk.statistics(datetime.now(UTC) - timedelta(days=days)))


@router.get("/stream", response_class=StreamingResponse)
async def stream(
    person: Decider, desk: OfDesk, after: Annotated[int | None, Query(ge=0, le=_LAST_SEQ)] = None
) -> StreamingResponse:
    """Stream changes as server-sent events, one for each audit row: `id` is its seq, `event` its name, `data` the row.

    Begins after `after`, or now; go on after the last id that arrived.
    """
    start = after if after is not None else (await desk.head()).seq
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_changes(desk, start), media_type="text/event-stream", headers=headers)


async def _entries(desk: Desk, requests: Sequence[Request]) -> list[Entry]:
    return [shapes.entry(one) for one in await desk.listed(requests)]


async def _standing(desk: Desk, decided: Decided) -> Standing:
    return shapes.standing(decided, *await desk.listed([decided.request]))


async def _changes(desk: Desk, after: int) -> AsyncIterator[str]:
    silent_s = 0.0
    yield ": clearance\n\n"
    while True:
        try:
            rows = await desk.events(after=after, limit=_MOST_AT_ONCE)
        except DatabaseUnavailable:
            # Who listens keeps their place: nothing is lost, and it goes on when the database does.
            rows = []
            yield ": the database does not answer\n\n"
        for row in rows:
            after = row["seq"]
            yield f"id: {after}\nevent: {row['event']}\ndata: {shapes.event(row).model_dump_json()}\n\n"
        silent_s = 0 if rows else silent_s + _LOOK_S
        if silent_s >= _ALIVE_S:
            silent_s = 0
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_S)
