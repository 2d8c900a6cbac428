"""The HTTP app that the server runs beside the graph. Its start is where a bad setting or policy stops the server."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from agent.db.engine import DatabaseUnavailable
from agent.db.files import close_folder
from agent.loglines import guard_handlers, logger_of
from agent.server import aegra, api
from agent.server.cancelling import WithdrawCancelled
from agent.server.closed import ClosedRoutes
from agent.server.failures import NoteWritten, database_unavailable
from agent.server.ids import ReadIds
from agent.server.inbox import pages
from agent.server.lifetimes import EndWithToken
from agent.server.received import NoteReceived
from agent.server.recovery import Asker, recover
from agent.server.sizes import BoundBodies
from agent.server.threads import NoteDeletedThreads
from agent.server.timekeeping import timekeeper_of
from agent.server.unfinished import NoteAnswered
from agent.server.wall import wall
from agent.server.webhooks import sender_of
from agent.settings import SettingsError
from agent.wiring import wired

logger = logger_of(__name__)

_SWITCH_S = 0.0005
#: Where the development server keeps threads, runs and their words, relative to where it runs. Its files are 0644.
_PLATFORMS = Path(".langgraph_api")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Wire the parts, warn about what is open; recover, keep time and send notifications in the background.

    Raises:
        SettingsError, PolicyError: the server does not start, and says where.
    """
    guard_handlers()
    await asyncio.to_thread(close_folder, _PLATFORMS)
    parts = await wired()
    # A model that cannot be made stops the server, too, and not the first conversation.
    await asyncio.to_thread(lambda: (parts.model, parts.prompt))
    # A decision is some dozens of statements, and after each its thread has to get the interpreter back from whatever
    # computes: that is this long each time. By default 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    if parts.settings.auth == "off":
        logger.warning(
            "NO AUTHENTICATION: everybody who reaches this server is the principal 'local', holds every role and may"
            " approve their own requests; each such decision is marked in the audit log"
        )
    if aegra.is_here():
        if parts.settings.auth == "on" and not aegra.has_auth():
            raise SettingsError("AUTH: is on, but Aegra loaded no authentication; its log says why")
        await aegra.end_dead_runs()
    elif parts.settings.auth == "on" and not _has_auth():
        raise SettingsError("AUTH: is on, but the server's configuration names no authentication")
    here = await wall()
    if parts.settings.auth_both_parts:
        logger.warning(
            "BOTH PARTS: AUTH_BOTH_PARTS is on, so people may approve what they asked for, and LangGraph Studio holds"
            " every role without a key; each such decision is marked in the audit log"
        )
    sender = sender_of(parts.settings, parts.gate)
    recovery = asyncio.create_task(recover(parts), name="recovery")
    recovery.add_done_callback(_tell_failure)
    background = [recovery, asyncio.create_task(timekeeper_of(parts).run(), name="timekeeping")]
    background.append(asyncio.create_task(here.keep_counts(), name="counts of refusals"))
    if aegra.is_here():
        background.append(asyncio.create_task(Asker(parts).run(), name="asking"))
    if sender:
        await sender.begin()
        background.append(asyncio.create_task(sender.run(), name="notifications"))
    try:
        yield
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


def _has_auth() -> bool:
    from langgraph_api.auth.custom import get_auth_instance

    return get_auth_instance() is not None


def _tell_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (exc := task.exception()):
        logger.error("recovery failed: open turns stay as they are until the next start", exc_info=exc)


app = FastAPI(title="Clearance", lifespan=lifespan, openapi_url=None)
app.add_exception_handler(DatabaseUnavailable, database_unavailable)
app.include_router(api.router)
app.include_router(pages.router)
app.add_middleware(NoteDeletedThreads)
app.add_middleware(WithdrawCancelled)
app.add_middleware(ReadIds)
app.add_middleware(ClosedRoutes)
if aegra.is_here():
    app.add_middleware(aegra.NoStatelessRuns)
app.add_middleware(EndWithToken)
app.add_middleware(NoteWritten)
app.add_middleware(NoteAnswered)
app.add_middleware(BoundBodies)
app.add_middleware(NoteReceived)
