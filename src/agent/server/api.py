"""The approvals API: what a reviewer's program needs, without a thread or an interrupt of LangGraph in sight.

Every route asks for a token. What a decision is about is said by `digest` and `revision`, as they were shown.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from agent.clearance import approval
from agent.clearance.answering import Refusal
from agent.clearance.desk import Decided, Desk, Detail, Seen, WrongInputError, read_decision
from agent.clearance.errors import NotOursError
from agent.clearance.journal import Receipt, Request
from agent.clearance.listing import MOST_COUNTED, CursorError, Tab, Wanted
from agent.clearance.principal import Principal
from agent.clearance.rendering import SENTENCE, line
from agent.clearance.review import Review
from agent.clearance.reviewing import as_asked
from agent.server.people import Decider, OfDesk, Person
from agent.server.waking import is_thread_there, wake
from agent.server.wall import wall

router = APIRouter(prefix="/approvals", tags=["approvals"])

#: Seconds that a decision waits for its effect before it answers without it.
_WAIT_S = 20
_MOST_AT_ONCE = 200
_LAST_SEQ = 2**63 - 1
#: Seconds between two looks for changes, and between two signs of life.
_LOOK_S, _ALIVE_S = 0.5, 15


class Entry(BaseModel):
    """A request in a list."""

    id: str
    action: str
    sentence: str | None = Field(description="what will happen; null when it was erased")
    risk: str
    state: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    finished_at: datetime | None
    approvers: list[str] | None = Field(description="roles a decider must hold, all of them")
    approvals_needed: int
    thread_id: str
    revision: int
    digest: str | None
    rule: str


class Listed(BaseModel):
    """A page of a list."""

    requests: list[Entry]
    next: str | None = Field(description="`after` of the next page; null on the last")


class Counts(BaseModel):
    """How many requests a list holds; 1000 means that many or more."""

    mine: int
    open: int
    decided: int


class Event(BaseModel):
    """A row of the audit log."""

    seq: int
    at: str
    event: str
    actor: str
    thread_id: str | None
    turn_id: str | None
    request_id: str | None
    details: dict[str, Any]


class Outcome(BaseModel):
    """How a request ended."""

    outcome: str
    sentence: str | None
    finished_at: datetime


class Look(BaseModel):
    """Something out of the ordinary, found by our own code."""

    text: str
    is_bad: bool = Field(description="whether it looks made to mislead")


class Shown(BaseModel):
    """One request."""

    request: Entry
    look_first: list[Look] = Field(description="what is out of the ordinary, worst first, three at most")
    payload: dict[str, Any] = Field(description="what the thread's interrupt shows: arguments, facts, the whole plan")
    receipt: Outcome | None
    history: list[Event]
    thread: Literal["there", "gone", "unknown"]


class Decision(BaseModel):
    """A decision on exactly what was shown."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"decision": "approve", "digest": "7ddf20…", "revision": 1},
                {"decision": "reject", "reason": "the invoice is paid", "digest": "7ddf20…", "revision": 1},
                {"decision": "edit", "arguments": {"amount": "2500"}, "digest": "7ddf20…", "revision": 1},
            ]
        },
    )

    decision: Literal["approve", "reject", "edit"]
    digest: str = Field(description="of the request as it was shown")
    revision: int = Field(description="of the request as it was shown")
    reason: str = Field("", description="for a rejection; whoever asked and the model read it")
    arguments: dict[str, Any] | None = Field(None, description="for an edit: the arguments that change")


class Standing(BaseModel):
    """How a request stands after a decision."""

    request: Entry
    receipt: Outcome | None = Field(description="null while it waits for others, or its run has not come to it yet")
    waits_for: list[str] = Field(description="requests of the same turn that have to be decided first")
    approvals_missing: int
    sentence: str = Field(description="the same in words")


class Change(BaseModel):
    """An edit to be checked."""

    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, Any]
    digest: str
    revision: int


class Checked(BaseModel):
    """What an edit would come to."""

    sentence: str
    facts: list[dict[str, str]]
    rule: str
    risk: str
    approvers: list[str] | None
    approvals_needed: int
    is_enough: bool = Field(description="whether the edit would count as the editor's own approval")


class Freeze(BaseModel):
    """The switch that stops every effect."""

    frozen: bool
    by: str | None = None
    reason: str | None = None
    since: datetime | None = None
    open: dict[str, int] = Field(description="open requests by state")


