"""Each turn tells the graph of the server that it runs in."""

from functools import partial

from langchain_core.messages import AIMessage

from clearance.journal.turns import Placed, read_graphs, read_placed, turns_of
from tests.support.world import ANA, OLGA, World


async def test_a_turn_is_noted_with_the_graph_of_its_run_and_a_thread_is_in_that_of_its_first(world: World) -> None:
    world.model.will_say(AIMessage("One."), AIMessage("Two."), AIMessage("Three."))
    await world.say("hello", thread="old")
    await world.say("hello", thread="old", graph_id="first")
    await world.say("hello", thread="old", by=ANA, graph_id="other")

    noted = [turn.graph_id for turn in world.database.read_now(lambda c: turns_of(c, "old"))]
    placed = [world.database.read_now(partial(read_placed, thread_id=one)) for one in ("old", "none")]

    assert noted == [None, "first", "other"]
    assert placed == [Placed(OLGA.identity, "first"), None]
    assert world.database.read_now(read_graphs) == {"first", "other"}
