"""What callers are told when something fails: what it was, and whether anything was recorded. Never a bare 500."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import sqlalchemy as sa
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as AnyHTTPException  # what FastAPI itself raises, too
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.canonical import clean
from clearance.db.engine import Written, written
from clearance.errors import DatabaseUnavailable
from clearance.loglines import logger_of

logger = logger_of(__name__)

#: What no column can hold: numbers beyond 64 bits, half characters, NUL, more levels than a stack has.
_NO_VALUE = (OverflowError, UnicodeError, RecursionError, sa.exc.DataError)


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


class TellingRoute(APIRoute):
    """A route of ours whose failures are told."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler, dependencies included."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except RequestValidationError as exc:
                # What is wrong is told with what came, and half a character cannot be sent back.
                raise RequestValidationError(clean(list(exc.errors()))) from exc
            except (AnyHTTPException, DatabaseUnavailable, asyncio.CancelledError):
                raise
            except _NO_VALUE as exc:
                logger.info("%s holds what cannot be stored: %s", request.url.path, type(exc).__name__)
                raise HTTPException(422, f"A number or text of this request cannot be one. {recorded()}") from exc
            except Exception as exc:  # noqa: BLE001  callers get a sentence with an id, the log gets the cause
                return failed(request, exc)

        return handle


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
