"""Tokens of the people in the tests, as `clearance token` makes them."""

from datetime import timedelta

from clearance.server.entry.tokens import make_token
from clearance.settings import Settings
from tests.support.server import AUTH_SECRET
from tests.support.world import Person


def token(person: Person, lifetime: timedelta = timedelta(hours=1)) -> str:
    """Sign a token for somebody."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]  # no .env of whoever runs the tests
    return make_token(settings, AUTH_SECRET.encode(), person.identity, list(person.roles), lifetime)


def bearer(person: Person) -> dict[str, str]:
    """Give the header that signs somebody in."""
    return {"Authorization": f"Bearer {token(person)}"}
