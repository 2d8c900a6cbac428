"""Who is signed in: the token in a cookie that only these pages get, and what every form must bring.

The cookie is read here and nowhere else: the platform's routes and the approvals API take a token in a header.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from clearance.key_files import audit_keys
from clearance.principal import LOCAL, Principal
from clearance.server.entry.callers import person_of
from clearance.server.entry.wall import SIGN_IN, Wall, wall

COOKIE = "clearance_inbox"
#: Holds what was typed into a form that could not be taken, until its page is read again.
KEPT = "clearance_kept"
#: Somebody signs in at most for this long.
LONGEST = timedelta(hours=8)
_MOST_BODY, _MOST_FIELDS, _MOST_KEPT = 100_000, 100, 3_000
#: Of a form these are never kept.
_NOT_KEPT = frozenset(["csrf", "digest", "revision", "token"])


class SignInError(Exception):
    """Nobody is signed in, or not any more."""

    def __init__(self, *, ended: bool, told: str = "") -> None:
        self.ended = ended
        #: Why a token does not count, where that may be said.
        self.told = told


@dataclass(frozen=True)
class Session:
    """Somebody at the pages."""

    person: Principal
    #: What every form of this session carries.
    csrf: str
    #: False where no authentication is configured: everybody is the local principal.
    has_sign_in: bool
    #: Holds a role of the policy: sees what others asked for, and may decide.
    is_decider: bool


@dataclass(frozen=True)
class Posted:
    """A form that came from one of our pages, in a session."""

    session: Session
    fields: dict[str, str]

    def get(self, name: str) -> str:
        """Give a field, empty when it did not come."""
        return self.fields.get(name, "")


async def session(request: Request) -> Session:
    """Give who is signed in.

    Raises:
        SignInError: nobody is.
        HTTPException: 403 for a page of another site that fetches, 429 in a flood.
    """
    _check_not_fetched(request)
    here = await wall()
    if here.parts.settings.auth == "off":
        return Session(LOCAL, await _csrf(here, "local"), has_sign_in=False, is_decider=True)
    token = request.cookies.get(COOKIE, "")
    if not token:
        raise SignInError(ended=False)
    return await session_of(here, token)


async def session_of(here: Wall, token: str) -> Session:
    """Give the session of a token.

    Raises:
        SignInError: it is not valid, or not any more.
        HTTPException: 429 in a flood.
    """
    try:
        person = await person_of(here, {"authorization": f"Bearer {token}"})
    except HTTPException as exc:
        if exc.status_code != 401:
            raise
        raise SignInError(ended=True, told="" if exc.detail == SIGN_IN else str(exc.detail)) from None
    return Session(person, await _csrf(here, token), has_sign_in=True, is_decider=here.is_approver(person))


async def posted(request: Request) -> Posted:
    """Give a form that one of our own pages sent.

    Raises:
        SignInError: nobody is signed in any more.
        HTTPException: 403 from elsewhere, 413 too large, 422 no form.
    """
    check_origin(request)
    fields = await read_fields(request)
    # Whatever goes wrong from here on, what was typed is kept: see `route`.
    request.state.typed = {name: value for name, value in fields.items() if name not in _NOT_KEPT and value}
    try:
        signed_in = await session(request)
    except SignInError as exc:
        raise SignInError(ended=True) from exc
    if not hmac.compare_digest(fields.get("csrf", "").encode(), signed_in.csrf.encode()):
        raise HTTPException(403, "This form is not from your session. Load the page again.")
    return Posted(signed_in, fields)


async def signing_in(request: Request) -> dict[str, str]:
    """Give the form of somebody who signs in, from our own page.

    Raises:
        HTTPException: 403 from elsewhere, 413 too large, 422 no form.
    """
    check_origin(request)
    return await read_fields(request)


InSession = Annotated[Session, Depends(session)]
Form = Annotated[Posted, Depends(posted)]
SignInForm = Annotated[dict[str, str], Depends(signing_in)]


def check_origin(request: Request) -> None:
    """Refuse what another site sends.

    Raises:
        HTTPException: 403.
    """
    # Browsers send the one with every POST, old ones the other; what sends neither is no browser with our page.
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    if not origin or _place(origin) != request.headers.get("host", "").lower():
        raise HTTPException(403, "This form did not come from these pages.")


def _check_not_fetched(request: Request) -> None:
    # Where no sign-in is asked for, no cookie keeps another site's script from reading: the browser says who fetches.
    # Navigating is no reading.
    if (
        request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
        and request.headers.get("sec-fetch-mode") != "navigate"
    ):
        raise HTTPException(403, "These pages are read by people, not by other sites.")


def _place(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


async def read_fields(request: Request) -> dict[str, str]:
    """Read a form; of fields that come twice the last counts.

    Raises:
        HTTPException: 413 too large, 422 no form.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BODY:
            raise HTTPException(413, "That is more than a form here can hold.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError as exc:
        raise HTTPException(422, "That is no form.") from exc


def safe_next(address: str) -> str:
    """Give the address to go on to after signing in: one of ours, or the inbox."""
    is_ours = address == "/inbox" or address.startswith(("/inbox/", "/inbox?"))
    if not is_ours or "\\" in address or "//" in address or not address.isprintable() or not address.isascii():
        return "/inbox"
    return "/inbox" if address.startswith(("/inbox/sign-in", "/inbox/sign-out")) else address


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Keep a token that was just verified, until it expires and never longer than a working day."""
    expires = jwt.decode(token, options={"verify_signature": False}).get("exp", 0)
    left = int(min(LONGEST.total_seconds(), expires - datetime.now(UTC).timestamp()))
    _put(request, response, COOKIE, token, max(left, 1))


def keep_typed(request: Request, response: Response) -> None:
    """Keep what was typed into a form that could not be taken until its page is read again, if it is little enough."""
    typed: dict[str, str] = getattr(request.state, "typed", {})
    written = base64.urlsafe_b64encode(json.dumps([request.url.path, typed]).encode()).decode()
    if typed and len(written) <= _MOST_KEPT:
        _put(request, response, KEPT, written, 900)


def typed_before(request: Request, request_id: str) -> dict[str, str]:
    """Give what was typed about a request when the session ended; whoever shows it drops the cookie."""
    try:
        path, typed = json.loads(base64.urlsafe_b64decode(request.cookies.get(KEPT, "")))
        if f"/{request_id}/" in str(path):
            return {str(name): str(value) for name, value in dict(typed).items()}
    except (ValueError, TypeError):
        pass
    return {}


def drop(response: Response, *names: str) -> None:
    """Take cookies away."""
    for name in names:
        response.delete_cookie(name, path="/inbox", httponly=True, samesite="strict")


def _put(request: Request, response: Response, name: str, value: str, max_age: int) -> None:
    is_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
    response.set_cookie(name, value, max_age=max_age, path="/inbox", httponly=True, samesite="strict", secure=is_https)


_keys: dict[Any, bytes] = {}


async def _csrf(here: Wall, token: str) -> str:
    settings = here.parts.settings
    if settings not in _keys:
        # The same in every process of a deployment; derived, so that no form says anything about the log's key.
        keys = await asyncio.to_thread(audit_keys, settings, may_make=False)
        _keys[settings] = hmac.digest(keys.now, b"clearance inbox: forms", "sha256")
    return hmac.new(_keys[settings], hashlib.sha256(token.encode()).digest(), "sha256").hexdigest()
