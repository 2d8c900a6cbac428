"""What surrounds every page: security headers, compression, a sign-in instead of a refusal, errors as pages."""

import gzip
import secrets
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException  # what FastAPI itself raises, too
from starlette.responses import HTMLResponse, RedirectResponse, StreamingResponse

from clearance.errors import DatabaseUnavailable
from clearance.loglines import logger_of
from clearance.server.failures import recorded
from clearance.server.inbox import assets
from clearance.server.inbox.session import SignInError, keep_typed

logger = logger_of(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_LEAST_PACKED = 1_000

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route of the inbox."""

    def get_route_handler(self) -> Handler:
        """Wrap the route's own handler, dependencies included."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            await assets.load()
            try:
                response = await inner(request)
            except SignInError as exc:
                response = _to_sign_in(request, exc)
                keep_typed(request, response)
            except (HTTPException, RequestValidationError, DatabaseUnavailable) as exc:
                response = _told(request, exc)
                keep_typed(request, response)
            except Exception as exc:  # noqa: BLE001  people get a page with an id, the log gets the cause
                response = _failed(request, exc)
                keep_typed(request, response)
            return _surrounded(request, response)

        return handle


def pages_router() -> APIRouter:
    """Make a router for pages of the inbox."""
    return APIRouter(prefix="/inbox", route_class=PageRoute, include_in_schema=False)


def _surrounded(request: Request, response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Vary"] = "Accept-Encoding, Cookie"
    if isinstance(response, StreamingResponse):
        return response
    body = bytes(response.body)
    # Whoever could measure sizes cannot make a browser ask here with its cookie, which stays on this site.
    if len(body) >= _LEAST_PACKED and "content-encoding" not in response.headers and _takes_gzip(request):
        response.body = gzip.compress(body, 6)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    return response


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _to_sign_in(request: Request, ended: SignInError) -> Response:
    if "hx-request" in request.headers:
        return Response(status_code=401)  # the page says so by itself and keeps what is typed
    back = request.url.path
    if request.method == "POST":
        # Where the form stood.
        back = back.rsplit("/", 1)[0] if back.startswith("/inbox/requests/") else "/inbox"
    if request.url.query:
        back += f"?{request.url.query}"
    return RedirectResponse(f"/inbox/sign-in?{'ended=1&' if ended.ended else ''}next={quote(back)}", 303)


def _told(request: Request, exc: HTTPException | RequestValidationError | DatabaseUnavailable) -> Response:
    if isinstance(exc, HTTPException):
        return _page(exc.status_code, _TITLES.get(exc.status_code, "This did not work"), str(exc.detail))
    if isinstance(exc, DatabaseUnavailable):
        error_id = secrets.token_hex(4)
        logger.error("a page could not be made, error id %s: %s", error_id, exc)
        return _page(503, "The database does not answer", f"{recorded()} Error {error_id}.")
    return _page(422, "There is no such page", "The address is not one of these pages.")


def _failed(request: Request, exc: Exception) -> Response:
    error_id = secrets.token_hex(4)
    logger.error("%s %s failed, error id %s", request.method, request.url.path, error_id, exc_info=exc)
    said = f"Look at the request again before you repeat what you did. Error {error_id}."
    return _page(500, "Something went wrong here", said)


def _page(status: int, title: str, text: str) -> Response:
    return HTMLResponse(assets.render("error.html", title=title, text=text), status)


_TITLES = {
    403: "You may not do this",
    404: "There is no such page",
    409: "It changed meanwhile",
    413: "That is too much",
    429: "Too many refused calls",
}
