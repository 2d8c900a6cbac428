"""The HTTP app that the server runs beside the graph. Its start is where a bad setting or policy stops the server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from agent.server.recovery import recover
from agent.server.threads import NoteDeletedThreads
from agent.wiring import wired

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Wire the parts, warn about what is open, recover in the background.

    Raises:
        SettingsError, PolicyError: the server does not start, and says where.
    """
    parts = await wired()
    if parts.settings.auth == "off":
        logger.warning(
            "NO AUTHENTICATION: everybody who reaches this server is the principal 'local', holds every role and may"
            " approve their own requests; each such decision is marked in the audit log"
        )
    recovery = asyncio.create_task(recover(parts), name="recovery")
    recovery.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        recovery.cancel()
        with suppress(asyncio.CancelledError):
            await recovery


def _tell_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (exc := task.exception()):
        logger.error("recovery failed: open turns stay as they are until the next start", exc_info=exc)


app = FastAPI(title="Clearance", lifespan=lifespan, openapi_url=None)
app.add_middleware(NoteDeletedThreads)
