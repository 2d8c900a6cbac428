"""Runs on Aegra: an owner's cancel withdraws what is not carried out, by whichever route; one person has so many."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa

from clearance.db.tables import receipts, requests
from clearance.settings import Settings
from tests.attacks.targets import Attacker, Case, Reply, Target
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
    """Begin a run that opened a request and still looks something up; give thread and run.

    On a machine that is busy enough the long look-up may be over before it is looked at: then another is begun.
    """
    for _ in range(5):
        source, target = case.account(), case.account(0)
        thread_id = await case.olga.thread()
        sentence = f"analyze transactions and transfer 5,000 from {source} to {target}"
        run = await case.olga.run(thread_id, wait=False, input={"messages": [{"role": "user", "content": sentence}]})
        for _ in range(1200):
            if ends(case, thread_id):
                break
            await asyncio.sleep(0.05)
        run_id = str(run.body["run_id"])
        if (await case.olga.get(f"/threads/{thread_id}/runs/{run_id}")).body["status"] in ("pending", "running"):
            break
    return thread_id, run_id


@pytest.mark.parametrize("how", ["cancel", "interrupt", "patch", "delete", "list", "all"])
async def test_a_cancel_by_the_owner_withdraws_what_is_not_carried_out(case: Case, how: str) -> None:
    thread_id, run_id = await running(case)
    path = f"/threads/{thread_id}/runs/{run_id}"

    match how:
        case "patch":
            met = await case.olga.send("PATCH", path, json={"run_id": run_id, "status": "interrupted"})
        case "delete":
            met = await case.olga.send("DELETE", f"{path}?force=1")
        case "list":
            met = await case.olga.post("/runs/cancel", {"thread_id": thread_id, "run_ids": [run_id]})
        case "all":
            met = await case.olga.post("/runs/cancel", {"status": "all"})
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


MOST = Settings.model_fields["max_unfinished_runs"].default
ANALYSE = {"messages": [{"role": "user", "content": "analyze transactions"}]}


async def flood(who: Attacker, times: int) -> list[tuple[str, Reply]]:
    """Ask for long work in that many threads at once; give thread and answer of each."""
    threads = [await who.thread() for _ in range(times)]
    replies = await asyncio.gather(*(who.run(one, wait=False, input=ANALYSE) for one in threads))
    return list(zip(threads, replies, strict=True))


async def ended(who: Attacker, met: list[tuple[str, Reply]]) -> int:
    """Count the threads whose run was let in and is over."""
    threads = [await who.get(f"/threads/{thread_id}") for thread_id, reply in met if reply.status == 200]
    return sum(one.body["status"] != "busy" for one in threads)


async def test_one_person_has_so_many_runs_and_no_more(case: Case) -> None:
    held = await case.hold()
    met = await flood(case.olga, 30)

    statuses = [reply.status for _, reply in met]
    let_in = statuses.count(200)
    # One that ended meanwhile, as on a busy machine some do, made room for another.
    assert MOST <= let_in <= MOST + await ended(case.olga, met)
    assert statuses.count(429) == 30 - let_in, [reply for _, reply in met if reply.status not in (200, 429)]
    refused = next(reply for _, reply in met if reply.status == 429)
    assert f"You have {MOST} runs that have not ended; wait for one of them, or cancel it." in str(refused.body)
    assert (await case.mallory.run(await case.mallory.thread(), wait=False, input=ANALYSE)).status == 200
    # Whoever decides does not stand behind them.
    seen = {name: held.question[name] for name in ("digest", "revision")}
    path = f"/approvals/requests/{held.question['id']}/decision"
    assert (await case.ana.post(path, {"decision": "approve", **seen})).status == 200
    assert case.effects() == [held.effect]


async def test_who_waits_for_runs_has_as_many(case: Case) -> None:
    """They were counted twice: in Aegra's table, and as not answered yet."""
    threads = [await case.olga.thread() for _ in range(MOST)]
    waiting = [asyncio.create_task(case.olga.run(one, input=ANALYSE)) for one in threads[:-1]]
    for _ in range(600):
        runs = [await case.olga.get(f"/threads/{one}/runs") for one in threads[:-1]]
        if all(reply.body for reply in runs):
            break
        await asyncio.sleep(0.1)

    last = await case.olga.run(threads[-1], wait=False, input=ANALYSE)

    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert last.status == 200, last


async def test_a_run_that_ends_in_whatever_way_makes_room(case: Case) -> None:
    met = await flood(case.olga, MOST)
    assert {reply.status for _, reply in met} == {200}
    (one, first), (other, _), (third, last) = met[0], met[1], met[2]
    assert (await case.olga.run(await case.olga.thread(), wait=False, input=ANALYSE)).status == 429

    assert (await case.olga.post(f"/threads/{one}/runs/{first.body['run_id']}/cancel")).status == 200
    assert (await case.olga.send("DELETE", f"/threads/{other}")).status in (200, 204)
    assert (await case.olga.send("DELETE", f"/threads/{third}/runs/{last.body['run_id']}?force=1")).status in (200, 204)

    met = await flood(case.olga, 4)
    assert [reply.status for _, reply in met].count(200) == 3


@pytest.mark.parametrize("beside", [{"run_id": "x"}, {"run_ids": []}, {"action": "interrupt"}, {"status": "all"}])
async def test_what_a_cancel_says_beside_metadata_makes_no_cancel_of_it(case: Case, beside: dict[str, object]) -> None:
    """Aegra asks about both in the same words, with the body as it came."""
    thread_id = await case.olga.thread()

    met = await case.olga.send(
        "PATCH", f"/threads/{thread_id}", json={**beside, "metadata": {"owner": "mallory", "graph_id": "other"}}
    )

    assert met.status == 403, met
    assert (await case.olga.get(f"/threads/{thread_id}")).body["metadata"]["owner"] == case.olga.name
