"""Promise 5 on the real server: however a run ends before its words are heard, they are nobody's afterwards.

tess's 1,500 waits; then a run of hers with "transfer 6,000" ends in each way there is before `receive` took it in, and
in each way there is the thread goes on.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from clearance.db.tables import requests
from tests.attacks.targets import Case, Name, Target
from tests.support.late import LATE_S, LateServer, let_in
from tests.support.left import (
    GO_ON,
    STRATEGIES,
    YES,
    Leave,
    Left,
    are_nobodys,
    begun,
    by_id,
    cancelled_by_an_approver,
    each,
    folder_of,
    gone_away,
    held,
    hold_and_fail,
    joined_and_gone_away,
    meanwhile,
    nobodys_however,
    rolled_back_by_an_approver,
    stopped_at_a_breakpoint,
    stopped_at_every_breakpoint,
    stored,
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


@pytest.mark.parametrize(
    "leave", [cancelled_by_an_approver, rolled_back_by_an_approver, gone_away, joined_and_gone_away]
)
async def test_words_of_a_run_that_ended_unheard_are_nobodys(case: Case, leave: Leave) -> None:
    await nobodys_however(case, leave, stands=leave is not rolled_back_by_an_approver)


@pytest.mark.parametrize("leave", [stopped_at_a_breakpoint, stopped_at_every_breakpoint, written_past_a_run])
async def test_nor_are_they_anybodys_with_the_gate_alone(gate: Case, leave: Leave) -> None:
    await nobodys_however(gate, leave)


async def test_nor_are_those_of_a_run_that_failed(case: Case) -> None:
    left = await hold_and_fail(case, len(GO_ON))

    await each(GO_ON, [are_nobodys(case, one, go_on) for one, go_on in zip(left, GO_ON, strict=True)])


@pytest.mark.parametrize("answers", [True, False])
async def test_words_that_another_run_takes_the_place_of_are_nobodys(case: Case, answers: bool) -> None:
    """The other one is an approver's answer to what waits, or their owner's with other words."""
    await each(STRATEGIES, [meanwhile(case, answers, *one) for one in STRATEGIES])


async def test_words_of_a_run_that_its_owner_deletes_are_gone_with_it(case: Case) -> None:
    """What waits is withdrawn, since it is a cancel of the owner's."""
    left = await held(case)
    run_id = await begun(case, left)
    met = await case.tess.send("DELETE", f"/threads/{left.held.thread_id}/runs/{run_id}")
    let_in(folder_of(case), left.held.thread_id)  # this server calls the thread busy until its next run ends

    await case.ana.answer(left.held.thread_id, {left.held.interrupt_id: YES})
    await case.tess.say(left.held.thread_id, "hello")

    assert met.status == 204
    assert _asked(case, left) == [(case.tess.name, "withdrawn")]
    assert case.effects() == []
    messages = (await case.tess.state(left.held.thread_id))["values"]["messages"]
    assert not [one for one in messages if "6000" in str(one["content"])]


async def test_words_of_a_run_that_the_server_ended_are_heard_as_its_own_once_or_are_nobodys(
    seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A run that the server still knows is run again under its id, and is still its caller's; one that it lost is none.

    Killed in the middle of it, it knows those that it saved, which it does every 10 s; ended in order, all.
    """
    folder = tmp_path_factory.mktemp("late")
    with _serving("ours", seeded_sqlite, folder) as target:
        case = Case(target)
        saved, lost, last = await held(case), await held(case), await held(case)
        await begun(case, saved)
        await _saved(folder)
        await begun(case, lost)
        await stored(case, lost)
        target.server.kill()
        for left in (saved, lost):
            let_in(folder, left.held.thread_id)
        target.server.start()
        await _until_heard(case, saved)
        await are_nobodys(case, lost, by_id)

        await begun(case, last)
        target.server.stop()
        let_in(folder, last.held.thread_id)
        target.server.start()
        await _until_heard(case, last)
        await case.close()


def _asked(case: Case, left: Left) -> list[tuple[str, str]]:
    of_thread = requests.c.thread_id == left.held.thread_id
    query = sa.select(requests.c.requested_by, requests.c.state).where(of_thread).order_by(requests.c.number)
    return [(row[0], row[1]) for row in case.target.read(lambda c: c.execute(query).all())]


async def _until_heard(case: Case, left: Left) -> None:
    expected = [(case.tess.name, "withdrawn"), (case.tess.name, "asked")]
    until = time.monotonic() + LATE_S
    while _asked(case, left) != expected and time.monotonic() < until:  # noqa: ASYNC110  told by the database
        await asyncio.sleep(0.1)
    await case.settle(left.held.thread_id)
    assert _asked(case, left) == expected
    messages = (await case.tess.state(left.held.thread_id))["values"]["messages"]
    assert [str(one["content"]).count("6000") for one in messages if one["type"] == "human"] == [0, 1]


async def _saved(folder: Path) -> None:
    """Wait until the server has written down what runs now."""
    until = time.monotonic() + LATE_S
    begun_at = time.time()
    while not any(one.stat().st_mtime > begun_at for one in (folder / ".langgraph_api").glob(".langgraph_ops.pckl")):
        assert time.monotonic() < until, sorted((folder / ".langgraph_api").iterdir())
        await asyncio.sleep(0.1)
