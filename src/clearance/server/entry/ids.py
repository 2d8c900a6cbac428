"""Ids as the platform reads them, not as they are written: one spelling, and a run only with the thread it is of.

LangGraph's server reads an id as a UUID: in upper case, without hyphens, in braces, as `urn:uuid:…` it is the same id.
Aegra compares text, so there nothing is another spelling of anything.
"""

import itertools
from urllib.parse import quote
from uuid import UUID

from langgraph_sdk import get_client
from langgraph_sdk.errors import NotFoundError
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.server import aegra
from clearance.server.entry.paths import is_inside

#: Parts of a path after which an id follows.
_THREADS, _RUNS = "threads", "runs"
#: An id that no run has: asked for it, the platform signs in who asks, and answers as for any run that is not there.
_NO_RUN = str(UUID(int=0))


class ReadIds:
    """ASGI middleware around all routes: what is behind it, handlers, routes and our own matching, sees one spelling.

    A run that is not of the thread named beside it is made into one that is not there. `DELETE` of such a pair answered
    404 and deleted the checkpoints of the other thread all the same (langgraph_runtime_inmem 0.36.7, `Runs.delete`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Aegra looks for each run by both its ids, in every route.
        if scope["type"] in ("http", "websocket") and not aegra.is_here():
            parts = scope["path"].split("/")
            thread = _read(parts, _THREADS)
            run = _read(parts, _RUNS)
            if thread and run and not is_inside(scope) and not await _is_of(parts[run], parts[thread]):
                parts[run] = _NO_RUN
            path = "/".join(parts)
            if path != scope["path"]:
                scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        await self._app(scope, receive, send)


def canonical_id(text: str) -> str:
    """Give an id of a thread or run as it is stored: a UUID in its usual spelling, anything else as it is."""
    if aegra.is_here():
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return text


def _read(parts: list[str], collection: str) -> int | None:
    """Write the id that follows `collection` in its one spelling; give its index, None where none follows."""
    for index, (name, following) in enumerate(itertools.pairwise(parts), start=1):
        if name == collection:
            try:
                parts[index] = str(UUID(following))
            except ValueError:
                continue
            return index
    return None


async def _is_of(run_id: str, thread_id: str) -> bool:
    try:
        await get_client(url=None).runs.get(thread_id, run_id)
    except NotFoundError:
        return False
    return True
