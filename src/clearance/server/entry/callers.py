"""Who calls. The platform's authentication does not reach routes of ours, so each of those has a dependency.

Around a route of the platform a middleware knows who called when its handler was asked: see `asked_by`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from langgraph_sdk import Auth
from starlette.datastructures import Headers
from starlette.types import Scope

from clearance.desk.desk import Desk
from clearance.principal import LOCAL, Principal
from clearance.server.entry.wall import Wall, wall


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


@dataclass
class Asked:
    """A request of the platform's; whose it is the handler tells, which alone is called with whom it signed in."""

    person: Principal | None = None

    async def by(self, scope: Scope) -> Principal | None:
        """Give whose it is. Where no handler was asked, whom it names: a server has none, or authentication off."""
        if self.person is not None:
            return self.person
        try:
            return await person_of(await wall(), Headers(scope=scope))
        except HTTPException:
            return None


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def asked_by() -> Iterator[Asked]:
    """Learn who is let in to what the block serves, by `note_person`."""
    here = Asked()
    token = _asked.set(here)
    try:
        yield here
    finally:
        _asked.reset(token)


def note_person(person: Principal) -> None:
    """Note who is let in. Called by handlers; without effect where nobody wants to know."""
    here = _asked.get()
    if here is not None:
        here.person = person


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
