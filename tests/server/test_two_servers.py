"""Two servers on one PostgreSQL, each with threads of its own: one journal, one freeze, and one at a time recovers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from clearance.db.tables import leases
from clearance.journal.verification import verify
from tests.attacks.targets import Attacker, Case, Held, Reply, Target
from tests.conftest import copied
from tests.support.server import Server
from tests.support.world import AUDIT_KEY


@dataclass
class Two:
    """The same people at two servers; `one` is where they ask."""

    one: Case
    other: Case


@pytest.fixture(scope="module")
def servers(seeded_postgres: str, make_server: Callable[..., Server]) -> Iterator[tuple[Server, Server]]:
    with copied(seeded_postgres, "seeded") as url:
        both = make_server(database_url=url), make_server(database_url=url)
        for server in both:
            server.auth = "on"
            server.start()
        yield both
        for server in both:
            server.stop()


@pytest.fixture
async def two(servers: tuple[Server, Server]) -> AsyncIterator[Two]:
    one, other = (Case(Target("ours", server)) for server in servers)
    other.mark = one.mark
    yield Two(one, other)
    await one.close()
    await other.close()


async def decide(who: Attacker, held: Held, word: str = "approve") -> Reply:
    seen = {name: held.question[name] for name in ("digest", "revision")}
    return await who.post(f"/approvals/requests/{held.question['id']}/decision", {"decision": word, **seen})


async def test_what_is_asked_on_one_server_is_not_decided_on_another_that_has_not_its_thread(two: Two) -> None:
    """What went wrong: the other told that the thread is gone, while it waited where it was asked."""
    held = await two.one.hold()
    of_request = f"/approvals/requests/{held.question['id']}"

    shown = (await two.other.ana.get(of_request)).body["answers"]
    refused = await decide(two.other.ana, held)

    assert (shown["may_approve"], shown["may_close"]) == (False, True)
    assert shown["why_not"] == "This server has no thread of this request, so no answer reaches it here."
    assert (refused.status, refused.body["detail"][:44]) == (409, "This server has no thread of this request, s")
    assert (await two.one.ana.get(of_request)).body["answers"]["may_approve"] is True
    assert (await decide(two.one.ana, held)).body["receipt"]["outcome"] == "executed"
    assert (await two.other.ana.get(of_request)).body["receipt"]["outcome"] == "executed"
    assert two.one.effects() == [held.effect]


async def test_a_freeze_on_one_server_stops_the_effects_of_another(two: Two) -> None:
    held = await two.one.hold()

    frozen = await two.other.tess.post("/approvals/freeze", {"reason": "drill"})
    refused = await decide(two.one.ana, held)
    answered = await two.one.ana.answer(held.thread_id, {held.interrupt_id: {"approved": True}})
    lifted = await two.one.tess.send("DELETE", "/approvals/freeze")

    assert (frozen.status, refused.status, answered.status, lifted.status) == (200, 409, 409, 200)
    assert "frozen" in refused.body["detail"]
    assert two.one.effects() == []
    assert await two.one.goes_on(held)


async def test_a_server_that_starts_beside_another_makes_threads_again_and_pays_once(
    two: Two, servers: tuple[Server, Server]
) -> None:
    """To it they are lost; whichever of the two is answered, the journal holds one decision."""
    held = await two.one.hold()
    servers[1].stop()
    servers[1].start()
    for _ in range(300):
        there = await two.other.ana.get(f"/threads/{held.thread_id}")
        if there.status == 200 and there.body["status"] == "interrupted":
            break
        await asyncio.sleep(0.2)
    assert (await two.one.ana.interrupts(held.thread_id))[0]["id"] == held.interrupt_id

    replies = await asyncio.gather(
        decide(two.other.ana, held), two.one.ben.answer(held.thread_id, {held.interrupt_id: {"approved": True}})
    )
    late = await decide(two.one.tess, held)

    assert sorted(reply.status for reply in replies) == [200, 409], replies
    assert late.status == 409
    assert two.one.effects() == [held.effect]


async def test_one_server_at_a_time_recovers_and_the_next_one_when_its_lease_has_ended(
    two: Two, servers: tuple[Server, Server]
) -> None:
    held = await two.one.hold()
    until = sa.text("now() + interval '30 seconds'")
    taken = {"name": "recovery", "holder": "a server that was killed", "until": until}
    servers[1].stop()
    two.one.target.write(lambda c: c.execute(sa.delete(leases).where(leases.c.name == "recovery")))
    two.one.target.write(lambda c: c.execute(sa.insert(leases).values(**taken)))

    servers[1].start()
    before = (await two.other.ana.get(f"/threads/{held.thread_id}")).status
    for _ in range(300):
        if (await two.other.ana.get(f"/threads/{held.thread_id}")).status == 200:
            break
        await asyncio.sleep(0.2)

    assert before == 404
    assert (await two.other.ana.get(f"/threads/{held.thread_id}")).status == 200
    assert await two.one.goes_on(held)
    verified = two.one.target.read(lambda c: verify(c, AUDIT_KEY))
    assert verified.is_whole, verified.reason
