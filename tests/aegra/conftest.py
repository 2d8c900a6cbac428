"""Servers for the tests: the real `aegra serve` on PostgreSQL with a small seeded bank, and the offline model."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.conftest import copied
from tests.support.aegra import Aegra
from tests.support.conversation import connected


@pytest.fixture(scope="module")
def make_aegra(seeded_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Aegra]]:
    """Make servers, not started, each with its own database; what still runs after the file is stopped."""
    with making(seeded_postgres, tmp_path_factory) as make:
        yield make


@contextmanager
def making(seeded_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Aegra]]:
    """Give what makes servers, for as long as the block runs."""
    with ExitStack() as stack:

        def make(kind: type[Aegra] = Aegra, **env: str) -> Aegra:
            url = stack.enter_context(copied(seeded_postgres, "seeded"))
            server = kind(tmp_path_factory.mktemp("aegra"), url, env=env, auth="on")
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture(scope="session")
def aegra(seeded_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aegra]:
    """A running server that tests share, each with threads of its own. Everybody is its one local principal."""
    with making(seeded_postgres, tmp_path_factory) as make:
        yield make(AUTH="off").start()


@pytest.fixture
async def client(aegra: Aegra) -> AsyncIterator[LangGraphClient]:
    """A client of the shared server."""
    async with connected(aegra.url) as opened:
        yield opened
