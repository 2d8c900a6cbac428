"""Who called a route of the platform: a middleware around it knows when its handler was asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from clearance.principal import Principal


@dataclass
class Asked:
    """A request of the platform's; whose it is the handler tells, which alone is called with whom it signed in."""

    person: Principal | None = None

    async def by(self, scope: Scope) -> Principal | None:
        """Give whose it is. Where no handler was asked, whom it names: a server has none, or authentication off."""
        if self.person is not None:
            return self.person
        # Loaded by the start; not with the handlers, which a server loads before it.
        from clearance.server.entry.callers import person_of
        from clearance.server.entry.wall import wall

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
