"""An `interrupt()` of a graph's own before the gate: who answers it goes on with their own words and nobody's else."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from clearance.actions.action import Actions
from clearance.gate.gate import Gate
from clearance.gate.notices import NOTICE
from clearance.graph.guard import guarded
from clearance.graph.identity import CALLER, caller_seal
from clearance.graph.middleware import GateMiddleware
from clearance.graph.own_graph import add_loop
from clearance.principal import Principal
from tests.support.nested import APPROVE, PAY, agent, parent, use
from tests.support.scripted_model import calls
from tests.support.world import ANA, OLGA, Person, World

PAID = ("A-2001", "A-2003", 500_000)


async def consent(_: MessagesState) -> dict[str, Any]:
    interrupt({"question": "do you consent?"})
    return {}


class Consent(AgentMiddleware[Any, Any, Any]):
    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        return await consent(state)


def outermost(world: World) -> None:
    """Let the world's graph ask before the gate is entered."""
    parts, known = world.parts, Actions(world.actions)

    async def assemble() -> Any:
        return parts

    world.model.will_say(calls(PAY), AIMessage("It is paid."))
    if world.way == "middleware":
        middleware = [Consent(), GateMiddleware(assemble, known, ())]
        created: Any = create_agent(world.model, [], middleware=middleware, checkpointer=world.checkpointer)
        world.graph = guarded(created)
        return
    builder: Any = StateGraph(MessagesState)
    entry = add_loop(builder, assemble, known, world.model, [], prompt="", after=None, prefix="")
    builder.add_node("consent", consent)
    builder.add_edge(START, "consent")
    builder.add_edge("consent", entry)
    use(world, builder)


def nested(world: World) -> None:
    """Put a node that asks before an agent of ours."""
    use(world, parent(("consent", consent), ("pay", agent(world, calls(PAY), AIMessage("It is paid.")))))


def asking_twice(world: World) -> None:
    """Put two such nodes there."""
    pays = agent(world, calls(PAY), AIMessage("It is paid."))
    use(world, parent(("consent", consent), ("again", consent), ("pay", pays)))


def stamp(world: World, by: Person, thread: str = "thread") -> dict[str, str]:
    """Give what the server's door writes into the config of somebody's run."""
    return {CALLER: caller_seal(world.gate.keys, thread, Principal(by.identity, roles=frozenset(by.roles)))}


#: Nothing here depends on the database: what is told is told by the checkpoints.
pytestmark = pytest.mark.parametrize("world", ["sqlite", "middleware"], indirect=True)

Put = Callable[[World], None]
put_before = pytest.mark.parametrize("put", [outermost, nested])


@put_before
async def test_who_answers_it_goes_on_with_their_own_words(world: World, put: Put) -> None:
    put(world)
    await world.say("pay", by=OLGA, **stamp(world, OLGA))

    await world.answer("yes", by=OLGA, **stamp(world, OLGA))
    asked = [(one.requested_by, one.state) for one in world.requests()]
    done = await world.answer(APPROVE, by=ANA, **stamp(world, ANA))

    assert asked == [("olga", "asked")]
    assert world.transfers() == [PAID]
    assert [message.type for message in done["messages"]].count("human") == 1
    assert done["messages"][-1].content == "It is paid."
    assert world.events().count("unheard_words") == 0
    assert world.audit_is_whole()


async def test_and_behind_several(world: World) -> None:
    asking_twice(world)
    await world.say("pay", by=OLGA, **stamp(world, OLGA))
    await world.answer("yes", by=OLGA, **stamp(world, OLGA))

    await world.answer("yes", by=OLGA, **stamp(world, OLGA))

    assert [(one.requested_by, one.state) for one in world.requests()] == [("olga", "asked")]


@pytest.mark.parametrize("twice", [OLGA, ANA])
async def test_not_where_somebody_else_answered_one_of_several(world: World, twice: Person) -> None:
    asking_twice(world)
    first, second = (ANA, OLGA) if twice is OLGA else (OLGA, ANA)
    await world.say("pay", by=OLGA, **stamp(world, OLGA))
    await world.answer("yes", by=first, **stamp(world, first))

    await world.answer("yes", by=second, **stamp(world, second))

    assert world.requests() == []


