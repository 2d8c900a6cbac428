"""All routes of the inbox, and its files. What may be done is the desk's.

Every route has one of three dependencies: `session`, `posted`, or for signing in `signing_in`; files have none.
"""

from fastapi import APIRouter, HTTPException, Request, Response

from clearance.server.inbox import assets, decision_forms, list_page, oversight, request_page, signing_in
from clearance.server.inbox.route import pages_router

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
for _routes in (list_page, request_page, decision_forms, oversight, signing_in):
    router.routes.extend(_routes.router.routes)
router.routes.extend(_files.routes)
