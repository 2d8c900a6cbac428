"""An owner who cancels a run withdraws what is not carried out; anybody else stops the run, and it is carried on.

Nothing but these routes is an explicit cancel. A client that leaves its stream (`on_disconnect`), a page that is closed
and another run that takes the place of one (`multitask_strategy`) only end the run.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, NotFoundError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.application import the_parts
from clearance.errors import DatabaseUnavailable
from clearance.gate.ending import cancel_run
from clearance.journal.attempts import in_flight_of_thread
from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.principal import Principal
from clearance.server import aegra
from clearance.server.entry.asked import asked_by
from clearance.server.entry.bodies import read_body
from clearance.server.entry.ids import canonical_id
from clearance.server.entry.later_runs import deleting
from clearance.server.entry.paths import is_inside, parts_of
from clearance.server.failures import follow_up
from clearance.server.interrupts import server_client
from clearance.server.upkeep.duties import do_later

logger = logger_of(__name__)

_ACTIVE = ("pending", "running")
#: Seconds after which it is looked once more: a run that had just begun may open its turn while it is being stopped.
_AGAIN_S = 2
#: Busy threads that are named at a time.
_PAGE = 1_000
_NOT_WITHDRAWN = (
    "The run is stopped, but the database does not answer: what was cleared and not carried out is withdrawn when it"
    " does, as long as this server runs. Look at the thread then; a new message there withdraws what is left."
)
_NOT_CANCELLED = "Nothing is cancelled: the database does not answer. Nothing was recorded; cancel again when it does."


@dataclass(frozen=True)
class _Target:
    """A run that is to be cancelled, as it stands before."""

    thread_id: str
    run_id: str
    #: The open turns of its thread, with which it goes on; none: it counts for its own turns only.
    goes_on_with: tuple[str, ...] = ()


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
        deleting.set(kind == "delete")
        if kind in ("many", "patch"):
            body, receive = await read_body(receive)
        try:
            targets = await _targets(kind, parts_of(scope), body)
        except DatabaseUnavailable:
            # Stopped now, the run would be carried on, and what was cleared with it.
            await JSONResponse({"detail": _NOT_CANCELLED}, 503)(scope, receive, send)
            return

        async def withdraw() -> None:
            if targets:
                await _withdraw(await asked.by(scope), targets)

        with asked_by() as asked:
            await follow_up(self._app, scope, receive, send, withdraw, _NOT_WITHDRAWN)


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
    # Whatever runs: of threads in which something does there are few, of open turns there may be a hundred thousand.
    # Whose they are is looked at afterwards. Read even where nothing runs: without a database none is cancelled.
    opened = await (await the_parts()).gate.records.open_turns_in(await _busy())
    found: list[_Target] = []
    for thread_id, of_thread in groupby(opened, lambda turn: turn.thread_id):
        turns = list(of_thread)
        for run in await _active(server_client(turns[0].requested_by), thread_id):
            if status.lower() in ("all", run["status"]):
                found.append(_target(run, turns))
    return found


async def _busy() -> list[str]:
    """Name the threads in which a run waits or runs."""
    if aegra.is_here():
        return await aegra.busy_threads()
    threads, found = get_client(url=None).threads, dict[str, None]()
    # By what does not change meanwhile: in another order a page could pass over one.
    while page := await threads.search(
        status="busy", limit=_PAGE, offset=len(found), sort_by="thread_id", select=["thread_id"]
    ):
        found |= dict.fromkeys(str(one["thread_id"]) for one in page)
        if len(page) < _PAGE:
            break
    return list(found)


async def _active(client: LangGraphClient, thread_id: str) -> list[Mapping[str, Any]]:
    try:
        runs = await client.runs.list(thread_id, limit=20)
    except NotFoundError:
        return []
    return [run for run in runs if run["status"] in _ACTIVE]


async def _of_thread(thread_id: str, run_ids: Sequence[str], *, is_deleted: bool = False) -> list[_Target]:
    turns = await (await the_parts()).gate.records.open_turns_of(thread_id)
    if not turns:
        # Nothing is open, or the run has not come so far: then it is looked for once more afterwards.
        return [_Target(thread_id, run_id) for run_id in run_ids]
    client = server_client(turns[0].requested_by)
    found: list[_Target] = []
    for run_id in run_ids:
        try:
            run = await client.runs.get(thread_id, run_id)
        except NotFoundError:
            continue
        # One that is over has nothing to be cancelled: a question it left waits as before. Deleted, it takes its turn
        # with it.
        if run["status"] in _ACTIVE:
            found.append(_target(run, turns))
        elif is_deleted:
            found.append(_Target(thread_id, run_id))
    return found


def _target(run: Mapping[str, Any], turns: Sequence[Turn]) -> _Target:
    """Take a run as what goes on with its thread's open turns, unless it waits with words that nobody heard yet."""
    given = run["kwargs"].get("input") if isinstance(run.get("kwargs"), dict) else run.get("input")
    is_unheard = run["status"] == "pending" and isinstance(given, dict) and bool(given.get("messages"))
    goes_on_with = () if is_unheard else tuple(turn.turn_id for turn in turns)
    return _Target(turns[0].thread_id, str(run["run_id"]), goes_on_with)


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
        task = asyncio.get_running_loop().create_task(_look_again(person, replace(target, goes_on_with=())))
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
    gate = (await the_parts()).gate
    cancelled = partial(
        cancel_run, thread_id=target.thread_id, run_id=target.run_id, by=person, goes_on_with=target.goes_on_with
    )
    is_any = await gate.write(cancelled)
    # What was started cannot be withdrawn; what waits for an answer elsewhere stops waiting, and is looked up.
    flying = await gate.database.read(lambda connection: in_flight_of_thread(connection, target.thread_id))
    for request_id in flying if is_any else ():
        gate.elsewhere.stop(request_id)
    return is_any
