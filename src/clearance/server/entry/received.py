"""When a request reached this process: an answer is as old as that, however long it waited for its handler."""

import time
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

_received_ms: ContextVar[int | None] = ContextVar("received_ms", default=None)


class NoteReceived:
    """ASGI middleware around all routes, outside all other middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A double click's second answer may wait until the next question is put: taken as new then, it would clear
        # what nobody has seen.
        token = _received_ms.set(int(time.time() * 1000))
        try:
            await self._app(scope, receive, send)
        finally:
            _received_ms.reset(token)


def received_ms() -> int:
    """Give when the request of this task came, ms since 1970; now, where there is none."""
    return _received_ms.get() or int(time.time() * 1000)
