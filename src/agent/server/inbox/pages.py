"""All routes of the inbox, and its files. What may be done is the desk's.

Every route has one of three dependencies: `session`, `posted`, or for signing in `signing_in`; files have none.
"""

from fastapi import APIRouter, HTTPException, Request, Response

from agent.server.inbox import assets, decide, lists, oversight, question, signing_in
from agent.server.inbox.route import pages_router

_files = pages_router()


@_files.get("/static/{name}")
async def show_file(request: Request, name: str) -> Response:
    """Give a file of these pages: the style sheet, htmx, the keys."""
    file = assets.files().get(name)
    if file is None:
        raise HTTPException(404, "There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.body, media_type=file.media_type, headers=headers)


router = APIRouter()
for _part in (lists.router, question.router, decide.router, oversight.router, signing_in.router, _files):
    router.include_router(_part)
