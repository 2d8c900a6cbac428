"""What a process keeps of turns that are over: nothing that may still change, and nothing that was erased."""

from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage, HumanMessage

from clearance.db.tables import plans, receipts, turns
from clearance.gate.ending import withdraw_thread
from clearance.gate.records import Truth, read_truth
from clearance.graph.transcript import for_model, true_transcript
from clearance.journal.audit import Log
from clearance.journal.erasure import ERASED
from clearance.journal.plans import plans_of_turn
from clearance.principal import Principal
from tests.support.scripted_model import calls
from tests.support.world import OLGA, World

pytestmark = pytest.mark.own_graph("it is what the journal tells any graph")

TRANSFER = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2005", "amount": "5000.00", "memo": "rent"})
DELETE = ("delete_user", {"user_id": "C-1003", "reason": "Ada Quist moved away"})


async def test_what_is_erased_after_a_turn_was_read_is_not_told_from_it(world: World) -> None:
    world.model.will_say(calls(TRANSFER), AIMessage("no"), calls(DELETE, ids=["gone"]), AIMessage("gone"))
    await world.say("pay Ada Quist's rent")
    await world.answer(False)
    before = await _truth(world)

    await world.say("delete Ada Quist", thread="other")
    await world.answer(True, thread="other")
    after = await _truth(world)

    assert [list(one.heard.values()) for one in (before, after)] == [["pay Ada Quist's rent"], [ERASED]]
    assert all(plan.message for plan in before.plans.values())
    assert [plan.message for plan in after.plans.values()] == [None, None]
    assert [one.arguments for one in after.requests.values()] == [None]
    assert [one.sentence for one in after.receipts.values()] == [None]


async def test_a_receipt_that_comes_after_its_turn_is_over_is_read(world: World) -> None:
    world.model.will_say(calls(TRANSFER))
    await world.say("pay")
    world.execute(sa.update(turns).values(state="withdrawn", closed_at=world.clock()))
    before = await _truth(world)
    request = world.request()
    made: dict[str, Any] = {"request_id": request.request_id, "outcome": "executed", "revision": 1, "sentence": "Paid."}

    world.execute(sa.insert(receipts).values(**made, finished_at=world.clock(), version=1))

    assert before.receipts == {}
    assert [one.sentence for one in (await _truth(world)).receipts.values()] == ["Paid."]


async def test_what_a_transaction_read_that_was_rolled_back_is_not_told(world: World) -> None:
    world.model.will_say(calls(TRANSFER))
    await world.say("pay")
    world.clock.stop()
    message_ids = _message_ids(world)

    def withdraw(log: Log, by: str) -> Truth:
        withdraw_thread(log, "thread", by=Principal(by))
        return read_truth(log.connection, "thread", message_ids)

    def break_off(log: Log) -> None:
        withdraw(log, "mallory")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await world.gate.write(break_off)
    await world.gate.write(lambda log: withdraw(log, OLGA.identity))

    told = [str(one.sentence) for one in (await _truth(world)).receipts.values()]
    assert len(told) == 1
    assert "mallory" not in told[0]
    assert "olga" in told[0]


async def test_who_writes_to_a_message_of_an_earlier_turn_changes_nothing_of_what_is_known(world: World) -> None:
    """Middleware and clients of models write to what they are given; it was the process's own, for every run."""
    words: Any = [
        {"type": "text", "text": "pay"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
    ]
    world.model.will_say(calls(TRANSFER), AIMessage("no"))
    await world.say(words)
    await world.answer(False)
    (turn_id,) = world.read(lambda c: c.scalars(sa.select(turns.c.turn_id)).all())
    stored, *_ = world.read(lambda c: plans_of_turn(c, turn_id))
    kept: Any = {"provider_fields": {"kwargs": {"a": [1]}}}
    said = {**(stored.message or {}), "additional_kwargs": kept, "content": [{"type": "text", "text": "", "a": [1]}]}
    world.execute(sa.update(plans).where(plans.c.plan_id == stored.plan_id).values(message=said))
    truth = await _truth(world)
    before = repr(truth)
    changed = [HumanMessage("x", id=message_id) for message_id in (*truth.heard, stored.message_id)]

    told = for_model(true_transcript(changed, truth), truth)
    for message in told:
        for block in message.content if isinstance(message.content, list) else []:
            assert isinstance(block, dict)
            for part in block.values():
                if isinstance(part, dict | list):
                    part.clear()
        if isinstance(message, AIMessage):
            message.additional_kwargs["provider_fields"].clear()

    assert len(told) == 3
    assert repr(await _truth(world)) == before


async def _truth(world: World) -> Truth:
    return await world.gate.records.truth("thread", _message_ids(world))


def _message_ids(world: World) -> list[str]:
    (turn_id,) = world.read(lambda c: c.scalars(sa.select(turns.c.turn_id).where(turns.c.thread_id == "thread")).all())
    return [plan.message_id for plan in world.read(lambda c: plans_of_turn(c, turn_id))]
