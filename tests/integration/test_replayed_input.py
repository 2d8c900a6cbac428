"""A thread run anew from each of its checkpoints: what was said once is heard once."""

from uuid import uuid4

import sqlalchemy as sa
from langchain_core.messages import AIMessage

from clearance.db.tables import plans
from clearance.journal.turns import open_turns
from clearance.server.upkeep.recovery import _rebuilt
from tests.support.scripted_model import calls
from tests.support.world import ANA, OLGA, Person, World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})


async def _replay(world: World, by: Person) -> None:
    for _ in range(7):
        world.model.will_say(calls(PAY), AIMessage("done"))
    await world.say("pay")
    for state in await world.history():
        pin = state.config["configurable"]["checkpoint_id"]
        await world.run(None, by=by, checkpoint_id=pin)


async def test_words_without_an_id_are_heard_once_from_whichever_checkpoint_they_are_run_again(world: World) -> None:
    """What went wrong: in the checkpoint before `receive` they have no id yet, so each run gave them a new one."""
    await _replay(world, OLGA)

    assert world.transfers() == [("A-2001", "A-2003", 900_00)]


async def test_nobody_else_says_them_by_running_them_again(world: World) -> None:
    await _replay(world, ANA)

    assert world.transfers() == [("A-2001", "A-2003", 900_00)]


WORDS = {"messages": [("user", "pay both")]}
MORE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})


async def test_a_run_that_the_server_starts_again_after_the_thread_went_on_does_nothing_anew(world: World) -> None:
    """What went wrong: its words were put behind the results of their own plan, and the model answered them again."""
    run_id = uuid4()
    world.model.will_say(*[lambda read: calls(PAY, MORE) if read[-1].type == "human" else AIMessage("done")] * 4)
    await world.run(WORDS, by=OLGA, run_id=run_id)

    held = await world.run(WORDS, by=OLGA, run_id=run_id)
    ended = await world.answer({"approved": True})
    again = await world.run(WORDS, by=OLGA, run_id=run_id)

    assert [question.value["action"] for question in held["__interrupt__"]] == ["transfer_funds"]
    assert [message.type for message in held["messages"] if message.type != "tool"] == ["human", "ai"]
    assert [message.type for message in ended["messages"]] == ["human", "ai", "tool", "tool", "ai"]
    assert again["messages"] == ended["messages"]
    assert world.transfers() == [("A-2001", "A-2003", 900_00), ("A-2001", "A-2003", 5_000_00)]


async def test_a_run_started_again_after_later_words_leaves_those_open(world: World) -> None:
    run_id = uuid4()
    world.model.will_say(calls(PAY), AIMessage("done"), calls(MORE), AIMessage("done"))
    await world.run(WORDS, by=OLGA, run_id=run_id)
    await world.say("and 5,000")

    held = await world.run(WORDS, by=OLGA, run_id=run_id)
    ended = await world.answer({"approved": True})

    assert len(held["__interrupt__"]) == 1
    assert [message.content for message in ended["messages"] if message.type == "human"] == ["pay both", "and 5,000"]
    assert world.transfers() == [("A-2001", "A-2003", 900_00), ("A-2001", "A-2003", 5_000_00)]


async def test_a_conversation_that_is_written_anew_leaves_out_what_nobody_can_read(world: World) -> None:
    """What went wrong: it broke every look at the thread."""
    world.model.will_say(calls(("transfer_funds", {**PAY[1], "amount": "5000"})))
    await world.say("pay")
    (turn,) = world.read(open_turns)
    whole = await _rebuilt(world.parts, turn)
    broken = {"type": "ai", "tool_calls": "none of this can be read"}
    world.execute(sa.update(plans).values(message=broken))

    left = await _rebuilt(world.parts, turn)

    assert [said.get("type") or said["role"] for said in whole] == ["human", "ai"]
    assert left == whole[:1]
