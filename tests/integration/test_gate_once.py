"""Promise 3: at most once, and every caller gets the same receipt."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage

from agent.actions import TransferFunds
from clearance.errors import DatabaseUnavailable
from clearance.gate import transitions
from clearance.journal.receipts import add_receipt, read_receipt
from tests.support.faults import failing_commits, slow_writes
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, World, question, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
PAID = "Transferred $5,000.00 from A-2001 to A-2003 (T-301)."


async def test_an_approved_transfer_happens_once(world: World) -> None:
    world.model.will_say(calls(PAY))

    asked = question(await world.say("pay"))
    done = await world.answer({"approved": True}, by=ANA)

    assert asked["action"] == "transfer_funds"
    assert results(done) == [PAID]
    assert world.states() == ["executed"]
    assert world.audit_is_whole()


async def test_five_resumes_at_once_are_one_effect_and_one_receipt(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    done = await asyncio.gather(*(world.answer(True, by=by) for by in (ANA, BEN, ANA, BEN, ANA)))

    assert world.transfers() == [("A-2001", "A-2003", 500_000)]
    assert {tuple(results(state)) for state in done} == {(PAID,)}
    assert world.events().count("executed") == 1
    assert world.events().count("approved") == 1
    assert world.events().count("answer_late") == 4
    assert world.audit_is_whole()


async def test_an_approval_and_a_rejection_at_once_are_one_decision(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await asyncio.gather(world.answer(True, by=ANA), world.answer(False, by=BEN))

    assert world.states() in (["executed"], ["rejected"])
    assert len(world.transfers()) == (world.states() == ["executed"])
    assert len({tuple(results(s)) for s in [await world.say("so?")]}) == 1


async def test_resuming_one_checkpoint_twice_is_one_effect(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    (at,) = [s.config["configurable"]["checkpoint_id"] for s in await world.history() if s.interrupts]

    first = await world.answer(True, checkpoint_id=at)
    second = await world.answer(True, by=BEN, checkpoint_id=at)

    assert results(first) == results(second) == [PAID]
    assert len(world.transfers()) == 1
    assert world.events() == ["requested", "approved", "executed", "answer_late"]


async def test_a_rejection_stands_when_history_is_resumed_with_an_approval(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    (at,) = [s.config["configurable"]["checkpoint_id"] for s in await world.history() if s.interrupts]

    await world.answer(False)
    again = await world.answer(True, by=BEN, checkpoint_id=at)

    assert results(again) == ["Not done: ana rejected it, without a reason"]
    assert world.transfers() == []
    assert world.events() == ["requested", "rejected", "answer_late"]


async def test_a_copied_thread_has_no_effect_of_its_own(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await _copy_thread(world, "thread", "copy")

    await world.answer(True, thread="copy")
    assert world.transfers() == []
    await world.answer(True)
    await world.answer(True, by=BEN, thread="copy")

    assert len(world.transfers()) == 1
    assert "forged_call" in world.events()


async def test_a_copied_thread_does_not_ask_again_for_what_its_original_did(world: World) -> None:
    """Its messages were new to the journal under the other thread, so the model was asked to pay once more."""
    world.model.will_say(calls(SMALL), AIMessage("Paid."), AIMessage("You are welcome."))
    await world.say("pay")
    await _copy_thread(world, "thread", "copy")

    await world.run({"messages": []}, by=OLGA, thread="copy")
    await world.say("thanks", thread="copy")

    assert [m.content for m in world.model.read[-1] if m.type == "human"] == ["thanks"]
    assert len(world.model.read) == 3
    assert len(world.transfers()) == 1


@pytest.mark.parametrize("call", [PAY, SMALL], ids=["asked", "allowed"])
async def test_the_model_run_again_says_what_it_said(world: World, call: tuple[str, dict[str, Any]]) -> None:
    world.model.will_say(calls(call), AIMessage("Done."))
    await world.say("pay")
    if call is PAY:
        await world.answer(True)
    before = next(s for s in await world.history() if s.next == ("model",))

    again = await world.run(None, by=OLGA, checkpoint_id=before.config["configurable"]["checkpoint_id"])

    assert len(world.transfers()) == 1
    assert len(world.model.read) == 2
    assert len(world.requests()) == 1
    assert [m.content for m in again["messages"]][-1] == "Done."


async def test_a_run_retried_from_nothing_is_the_same_turn(world: World) -> None:
    """With durability "exit" a killed run leaves no checkpoint: the retry has the same run id and new message ids."""
    world.model.will_say(calls(SMALL), AIMessage("Paid."), AIMessage("You are welcome."))
    run_id = uuid4()
    await world.say("pay", run_id=run_id)
    await world.checkpointer.adelete_thread("thread")

    again = await world.say("pay", run_id=run_id)
    await world.say("thanks")

    assert len(world.transfers()) == 1
    assert [m.content for m in again["messages"]][-1] == "Paid."
    assert [m.content for m in world.model.read[-1] if m.type == "human"] == ["pay", "thanks"]


async def test_one_run_id_for_everything_does_not_swallow_messages(world: World) -> None:
    world.model.will_say(AIMessage("Hello."), AIMessage("Bye."))
    graph: Any = world.graph
    config = world.config(OLGA, run_id=uuid4())
    del config["configurable"]["run_id"]  # a program's own; with this one langgraph takes them for one run
    await graph.ainvoke({"messages": [("user", "hello")]}, config)
    done = await graph.ainvoke({"messages": [("user", "bye")]}, config)

    assert done["messages"][-1].content == "Bye."


@pytest.mark.parametrize("call", [PAY, SMALL], ids=["asked", "allowed"])
async def test_effect_receipt_and_audit_are_all_or_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, call: tuple[str, dict[str, Any]]
) -> None:
    world.model.will_say(calls(call), AIMessage("Done."))
    before = world.balance("A-2001")

    def broken(*_: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(transitions, "add_receipt", broken)
        with pytest.raises(OSError, match="disk is full"):
            await _ask_and_approve(world, call)

    assert world.transfers() == []
    assert world.balance("A-2001") == before
    assert "executed" not in world.events()
    assert "approved" not in world.events()

    await (world.answer(True) if call is PAY else world.go_on())
    assert len(world.transfers()) == 1
    assert world.audit_is_whole()


async def test_a_run_cancelled_after_the_effect_gives_the_receipt_next_time(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")

    with slow_writes(world) as (started, go):
        run = asyncio.create_task(world.answer(True))
        await asyncio.to_thread(started.wait, 10)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        go.set()
        while world.states() == ["asked"]:  # noqa: ASYNC110 - the transaction ends in a thread of its own
            await asyncio.sleep(0.01)
    done = await world.go_on()

    assert results(done) == [PAID]
    assert len(world.transfers()) == 1


async def test_a_commit_that_is_lost_is_tried_again_whole(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    with failing_commits(world, 2):
        done = await world.answer(True)

    assert results(done) == [PAID]
    assert len(world.transfers()) == 1
    assert world.audit_is_whole()


async def test_a_database_that_does_not_commit_means_no_effect_and_the_thread_goes_on(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")

    with failing_commits(world, 1_000), pytest.raises(DatabaseUnavailable):
        await world.answer(True)
    assert world.transfers() == []
    assert world.states() == ["asked"]

    done = await world.answer(True)
    assert results(done) == [PAID]
    assert len(world.transfers()) == 1


@pytest.mark.parametrize("by_id", [False, True], ids=["bare", "by id"])
async def test_an_answer_whose_run_failed_is_not_taken_for_the_next_persons(world: World, by_id: bool) -> None:
    """langgraph keeps the answer of a failed run and hands it to the next resume: olga's yes became ana's."""
    world.model.will_say(calls(PAY))
    await world.say("pay")
    asked = await world.open_question()
    assert asked is not None
    with failing_commits(world, 1_000), pytest.raises(DatabaseUnavailable):
        await world.answer({asked.id: True} if by_id else True, by=OLGA)

    no = {"approved": False, "reason": "never"}
    done = await world.answer({asked.id: no} if by_id else no, by=ANA)

    assert results(done) == ["Not done: ana rejected it: never"]
    assert world.transfers() == []
    assert world.events() == ["requested", "rejected"]


async def test_an_answer_whose_run_was_cancelled_is_not_taken_for_the_next_persons(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    with failing_commits(world, 1_000) as failed:
        run = asyncio.create_task(world.answer(True, by=OLGA))
        assert await asyncio.to_thread(failed.wait, 60)
        run.cancel()
        with pytest.raises((asyncio.CancelledError, DatabaseUnavailable)):
            await run
        await asyncio.sleep(2)

    await world.go_on(by=ANA)
    assert world.transfers() == []
    await world.answer({"approved": False}, by=ANA)

    assert world.transfers() == []
    assert world.states() == ["rejected"]


async def test_allowed_effects_continued_after_a_crash_happen_once(world: World) -> None:
    world.model.will_say(calls(SMALL, SMALL), AIMessage("Done."))

    with slow_writes(world, TransferFunds) as (started, go):
        run = asyncio.create_task(world.say("pay twice"))
        await asyncio.to_thread(started.wait, 10)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        go.set()
    done = await world.go_on()

    assert len(results(done)) == 2
    assert len(world.transfers()) == 2


async def test_the_schema_refuses_a_second_receipt(world: World) -> None:
    world.model.will_say(calls(SMALL))
    await world.say("pay")
    (request,) = world.requests()
    receipt = world.read(lambda c: read_receipt(c, request.request_id))

    with pytest.raises(sa.exc.IntegrityError):
        world.database.write_now(lambda c: add_receipt(c, receipt))


async def _ask_and_approve(world: World, call: tuple[str, dict[str, Any]]) -> None:
    await world.say("pay")
    if call is PAY:
        await world.answer(True)


async def _copy_thread(world: World, source: str, target: str) -> None:
    """Copy the checkpoints, as `threads.copy` does."""
    saver: Any = world.checkpointer
    for checkpoint_ns, kept in list(saver.storage[source].items()):
        saver.storage[target][checkpoint_ns] = dict(kept)
    for (thread, *rest), value in list(saver.writes.items()):
        if thread == source:
            saver.writes[(target, *rest)] = dict(value)
    for (thread, *rest), value in list(saver.blobs.items()):
        if thread == source:
            saver.blobs[(target, *rest)] = value