class Reason(BaseModel):
    """Why effects are stopped."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "two payouts look doubled"}]})

    reason: str


class Whole(BaseModel):
    """Whether the audit log is whole."""

    is_whole: bool
    rows: int
    head: str
    broken_at: int | None
    reason: str | None


Limit = Annotated[int, Query(ge=1, le=_MOST_AT_ONCE, description="at most so many")]


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
) -> Listed:
    """List requests: open ones first to expire first, decided ones last first.

    `mine` is what waits for the caller. Who holds no role of the policy sees what they asked for themselves.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_s) if older_than_s is not None else None
    wanted = Wanted(tab, action, risk, requested_by, thread_id, before)
    try:
        page = await desk.page(person, wanted, after=after, limit=limit)
    except CursorError as exc:
        raise HTTPException(422, str(exc)) from exc
    return Listed(requests=[entry(one) for one in page.requests], next=page.next)


@router.get("/counts")
async def count_requests(person: Person, desk: OfDesk) -> Counts:
    """Count what waits for the caller, what is open and what is decided."""
    tabs: tuple[Tab, Tab, Tab] = ("mine", "open", "decided")
    mine, is_open, decided = [await desk.count(person, Wanted(tab)) for tab in tabs]
    assert mine <= MOST_COUNTED
    return Counts(mine=mine, open=is_open, decided=decided)


@router.get("/requests/{request_id}", responses={404: {"description": "no such request, or none that you may see"}})
async def show_request(person: Person, desk: OfDesk, request_id: str) -> Shown:
    """Show one request with its turn, its facts and all that happened to it."""
    detail = await _found(desk, person, request_id)
    thread = await is_thread_there((await wall()).parts, detail.question.turn) if detail.request.is_open else None
    return Shown(
        request=entry(detail.request),
        look_first=look_first(as_asked((await wall()).parts.gate.judge.actions, detail.request).review),
        payload=approval.payload(detail.question),
        receipt=_outcome(detail.receipt),
        history=[event(row) for row in detail.events],
        thread="unknown" if thread is None else "there" if thread else "gone",
    )


_REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"description": "the caller may not decide this"},
    404: {"description": "no such request, or none that you may see"},
    409: {"description": "decided, changed or frozen meanwhile, or its thread is gone"},
    422: {"description": "not exactly a decision"},
}


@router.post("/requests/{request_id}/decision", responses=_REFUSED)
async def decide(person: Person, desk: OfDesk, request_id: str, body: Decision) -> Standing:
    """Decide, as the caller, and wake the thread; answers when the effect is in, or when it waits for others."""
    seen = Seen(body.digest, body.revision)
    try:
        answer = read_decision(body.decision, seen, body.reason, body.arguments)
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    return standing(await decide_and_wake(desk, person, request_id, answer, seen))


async def decide_and_wake(desk: Desk, person: Principal, request_id: str, answer: Any, seen: Seen) -> Decided:
    """Record a decision, make its thread go on, and wait for what becomes of it.

    Raises:
        HTTPException: 404, 403, 409 or 422 with the reason; nothing was recorded but the refusal.
    """
    detail = await _found(desk, person, request_id)
    here = await wall()
    if detail.request.is_open and await is_thread_there(here.parts, detail.question.turn) is False:
        raise HTTPException(409, "The thread of this request is gone: nothing can be carried out there. Close it.")
    became = await desk.decide(person, request_id, answer, seen)
    if isinstance(became, Refusal):
        raise HTTPException(_STATUS.get(became.cause, 409), f"Not recorded: {became.sentence}")
    waking = asyncio.create_task(wake(here.parts, detail.question.turn, for_s=_WAIT_S))
    try:
        return await desk.wait(request_id, timeout_s=_WAIT_S)
    finally:
        # The run is the server's by now, or comes with the next look of its timekeeper.
        await asyncio.wait([waking], timeout=1)


#: By the cause of a refusal; what is not here is 409.
_STATUS = {"unclear": 422, "edit": 422, "other action": 422, "role": 403, "own": 403, "policy": 403, "twice": 409}


@router.post("/requests/{request_id}/check", responses=_REFUSED)
async def check(person: Person, desk: OfDesk, request_id: str, body: Change) -> Checked:
    """Tell what an edit would come to: new sentence, facts and rule. Nothing is recorded."""
    try:
        checked = await desk.check_edit(person, request_id, body.arguments, Seen(body.digest, body.revision))
    except NotOursError as exc:
        raise HTTPException(404, _NO_SUCH) from exc
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
    if isinstance(checked, Refusal):
        raise HTTPException(_STATUS.get(checked.cause, 409), f"It cannot be changed so: {checked.sentence}")
    judged = checked.judged
    facts = approval.facts_for_people(judged.facts)
    return Checked(
        sentence=line(judged.sentence, SENTENCE),
        facts=[{"label": label, "text": text} for label, text in facts],
        rule=line(checked.demand["rule"]) if "rule" in checked.demand else line(judged.verdict.rule),
        risk=checked.demand.get("risk", judged.verdict.risk),
        approvers=checked.demand["approvers"],
        approvals_needed=checked.demand["approvals"],
        is_enough=checked.counts,
    )


