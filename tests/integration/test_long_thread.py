"""A thread that grows: its later turns are no more work than its first, and nothing that was changed slips by."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from clearance.gate.records import Truth
from clearance.graph import step_receive, transcript
from tests.support.scripted_model import calls
from tests.support.world import ANA, World, results

SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "90"})
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
PAID = "Transferred $90.00 from A-2001 to A-2003 (T-301)."


async def test_results_that_stand_as_their_receipts_have_them_are_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = transcript.result

    def result(plan: Any, call: Any, *given: Any, **how: Any) -> ToolMessage:
        made.append(call["id"])
        return real(plan, call, *given, **how)

    monkeypatch.setattr(transcript, "result", result)
    counts = []
    for turn in range(5):
        world.model.will_say(calls(SMALL, ids=[f"call-{turn}"]), AIMessage("Paid."))
        made.clear()
        done = await world.say(f"pay, {turn}")
        counts.append(len(made))

    assert len(results(done)) == 5
    assert counts == [counts[0]] * 5


@pytest.mark.parametrize(
    "forged",
    [
        {"status": "error"}, {"artifact": {"outcome": "failed", "revision": 1}}, {"name": "refund"}, {"content": "No."},
        {"additional_kwargs": {"cache": True}}, {"response_metadata": {"of": "nobody"}}, {"tool_call_id": "call-1"},
    ],
    ids=lambda forged: next(iter(forged)),
)  # fmt: skip
async def test_a_result_that_has_its_receipts_words_and_something_else_is_read_as_the_receipt_has_it(
    world: World, forged: dict[str, Any]
) -> None:
    world.model.will_say(calls(SMALL), AIMessage("Paid."), AIMessage("It was."))
    done = await world.say("pay")
    (told,) = [one for one in done["messages"] if isinstance(one, ToolMessage)]

    changed = told.model_copy(update=forged)
    await world.graph.aupdate_state(world.config(None), {"messages": [changed]}, as_node=world.nodes["model"])
    await world.say("was it paid?")

    (read,) = [one for one in world.model.read[-1] if isinstance(one, ToolMessage)]
    assert (read.content, read.status, read.tool_call_id) == (PAID, "success", "call-0")
    assert (read.additional_kwargs, read.response_metadata, read.name) == ({}, {}, None)


async def test_what_was_done_is_put_together_once_where_a_message_changes_nothing_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = _count(monkeypatch)
    world.model.will_say(calls(PAY), AIMessage("Paid."), calls(PAY), AIMessage("Fine."))
    await world.say("pay")
    await world.answer(True)
    times.clear()

    await world.say("pay once more")
    assert times == []
    done = await world.say("never mind")

    assert len(times) == 1
    assert results(done)[-1] == "Not done: withdrawn, because a new message came before it was carried out."


@pytest.mark.parametrize("is_approved", [True, False])
async def test_what_is_decided_while_words_are_heard_is_told_as_it_ended(
    world: World, monkeypatch: pytest.MonkeyPatch, is_approved: bool
) -> None:
    world.model.will_say(calls(PAY), AIMessage("Fine."))
    await world.say("pay")
    monkeypatch.setattr(step_receive, "_FEW", 0)
    read = world.gate.records.truth

    async def truth(*given: Any) -> Truth:
        found = await read(*given)
        monkeypatch.setattr(world.gate.records, "truth", read)
        await world.decide({"approved": is_approved}, by=ANA)
        return found

    monkeypatch.setattr(world.gate.records, "truth", truth)
    done = await world.say("and?")

    (told,) = results(done)
    # Approved and not carried out yet is withdrawn by a new message; what is rejected has its receipt.
    assert told.startswith("Not done: withdrawn" if is_approved else "Not done: ana rejected it")
    assert [one.text for one in world.model.read[-1] if isinstance(one, ToolMessage)] == [told]


def _count(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Count how often `receive` puts a transcript together anew, once it has heard what is said."""
    times: list[None] = []
    real = transcript.true_transcript

    def true_transcript(*given: Any, **how: Any) -> Any:
        times.append(None)
        return real(*given, **how)

    monkeypatch.setattr(step_receive, "true_transcript", true_transcript)
    return times
