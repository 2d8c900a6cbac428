"""On Aegra, too, an owner's cancel withdraws what is not carried out, by whichever of its routes."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa

from agent.db.tables import receipts, requests
from tests.attacks.targets import Case, Target
from tests.support.aegra import Aegra


@pytest.fixture(scope="module")
def target(make_aegra: Callable[..., Aegra]) -> Target:
    """A server with authentication on which the analysis takes long."""
    return Target("ours", make_aegra(AUTH="on", ANALYSIS_CHUNK="1").start())


@pytest.fixture
async def case(target: Target) -> AsyncIterator[Case]:
    made = Case(target)
    yield made
    await made.close()


def ends(case: Case, thread_id: str) -> list[tuple[str, str | None]]:
    """Give state and receipt of a thread's requests."""
    query = (
        sa.select(requests.c.state, receipts.c.sentence)
        .outerjoin(receipts, receipts.c.request_id == requests.c.request_id)
        .where(requests.c.thread_id == thread_id)
    )
    return [(row[0], row[1]) for row in case.target.read(lambda c: c.execute(query).all())]


async def running(case: Case) -> tuple[str, str]:
    """Begin a run that opened a request and still looks something up; give thread and run."""
    source, target = case.account(), case.account(0)
    thread_id = await case.olga.thread()
    sentence = f"analyze transactions and transfer 5,000 from {source} to {target}"
    run = await case.olga.run(thread_id, wait=False, input={"messages": [{"role": "user", "content": sentence}]})
    for _ in range(200):
        if ends(case, thread_id):
            break
        await asyncio.sleep(0.05)
    return thread_id, str(run.body["run_id"])


@pytest.mark.parametrize("how", ["cancel", "interrupt", "patch", "delete"])
async def test_a_cancel_by_the_owner_withdraws_what_is_not_carried_out(case: Case, how: str) -> None:
    thread_id, run_id = await running(case)
    path = f"/threads/{thread_id}/runs/{run_id}"

    match how:
        case "patch":
            met = await case.olga.send("PATCH", path, json={"run_id": run_id, "status": "interrupted"})
        case "delete":
            met = await case.olga.send("DELETE", f"{path}?force=1")
        case _:
            met = await case.olga.post(f"{path}/cancel?action={how}")

    assert met.status in (200, 204), met
    assert ends(case, thread_id) == [("withdrawn", f"Not done: withdrawn, because {case.olga.name} cancelled the run.")]


async def test_nobody_else_cancels_and_a_question_that_waits_stays(case: Case) -> None:
    held = await case.hold()
    (run,) = (await case.olga.get(f"/threads/{held.thread_id}/runs")).body
    path = f"/threads/{held.thread_id}/runs/{run['run_id']}/cancel"

    met = [(await who.post(path)).status for who in (case.ana, case.mallory, case.olga)]

    assert met == [404, 404, 200]  # it is over: there is nothing to cancel, and Aegra says 200
    assert ends(case, held.thread_id) == [("asked", None)]
