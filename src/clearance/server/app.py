"""The HTTP app that the server runs beside the graph, as its configuration names it.

What it leads to is loaded when the server starts, and not when this is imported: see `start` and `late`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.errors import DatabaseUnavailable
from clearance.server import aegra
from clearance.server.collecting import StartUncollected
from clearance.server.late import DescribeReviewers, ReviewersRoute


class Surroundings:
    """ASGI middleware around all routes: all of ours, see `middleware`, put together at the first request."""

    def __init__(self, app: ASGIApp) -> None:
        self._inner = app
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if self._app is None:
            from clearance.server.middleware import around  # loaded by the start

            self._app = around(self._inner)
        await self._app(scope, receive, send)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Start what goes on beside the routes; see `start.running`.

    Raises:
        SettingsError, PolicyError, SecondClearanceError: the server does not start, and says where.
    """
    async with await asyncio.to_thread(_running):
        yield


def _running() -> AbstractAsyncContextManager[None]:
    from clearance.server import middleware, start

    assert middleware  # loaded here, in a thread, for the first request
    return start.running()


async def _tell_unavailable(request: Request, exc: Exception) -> Response:
    from clearance.server.failures import database_unavailable

    return await database_unavailable(request, exc)


def _app() -> Starlette:
    if aegra.is_here():  # which takes nothing else, and has FastAPI loaded
        from clearance.server.reviewers import reviewers_app

        return reviewers_app(lifespan)
    made = Starlette(lifespan=lifespan, exception_handlers={DatabaseUnavailable: _tell_unavailable})
    made.router.routes.append(ReviewersRoute())
    made.add_middleware(DescribeReviewers)
    return made


app = _app()
app.add_middleware(Surroundings)
app.add_middleware(StartUncollected)