@put_before
async def test_somebody_else_who_answers_it_does_not_say_them(world: World, put: Put) -> None:
    put(world)
    await world.say("pay", by=OLGA, **stamp(world, OLGA))

    done = await world.answer("yes", by=ANA, **stamp(world, ANA))

    assert world.requests() == []
    assert world.model.read == []
    assert world.events().count("unheard_words") == 1
    assert done["messages"][-1].id.startswith(NOTICE)


@put_before
@pytest.mark.parametrize("claimed", [{}, {CALLER: ""}, {CALLER: "é"}])
async def test_nor_where_no_door_says_whose_the_runs_are(world: World, put: Put, claimed: dict[str, str]) -> None:
    put(world)
    await world.say("pay", by=OLGA, **claimed)

    await world.answer("yes", by=OLGA, **claimed)

    assert world.requests() == []


@put_before
async def test_nor_by_what_the_door_said_in_another_thread(world: World, put: Put) -> None:
    put(world)
    await world.say("pay", by=OLGA, **stamp(world, ANA, "another"))

    await world.answer("yes", by=ANA, **stamp(world, ANA))

    assert world.requests() == []


async def test_where_nobody_signs_in_all_are_one(world: World) -> None:
    world.has_authentication = False
    world.use_policy(world.policy)
    outermost(world)
    await world.say("pay")

    await world.answer("yes")

    assert [(one.requested_by, one.state) for one in world.requests()] == [("local", "asked")]


@put_before
async def test_run_again_from_every_checkpoint_it_is_one_effect(world: World, put: Put) -> None:
    put(world)
    await world.say("pay", by=OLGA, **stamp(world, OLGA))
    await world.answer("yes", by=OLGA, **stamp(world, OLGA))
    await world.answer(APPROVE, by=ANA, **stamp(world, ANA))
    before = await world.history()
    assert len(before) > 3

    for snapshot in before:
        checkpoint = snapshot.config["configurable"]["checkpoint_id"]
        inputs: list[Command[str] | None] = [None, Command(resume="yes"), Command(resume=APPROVE)]
        for given in inputs:
            for by in (OLGA, ANA):
                await world.run(given, by=by, checkpoint_id=checkpoint, **stamp(world, by))

    assert world.transfers() == [PAID]
    assert world.audit_is_whole()


async def test_entered_twice_by_one_run_that_goes_on_they_are_heard_once(world: World) -> None:
    """The graph comes by the gate again behind a question, with the same input behind it."""
    pays = agent(world, calls(PAY), AIMessage("It is paid."))
    use(world, parent(("consent", consent), ("pay", pays), ("again", consent), ("more", pays)))
    await world.say("pay", by=OLGA, **stamp(world, OLGA))
    await world.answer("yes", by=OLGA, **stamp(world, OLGA))
    await world.answer(APPROVE, by=ANA, **stamp(world, ANA))

    await world.answer("yes", by=OLGA, **stamp(world, OLGA))

    assert world.transfers() == [PAID]


@put_before
@pytest.mark.parametrize("kept", [None, "kept", "nicht-ü", f"{NOTICE}1"])
async def test_killed_behind_it_while_the_words_are_taken_in_they_are_heard_once(
    world: World, put: Put, kept: str | None
) -> None:
    """Under an id that the journal does not keep they were taken out as nobody's, and their transfer was asked."""
    put(world)
    words = {"messages": [HumanMessage("pay", id=kept)]}
    enter = Gate.enter

    async def killed(*given: Any, **named: Any) -> Any:
        await enter(*given, **named)
        raise RuntimeError("killed")

    await world.run(words, by=OLGA, **stamp(world, OLGA))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Gate, "enter", killed)
        with pytest.raises(RuntimeError, match="killed"):
            await world.run(Command(resume="yes"), by=OLGA, run_id="again", **stamp(world, OLGA))
    held = await world.run(None, by=OLGA, run_id="again", **stamp(world, OLGA))

    assert [(one.requested_by, one.state) for one in world.requests()] == [("olga", "asked")]
    assert [message.content for message in held["messages"] if message.type == "human"] == ["pay"]
    assert "unheard_words" not in world.events()
