"""Servers for the tests: the real `aegra serve` on PostgreSQL with a small seeded bank, and the offline model."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.conftest import copied
from tests.support.aegra import Aegra
from tests.support.conversation import connected


@pytest.fixture(scope="session")
def make_aegra(seeded_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Aegra]]:
    """Make servers, not started, each with its own database; what still runs at the end is stopped."""
    with ExitStack() as stack:

        def make(**env: str) -> Aegra:
            url = stack.enter_context(copied(seeded_postgres, "seeded"))
            server = Aegra(tmp_path_factory.mktemp("aegra"), url, env=env, auth="on")
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture(scope="session")
def aegra(make_aegra: Callable[..., Aegra]) -> Aegra:
    """A running server that tests share, each with threads of its own. Everybody is its one local principal."""
    return make_aegra(AUTH="off").start()


@pytest.fixture
async def client(aegra: Aegra) -> AsyncIterator[LangGraphClient]:
    """A client of the shared server."""
    async with connected(aegra.url) as opened:
        yield opened
