"""An answer is taken when it arrives: no queue and no stale id can lose one that decides."""

import time
from typing import Any
from uuid import uuid4

from langgraph.types import Command, Interrupt

from clearance.gate.door import Arrived, Arriving
from clearance.principal import Principal
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, Person, World, question, results


async def hold(world: World, amount: str = "5000", more: tuple[str, ...] = ()) -> None:
    """Let olga ask for transfers that are held."""
    asked = [("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": one})
             for one in (amount, *more)]  # fmt: skip
    world.model.will_say(calls(*asked))
    question(await world.say("please"))


async def open_interrupt(world: World) -> Interrupt:
    """Give the one open question."""
    found = await world.open_question()
    assert found is not None
    return found


async def arrive(
    world: World,
    answer: Any,
    *,
    by: Person = ANA,
    interrupt_id: str | None = None,
    checkpoint_id: str | None = None,
    run_id: str | None = None,
    started_ms: int | None = None,
) -> Arrived:
    """Hand an answer to the gate as the server's handler does."""
    at = started_ms if started_ms is not None else int(time.time() * 1000) + 5
    arriving = Arriving("thread", answer, interrupt_id, checkpoint_id, run_id or str(uuid4()), at)
    return await world.gate.arrive([arriving], Principal(by.identity, roles=frozenset(by.roles)))


async def test_an_answer_that_decides_is_recorded_before_its_run_and_counts_once(world: World) -> None:
    await hold(world)
    run_id = uuid4()

    arrived = await arrive(world, {"approved": True}, run_id=str(run_id))
    before = world.transfers()
    done = await world.answer({"approved": True}, run_id=run_id, clearance_taken=True)

    assert arrived.outcome == "taken"
    assert before == []
    assert results(done) == ["Transferred $5,000.00 from A-2001 to A-2003 (T-301)."]
    assert world.events() == ["requested", "approved", "executed"]


async def test_the_run_of_a_taken_answer_does_not_answer_the_next_question(world: World) -> None:
    await hold(world, more=("6000",))

    await arrive(world, {"approved": True})
    asked = question(await world.answer({"approved": True}, clearance_taken=True))

    assert (asked["amount"], asked["approvals_given"], asked["notice"]) == ("6000.00", [], None)
    assert world.states() == ["approved", "asked"]


async def test_a_valid_answer_under_a_stale_id_counts(world: World) -> None:
    """Somebody answered nonsense on purpose, so that the question has another id by now."""
    await hold(world)
    stale = (await open_interrupt(world)).id
    await world.answer({stale: "nonsense"}, by=BEN)
    newer = (await open_interrupt(world)).id

    arrived = await arrive(world, {"approved": True}, interrupt_id=stale)

    assert stale != newer
    assert arrived.outcome == "taken"
    assert world.states() == ["approved"]


async def test_two_who_approve_under_one_id_both_count(world: World) -> None:
    await hold(world, amount="30000")
    shown = (await open_interrupt(world)).id

    first = await arrive(world, {"approved": True}, by=TESS, interrupt_id=shown)
    second = await arrive(world, {"approved": True}, by=TOM, interrupt_id=shown)

    assert (first.outcome, second.outcome) == ("taken", "taken")
    assert world.states() == ["approved"]


async def test_an_answer_to_what_is_decided_is_closed_and_what_it_said_recorded(world: World) -> None:
    await hold(world)
    shown = (await open_interrupt(world)).id
    await arrive(world, {"approved": False}, interrupt_id=shown)

    late = await arrive(world, {"approved": True}, by=BEN, interrupt_id=shown)

    assert late == Arrived("closed", "This answer decides nothing: it is rejected already.")
    (noted,) = [row for row in world.audit() if row["event"] == "answer_late"]
    assert (noted["actor"], noted["details"]["said"], noted["details"]["state"]) == ("ben", "approve", "rejected")
    assert world.transfers() == []


async def test_an_answer_to_an_id_that_was_never_asked_is_closed_and_recorded(world: World) -> None:
    await hold(world)

    arrived = await arrive(world, {"approved": True}, interrupt_id="0" * 32)

    assert arrived.outcome == "closed"
    assert world.states() == ["asked"]
    assert world.events()[-1] == "answer_unknown"


async def test_a_second_click_before_the_next_question_is_put_decides_nothing(world: World) -> None:
    await hold(world, more=("6000",))

    first = await arrive(world, {"approved": True})
    second = await arrive(world, {"approved": True})

    assert (first.outcome, second.outcome) == ("taken", "closed")
    assert world.states() == ["approved", "asked"]


