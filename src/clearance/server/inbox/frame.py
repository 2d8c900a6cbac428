"""What every signed-in page has around it: who is signed in, the switch, how much waits."""

from datetime import UTC, datetime
from typing import Any

from fastapi import HTTPException
from starlette.responses import HTMLResponse

from clearance.desk.lists import MOST_COUNTED, Wanted
from clearance.journal.audit import stopped_by_clock
from clearance.server.entry.dependencies import OfDesk
from clearance.server.inbox import assets
from clearance.server.inbox.session import Session
from clearance.server.inbox.wording import clock
from clearance.text.rendering import span


async def frame(session: Session, desk: OfDesk, *, here: str) -> dict[str, Any]:
    """Give what every signed-in page shows; `here` is its place in the menu."""
    now = datetime.now(UTC)
    switch = await desk.switch()
    return {
        "session": session,
        "here": here,
        "now": now,
        "clock": clock(now, now, seconds=True),
        "switch": switch,
        "ahead": stopped_by_clock(ahead) if (ahead := switch.ahead(now)) else "",
        "frozen_for": span(now - switch.frozen_at) if switch.frozen_at else "",
        "frozen_since": clock(switch.frozen_at, now) if switch.frozen_at else "",
        "mine": capped(await desk.count(session.person, Wanted("mine"))),
    }


def capped(number: int) -> str:
    """Write how many there are; nobody counts beyond `MOST_COUNTED`."""
    return f"{MOST_COUNTED - 1}+" if number >= MOST_COUNTED else str(number)


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page."""
    return HTMLResponse(assets.render(template, **values), status)


def deciders_only(session: Session) -> None:
    """Let those pass who hold a role of the policy.

    Raises:
        HTTPException: 403 for others.
    """
    if not session.is_decider:
        raise HTTPException(403, "This takes a role of the policy; your token has none.")
