"""A thread that somebody deleted stays deleted: what was open in it is withdrawn, so recovery leaves it alone."""

from functools import partial

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.application import the_parts
from clearance.errors import DatabaseUnavailable
from clearance.gate.ending import withdraw_thread
from clearance.journal.turns import open_turns_of
from clearance.server.entry.asked import asked_by
from clearance.server.entry.paths import parts_of
from clearance.server.failures import follow_up, unavailable
from clearance.server.upkeep.duties import do_later

_NOT_WITHDRAWN = (
    "The thread is deleted, but the database does not answer: what was open in it is withdrawn when it does, as long"
    " as this server runs. Look in the inbox, where it can be closed."
)


class NoteDeletedThreads:
    """ASGI middleware around all routes: after a successful `DELETE /threads/{id}` its open turns are withdrawn.

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

        here = await the_parts()
        try:
            # A thread whose requests cannot be withdrawn is not deleted: they would stay open without it.
            await here.database.read(lambda connection: open_turns_of(connection, thread_id))
        except DatabaseUnavailable:
            await JSONResponse({"detail": unavailable()}, 503)(scope, receive, send)
            return

        async def withdraw() -> None:
            # Before the client hears of it: when it does, recovery will not bring the thread back.
            withdraw_open = partial(
                here.gate.write, partial(withdraw_thread, thread_id=thread_id, by=await asked.by(scope))
            )
            try:
                await withdraw_open()
            except DatabaseUnavailable:
                do_later(withdraw_open, f"what was open in thread {thread_id}")
                raise

        with asked_by() as asked:
            await follow_up(self._app, scope, receive, send, withdraw, _NOT_WITHDRAWN)
