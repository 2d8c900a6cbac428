"""External actions while the database fails: at each step of claim, perform and settle, answered or not, for a while.

It is never performed twice and never lost; its receipt comes, and is told.
"""

import asyncio
from contextlib import suppress
from functools import partial

import pytest
from langchain_core.messages import AIMessage

from clearance.errors import DatabaseUnavailable
from clearance.journal.attempts import attempts_on
from tests.integration.test_external import PAID, PAY, woken
from tests.support.faults import cut_at, end_all
from tests.support.outside import OUTSIDE, POLICY
from tests.support.paying import ROLES
from tests.support.payments import Provider
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import World, results

# The gate's own loop does it, whatever graph stands before.
pytestmark = pytest.mark.own_graph


@pytest.fixture
def outside(world: World, provider: Provider) -> World:
    world.actions = OUTSIDE
    world.use_policy(ROLES + POLICY)
    return world


@pytest.mark.parametrize(
    ("event", "mood", "is_done", "for_s"),
    [
        pytest.param("started", "works", True, 0.0, id="claimed"),
        pytest.param("started", "works", False, 0.0, id="not claimed"),
        pytest.param("started", "works", True, 1.0, id="claimed, and gone"),
        pytest.param("started", "works", False, 1.0, id="not claimed, and gone"),
        pytest.param("executed", "works", True, 1.0, id="settled, and gone"),
        pytest.param("executed", "works", False, 1.0, id="not settled, and gone"),
        pytest.param("unknown", "breaks after", True, 1.0, id="unknown, and gone"),
        pytest.param("reconciled", "breaks after", False, 1.0, id="looked up, and gone"),
    ],
)
async def test_the_connection_is_lost_at_a_commit(
    outside: World, provider: Provider, event: str, mood: str, is_done: bool, for_s: float
) -> None:
    provider.next = [mood]
    outside.model.will_say(calls(PAY), AIMessage("Paid."))
    await outside.say("pay")

    with cut_at(outside, event, is_done=is_done, for_s=for_s) as cut:
        with suppress(DatabaseUnavailable):
            await outside.answer(True)
        await until(cut.is_set)
        await asyncio.sleep(for_s)
        with suppress(DatabaseUnavailable):
            await outside.go_on()  # as the server does with a run that failed
        await until(lambda: outside.states() == ["executed"])
    told = await woken(outside)

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 1
    assert results(told) == [PAID]
    assert told["messages"][-1].content == "Paid."
    assert outside.audit_is_whole()


async def test_every_connection_ends_while_it_is_performed(outside: World, provider: Provider) -> None:
    provider.mood, provider.takes_s = "slow", 0.4
    outside.model.will_say(calls(PAY), AIMessage("Paid."))
    await outside.say("pay")

    paying = asyncio.create_task(outside.answer(True))
    await until(lambda: provider.asked != [])
    await asyncio.to_thread(end_all, outside)
    done = await paying

    assert results(done) == [PAID]
    assert len(provider.asked) == 1
    (attempt,) = outside.read(partial(attempts_on, request_id=outside.request().request_id))
    assert attempt.state == "executed"
