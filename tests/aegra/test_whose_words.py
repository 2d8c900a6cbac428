"""Promise 5 on Aegra: however a run ends before its words are heard, they are nobody's afterwards."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa

from agent.db.tables import audit, requests
from tests.attacks.targets import Case, Target
from tests.conftest import copied
from tests.support.late import LateAegra
from tests.support.left import GO_ON, TOLD, Leave, Left, begun, empty, hold_and_leave, own_words, started
from tests.support.server import ROOT


@pytest.fixture(scope="module")
def target(seeded_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with authentication on which words are heard late."""
    env = {"PYTHONPATH": str(ROOT), "MAX_UNFINISHED_RUNS": "100"}
    with copied(seeded_postgres, "seeded") as url:
        server = LateAegra(tmp_path_factory.mktemp("late"), url, env=env, auth="on")
        try:
            yield Target("ours", server.start())
        finally:
            server.stop()


@pytest.fixture
async def case(target: Target) -> AsyncIterator[Case]:
    made = Case(target)
    yield made
    await made.close()


async def cancelled_by_its_owner(case: Case, left: Left) -> None:
    """On Aegra nobody else may; it withdraws what was open, too."""
    run_id = await begun(case, left)
    met = await case.tess.post(f"/threads/{left.held.thread_id}/runs/{run_id}/cancel?action=interrupt&wait=1")
    assert met.status == 200, met


async def two_at_once(case: Case, left: Left) -> None:
    """Aegra runs both, as it does a run of recovery's beside its owner's; each finds the same words."""
    await asyncio.gather(own_words(case, left), empty(case, left), started(case, left))


async def _nobodys(case: Case, go_on: Leave) -> None:
    left = await hold_and_leave(case, cancelled_by_its_owner)
    thread_id = left.held.thread_id
    assert "6000" in str((await case.tess.state(thread_id))["values"]["messages"][-1]["content"])
    await go_on(case, left)
    for _ in range(300):
        if (await case.tess.get(f"/threads/{thread_id}")).body["status"] != "busy":
            break
        await asyncio.sleep(0.1)
    await case.tess.run(thread_id, input={"messages": []})  # a run without any input is none here

    query = sa.select(requests.c.requested_by, requests.c.state).where(requests.c.thread_id == thread_id)
    assert case.target.read(lambda c: [tuple(row) for row in c.execute(query)]) == [(case.tess.name, "withdrawn")]
    messages = (await case.tess.state(thread_id))["values"]["messages"]
    assert not [one for one in messages if one["type"] == "human" and "6000" in str(one["content"])]
    assert len([one for one in messages if str(one["content"]).startswith(TOLD)]) == 1
    counted = sa.select(sa.func.count()).where(audit.c.thread_id == thread_id, audit.c.event == "unheard_words")
    assert case.target.read(lambda c: c.scalar(counted)) == 1


async def test_words_of_a_run_that_ended_unheard_are_nobodys(case: Case) -> None:
    ways = [*GO_ON, two_at_once]
    met = await asyncio.gather(*(_nobodys(case, one) for one in ways), return_exceptions=True)

    assert {one.__name__: repr(error) for one, error in zip(ways, met, strict=True) if error is not None} == {}
    assert case.effects() == []
