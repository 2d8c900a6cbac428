"""COMMIT is done and its answer is lost: the work is not done again, nor told as refused or as done before."""

from typing import Any

import pytest

from clearance.desk.desk import Desk, Standing
from clearance.gate.answers import Edit, Reference
from clearance.gate.door import Arriving
from clearance.gate.ending import cancel_run
from clearance.journal.signing import Keys
from clearance.principal import Principal
from tests.integration.test_carried_out_at_once import MUCH, PAID, PAY, decide, hold
from tests.support.faults import failing_commits
from tests.support.world import ANA, AUDIT_KEY, TESS, World

LESS = Edit({"amount": "1500"}, is_whole=False, about=Reference(None, None))
NO = {"approved": False}


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        pytest.param(True, ["requested", "approved", "executed"], id="approve"),
        pytest.param(NO, ["requested", "rejected"], id="reject"),
        pytest.param(LESS, ["requested", "edited", "executed"], id="edit"),
    ],
)
async def test_a_decision_is_told_as_recorded_and_carried_out(world: World, answer: Any, events: list[str]) -> None:
    """It answered 409, "Not recorded: it is approved already", and what was cleared waited for the timekeeper."""
    await hold(world, PAY)

    with failing_commits(world, 1, is_done=True):
        decided = await decide(world, answer)

    assert isinstance(decided, Standing), decided
    assert decided.receipt is not None
    assert world.events() == events
    assert len(world.transfers()) == events.count("executed")
    assert world.audit_is_whole()


async def test_the_first_of_two_approvals_is_told_as_recorded(world: World) -> None:
    await hold(world, MUCH)

    with failing_commits(world, 1, is_done=True):
        decided = await decide(world, True, by=TESS)

    assert isinstance(decided, Standing), decided
    assert (decided.approvals_missing, decided.approved_by) == (1, ["tess"])
    assert world.events() == ["requested", "approved"]


async def test_an_effect_is_told_with_its_receipt_and_happens_once(world: World) -> None:
    await hold(world, PAY)

    with failing_commits(world, 1, after=1, is_done=True):
        decided = await decide(world, True)

    assert isinstance(decided, Standing)
    assert decided.receipt is not None
    assert (decided.receipt.sentence, len(world.transfers())) == (PAID, 1)


async def test_an_answer_that_arrives_at_the_door_is_taken(world: World) -> None:
    await hold(world, PAY)
    interrupt = await world.open_question()
    assert interrupt is not None
    arriving = Arriving("thread", True, interrupt.id, None, None, None)

    with failing_commits(world, 1, is_done=True):
        arrived = await world.gate.arrive([arriving], Principal("ana", roles=frozenset(ANA.roles)))

    assert arrived.outcome == "taken"
    assert world.events() == ["requested", "approved"]


async def test_a_freeze_and_its_end_are_told_as_what_they_changed(world: World) -> None:
    desk = Desk(world.gate)

    with failing_commits(world, 1, is_done=True):
        was_frozen = [await desk.freeze("ops", "drill")]
    with failing_commits(world, 1, is_done=True):
        was_frozen.append(await desk.unfreeze("ops"))

    assert was_frozen == [False, True]
    assert world.events() == ["frozen", "unfrozen"]


async def test_a_key_is_changed_once(world: World) -> None:
    """It said that the log is under another key and that nothing was written."""
    await hold(world, PAY)
    new = b"another key for tests, of its own length"

    with failing_commits(world, 1, is_done=True):
        await world.gate.write(lambda log: log.rotate_key("ops", new))

    world.gate.keys = Keys(new, (AUDIT_KEY,))
    assert world.events() == ["requested", "key_rotated"]
    assert (await world.gate.verify()).is_whole


async def test_a_cancel_is_told_as_one(world: World) -> None:
    await hold(world, PAY)

    turn_id = world.request().turn_id

    with failing_commits(world, 1, is_done=True):
        is_withdrawn = await world.gate.write(
            lambda log: cancel_run(log, "thread", "none", by=Principal("olga"), goes_on_with=turn_id)
        )

    assert is_withdrawn
    assert world.events() == ["requested", "withdrawn"]
