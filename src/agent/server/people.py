"""Who calls a route of ours. The platform's authentication does not reach them, so each has this dependency."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from langgraph_sdk import Auth

from agent.clearance.desk import Desk
from agent.clearance.principal import LOCAL, Principal
from agent.server.wall import Wall, wall


async def signed_in(request: Request) -> Principal:
    """Give who calls, by a token in `Authorization: Bearer` or `x-api-key`; a cookie is none.

    Raises:
        HTTPException: 401 without a valid token, 429 in a flood.
    """
    return await person_of(await wall(), request.headers)


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


async def desk_of_process() -> Desk:
    """Give the desk of this process."""
    return Desk((await wall()).parts.gate)


Person = Annotated[Principal, Depends(signed_in)]
OfDesk = Annotated[Desk, Depends(desk_of_process)]


async def deciders_only(person: Person) -> Principal:
    """Give who calls, who holds a role of the policy.

    Raises:
        HTTPException: 403 for others.
    """
    here = await wall()
    if not here.is_approver(person):
        raise HTTPException(403, "This takes a role of the policy; your token has none.")
    return person


Decider = Annotated[Principal, Depends(deciders_only)]
