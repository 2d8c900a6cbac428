"""The servers that are attacked, one of each kind for a session, and the table of what came of it."""

import functools
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.table import Line, markdown, write_between_markers
from tests.attacks.targets import (
    OWN_SLOW_S,
    Case,
    Name,
    SeveralStock,
    SlowCreatedServer,
    SlowServer,
    StockServer,
    StockTickets,
    Target,
    Which,
)
from tests.support.created import CreatedServer
from tests.support.server import ROOT, Server
from tests.support.several import SeveralServer
from tests.support.ticket_desk import TicketDesk

_OURS: dict[Which, type[Server]] = {
    "shared": Server, "slow": SlowServer, "own": SlowServer, "several": SeveralServer, "tickets": TicketDesk,
}  # fmt: skip
_STOCK: dict[Which, type[StockServer]] = {"several": SeveralStock, "tickets": StockTickets}
_CREATED: dict[Which, type[Server]] = {"shared": CreatedServer, "slow": SlowCreatedServer, "own": SlowCreatedServer}


@pytest.fixture(scope="session")
def make_target(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Target]]:
    """Make targets, not started, each with data of its own; what still runs at the end is stopped."""
    made: list[Target] = []

    def make(name: Name, which: Which = "shared", **env: str) -> Target:
        folder = tmp_path_factory.mktemp(name)
        shutil.copy(seeded_sqlite, folder / "clearance.db")
        url = f"sqlite:///{folder / 'clearance.db'}"
        server: Server
        if name == "stock":
            server = _STOCK.get(which, StockServer)(folder, url, env=env)
        else:
            # The server without handlers imports its authentication from the tests.
            own = {"PYTHONPATH": str(ROOT), **env}
            server = (_CREATED if name == "middleware" else _OURS)[which](
                folder, url, env=own, auth="on" if name == "ours" else "names"
            )
        made.append(Target(name, server))
        return made[-1]

    yield make
    for target in made:
        target.server.stop()


@pytest.fixture(scope="session")
def running(make_target: Callable[..., Target]) -> Callable[[Name, Which], Target]:
    """Give the shared running target of a name and kind; it is started at first use."""

    @functools.cache
    def give(name: Name, which: Which) -> Target:
        target = make_target(name, which)
        target.server.start()
        return target

    return give


@pytest.fixture
def target(
    request: pytest.FixtureRequest, running: Callable[[Name, Which], Target], make_target: Callable[..., Target]
) -> Iterator[Target]:
    """The target that the test is for: shared, or the test's own."""
    name, which = request.param
    if which != "own":
        yield running(name, which)
        return
    own = make_target(name, which, SLOW_S=str(OWN_SLOW_S))
    own.server.start()
    yield own
    own.server.stop()


@pytest.fixture
async def case(target: Target) -> AsyncIterator[Case]:
    """People and accounts of one test's own."""
    made = Case(target)
    yield made
    await made.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table; when nothing failed, write it into the file that `ATTACKS_TABLE` names, between its markers."""
    lines = [
        Line(**json.loads(text))
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, text in report.user_properties
        if name == "attack" and report.when == "call"
    ]
    # A process of `-n` knows its own tests only: what it wrote would take the others' figures away.
    if not lines or hasattr(terminalreporter.config, "workerinput"):
        return
    terminalreporter.section("attacks")
    terminalreporter.write_line(markdown(lines))
    has_failed = any(terminalreporter.stats.get(outcome) for outcome in ("failed", "error"))
    if not has_failed and (named := os.environ.get("ATTACKS_TABLE")):
        write_between_markers(Path(named), lines)
