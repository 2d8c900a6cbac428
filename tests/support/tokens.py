"""Tokens of the people in the tests, as `clearance token` makes them."""

import os
from datetime import timedelta
from functools import cache

from clearance.server.entry.tokens import make_token
from clearance.settings import Settings
from tests.support.server import AUTH_SECRET
from tests.support.world import Person


def token(person: Person, lifetime: timedelta = timedelta(hours=1)) -> str:
    """Sign a token for somebody."""
    settings = _settings(frozenset(item for item in os.environ.items() if item[0] != "PYTEST_CURRENT_TEST"))
    return make_token(settings, AUTH_SECRET.encode(), person.identity, list(person.roles), lifetime)


@cache
def _settings(_environment: frozenset[tuple[str, str]]) -> Settings:
    """Read them, once for an environment: a test signs people in more often than anything else."""
    return Settings(_env_file=None)  # type: ignore[call-arg]  # no .env of whoever runs the tests


def bearer(person: Person) -> dict[str, str]:
    """Give the header that signs somebody in."""
    return {"Authorization": f"Bearer {token(person)}"}
