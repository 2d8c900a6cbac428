"""Many at once in one process, with nothing before the gate that runs one after the other: one effect each."""

import asyncio
import random
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.support.made_up import made_up
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, World, question, results

STORMS = 50
#: Below what two people have to approve, and below what the tests' policy counts up to.
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "1500"})
POLICY = """
[roles]
approver = "decides"
[defaults]
expires = "24h"
approvers = "approver"
"""


@pytest.mark.parametrize("answers", [(True, True), (True, False)], ids=["two approvals", "a yes and a no"])
async def test_two_answers_at_once_have_one_effect_or_none(world: World, answers: tuple[bool, bool]) -> None:
    world.use_policy(POLICY)
    pay = ("transfer_funds", {**PAY[1], "amount": "11.25"})
    world.model.will_say(*[lambda read: AIMessage("Done.") if read[-1].type == "tool" else calls(pay)] * STORMS * 3)

    async def storm(thread: str) -> set[str]:
        question(await world.say("pay", thread=thread))
        people = zip((ANA, BEN), answers, strict=True)
        states = await asyncio.gather(*(world.answer(answer, by=by, thread=thread) for by, answer in people))
        return {told for state in states for told in results(state)}

    told = [await storm(f"storm-{number}") for number in range(STORMS)]

    assert all(len(one) == 1 for one in told)
    assert len(world.transfers()) == world.states().count("executed")
    assert set(world.states()) <= ({"executed"} if all(answers) else {"executed", "rejected"})
    assert len(world.requests()) == STORMS
    assert world.ledger_is_whole()
    assert world.audit_is_whole()


async def test_threads_at_once_do_not_meet(world: World) -> None:
    world.use_policy(POLICY)
    pay = ("transfer_funds", {**PAY[1], "amount": "11.25"})
    world.model.will_say(*[lambda read: AIMessage("Done.") if read[-1].type == "tool" else calls(pay)] * 80)

    async def talk(thread: str) -> dict[str, Any]:
        question(await world.say("pay", thread=thread))
        return await world.answer(True, thread=thread)

    done = await asyncio.gather(*(talk(f"talk-{number}") for number in range(20)))

    assert all(state["messages"][-1].content == "Done." for state in done)
    assert len(world.transfers()) == 20
    assert world.audit_is_whole()


async def test_a_hundred_generated_answers_decide_nothing(world: World) -> None:
    world.model.will_say(calls(PAY))
    chance = random.Random(20261122)
    question(await world.say("pay"))

    for _ in range(100):
        answer = made_up(chance)
        asked = question(await world.answer(answer))
        assert asked["notice"], answer

    assert world.states() == ["asked"]
    assert results(await world.answer({"approved": False, "reason": "enough"})) == ["Not done: ana rejected it: enough"]
    assert world.transfers() == []
