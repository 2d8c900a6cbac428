"""Who calls a route of ours. Those the platform's authentication does not reach, so each has one of these."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.exceptions import HTTPException as AnyHTTPException

from clearance.desk.desk import Desk
from clearance.principal import Principal
from clearance.server.entry.callers import person_of
from clearance.server.entry.wall import wall


async def signed_in(request: Request) -> Principal:
    """Give who calls, by a token in `Authorization: Bearer` or `x-api-key`; a cookie is none.

    Raises:
        HTTPException: 401 without a valid token, 429 in a flood.
    """
    try:
        return await person_of(await wall(), request.headers)
    except AnyHTTPException as exc:
        # FastAPI's own, as of all that our routes refuse: Aegra tells those in its own shape, and others in another.
        raise HTTPException(exc.status_code, exc.detail, exc.headers) from None


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