async def test_a_click_of_before_the_question_was_put_is_refused_and_the_question_stands(world: World) -> None:
    await hold(world)
    open_id = (await open_interrupt(world)).id
    early = int(time.time() * 1000) - 60_000

    arrived = await arrive(world, {"approved": True}, started_ms=early)

    assert (arrived.outcome, arrived.status) == ("refused", 409)
    assert "sent before this question was put" in arrived.sentence
    assert (await open_interrupt(world)).id == open_id
    assert world.states() == ["asked"]


async def test_a_stamp_that_a_client_sends_does_not_make_an_old_answer_new(world: World) -> None:
    await hold(world)
    early, forged = int(time.time() * 1000) - 60_000, int(time.time() * 1000) + 60_000

    again = question(
        await world.answer({"approved": True}, __request_start_time_ms__=early, clearance_received_ms=forged)
    )

    assert "sent before this question was put" in again["notice"]


async def test_what_is_no_decision_is_refused_recorded_as_that_and_the_question_stands(world: World) -> None:
    await hold(world)
    open_id = (await open_interrupt(world)).id

    unclear = await arrive(world, "yes")
    stranger = await arrive(world, {"approved": True}, by=OLGA)
    words = await arrive(world, {"messages": [{"role": "user", "content": "never mind"}]})
    frozen = await _arrives_while_frozen(world)

    assert [(one.outcome, one.status) for one in (unclear, stranger, words, frozen)] == [
        ("refused", 422), ("refused", 403), ("refused", 422), ("refused", 409)]  # fmt: skip
    assert world.events() == ["requested", *["answer_refused"] * 3, "frozen", "answer_refused", "unfrozen"]
    assert world.request().refused_answers == 4
    assert (await open_interrupt(world)).id == open_id
    assert (await arrive(world, {"approved": True}, interrupt_id=open_id)).outcome == "taken"


async def _arrives_while_frozen(world: World) -> Arrived:
    await world.freeze()
    arrived = await arrive(world, {"approved": True})
    await world.unfreeze()
    return arrived


async def test_of_several_answers_of_one_run_all_are_taken_or_none(world: World) -> None:
    await hold(world)
    open_id = (await open_interrupt(world)).id
    at = int(time.time() * 1000) + 5
    both = [Arriving("thread", {"approved": True}, one, None, str(uuid4()), at) for one in (open_id, "f" * 32)]

    arrived = await world.gate.arrive(both, Principal("ana", roles=frozenset(["approver"])))

    assert (arrived.outcome, arrived.status) == ("closed", 409)
    assert arrived.sentence.startswith("None of these answers is recorded.")
    assert world.states() == ["asked"]
    assert world.events() == ["requested", "answer_refused"]
    assert world.audit_is_whole()


async def test_nonsense_under_a_stale_id_is_told_why(world: World) -> None:
    await hold(world)
    stale = (await open_interrupt(world)).id
    await world.answer({stale: "nonsense"}, by=BEN)

    arrived = await arrive(world, {"approved": "false"}, interrupt_id=stale)

    assert arrived.outcome == "refused"
    assert "it must be true or false" in arrived.sentence


async def test_an_answer_pinned_to_the_checkpoint_of_a_decided_question_is_closed(world: World) -> None:
    """Reject, then approve from history."""
    await hold(world, more=("6000",))
    first = str((await world.graph.aget_state(world.config(None))).config["configurable"]["checkpoint_id"])
    await world.answer({"approved": False})

    arrived = await arrive(world, {"approved": True}, checkpoint_id=first)

    assert arrived.outcome == "closed"
    assert world.states() == ["rejected", "asked"]


async def test_an_answer_pinned_to_the_open_question_is_taken(world: World) -> None:
    await hold(world)
    now = str((await world.graph.aget_state(world.config(None))).config["configurable"]["checkpoint_id"])

    arrived = await arrive(world, {"approved": True}, checkpoint_id=now)

    assert arrived.outcome == "taken"


async def test_an_answer_after_the_deadline_is_closed_and_the_request_expired(world: World) -> None:
    await hold(world)
    shown = (await open_interrupt(world)).id
    world.clock.advance(hours=25)

    arrived = await arrive(world, {"approved": True}, interrupt_id=shown)

    assert arrived == Arrived("closed", "This answer decides nothing: it is expired already.")
    assert world.states() == ["expired"]


async def test_a_taken_answer_is_found_by_a_run_that_knows_nothing_of_it(world: World) -> None:
    """A server that ignores our stamp hands the answer to the gate as well."""
    await hold(world)
    run_id = uuid4()
    await arrive(world, {"approved": True}, run_id=str(run_id))

    done = await world.run(Command(resume={"approved": True}), by=ANA, run_id=run_id)

    assert len(results(done)) == 1
    assert world.events() == ["requested", "approved", "executed"]
