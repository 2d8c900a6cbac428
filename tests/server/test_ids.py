"""Two ids in one route, and ids in another spelling, on the real `langgraph dev`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from clearance.db.tables import audit, requests
from clearance.journal.turns import open_turn_of
from tests.attacks.targets import Attacker, Case, Held, Target
from tests.support.server import Server

#: An id of nothing. Not made anew: it stands in the names of tests, which all workers must agree on.
NO_SUCH = "11111111-1111-4111-8111-111111111111"
SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "no hyphens": lambda one: one.replace("-", ""),
    "braces": lambda one: "{" + one + "}",
    "urn": lambda one: f"urn:uuid:{one}",
    "a slash at the end": lambda one: f"{one}/",
    "encoded": lambda one: f"%{ord(one[0]):x}{one[1:]}",
}


async def spoken(who: Attacker) -> tuple[str, str]:
    """Give a thread of somebody's with words in it, and its run."""
    thread_id = await who.thread()
    assert (await who.say(thread_id, "hello")).how == "done"
    (run,) = (await who.get(f"/threads/{thread_id}/runs")).body
    return thread_id, run["run_id"]


async def routes(case: Case, *names: str) -> list[tuple[str, str]]:
    """Give method and path of every route of the server whose path has all these ids in it."""
    paths = (await case.olga.get("/openapi.json")).body["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if all(f"{{{name}}}" in path for name in names)
    ]


@pytest.mark.parametrize("who", ["mallory", "ana"])
async def test_a_run_of_another_thread_is_met_like_one_that_is_not_there(case: Case, who: str) -> None:
    """`DELETE` of such a pair answered 404, and the checkpoints of the other thread were gone."""
    someone: Attacker = getattr(case, who)
    theirs, run_id = await spoken(case.olga)
    mine, _ = await spoken(someone)
    before = await case.olga.state(theirs)
    two_ids = await routes(case, "thread_id", "run_id")

    met: dict[tuple[str, str], list[Any]] = {}
    for method, path in two_ids:
        for run in (run_id, run_id.upper(), NO_SUCH):
            reply = await someone.send(method, path.format(thread_id=mine, run_id=run))
            met.setdefault((method, path), []).append((reply.status, reply.body))

    assert ("DELETE", "/threads/{thread_id}/runs/{run_id}") in met
    assert len(met) >= 5
    for route, (mixed, upper, nothing) in met.items():
        assert mixed == upper == nothing, route
    assert await case.olga.state(theirs) == before
    assert (await case.olga.get(f"/threads/{theirs}/runs/{run_id}")).status == 200


async def test_the_owner_of_both_threads_hurts_neither(case: Case) -> None:
    one, run_of_one = await spoken(case.olga)
    other, run_of_other = await spoken(case.olga)
    before = [await case.olga.state(thread_id) for thread_id in (one, other)]

    mixed = await case.olga.send("DELETE", f"/threads/{one}/runs/{run_of_other}")

    assert mixed.status == 404
    assert [await case.olga.state(thread_id) for thread_id in (one, other)] == before
    assert (await case.olga.send("DELETE", f"/threads/{one}/runs/{run_of_one.upper()}")).status == 204


async def test_without_a_token_a_pair_of_ids_is_told_nothing_about(case: Case) -> None:
    thread_id, run_id = await spoken(case.olga)
    nobody = case.attacker(None, {})

    for run in (run_id, NO_SUCH):
        assert (await nobody.get(f"/threads/{thread_id}/runs/{run}")).status == 401


async def test_a_checkpoint_of_another_thread_shows_nothing_and_leads_nowhere(case: Case, held: Held) -> None:
    checkpoint = (await case.olga.state(held.thread_id))["checkpoint"]
    mine = await case.mallory.thread()
    asked = {"checkpoint": {**checkpoint, "thread_id": held.thread_id}}

    read = [
        await case.mallory.get(f"/threads/{mine}/state/{checkpoint['checkpoint_id']}"),
        await case.mallory.post(f"/threads/{mine}/state/checkpoint", asked),
        await case.mallory.post(f"/threads/{mine}/history", asked),
    ]
    ran = await case.mallory.run(mine, checkpoint=asked["checkpoint"], input=None)

    for reply in [*read, ran]:
        assert held.source not in str(reply.body), reply
    assert await case.goes_on(held)


@asynccontextmanager
async def closing_all(case: Case) -> AsyncIterator[Case]:
    try:
        yield case
    finally:
        await case.close()


def of_thread(case: Case, thread_id: str) -> list[str]:
    states = requests.select().where(requests.c.thread_id == thread_id)
    return [row.state for row in case.target.read(lambda c: c.execute(states).all())]


def withdrawn_by(case: Case, thread_id: str) -> list[str]:
    """Name who withdrew something in a thread, as the log has it, after the person of the test."""
    rows = sa.select(audit.c.actor, audit.c.details).where(audit.c.thread_id == thread_id, audit.c.event == "withdrawn")
    found = case.target.read(lambda c: c.execute(rows).all())
    assert all('"cause":"deleted"' in row.details for row in found)
    return ["olga" if row.actor == case.olga.name else row.actor for row in found]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_thread_deleted_under_another_spelling_is_withdrawn_from(case: Case, spelling: str) -> None:
    held = await case.hold()
    spelled = SPELLINGS[spelling](held.thread_id)

    deleted = await case.olga.send("DELETE", f"/threads/{spelled}", follow_redirects=True)

    assert deleted.status == 204
    assert of_thread(case, held.thread_id) == ["withdrawn"]
    assert withdrawn_by(case, held.thread_id) == ["olga"]
    assert case.target.read(lambda c: open_turn_of(c, held.thread_id)) is None


async def test_a_thread_deleted_in_upper_case_stays_deleted(make_server: Callable[..., Server]) -> None:
    """It was made again by the next start, with its question."""
    server = make_server()
    server.auth = "on"
    async with closing_all(Case(Target("ours", server.start()))) as case:
        held = await case.hold()
        assert (await case.olga.send("DELETE", f"/threads/{held.thread_id.upper()}")).status == 204

        server.stop()
        server.start()

        # Recovery makes a lost thread again within its first second.
        await asyncio.sleep(3)
        assert (await case.olga.get(f"/threads/{held.thread_id}")).status == 404


async def test_a_thread_is_one_under_every_spelling(case: Case) -> None:
    thread_id = str(uuid4())
    assert await case.olga.thread(thread_id=thread_id.upper()) == thread_id
    held = await case.hold(thread_id=SPELLINGS["braces"](thread_id))

    listed = await case.ana.get(f"/approvals/requests?thread_id={thread_id.upper()}")

    assert of_thread(case, thread_id) == ["asked"]
    assert [entry["thread_id"] for entry in listed.body["requests"]] == [thread_id]
    answered = await case.ana.answer(SPELLINGS["no hyphens"](thread_id), {held.interrupt_id: {"approved": True}})
    assert answered.how == "done"
    assert case.effects() == [held.effect]
