"""What a server does not need to start: the approvals API, the inbox, and the description of both.

The platform works out the description of an app's routes when it starts, and all of these are a third of what our start
takes; so the app has one route that leads to them, and they are loaded, in a thread, when somebody comes.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.loglines import logger_of
from clearance.server.entry.paths import parts_of

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logger_of(__name__)

#: First parts of paths.
_REVIEWERS = frozenset(["approvals", "inbox"])
#: Pages of the platform that describe its routes and the app's.
_DESCRIPTIONS = (["openapi.json"], ["docs"])
#: Seconds after a load that failed before it is tried again: anybody may come, and each try costs as much as a load.
_AGAIN_S = 10


class NotLoadedError(Exception):
    """What reviewers reach does not load. The log has the cause under `error_id`."""

    def __init__(self, error_id: str) -> None:
        super().__init__(f"The approvals API and the inbox do not load, error {error_id}. Nothing was recorded.")
        self.error_id = error_id


class Late:
    """An app that is loaded when somebody comes."""

    def __init__(self, load: "Callable[[], FastAPI]", again_s: float = _AGAIN_S) -> None:
        self._load = load
        self._again_s = again_s
        self._app: FastAPI | None = None
        #: Those who come meanwhile wait here: each in a thread, they would take all that there are.
        self._loading = asyncio.Lock()
        self._failed_at = float("-inf")
        self._error_id = ""

    async def app(self) -> "FastAPI":
        """Give it, loaded at the first call.

        Raises:
            NotLoadedError: it does not load, or did not some seconds ago. Each try is logged, and no call beside it.
        """
        if self._app is None:
            async with self._loading:
                if self._app is None:
                    self._app = await self._tried()
        return self._app

    async def _tried(self) -> "FastAPI":
        if time.monotonic() - self._failed_at < self._again_s:
            raise NotLoadedError(self._error_id)
        try:
            return await asyncio.to_thread(self._load)
        except Exception as exc:  # whatever a module says that is broken
            self._failed_at, self._error_id = time.monotonic(), secrets.token_hex(4)
            said = "there is no approvals API and no inbox: they do not load, error id %s"
            logger.error(said, self._error_id, exc_info=exc)
            raise NotLoadedError(self._error_id) from exc


def _load() -> "FastAPI":
    from clearance.server.reviewers import reviewers_app

    app = reviewers_app()
    app.router.redirect_slashes = False  # nor does the platform's, around it
    return app


_late = Late(_load)


async def reviewers() -> "FastAPI":
    """Give the app of what reviewers reach. Raises: see `Late.app`."""
    return await _late.app()


def _not_loaded(why: NotLoadedError) -> Response:
    return JSONResponse({"detail": str(why)}, 503, {"Retry-After": str(_AGAIN_S)})


class ReviewersRoute(BaseRoute):
    """The route that leads to all of them."""

    def __init__(self) -> None:
        #: A server that puts its authentication before routes of an app does so here.
        self.app: ASGIApp = _serve

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether a path is one of theirs, or would be."""
        is_theirs = scope["type"] == "http" and not _REVIEWERS.isdisjoint(parts_of(scope)[:1])
        return (Match.FULL if is_theirs else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self.app(scope, receive, send)


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        app = await reviewers()
    except NotLoadedError as exc:
        await _not_loaded(exc)(scope, receive, send)
        return
    if app.middleware_stack is None:  # nobody was here before
        # What the platform makes of errors, as it gives it to an app whose routes it knows.
        for error, handler in scope["app"].exception_handlers.items():
            app.exception_handlers.setdefault(error, handler)
    await app(scope, receive, send)


class DescribeReviewers:
    """ASGI middleware around all routes: before the platform describes them, it learns of what reviewers reach."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_told and scope["type"] == "http" and parts_of(scope) in _DESCRIPTIONS:
            from langgraph_api.api.openapi import set_custom_spec

            try:
                described = await reviewers()
            except NotLoadedError as exc:
                await _not_loaded(exc)(scope, receive, send)
                return
            # It keeps what it made of this for good.
            set_custom_spec(await asyncio.to_thread(described.openapi))
            self._is_told = True
        await self._app(scope, receive, send)
