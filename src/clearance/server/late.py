"""What a server does not need to start: the approvals API, the inbox, and the description of both.

The platform works out the description of an app's routes when it starts, and all of these are a third of what our start
takes; so the app has one route that leads to them, and they are loaded, in a thread, when somebody comes.
"""

import asyncio
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.server.entry.paths import parts_of

if TYPE_CHECKING:
    from fastapi import FastAPI

#: First parts of paths.
_REVIEWERS = frozenset(["approvals", "inbox"])
#: Pages of the platform that describe its routes and the app's.
_DESCRIPTIONS = (["openapi.json"], ["docs"])

_loaded: "list[FastAPI]" = []
#: Those who come meanwhile wait here: each in a thread, they would take all that there are.
_loading = asyncio.Lock()


async def reviewers() -> "FastAPI":
    """Give the app of what reviewers reach, loaded at the first call."""
    if not _loaded:
        async with _loading:
            if not _loaded:
                _loaded.append(await asyncio.to_thread(_load))
    return _loaded[0]


def _load() -> "FastAPI":
    from clearance.server.reviewers import reviewers_app

    app = reviewers_app()
    app.router.redirect_slashes = False  # nor does the platform's, around it
    return app


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
    app = await reviewers()
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

            described = await reviewers()
            # It keeps what it made of this for good.
            set_custom_spec(await asyncio.to_thread(described.openapi))
            self._is_told = True
        await self._app(scope, receive, send)
