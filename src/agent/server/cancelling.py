"""An owner who cancels a run withdraws what is not carried out; anybody else stops the run, and it is carried on.

Nothing but these routes is an explicit cancel. A client that leaves its stream (`on_disconnect`), a page that is closed
and another run that takes the place of one (`multitask_strategy`) only end the run.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
from fastapi import HTTPException
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, NotFoundError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.clearance.journal import Turn
from agent.clearance.principal import Principal
from agent.db.engine import DatabaseUnavailable
from agent.loglines import logger_of
from agent.server import aegra
from agent.server.duties import do_later
from agent.server.ids import canonical_id
from agent.server.paths import is_inside, parts_of
from agent.server.people import person_of
from agent.server.wall import wall
from agent.wiring import wired

logger = logger_of(__name__)

_ACTIVE = ("pending", "running")
#: Seconds after which it is looked once more: a run that had just begun may open its turn while it is being stopped.
_AGAIN_S = 2
#: Threads of one person that are looked at when they cancel whatever runs.
_MOST_THREADS = 1_000
#: A body is read up to here; a list of runs is shorter.
_MOST_BYTES = 1_000_000
_NOT_WITHDRAWN = (
    "The run is stopped, but the database does not answer: what was cleared and not carried out is withdrawn when it"
    " does, as long as this server runs. Look at the thread then; a new message there withdraws what is left."
)
_NOT_CANCELLED = "Nothing is cancelled: the database does not answer. Nothing was recorded; cancel again when it does."


@dataclass
class _Request:
    """A request that cancels; whose it is the handler tells, which alone is called with whom the server signed in."""

    person: Principal | None = None


_request: ContextVar[_Request | None] = ContextVar("cancelling", default=None)


def note_person(person: Principal) -> None:
    """Note who is let in to cancel. Called by the handler; without effect in a request that is none of these."""
    here = _request.get()
    if here is not None:
        here.person = person


@dataclass(frozen=True)
class _Target:
    """A run that is to be cancelled, as it stands before."""

    thread_id: str
    run_id: str
    #: The open turn of its thread, with which it goes on; None: it counts for its own turn only.
    goes_on_with: str | None


class WithdrawCancelled:
    """ASGI middleware around all routes: after a successful cancel by a thread's owner, what is open is withdrawn.

    Afterwards, since the platform may refuse it; and before the client hears of it: then nothing more of it happens.
    Stands behind `ReadIds`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = _kind(scope) if scope["type"] == "http" and not is_inside(scope) else ""
        if not kind:
            await self._app(scope, receive, send)
            return
        body: Any = None
        if kind in ("many", "patch"):
            body, receive = await _read(receive)
        try:
            targets = await _targets(kind, parts_of(scope), body)
        except DatabaseUnavailable:
            # Stopped now, the run would be carried on, and what was cleared with it.
            await JSONResponse({"detail": _NOT_CANCELLED}, 503)(scope, receive, send)
            return
        here = _Request()
        token = _request.set(here)
        is_over = False

        async def note(message: Message) -> None:
            nonlocal is_over
            if is_over:
                return
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                try:
                    if targets:
                        await _withdraw(here.person or await _named_by(scope), targets)
                except DatabaseUnavailable:
                    is_over = True
                    await JSONResponse({"detail": _NOT_WITHDRAWN}, status_code=503)(scope, receive, send)
                    return
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            _request.reset(token)


async def _named_by(scope: Scope) -> Principal | None:
    """Give whom a request names where no handler was asked: a server that has none, or authentication off."""
    try:
        return await person_of(await wall(), Headers(scope=scope))
    except HTTPException:
        return None


def _kind(scope: Scope) -> str:
    """Tell how a request cancels: `one`, `many`, `delete`, `patch` (Aegra's); empty for any other."""
    match scope["method"], parts_of(scope):
        case "POST", ["threads", _, "runs", _, "cancel"]:
            return "one"
        case "POST", ["runs", "cancel"]:
            return "many"
        case "DELETE", ["threads", _, "runs", _]:
            return "delete"
        case "PATCH", ["threads", _, "runs", _]:
            return "patch"
        case _:
            return ""


async def _read(receive: Receive) -> tuple[Any, Receive]:
    """Read a body as JSON, None where it is none; and give it again to who reads it next."""
    read: list[Message] = []
    text = b""
    while True:
        message = await receive()
        read.append(message)
        text += message.get("body", b"")
        if not message.get("more_body") or len(text) > _MOST_BYTES:
            break

    async def again() -> Message:
        return read.pop(0) if read else await receive()

    try:
        return json.loads(text), again
    except ValueError:
        return None, again


