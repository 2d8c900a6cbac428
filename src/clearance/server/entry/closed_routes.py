"""Routes that nobody may reach, whatever the server leaves open, and who may reach the others from where."""

import ipaddress
import unicodedata
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from clearance.server.entry.paths import is_inside, parts_of
from clearance.settings import Settings, settings

#: First parts of paths. `internal` and `deploy` of the development server ask for no credentials and wipe or run
#: everything; pages under `ui` are served without authentication; the others start runs past the run handler.
CLOSED = frozenset(["internal", "deploy", "ui", "mcp", "a2a", "profile", ".well-known"])
#: Where LangGraph Studio is served from.
STUDIO = ("smith.langchain.com", ".smith.langchain.com")
#: By this header the platform lets somebody in without asking us. Source: langgraph_api.auth.custom.
_SCHEME = b"x-auth-scheme"
#: Categories of characters that break a line, or hide.
_UNSEEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


class ClosedRoutes:
    """ASGI middleware around all routes, the platform's own among them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or is_inside(scope):
            await self._app(scope, receive, send)
            return
        told = settings()
        refused = refusal(scope, told)
        if refused is None:
            await self._app(scope if studio_may_enter(told) else _without_scheme(scope), receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason=refused[1][:100])(scope, receive, send)
        else:
            await JSONResponse({"detail": refused[1]}, status_code=refused[0])(scope, receive, send)


def studio_may_enter(settings: Settings) -> bool:
    """Tell whether LangGraph Studio gets in by its header alone: where nobody signs in, or one plays both parts."""
    return settings.auth == "off" or settings.auth_both_parts


def _without_scheme(scope: Scope) -> Scope:
    # Taken out and not refused: whoever sends it is judged by the token beside it, like everybody.
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() != _SCHEME]}


def refusal(scope: Scope, settings: Settings) -> tuple[int, str] | None:
    """Give status and sentence of why a request may not pass, or None."""
    if any(unicodedata.category(c) in _UNSEEN for c in scope["path"]):
        # No route has such a path, and the platform's log would show it as it came: as a line of its own.
        return 400, "This path has characters that cannot be seen."
    if CLOSED.intersection(parts_of(scope)[:1]):
        return 404, "Not Found"
    headers = Headers(scope=scope)
    if not headers.get("x-request-id", "").isascii():
        # The platform reads it as UTF-8 and breaks off where it is none, and writes it into each line of its log.
        return 400, "The header x-request-id is of ASCII characters."
    if not settings.answers_remotely:
        if not _is_loopback((scope.get("client") or ("",))[0]):
            return 403, "This server answers on loopback only; REMOTE=on changes that."
        # A page whose name was pointed at this machine would be of the same origin as this server.
        if not _is_loopback(_host(f"//{headers.get('host', '')}")):
            return 403, "This server answers on loopback only, and to no other name; REMOTE=on changes that."
    origin = headers.get("origin")
    # Where nothing secret is asked for, any page that somebody here has open could act as well.
    asks_nothing = settings.auth == "off" or (studio_may_enter(settings) and "x-auth-scheme" in headers)
    if asks_nothing and origin is not None and not _is_studio(_host(origin)):
        return 403, "Only LangGraph Studio and pages on this machine get in without a token."
    return None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_studio(host: str) -> bool:
    return host == STUDIO[0] or host.endswith(STUDIO[1]) or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
