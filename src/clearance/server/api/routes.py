"""The approvals API: what a reviewer's program needs, without a thread or an interrupt of LangGraph in sight.

Every route asks for a token. What a decision is about is said by `digest` and `revision`, as they were shown.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_args

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from clearance import contract
from clearance.db.engine import DatabaseBusy
from clearance.desk.comparison import show
from clearance.desk.desk import Desk, Seen, Standing, WrongInputError, not_frozen, read_decision
from clearance.desk.lists import CursorError, Wanted
from clearance.errors import DatabaseUnavailable
from clearance.gate.decision import Refusal
from clearance.journal.requests import Request
from clearance.server import graphs
from clearance.server.api import shapes
from clearance.server.api.dossier import read_dossier
from clearance.server.api.submission import close_lost, decide_and_wake, found, refused, settle_request
from clearance.server.api.telling_route import TellingRoute
from clearance.server.entry.dependencies import Decider, OfDesk, Person
from clearance.server.entry.ids import canonical_id
from clearance.server.entry.wall import wall

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
    409: {"description": "decided, changed or frozen meanwhile, or its thread is not on this server"},
    422: {"description": "not exactly a decision"},
}
_NOT_SETTLED = {
    **_NOT_FOUND,
    403: {"description": "the caller may not say what became of this"},
    409: {"description": "what became of it is known, or it is too early to say that it did not happen"},
    422: {"description": "no reason, or one that is too long"},
}


@router.get("/me")
async def show_me(person: Person, desk: OfDesk) -> contract.Me:
    """Tell whose token this is, and which graphs this server holds requests of."""
    return contract.Me(
        id=person.id, kind=person.kind, roles=sorted(person.roles), is_decider=desk.sees_all(person),
        graphs=graphs.gated_here(),
    )  # fmt: skip


@router.get("/requests")
async def list_requests(
    person: Person,
    desk: OfDesk,
    tab: contract.Tab = "open",
    action: str | None = None,
    risk: str | None = None,
    requested_by: str | None = None,
    thread_id: str | None = None,
    older_than_s: Annotated[int | None, Query(ge=0, le=10**9)] = None,
    after: str | None = None,
    limit: Limit = 50,
) -> contract.Page:
    """List requests: open ones first to expire first, those in flight elsewhere oldest first, decided ones last first.

    `mine` is what waits for the caller. Who holds no role of the policy sees what they asked for themselves.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_s) if older_than_s is not None else None
    of_thread = canonical_id(thread_id) if thread_id is not None else None
    wanted = Wanted(tab, action, risk, requested_by, of_thread, before)
    try:
        listed, following = await desk.listed_page(person, wanted, after=after, limit=limit)
    except CursorError as exc:
        raise HTTPException(422, str(exc)) from exc
    return contract.Page(requests=[shapes.entry(one) for one in listed], next=following)


@router.get("/lookup")
async def look_up(
    person: Person,
    desk: OfDesk,
    begins: Annotated[str, Query(pattern="^[0-9a-f]+$", max_length=100)],
    limit: Limit = 10,
) -> list[contract.Entry]:
    """List requests, open or not, whose id begins so, by id."""
    return await _entries(desk, await desk.beginning(person, begins, limit=limit))


@router.get("/counts")
async def count_requests(person: Person, desk: OfDesk) -> contract.Counts:
    """Count what waits for the caller, what is open, what is in flight elsewhere and what is decided."""
    tabs: tuple[contract.Tab, ...] = get_args(contract.Tab)
    counted = await desk.counts(person, [Wanted(tab) for tab in tabs])
    return contract.Counts(**dict(zip(tabs, counted, strict=True)))


@router.get("/requests/{request_id}", responses=_NOT_FOUND)
async def show_request(person: Person, desk: OfDesk, request_id: str) -> contract.Detail:
    """Show one request: what it does, facts as they are now, its turn, the talk, and all that happened to it."""
    detail = await found(desk, person, request_id)
    dossier = await read_dossier((await wall()).parts, detail, person, datetime.now(UTC))
    return shapes.detail(dossier, *await desk.listed([dossier.request]))


