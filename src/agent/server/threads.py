"""A thread that somebody deleted stays deleted: what was open in it is withdrawn, so recovery leaves it alone."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.server.paths import parts_of
from agent.wiring import wired


class NoteDeletedThreads:
    """ASGI middleware around all routes: after a successful `DELETE /threads/{id}` its open turn is withdrawn.

    Stands behind `ReadIds`: the journal knows a thread by one spelling of its id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_delete = scope["type"] == "http" and scope["method"] == "DELETE"
        parts = parts_of(scope) if is_delete else []
        if len(parts) != 2 or parts[0] != "threads":
            await self._app(scope, receive, send)
            return
        thread_id = parts[1]

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                # Before the client hears of it: when it does, recovery will not bring the thread back.
                await (await wired()).gate.withdraw_thread(thread_id)
            await send(message)

        await self._app(scope, receive, note)
