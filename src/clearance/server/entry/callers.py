"""Who calls, by the headers of a request."""

from collections.abc import Mapping
from typing import Any

from langgraph_sdk import Auth
from starlette.exceptions import HTTPException

from clearance.principal import LOCAL, Principal
from clearance.server.entry.wall import Wall


async def person_of(here: Wall, headers: Mapping[str, Any]) -> Principal:
    """Give whom these headers name.

    Raises:
        HTTPException: 401 without a valid token, 429 in a flood.
    """
    if here.parts.settings.auth == "off":
        return LOCAL
    try:
        known = await here.sign_in(headers)
    except Auth.exceptions.HTTPException as exc:
        raise HTTPException(exc.status_code, exc.detail, {"WWW-Authenticate": "Bearer"}) from None
    if here.floods.is_flood(known.name):
        raise HTTPException(429, "Too many refused calls; wait a minute.")
    return here.person({"identity": known.name, "roles": list(known.roles)})