@router.post("/requests/{request_id}/decision", responses=_REFUSED)
async def decide(person: Person, desk: OfDesk, request_id: str, body: contract.Decision) -> contract.Standing:
    """Decide, as the caller, and wake the thread; answers when the effect is in, or when it waits for others."""
    seen = Seen(body.digest, body.revision)
    try:
        answer = read_decision(body.decision, seen, body.reason, body.arguments)
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    return await _standing(desk, await decide_and_wake(desk, person, request_id, answer, seen))


@router.post("/requests/{request_id}/settlement", responses=_NOT_SETTLED)
async def settle(person: Person, desk: OfDesk, request_id: str, body: contract.Settlement) -> contract.Standing:
    """Say, as the caller, what became of a request of which nobody knows: its receipt says for ever who said so.

    It takes the roles of the request's approvers, and somebody else than who asked for it or changed it. Possible while
    effects are frozen: it is only a record. The rest of its turn goes on.
    """
    return await _standing(
        desk, await settle_request(desk, person, request_id, happened=body.happened, reason=body.reason)
    )


@router.post("/requests/{request_id}/check", responses=_REFUSED)
async def check(person: Person, desk: OfDesk, request_id: str, body: contract.Edit) -> contract.Checked:
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
async def close(person: Decider, desk: OfDesk, request_id: str) -> contract.Standing:
    """Close a request whose thread was deleted or lost: it and its turn are withdrawn."""
    await close_lost(desk, person, request_id)
    return await _standing(desk, await desk.standing(request_id))


@router.get("/freeze")
async def show_freeze(person: Person, desk: OfDesk) -> contract.Switch:
    """Tell whether effects may run, and what was started elsewhere and has no outcome."""
    return shapes.switch(await desk.switch(), await desk.open_counts(), await desk.in_flight(person), datetime.now(UTC))


@router.post("/freeze")
async def freeze(person: Decider, desk: OfDesk, body: contract.Reason) -> contract.Switch:
    """Stop every effect. When this answers 200 none starts until it is lifted, and none is in flight here.

    What was started elsewhere before cannot be called back: `in_flight` names it. 503 says that an effect of our own
    does not end: then nothing is frozen yet.
    """
    try:
        await desk.freeze(person.id, body.reason, via="api")
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    except DatabaseBusy as exc:
        raise HTTPException(503, not_frozen(exc)) from exc
    return await show_freeze(person, desk)


@router.delete("/freeze")
async def unfreeze(person: Decider, desk: OfDesk) -> contract.Switch:
    """Let effects run again. Nothing runs by itself."""
    await desk.unfreeze(person.id, via="api")
    return await show_freeze(person, desk)


@router.get("/audit")
async def list_events(
    person: Decider, desk: OfDesk, before: Annotated[int | None, Query(ge=1, le=_LAST_SEQ)] = None, limit: Limit = 50
) -> list[contract.Event]:
    """List the audit log, newest first; `before` is the `seq` that the page before ended with."""
    return [shapes.event(row) for row in await desk.events(before=before, limit=limit)]


@router.get("/audit/verification")
async def verify(person: Decider, desk: OfDesk) -> contract.Verification:
    """Check every row of the audit log."""
    found = await desk.verify()
    return contract.Verification(
        is_whole=found.is_whole,
        rows=found.rows,
        head=f"{found.head.seq}:{found.head.mac}",
        broken_at=found.broken_at,
        reason=found.reason,
        bound_from=found.bound_from,
        ahead_s=int(found.ahead.total_seconds()) if found.ahead else None,
    )


@router.get("/statistics")
async def show_statistics(
    person: Decider, desk: OfDesk, days: Annotated[int, Query(ge=1, le=3650)] = 7
) -> contract.Statistics:
    """Tell how long decisions took, how many were approved in haste, and how much policy asks."""
    return shapes.statistics(await desk.statistics(datetime.now(UTC) - timedelta(days=days)))


@router.get("/tools")
async def list_tools(person: Decider, desk: OfDesk) -> list[contract.Tool]:
    """List what MCP servers said their tools are, what waits among it. To accept one takes the machine's operator."""
    return [shapes.tool(one) for one in await desk.tools()]


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


async def _entries(desk: Desk, requests: Sequence[Request]) -> list[contract.Entry]:
    return [shapes.entry(one) for one in await desk.listed(requests)]


async def _standing(desk: Desk, decided: Standing) -> contract.Standing:
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