@router.post("/requests/{request_id}/close", responses=_REFUSED)
async def close(person: Decider, desk: OfDesk, request_id: str) -> Standing:
    """Close a request whose thread was deleted or lost: it and its turn are withdrawn."""
    detail = await _found(desk, person, request_id)
    if detail.request.is_open and await is_thread_there((await wall()).parts, detail.question.turn) is not False:
        raise HTTPException(409, "The thread of this request is there: decide it, or withdraw it by a new message.")
    await desk.close_lost(person, request_id)
    return standing(await desk.standing(request_id))


@router.get("/freeze")
async def show_freeze(person: Person, desk: OfDesk) -> Freeze:
    """Tell whether effects may run."""
    switch, counts = await desk.switch()
    return Freeze(
        frozen=switch.frozen_by is not None,
        by=switch.frozen_by,
        reason=switch.frozen_reason,
        since=switch.frozen_at,
        open=counts,
    )


@router.post("/freeze")
async def freeze(person: Decider, desk: OfDesk, body: Reason) -> Freeze:
    """Stop every effect. When this answers none is in flight, and none starts until it is lifted."""
    try:
        await desk.freeze(person.id, body.reason, via="api")
    except WrongInputError as exc:
        raise HTTPException(422, str(exc)) from exc
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
    return [event(row) for row in await desk.events(before=before, limit=limit)]


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
    )


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


async def _changes(desk: Desk, after: int) -> AsyncIterator[str]:
    silent_s = 0.0
    yield ": clearance\n\n"
    while True:
        rows = await desk.events(after=after, limit=_MOST_AT_ONCE)
        for row in rows:
            after = row["seq"]
            yield f"id: {after}\nevent: {row['event']}\ndata: {event(row).model_dump_json()}\n\n"
        silent_s = 0 if rows else silent_s + _LOOK_S
        if silent_s >= _ALIVE_S:
            silent_s = 0
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_S)


_NO_SUCH = "There is no such request, or none that you may see."


async def _found(desk: Desk, person: Principal, request_id: str) -> Detail:
    try:
        return await desk.detail(person, request_id)
    except NotOursError as exc:
        raise HTTPException(404, _NO_SUCH) from exc


def entry(request: Request) -> Entry:
    """Write a request as a list shows it."""
    return Entry(
        id=request.request_id,
        action=request.action,
        sentence=None if request.sentence is None else line(request.sentence, SENTENCE),
        risk=request.risk,
        state=request.state,
        requested_by=line(request.requested_by),
        requested_at=request.opened_at,
        expires_at=request.expires_at,
        finished_at=request.finished_at,
        approvers=request.approvers,
        approvals_needed=request.approvals,
        thread_id=request.thread_id,
        revision=request.revision,
        digest=request.digest,
        rule=line(request.rule),
    )


def look_first(review: Review) -> list[Look]:
    """Write what is out of the ordinary about an action."""
    worst_first = sorted(review.concerns, key=lambda concern: not concern.is_bad)[:3]
    return [Look(text=line(" ".join([*one.title, *one.text]), SENTENCE), is_bad=one.is_bad) for one in worst_first]


def standing(decided: Decided) -> Standing:
    """Write how a request stands."""
    receipt = decided.receipt
    return Standing(
        request=entry(decided.request),
        receipt=_outcome(receipt),
        waits_for=[one.request_id for one in decided.waits_for],
        approvals_missing=decided.approvals_missing,
        sentence=in_words(decided),
    )


def in_words(decided: Decided) -> str:
    """Say how a request stands, in one sentence."""
    if decided.receipt is not None:
        return line(decided.receipt.sentence or "It is over; what it said was erased.", SENTENCE)
    if decided.request.state == "asked":
        if decided.request.notice:
            return f"It is asked again: {line(decided.request.notice, SENTENCE)}"
        more = decided.approvals_missing
        return f"Your answer is recorded; {more} more {'person has' if more == 1 else 'people have'} to approve it."
    if decided.waits_for:
        more = len(decided.waits_for)
        others = "one more request" if more == 1 else f"{more} more requests"
        return f"Your answer is recorded; it is carried out when {others} of this turn {_are(more)} decided."
    return "Your answer is recorded; its run has not come to it yet."


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def event(row: dict[str, Any]) -> Event:
    """Write an audit row."""
    named = {name: row[name] for name in ("seq", "at", "event", "actor", "thread_id", "turn_id", "request_id")}
    return Event(**named, details=json.loads(row["details"]))


def _outcome(receipt: Receipt | None) -> Outcome | None:
    if receipt is None:
        return None
    sentence = None if receipt.sentence is None else line(receipt.sentence, SENTENCE)
    return Outcome(outcome=receipt.outcome, sentence=sentence, finished_at=receipt.finished_at)