async def _targets(kind: str, parts: Sequence[str], body: Any) -> list[_Target]:
    """Find the runs that a request cancels, as far as they stand for something that is open.

    Raises:
        DatabaseUnavailable: nobody knows what is open.
    """
    try:
        match kind:
            case "many":
                return await _named(body) if isinstance(body, dict) else []
            case "patch" if not isinstance(body, dict) or body.get("status") != "interrupted":
                return []
            case _:
                return await _of_thread(parts[1], [parts[3]], is_deleted=kind == "delete")
    except (APIError, httpx.HTTPError, OSError) as exc:
        logger.warning("what a cancel is of cannot be read: %s", exc)
        return []


async def _named(body: dict[str, Any]) -> list[_Target]:
    thread_id, run_ids, status = body.get("thread_id"), body.get("run_ids"), body.get("status")
    if isinstance(thread_id, str) and isinstance(run_ids, list):
        return await _of_thread(canonical_id(thread_id), [canonical_id(str(one)) for one in run_ids])
    if not isinstance(status, str):
        return []
    # Whatever runs: the threads in which something does and a turn is open; whose they are is looked at afterwards.
    turns = await (await wired()).gate.records.open_turns()
    found: list[_Target] = []
    for turn in turns[:_MOST_THREADS]:
        client = _client(turn.requested_by)
        for run in await _active(client, turn.thread_id):
            if status.lower() in ("all", run["status"]):
                found.append(_target(run, turn))
    return found


async def _active(client: LangGraphClient, thread_id: str) -> list[Mapping[str, Any]]:
    try:
        runs = await client.runs.list(thread_id, limit=20)
    except NotFoundError:
        return []
    return [run for run in runs if run["status"] in _ACTIVE]


async def _of_thread(thread_id: str, run_ids: Sequence[str], *, is_deleted: bool = False) -> list[_Target]:
    turn = await (await wired()).gate.records.open_turn_of(thread_id)
    if turn is None:
        # Nothing is open, or the run has not come so far: then it is looked for once more afterwards.
        return [_Target(thread_id, run_id, goes_on_with=None) for run_id in run_ids]
    client = _client(turn.requested_by)
    found: list[_Target] = []
    for run_id in run_ids:
        try:
            run = await client.runs.get(thread_id, run_id)
        except NotFoundError:
            continue
        # One that is over has nothing to be cancelled: a question it left waits as before. Deleted, it takes its turn
        # with it.
        if run["status"] in _ACTIVE:
            found.append(_target(run, turn))
        elif is_deleted:
            found.append(_Target(thread_id, run_id, goes_on_with=None))
    return found


def _target(run: Mapping[str, Any], turn: Turn) -> _Target:
    """Take a run as what goes on with its thread's open turn, unless it waits with words that nobody heard yet."""
    given = run["kwargs"].get("input") if isinstance(run.get("kwargs"), dict) else run.get("input")
    is_unheard = run["status"] == "pending" and isinstance(given, dict) and bool(given.get("messages"))
    return _Target(turn.thread_id, str(run["run_id"]), None if is_unheard else turn.turn_id)


def _client(owner: str) -> LangGraphClient:
    if aegra.is_here():
        return aegra.client(owner if aegra.has_auth() else "anonymous")
    return get_client(url=None)


async def _withdraw(person: Principal | None, targets: Sequence[_Target]) -> None:
    if person is None or person.kind == "system":
        return
    try:
        for target in targets:
            await _withdrawn(person, target)
    except DatabaseUnavailable:
        for target in targets:
            do_later(partial(_withdrawn, person, target), f"withdrawing what run {target.run_id} was to do")
        raise
    for target in targets:
        task = asyncio.get_running_loop().create_task(_look_again(person, replace(target, goes_on_with=None)))
        _looking.add(task)
        task.add_done_callback(_looking.discard)


#: Held here, since a task that nothing refers to may be collected before it ran.
_looking: set["asyncio.Task[None]"] = set()


async def _look_again(person: Principal, target: _Target) -> None:
    await asyncio.sleep(_AGAIN_S)
    try:
        await _withdrawn(person, target)
    except DatabaseUnavailable:
        logger.warning("a cancelled run was not looked at again: the database does not answer")


async def _withdrawn(person: Principal, target: _Target) -> bool:
    gate = (await wired()).gate
    return await gate.cancel(target.thread_id, target.run_id, by=person, goes_on_with=target.goes_on_with)
