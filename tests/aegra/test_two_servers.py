"""Two Aegra servers on one PostgreSQL: they share threads and journal, so a decision is taken on either."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.aegra.test_people import decide, last_words
from tests.attacks.targets import Case, Target
from tests.support.aegra import Aegra


@dataclass
class Two:
    """The same people at two servers."""

    one: Case
    other: Case


@pytest.fixture(scope="module")
def servers(
    make_aegra: Callable[..., Aegra], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Aegra, Aegra]]:
    one = make_aegra(AUTH="on").start()
    other = Aegra(tmp_path_factory.mktemp("other"), one.database_url, auth="on").start()
    yield one, other
    other.stop()
    one.stop()


@pytest.fixture
async def two(servers: tuple[Aegra, Aegra]) -> AsyncIterator[Two]:
    one, other = (Case(Target("ours", server)) for server in servers)
    other.mark = one.mark
    yield Two(one, other)
    await one.close()
    await other.close()


async def test_what_is_asked_on_one_server_is_decided_on_the_other_and_its_thread_is_told(two: Two) -> None:
    held = await two.one.hold()

    decided = await decide(two.other.ana, held)

    assert (decided.status, decided.body["receipt"]["outcome"]) == (200, "executed"), decided
    assert "Transferred" in await last_words(two.one.olga, held.thread_id)
    assert two.one.effects() == [held.effect]
    assert (await decide(two.one.ana, held)).status == 409


async def test_two_decisions_at_once_on_two_servers_have_one_effect(two: Two) -> None:
    held = [await two.one.hold() for _ in range(4)]
    replies = [
        await asyncio.gather(decide(two.one.ana, one), decide(two.other.ben, one), decide(two.other.ana, one))
        for one in held
    ]

    assert [sorted(reply.status for reply in three) for three in replies] == [[200, 409, 409]] * 4
    assert sorted(two.one.effects()) == sorted(one.effect for one in held)


async def test_a_freeze_on_one_server_stops_effects_of_the_other(two: Two) -> None:
    held = await two.one.hold()
    frozen = await two.other.tess.post("/approvals/freeze", {"reason": "drill"})

    refused = await decide(two.one.ana, held)
    lifted = await two.one.tess.send("DELETE", "/approvals/freeze")
    approved = await decide(two.other.ana, held)

    assert (frozen.status, refused.status, lifted.status, approved.status) == (200, 409, 200, 200)
    assert "frozen" in str(refused.body)
    assert two.one.effects() == [held.effect]
