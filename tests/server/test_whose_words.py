"""Promise 5 on the real server: however a run ends before its words are heard, they are nobody's afterwards.

tess's 1,500 waits; then a run of hers with "transfer 6,000" ends in each way there is before `receive` took it in, and
in each way there is the thread goes on.
"""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.db.tables import requests
from tests.attacks.targets import Case, Name, Target
from tests.support.late import LateServer
from tests.support.left import (
    Leave,
    cancelled_by_an_approver,
    ended,
    gone_away,
    nobodys_however,
    rolled_back_by_an_approver,
    stopped_at_a_breakpoint,
    stopped_at_every_breakpoint,
    written_past_a_run,
)
from tests.support.server import ROOT


@contextmanager
def _serving(name: Name, seeded: Path, folder: Path) -> Iterator[Target]:
    shutil.copy(seeded, folder / "clearance.db")
    env = {"PYTHONPATH": str(ROOT), "MAX_UNFINISHED_RUNS": "100"}
    url = f"sqlite:///{folder / 'clearance.db'}"
    server = LateServer(folder, url, env=env, auth="on" if name == "ours" else "names")
    try:
        yield Target(name, server.start())
    finally:
        server.stop()


@pytest.fixture(scope="module")
def deployed(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server as it is deployed, on which words are heard late."""
    with _serving("ours", seeded_sqlite, tmp_path_factory.mktemp("late")) as target:
        yield target


@pytest.fixture(scope="module")
def alone(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The gate alone: the server tells people apart and refuses nothing."""
    with _serving("gate", seeded_sqlite, tmp_path_factory.mktemp("late")) as target:
        yield target


@pytest.fixture
async def case(deployed: Target) -> AsyncIterator[Case]:
    made = Case(deployed)
    yield made
    await made.close()


@pytest.fixture
async def gate(alone: Target) -> AsyncIterator[Case]:
    made = Case(alone)
    yield made
    await made.close()


@pytest.mark.parametrize("leave", [cancelled_by_an_approver, rolled_back_by_an_approver, gone_away])
async def test_words_of_a_run_that_ended_unheard_are_nobodys(case: Case, leave: Leave) -> None:
    await nobodys_however(case, leave, stands=leave is not rolled_back_by_an_approver)


@pytest.mark.parametrize("leave", [stopped_at_a_breakpoint, stopped_at_every_breakpoint, written_past_a_run])
async def test_nor_are_they_anybodys_with_the_gate_alone(gate: Case, leave: Leave) -> None:
    await nobodys_however(gate, leave)


async def test_words_of_a_run_that_the_server_ended_are_heard_as_its_own_once(
    seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The server runs it again under its id: that run is still its caller's."""
    with _serving("ours", seeded_sqlite, tmp_path_factory.mktemp("late")) as target:
        case = Case(target)
        left = await ended(case)
        await case.settle(left.held.thread_id)

        asked = sa.select(requests.c.requested_by, requests.c.state).where(requests.c.thread_id == left.held.thread_id)
        found = target.read(lambda c: [tuple(row) for row in c.execute(asked.order_by(requests.c.number))])
        messages = (await case.tess.state(left.held.thread_id))["values"]["messages"]
        await case.close()

    assert found == [(case.tess.name, "withdrawn"), (case.tess.name, "asked")]
    assert [str(one["content"]).count("6000") for one in messages if one["type"] == "human"] == [0, 1]
