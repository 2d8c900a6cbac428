"""Servers for the tests: the real `langgraph dev` with a small seeded bank and the offline model."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.attacks.targets import Case, Held, Target
from tests.support.conversation import connected
from tests.support.server import Server


@pytest.fixture(scope="session")
def make_server(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Make servers, not started, each with its own data; what still runs at the end is stopped."""
    made: list[Server] = []

    def make(config: str = "langgraph.dev.json", database_url: str = "", **env: str) -> Server:
        folder = tmp_path_factory.mktemp("server")
        if not database_url:
            shutil.copy(seeded_sqlite, folder / "clearance.db")
            database_url = f"sqlite:///{folder / 'clearance.db'}"
        server = Server(folder, database_url, config, env)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def server(make_server: Callable[..., Server]) -> Server:
    """A running server without authentication, which tests share.

    Each uses threads of its own, and accounts it knows nobody else to empty.
    """
    return make_server().start()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[LangGraphClient]:
    """A client of the shared server."""
    async with connected(server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def guarded(make_server: Callable[..., Server]) -> Target:
    """A server as it is deployed, with tokens of `clearance token`."""
    server = make_server()
    server.auth = "on"
    return Target("ours", server.start())


@pytest.fixture
async def case(guarded: Target) -> AsyncIterator[Case]:
    """What one attempt uses on the server with authentication: people, threads, what came of it."""
    made = Case(guarded)
    yield made
    await made.close()


@pytest.fixture
async def held(case: Case) -> Held:
    """A transfer of olga's that waits for an approval."""
    return await case.hold()
