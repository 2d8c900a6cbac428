"""A thread run anew from each of its checkpoints: what was said once is heard once."""

from langchain_core.messages import AIMessage

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
