"""A model that does not come to an end is ended, in words, and its turn with it."""

from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from clearance.journal.turns import turns_of
from tests.support.scripted_model import calls
from tests.support.world import ANA, World, question, results

LOOK = ("get_account", {"account_id": "A-2001"})
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})


def limited(world: World, **limits: int) -> None:
    """Give the world other limits."""
    settings = world.parts.settings.model_copy(update=limits)
    object.__setattr__(world.parts, "settings", settings)


def turn_of(world: World) -> Any:
    (turn,) = world.read(lambda c: turns_of(c, "thread"))
    return turn


async def test_a_model_that_calls_a_look_up_without_end_is_ended_and_says_so(world: World) -> None:
    """It made 400 calls and 214 MB of checkpoints."""
    limited(world, model_steps=6)
    world.model.will_say(*[calls(LOOK)] * 6)

    done = await world.say("look at it for ever")

    said = done["messages"][-1]
    assert said.content.startswith("I stopped: in this turn I spoke 6 times and made 6 calls")
    assert "MODEL_STEPS allows no more" in said.content
    assert turn_of(world).state == "answered"
    made = [call["id"] for message in done["messages"] if isinstance(message, AIMessage) for call in message.tool_calls]
    assert len(results(done)) == len(made) == 6
    world.model.will_say(AIMessage("Here I am."))
    assert (await world.say("and now?"))["messages"][-1].content == "Here I am."


async def test_so_is_one_that_calls_many_at_once(world: World) -> None:
    limited(world, model_calls=30)
    world.model.will_say(*[calls(*[LOOK] * 15)] * 20)

    done = await world.say("look at it for ever")

    assert "MODEL_CALLS allows no more" in done["messages"][-1].content
    assert len(results(done)) == 30


async def test_what_was_done_before_is_told_with_it(world: World) -> None:
    limited(world, model_steps=2)
    world.model.will_say(calls(PAY), calls(LOOK), calls(LOOK))
    await world.say("pay, and look")

    done = await world.answer(True, by=ANA)

    assert "I stopped" in done["messages"][-1].content
    assert "- Transferred $5,000.00" in done["messages"][-1].content
    assert len(world.transfers()) == 1
    assert turn_of(world).state == "answered"


async def test_a_question_at_the_limit_is_still_asked_and_carried_out(world: World) -> None:
    limited(world, model_steps=1)
    world.model.will_say(calls(PAY))

    question(await world.say("pay"))
    done = await world.answer(True, by=ANA)

    assert world.states() == ["executed"]
    assert "I stopped" in done["messages"][-1].content


async def test_the_limit_is_of_a_turn_and_not_of_a_thread(world: World) -> None:
    limited(world, model_steps=2)
    for _ in range(3):
        world.model.will_say(calls(LOOK), AIMessage("Done."))

        done = await world.say("look")

        assert done["messages"][-1].content == "Done."


async def test_a_recursion_limit_of_a_client_ends_the_turn_in_words_too(world: World) -> None:
    """The run failed in the middle, its calls stayed without results, and its turn open."""
    world.model.will_say(*[calls(LOOK)] * 20)

    for limit in range(6, 14):
        given: Any = {"messages": [("user", "look at it for ever")]}
        config: Any = {**world.config(ANA, f"thread-{limit}"), "recursion_limit": limit}
        done = await world.graph.ainvoke(given, config)

        assert "recursion_limit" in done["messages"][-1].content, limit
        made = sum(len(one.tool_calls) for one in done["messages"] if isinstance(one, AIMessage))
        assert made == sum(isinstance(one, ToolMessage) for one in done["messages"]), limit
        (turn,) = world.read(partial(turns_of, thread_id=f"thread-{limit}"))
        assert turn.state == "answered"
        world.model.will_say(*[calls(LOOK)] * 20)
