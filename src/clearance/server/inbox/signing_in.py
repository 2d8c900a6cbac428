"""A token for a session, and back."""

from urllib.parse import urlencode

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from clearance.server.entry.wall import wall
from clearance.server.inbox.frame import page
from clearance.server.inbox.route import pages_router
from clearance.server.inbox.session import (
    COOKIE,
    KEPT,
    Form,
    SignInError,
    SignInForm,
    drop,
    safe_next,
    session_of,
    set_cookie,
)

router = pages_router()


@router.get("/sign-in")
async def show_sign_in(request: Request, next: str = "/inbox", ended: str = "") -> Response:
    """Ask for a token; who is signed in goes on."""
    here, onward = await wall(), safe_next(next)
    if here.parts.settings.auth == "off":
        return RedirectResponse(onward, 303)
    if request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies:
        # A link from elsewhere: browsers hold the cookie back until we ask once more from here.
        return page("again.html", address=f"/inbox/sign-in?{urlencode({'next': onward})}")
    if token := request.cookies.get(COOKIE, ""):
        try:
            await session_of(here, token)
            return RedirectResponse(onward, 303)
        except SignInError:
            pass
    kept = KEPT in request.cookies
    return page("signin.html", next=onward, ended=bool(ended), kept=kept, error="",
                 is_development=not here.parts.settings.auth_jwks_url)  # fmt: skip


@router.post("/sign-in")
async def sign_in(request: Request, form: SignInForm) -> Response:
    """Keep a valid token in a cookie."""
    here, onward = await wall(), safe_next(form.get("next", "/inbox"))
    token = form.get("token", "").strip()
    try:
        await session_of(here, token)
    except SignInError as exc:
        return page("signin.html", 401, next=onward, ended=False, kept=False,
                     error=exc.told or "This token is not valid here. Ask whoever gave it to you for a new one.",
                     is_development=not here.parts.settings.auth_jwks_url)  # fmt: skip
    response = RedirectResponse(onward, 303)
    set_cookie(request, response, token)
    return response


@router.post("/sign-out")
async def sign_out(form: Form) -> Response:
    """Forget the token."""
    response = RedirectResponse("/inbox/sign-in", 303)
    drop(response, COOKIE, KEPT)
    return response
