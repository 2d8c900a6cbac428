"""Servers for the tests: the real `langgraph dev` with a small seeded bank and the offline model."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.attacks.targets import Case, Held, Target
from tests.support.conversation import connected
from tests.support.environment import build_wheel
from tests.support.payments import Provider
from tests.support.server import Server


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, built as it is released."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def make_server(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Make servers, not started, each with its own data; what still runs after the file is stopped.

    Not after the session: each looks for work twice a second, and in the end there would be some fifty of them.
    """
    with making(seeded_sqlite, tmp_path_factory) as make:
        yield make


@contextmanager
def making(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Give what makes servers, for as long as the block runs."""
    made: list[Server] = []

    def make(
        config: str = "langgraph.dev.json", database_url: str = "", kind: type[Server] = Server, **env: str
    ) -> Server:
        folder = tmp_path_factory.mktemp("server")
        if not database_url:
            shutil.copy(seeded_sqlite, folder / "clearance.db")
            database_url = f"sqlite:///{folder / 'clearance.db'}"
        server = kind(folder, database_url, config, env)
        made.append(server)
        return server

    try:
        yield make
    finally:
        for server in made:
            server.stop()


@pytest.fixture(scope="session")
def payment_provider() -> Iterator[Provider]:
    """Who pays to other banks for the shared server."""
    with Provider() as made:
        yield made


@pytest.fixture(scope="session")
def server(
    seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, payment_provider: Provider
) -> Iterator[Server]:
    """A running server without authentication, which tests share.

    Each uses threads of its own, and accounts it knows nobody else to empty.
    """
    with making(seeded_sqlite, tmp_path_factory) as make:
        # So small a chunk that an analysis of the small bank has some steps.
        yield make(PAYMENT_PROVIDER_URL=payment_provider.url, ANALYSIS_CHUNK="10").start()


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
