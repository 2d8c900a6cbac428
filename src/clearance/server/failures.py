"""What callers are told when something fails: what it was, and whether anything was recorded. Never a bare 500."""

import secrets
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.db.engine import Written, written
from clearance.errors import DatabaseUnavailable
from clearance.loglines import logger_of

logger = logger_of(__name__)


class NoteWritten:
    """ASGI middleware around all routes: so that a failure can tell whether anything was recorded before it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = written.set(Written())
        try:
            await self._app(scope, receive, send)
        finally:
            written.reset(token)


def recorded() -> str:
    """Tell in a sentence whether the request of this task recorded anything."""
    note = written.get()
    if note is not None and not note.may_be:
        return "Nothing was recorded."
    return "What it asked for may have been recorded: look before you repeat it."


def unavailable() -> str:
    """Tell that the database does not answer."""
    return f"The database does not answer. {recorded()}"


async def database_unavailable(request: Request, exc: Exception) -> Response:
    """Answer what failed because the database did not answer: of our routes, and of the platform's in our handlers."""
    logger.warning("%s was not done: %s", request.url.path, exc)
    return JSONResponse({"detail": unavailable()}, 503, {"Retry-After": "5"})


def failed(request: Request, exc: Exception) -> Response:
    """Answer what nobody expected to fail."""
    if isinstance(exc, sa.exc.OperationalError | sa.exc.InternalError | sa.exc.InterfaceError):
        logger.error("the database failed at %s", request.url.path, exc_info=exc)
        return JSONResponse({"detail": unavailable()}, 503, {"Retry-After": "5"})
    error_id = secrets.token_hex(4)
    logger.error("%s %s failed, error id %s", request.method, request.url.path, error_id, exc_info=exc)
    return JSONResponse({"detail": f"Something went wrong here, error {error_id}. {recorded()}"}, 500)


async def follow_up(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, follow: Callable[[], Awaitable[None]], undone: str
) -> None:
    """Serve a request; where it succeeds, `follow` before its caller hears of it.

    Where the database fails then, the caller hears `undone`, with 503, in place of the success.
    """
    is_over = False

    async def note(message: Message) -> None:
        nonlocal is_over
        if is_over:
            return
        if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
            try:
                await follow()
            except DatabaseUnavailable:
                is_over = True
                await JSONResponse({"detail": undone}, 503)(scope, receive, send)
                return
        await send(message)

    await app(scope, receive, note)
