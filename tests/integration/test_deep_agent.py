"""The gate in a deep agent: behind the middleware that deep agents put first, with their files and subagents."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from clearance.actions.action import Actions
from clearance.graph.guard import guarded
from clearance.graph.middleware import GateMiddleware
from clearance.parts import Parts
from tests.integration.test_turn_withdrawn import assert_every_call_has_its_result
from tests.support.nested import questions
from tests.support.scripted_model import ScriptedModel, calls
from tests.support.world import ANA, BEN, OLGA, AgentOf, World, question, results

deepagents: Any = pytest.importorskip("deepagents", reason="deepagents is in the lock, and not installed here")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
MORE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2002", "amount": "6000"})
LOOK = ("get_account", {"account_id": "A-2001"})
WRITE = ("write_file", {"file_path": "/notes.txt", "content": "pay both"})
PAID = "Transferred $5,000.00 from A-2001 to A-2003 (T-301)."
#: What it brings itself: all of it works in the thread's own state.
FILES = ["ls", "read_file", "write_file", "edit_file", "delete", "glob", "grep", "execute", "task"]
WITHDRAWN = "Not done: withdrawn, because a new message came before it was carried out."

pytestmark = pytest.mark.parametrize("world", ["middleware"], indirect=True)


@pytest.fixture
def deep(world: World) -> World:
    """Give a world whose agent is a deep one."""
    world.agent = AgentOf(create=deepagents.create_deep_agent, read_only=FILES)
    world.use_policy(world.policy)
    return world


async def test_its_own_tools_run_at_once_and_actions_one_after_the_other_when_all_are_decided(deep: World) -> None:
    deep.model.will_say(calls(LOOK, PAY, WRITE, MORE), AIMessage("Both."))

    held = await deep.say("pay both")
    also = await deep.answer(True)
    before = deep.transfers()
    done = await deep.answer(True)

    assert (question(held)["amount"], question(also)["amount"]) == ("5000.00", "6000.00")
    assert list(held["files"]) == ["/notes.txt"]
    assert before == []
    assert [amount for *_, amount in deep.transfers()] == [500_000, 600_000]
    assert done["messages"][-1].content == "Both."
    assert len(deep.model.read) == 2
    assert_every_call_has_its_result(deep.model.read[-1])
    # Nothing of what its own middleware does to the thread is taken for somebody's forgery.
    assert [one.type for one in done["messages"]] == ["human", "ai", "tool", "tool", "tool", "tool", "ai"]
    assert all(str(one.id).startswith("result-") for one in done["messages"] if isinstance(one, ToolMessage))
    assert deep.audit_is_whole()


@pytest.mark.parametrize(
    ("answer", "told", "amounts"),
    [
        (True, PAID, [500_000]),
        (False, "Not done: ana rejected it, without a reason", []),
        ({"approved": True, "edited_args": {"amount": "4000"}},
         "Transferred $4,000.00 from A-2001 to A-2003 (T-301).", [400_000]),
    ],
    ids=["approve", "reject", "edit"],
)  # fmt: skip
async def test_an_answer_is_what_happens(deep: World, answer: Any, told: str, amounts: list[int]) -> None:
    deep.model.will_say(calls(PAY), AIMessage("Done."))
    await deep.say("pay")

    done = await deep.answer(answer)

    assert told in results(done)[0]
    assert [amount for *_, amount in deep.transfers()] == amounts
    assert done["messages"][-1].content == "Done."


async def test_a_new_message_withdraws_what_is_open_and_is_answered(deep: World) -> None:
    deep.model.will_say(calls(LOOK, PAY), AIMessage("Dropped."))
    await deep.say("pay")

    done = await deep.say("no, stop")

    assert results(done)[-1] == WITHDRAWN
    assert done["messages"][-1].content == "Dropped."
    assert deep.states() == ["withdrawn"]
    assert_every_call_has_its_result(deep.model.read[-1])
    assert [one.type for one in done["messages"]] == ["human", "ai", "tool", "tool", "human", "ai"]


async def test_run_again_from_each_of_its_checkpoints_it_pays_once(deep: World) -> None:
    deep.model.will_say(calls(PAY), AIMessage("Paid."))
    await deep.say("pay")
    await deep.answer(True)

    for state in await deep.history():
        await deep.run(None, by=OLGA, checkpoint_id=state.config["configurable"]["checkpoint_id"])

    assert len(deep.transfers()) == 1
    assert len(deep.model.read) == 2


async def test_five_answers_at_once_are_one_effect(deep: World) -> None:
    deep.model.will_say(calls(PAY))
    await deep.say("pay")

    done = await asyncio.gather(*(deep.answer(True, by=by) for by in (ANA, BEN, ANA, BEN, ANA)))

    assert len(deep.transfers()) == 1
    assert {tuple(results(state)) for state in done} == {(PAID,)}


async def test_its_own_tools_are_refused_by_name_until_they_are_declared(world: World) -> None:
    world.agent = AgentOf(create=deepagents.create_deep_agent)
    world.use_policy(world.policy)

    with pytest.raises(ValueError, match="is not declared read-only"):
        await world.say("hello")


# Its subagents


def task(number: int) -> tuple[str, dict[str, str]]:
    """Make a call of the tool by which a deep agent asks one of its subagents."""
    return "task", {"description": f"pay {number}", "subagent_type": f"payer{number}"}


@pytest.fixture(params=["gated around", "not gated around"])
def with_payers(request: pytest.FixtureRequest, world: World) -> World:
    """Give a world whose agent is a deep one with two subagents behind the gate."""
    parts, known = world.parts, Actions(world.actions)

    async def assemble() -> Parts:
        return parts

    def gate() -> GateMiddleware:
        return GateMiddleware(assemble, known, [*FILES, "write_todos"])

    def payer(number: int, call: Any) -> dict[str, Any]:
        model = ScriptedModel()
        model.will_say(calls(call, ids=[f"of-{number}"]), AIMessage(f"Payer {number} paid."))
        named = {"name": f"payer{number}", "description": "It pays.", "system_prompt": "Pay."}
        return {**named, "tools": [], "model": model, "middleware": [gate()]}

    created = deepagents.create_deep_agent(
        world.model,
        [],
        middleware=[gate()] if request.param == "gated around" else [],
        subagents=[payer(0, PAY), payer(1, MORE)],
        checkpointer=world.checkpointer,
    )
    world.graph = guarded(created)
    return world


@pytest.mark.parametrize("numbers", [[0], [0, 1], [1, 0]])
async def test_what_its_subagents_ask_for_is_asked_and_done_once(with_payers: World, numbers: list[int]) -> None:
    """Behind the gate the run broke off when a subagent was done: deep agents look into what their tool gives."""
    world = with_payers
    world.model.will_say(calls(*(task(one) for one in sorted(numbers)), ids=list("ab"[: len(numbers)])))
    await world.say("pay")
    asked = await questions(world)

    for number in numbers:
        done = await world.answer({asked[f"of-{number}"].id: True})

    paid = [f"Payer {number} paid." for number in sorted(numbers)]
    assert (results(done), done["messages"][-1].content) == (paid, "Done.")
    assert [amount for *_, amount in world.transfers()] == [[500_000, 600_000][number] for number in numbers]
    assert {one.requested_by for one in world.requests()} == {"olga"}
    for state in await world.history():
        await world.run(None, by=OLGA, checkpoint_id=state.config["configurable"]["checkpoint_id"])
    assert len(world.transfers()) == len(numbers)
    assert world.audit_is_whole()
