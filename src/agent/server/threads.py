"""A thread that somebody deleted stays deleted: what was open in it is withdrawn, so recovery leaves it alone."""

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.wiring import wired

_THREAD = re.compile(r"/threads/([^/]+)/?")


class NoteDeletedThreads:
    """ASGI middleware around all routes: after a successful `DELETE /threads/{id}` its open turn is withdrawn."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _THREAD.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "DELETE" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        thread_id = unquote(found[1])

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                # Before the client hears of it: when it does, recovery will not bring the thread back.
                await (await wired()).gate.withdraw_thread(thread_id)
            await send(message)

        await self._app(scope, receive, note)
