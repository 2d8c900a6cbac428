"""A thread that somebody deleted stays deleted: what was open in it is withdrawn, so recovery leaves it alone."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.clearance import journal
from agent.db.engine import DatabaseUnavailable
from agent.server.duties import do_later
from agent.server.failures import unavailable
from agent.server.paths import parts_of
from agent.wiring import wired

_NOT_WITHDRAWN = (
    "The thread is deleted, but the database does not answer: what was open in it is withdrawn when it does, as long"
    " as this server runs. Look in the inbox, where it can be closed."
)


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

        here = await wired()
        is_over = False
        try:
            # A thread whose requests cannot be withdrawn is not deleted: they would stay open without it.
            await here.database.read(lambda connection: journal.open_turn_of(connection, thread_id))
        except DatabaseUnavailable:
            await JSONResponse({"detail": unavailable()}, 503)(scope, receive, send)
            return

        async def note(message: Message) -> None:
            nonlocal is_over
            if is_over:
                return
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                try:
                    # Before the client hears of it: when it does, recovery will not bring the thread back.
                    await here.gate.withdraw_thread(thread_id)
                except DatabaseUnavailable:
                    is_over = True
                    do_later(lambda: here.gate.withdraw_thread(thread_id), f"what was open in thread {thread_id}")
                    await JSONResponse({"detail": _NOT_WITHDRAWN}, 503)(scope, receive, send)
                    return
            await send(message)

        await self._app(scope, receive, note)
