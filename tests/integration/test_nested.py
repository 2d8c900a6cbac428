"""Agents of ours inside other graphs: each turn has its place, and who asks is who wrote the words that led there."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import MessagesState
from langgraph.types import Command, Send, interrupt

from clearance.db.tables import plans, requests
from clearance.db.tables import turns as turn_rows
from clearance.desk.desk import Desk
from clearance.gate.door import Arrived, Arriving
from clearance.gate.ending import cancel_run
from clearance.graph.guard import guarded
from clearance.graph.lookups import lookup
from clearance.journal.questions import questions_of
from clearance.journal.turns import Turn, turns_of
from clearance.principal import Principal
from tests.support.nested import (
    APPROVE,
    PAY,
    PAY_MORE,
    SMALL,
    agent,
    ask,
    at_once,
    calling,
    outermost,
    parent,
    questions,
    subagent,
    use,
)
from tests.support.scripted_model import ScriptedModel, calls
from tests.support.waiting import until
from tests.support.world import ANA, BEN, OLGA, TESS, Person, World, results

PAID, PAID_MORE = ("A-2001", "A-2003", 500_000), ("A-2001", "A-2002", 600_000)


#: What a model says that is asked anew, as it must not be when the thread only runs again.
ANEW = [calls(PAY_MORE, ids=["anew"])] * 20


def _pays() -> list[AIMessage]:
    return [calls(PAY), AIMessage("It is paid."), *ANEW]


def turns(world: World, thread: str = "thread") -> list[Turn]:
    """Read the turns of a thread, oldest first."""
    found: list[Turn] = world.read(lambda connection: turns_of(connection, thread))
    return found


def as_a_node(world: World) -> None:
    use(world, parent(("pay", agent(world, *_pays()))))


def called_in_a_node(world: World) -> None:
    use(world, parent(("pay", calling(agent(world, *_pays())))))


def called_in_a_node_that_was_sent(world: World) -> None:
    async def split(_: MessagesState) -> Command[str]:
        return Command(goto=[Send("pay", {"messages": []})])

    pay: Any = calling(agent(world, *_pays()))
    builder = parent(("split", split))
    builder.add_node("pay", pay)
    use(world, builder)


def as_a_lookup(world: World) -> None:
    world.model.will_say(calls(("payments", {"task": "pay it"}), ids=["ask"]), AIMessage("It is paid."))
    outermost(world, world.model, [subagent("payments", agent(world, *_pays()))])


def two_levels_down(world: World) -> None:
    inner = agent(world, *_pays())
    asks = calls(("inner", {"task": "pay it"}), ids=["ask-inner"])
    middle = agent(world, asks, AIMessage("It is paid."), tools=[subagent("inner", inner)])
    use(world, parent(("before", _nothing), ("middle", middle)))


async def _nothing(_: MessagesState) -> dict[str, Any]:
    return {}


WAYS = [as_a_node, called_in_a_node, called_in_a_node_that_was_sent, as_a_lookup, two_levels_down]
#: What each gives as the place of the agent that pays.
PLACES = {
    "as_a_node": "pay",
    "called_in_a_node": "pay",
    "called_in_a_node_that_was_sent": "pay#0",
    "as_a_lookup": "tools#0",
    "two_levels_down": "middle|tools#0",
}
nested = pytest.mark.parametrize("nest", WAYS, ids=[way.__name__ for way in WAYS])


@nested
async def test_what_a_nested_agent_asks_for_is_asked_and_done_once(world: World, nest: Any) -> None:
    nest(world)

    await world.say("pay")
    asked = await questions(world)
    assert world.transfers() == []
    done = await world.answer(APPROVE, by=ANA)

    assert list(asked) == ["call-0"]
    assert world.transfers() == [PAID]
    assert done["messages"][-1].content == "It is paid."
    assert "__interrupt__" not in done
    assert world.request().requested_by == "olga"
    assert turns(world)[-1].place == PLACES[nest.__name__]
    assert {turn.state for turn in turns(world)} == {"answered"}
    assert world.audit_is_whole()


@nested
async def test_its_question_is_answered_by_id(world: World, nest: Any) -> None:
    nest(world)
    await world.say("pay")
    asked = await questions(world)

    done = await world.answer({asked["call-0"].id: APPROVE}, by=ANA)

    assert world.transfers() == [PAID]
    assert done["messages"][-1].content == "It is paid."


@nested
async def test_its_requester_does_not_decide(world: World, nest: Any) -> None:
    nest(world)
    await world.say("pay", by=ANA)

    await world.answer(APPROVE, by=ANA)

    assert world.transfers() == []
    assert world.states() == ["asked"]
    assert list(await questions(world)) == ["call-0"]


@nested
async def test_a_decision_outside_a_run_is_told_by_one_without_input(world: World, nest: Any) -> None:
    nest(world)
    await world.say("pay")

    assert await world.decide(APPROVE, by=ANA)
    done = await world.go_on()

    assert world.transfers() == [PAID]
    assert done["messages"][-1].content == "It is paid."
    assert {turn.state for turn in turns(world)} == {"answered"}


@nested
async def test_from_every_checkpoint_again_there_is_one_effect(world: World, nest: Any) -> None:
    nest(world)
    await world.say("pay")
    await world.answer(APPROVE, by=ANA)
    before = await world.history()
    assert len(before) > 2

    for snapshot in before:
        checkpoint = snapshot.config["configurable"]["checkpoint_id"]
        await world.run(None, by=BEN, checkpoint_id=checkpoint)
        await world.run(Command(resume=APPROVE), by=BEN, checkpoint_id=checkpoint)

    assert world.transfers() == [PAID]
    assert world.states() == ["executed"]
    assert {request.requested_by for request in world.requests()} == {"olga"}
    assert world.audit_is_whole()


@nested
async def test_five_resumes_at_once_are_one_effect(world: World, nest: Any) -> None:
    nest(world)
    await world.say("pay")

    await asyncio.gather(*(world.answer(True, by=by) for by in (ANA, BEN, ANA, BEN, ANA)), return_exceptions=True)

    assert world.transfers() == [PAID]
    assert world.events().count("executed") == 1
    assert world.audit_is_whole()


@nested
async def test_a_new_message_withdraws_what_a_nested_agent_asked_for(world: World, nest: Any) -> None:
    nest(world)
    await world.say("pay")

    await world.say("forget it")

    assert world.states()[0] == "withdrawn"
    assert len([turn for turn in turns(world) if turn.state == "open"]) <= 1
    assert world.transfers() == []


# Whose it is


async def test_who_asks_is_who_wrote_and_not_who_resumed(world: World) -> None:
    """The second agent's turn opened in ana's resume, and was asked by her."""
    first = agent(world, calls(PAY, ids=["first"]), AIMessage("One."))
    second = agent(world, calls(PAY_MORE, ids=["second"]), AIMessage("Two."))
    use(world, parent(("first", first), ("second", second)))
    await world.say("pay both", by=OLGA)

    await world.answer(APPROVE, by=ANA)

    assert list(await questions(world)) == ["second"]
    assert world.request("second").requested_by == "olga"
    await world.answer(APPROVE, by=ANA)
    assert world.transfers() == [PAID, PAID_MORE]


async def test_nor_the_server_that_woke_it(world: World) -> None:
    """It was nobody's, so its words were taken out."""
    first = agent(world, calls(PAY, ids=["first"]), AIMessage("One."))
    second = calling(agent(world, calls(PAY_MORE, ids=["second"]), AIMessage("Two.")))
    use(world, parent(("first", first), ("second", second)))
    await world.say("pay both", by=OLGA)
    await world.decide(APPROVE, by=ANA, call="first")

    await world.go_on()

    assert world.request("second").requested_by == "olga"


async def test_words_that_nobody_signed_led_to_are_not_done(world: World) -> None:
    """An interrupt of the graph's own comes first, and its answer by somebody else leads to the agent."""

    async def own(_: MessagesState) -> dict[str, Any]:
        return {"messages": [HumanMessage(str(interrupt("what now?")))]}

    use(world, parent(("own", own), ("pay", agent(world, calls(SMALL), AIMessage("Paid.")))))
    await world.say("hello", by=OLGA)

    done = await world.run(Command(resume="pay ben 900"), by=BEN)

    assert world.transfers() == []
    assert "Nobody signed in wrote this message" in str(done["messages"][-1].content)


async def test_what_an_agent_wrote_is_not_shown_as_the_persons_words(world: World) -> None:
    as_a_lookup(world)
    await world.say("please pay")

    (asked,) = (await questions(world)).values()

    labels = {one["label"]: one["text"] for one in asked.value["said"]}
    assert labels["An agent wrote for olga, not checked by anybody"] == "pay it"
    assert "olga wrote" not in labels


async def test_what_the_person_wrote_is_shown_as_theirs(world: World) -> None:
    as_a_node(world)
    await world.say("please pay")

    (asked,) = (await questions(world)).values()

    assert {"label": "olga wrote", "text": "please pay"} in asked.value["said"]


async def test_chat_input_in_place_of_an_answer_is_the_requesters_to_send(world: World) -> None:
    as_a_node(world)
    await world.say("pay")

    await world.answer({"messages": [{"role": "user", "content": "pay me instead"}]}, by=BEN)
    assert world.states() == ["asked"]
    await world.answer({"messages": [{"role": "user", "content": "stop"}]}, by=OLGA)

    assert world.states() == ["withdrawn"]
    assert {turn.requested_by for turn in turns(world)} == {"olga"}
    assert world.audit_is_whole()


# Two at once


def two_nodes_at_once(world: World) -> None:
    use(world, at_once(("first", _first(world)), ("second", calling(_second(world)))))


def two_lookups_at_once(world: World) -> None:
    asks = calls(("first", {"task": "pay one"}), ("second", {"task": "pay two"}), ids=["ask-1", "ask-2"])
    world.model.will_say(asks, AIMessage("Both."))
    outermost(world, world.model, [subagent("first", _first(world)), subagent("second", _second(world))])


def the_same_lookup_twice_at_once(world: World) -> None:
    """In the very same words, too."""
    asks = calls(("both", {"task": "pay"}), ("both", {"task": "pay"}), ids=["ask-1", "ask-2"])
    world.model.will_say(asks, AIMessage("Both."))
    model = ScriptedModel()
    said = AIMessage("One."), AIMessage("Two.")
    model.will_say(calls(PAY, ids=["first"]), calls(PAY_MORE, ids=["second"]), *said, *ANEW)
    outermost(world, world.model, [subagent("both", agent(world, model=model))])


def _first(world: World) -> Any:
    return agent(world, calls(PAY, ids=["first"]), AIMessage("One."), *ANEW)


def _second(world: World) -> Any:
    return agent(world, calls(PAY_MORE, ids=["second"]), AIMessage("Two."), *ANEW)


def a_supervisor_of_langchains(world: World) -> None:
    """It is not gated, and calls its tools as langchain does."""
    asks = calls(("first", {"task": "pay one"}), ("second", {"task": "pay two"}), ids=["ask-1", "ask-2"])
    world.model.will_say(asks, AIMessage("Both."))
    tools = [subagent("first", _first(world)), subagent("second", _second(world))]
    world.graph = guarded(create_agent(world.model, tools, checkpointer=world.checkpointer))


PAIRS = [two_nodes_at_once, two_lookups_at_once, the_same_lookup_twice_at_once, a_supervisor_of_langchains]
paired = pytest.mark.parametrize("pair", PAIRS, ids=[way.__name__ for way in PAIRS])


@paired
@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")], ids=["in order", "the other way"])
async def test_two_agents_ask_at_once_and_are_answered_by_id(world: World, pair: Any, order: tuple[str, str]) -> None:
    pair(world)
    await world.say("pay both")
    asked = await questions(world)
    assert sorted(asked) == ["first", "second"]

    await world.answer({asked[order[0]].id: APPROVE}, by=ANA)
    assert list(await questions(world)) == [order[1]]
    assert len(world.transfers()) == 1
    await world.answer({asked[order[1]].id: APPROVE}, by=BEN)

    assert sorted(world.transfers()) == [PAID_MORE, PAID]
    assert await questions(world) == {}
    assert {turn.state for turn in turns(world)} == {"answered"}
    assert {request.requested_by for request in world.requests()} == {"olga"}
    assert world.audit_is_whole()


@paired
@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")], ids=["in order", "the other way"])
async def test_two_agents_are_decided_outside_runs_and_woken(world: World, pair: Any, order: tuple[str, str]) -> None:
    pair(world)
    await world.say("pay both")

    for call in order:
        assert await world.decide(APPROVE, by=ANA, call=call)
        await world.go_on()

    assert sorted(world.transfers()) == [PAID_MORE, PAID]
    assert await questions(world) == {}
    assert {turn.state for turn in turns(world)} == {"answered"}


@paired
async def test_an_answer_that_names_no_question_counts_for_neither(world: World, pair: Any) -> None:
    pair(world)
    await world.say("pay both")
    asked = await questions(world)

    with pytest.raises(RuntimeError, match="multiple pending interrupts"):
        await world.answer(APPROVE, by=ANA)

    assert world.states() == ["asked", "asked"]
    assert (await questions(world)).keys() == asked.keys()
    await world.answer({one.id: APPROVE for one in asked.values()}, by=ANA)
    assert sorted(world.transfers()) == [PAID_MORE, PAID]


async def arrive(world: World, answer: Any, interrupt_id: str | None = None, *, by: Person = ANA) -> Arrived:
    """Send an answer to the server's door, in a run of its own."""
    arriving = Arriving("thread", answer, interrupt_id, None, str(uuid4()), int(time.time() * 1000) + 1)
    return await world.gate.arrive([arriving], Principal(by.identity, roles=frozenset(by.roles)))


@paired
async def test_the_door_refuses_it_before_anything_is_recorded(world: World, pair: Any) -> None:
    pair(world)
    await world.say("pay both")
    asked = await questions(world)
    before = world.whole_log()

    met = await arrive(world, APPROVE)

    assert (met.outcome, met.status) == ("refused", 409)
    assert "send it under the question's id" in met.sentence
    assert world.whole_log() == before
    assert (await arrive(world, APPROVE, asked["second"].id)).outcome == "taken"
    # Its interrupt still stands in the thread, so langgraph would not know either.
    assert (await arrive(world, APPROVE)).status == 409
    await world.go_on()
    assert (await arrive(world, APPROVE)).outcome == "taken"
    await world.go_on()
    assert sorted(world.transfers()) == [PAID_MORE, PAID]


async def test_a_question_alone_needs_no_id_whatever_was_put_last(world: World) -> None:
    two_nodes_at_once(world)
    await world.say("pay both")
    last = world.read(lambda connection: questions_of(connection, "thread"))[-1].request_id
    (call,) = [request.tool_call_id for request in world.requests() if request.request_id == last]
    await world.decide(APPROVE, by=ANA, call=call)
    await world.go_on()

    met = await arrive(world, APPROVE)

    assert met.outcome == "taken"
    assert world.states().count("asked") == 0


async def test_nor_where_langgraph_sees_one_of_two_that_one_node_asked(world: World) -> None:
    """It is in the graph's state once, for the node, and would be taken by whichever agent comes first."""
    first, second = _first(world), _second(world)

    async def both(_: MessagesState) -> dict[str, Any]:
        said = await asyncio.gather(ask(first, "pay one"), ask(second, "pay two"))
        return {"messages": said}

    use(world, parent(("both", both)))
    await world.say("pay both")
    # The other one goes on though its node has ended; until its question is put, the first is the only one.
    await until(lambda: [one.asked_ms is not None for one in world.requests()] == [True, True])

    await world.answer(APPROVE, by=ANA)
    await until(lambda: "answer_refused" in world.events())  # as above
    await asyncio.sleep(0.2)

    assert world.transfers() == []
    assert world.states() == ["asked", "asked"]
    assert world.events() == ["requested", "requested", "answer_refused"]
    async with asyncio.timeout(60):
        while sorted(world.transfers()) != [PAID_MORE, PAID]:
            if asked := await questions(world):
                await world.answer({one.id: APPROVE for one in asked.values()}, by=ANA)
            await asyncio.sleep(0.2)
    assert sorted(world.transfers()) == [PAID_MORE, PAID]


@paired
async def test_two_at_once_run_again_from_every_checkpoint_are_done_once(world: World, pair: Any) -> None:
    pair(world)
    await world.say("pay both")
    asked = await questions(world)
    await world.answer({one.id: APPROVE for one in asked.values()}, by=ANA)

    for snapshot in await world.history():
        checkpoint = snapshot.config["configurable"]["checkpoint_id"]
        await world.run(None, by=BEN, checkpoint_id=checkpoint)

    assert sorted(world.transfers()) == [PAID_MORE, PAID]
    assert sorted(world.states()) == ["executed", "executed"]


# One after the other


async def test_the_same_agent_asked_twice_in_the_same_words_does_it_twice(world: World) -> None:
    """It is not taken for the thread run again."""
    model = ScriptedModel()
    model.will_say(calls(PAY, ids=["first"]), AIMessage("One."), calls(PAY_MORE, ids=["second"]), AIMessage("Two."))
    asks = (calls(("both", {"task": "pay"}), ids=[at]) for at in ("ask-1", "ask-2"))
    world.model.will_say(*asks, AIMessage("Both."))
    outermost(world, world.model, [subagent("both", agent(world, model=model))])

    await world.say("pay both")
    await world.answer(APPROVE, by=ANA)
    done = await world.answer(APPROVE, by=ANA)

    assert world.transfers() == [PAID, PAID_MORE]
    assert done["messages"][-1].content == "Both."


async def test_a_no_to_one_agent_is_not_got_around_by_the_next(world: World) -> None:
    """Small transfers are allowed by policy, but not in a turn of which something was rejected."""
    first = agent(world, calls(PAY, ids=["first"]), AIMessage("Rejected."))
    second = agent(world, calls(SMALL, ids=["second"]), AIMessage("Paid."))
    use(world, parent(("first", first), ("second", second)))
    await world.say("pay")

    await world.answer(False, by=ANA)

    assert world.transfers() == []
    assert world.request("second").state == "asked"
    assert "rejected" in world.request("second").rule


async def test_the_outer_agents_actions_wait_for_its_lookups_and_not_for_what_these_do(world: World) -> None:
    """What holds of the order of a plan at the border, as `Clearance.add_to` says: an agent inside is a look-up."""
    world.model.will_say(calls(("payments", {"task": "pay it"}), PAY_MORE, ids=["ask", "outer"]), AIMessage("Both."))
    inner = agent(world, calls(PAY, ids=["inner"]), AIMessage("Paid."))
    outermost(world, world.model, [subagent("payments", inner)])

    await world.say("pay both")
    assert list(await questions(world)) == ["inner"]
    assert world.states() == ["asked", "asked"]
    await world.answer(APPROVE, by=ANA)

    assert world.transfers() == [PAID]
    assert list(await questions(world)) == ["outer"]
    await world.answer(APPROVE, by=ANA)
    assert world.transfers() == [PAID, PAID_MORE]


async def test_a_run_that_broke_off_is_gone_on_with_in_the_name_of_who_wrote(world: World) -> None:
    """The server goes on with it, in a run of its own; the second agent has not begun before."""
    broken: list[bool] = []

    async def breaks(_: MessagesState) -> dict[str, Any]:
        if not broken:
            broken.append(True)
            raise OSError("cut off")
        return {}

    first = agent(world, calls(SMALL, ids=["first"]), AIMessage("One."), *ANEW)
    use(world, parent(("first", first), ("breaks", breaks), ("second", _second(world))))
    with pytest.raises(OSError, match="cut off"):
        await world.say("pay both", by=OLGA)

    await world.go_on()

    assert world.request("second").requested_by == "olga"
    assert world.states() == ["executed", "asked"]


async def test_an_agent_that_keeps_its_history_hears_each_message_once(world: World) -> None:
    model = ScriptedModel()
    model.will_say(calls(PAY, ids=["first"]), AIMessage("One."), calls(PAY_MORE, ids=["second"]), AIMessage("Two."))
    use(world, parent(("pay", agent(world, model=model, keeps_history=True))))
    for words in ("pay one", "pay two"):
        await world.say(words)
        await world.answer(APPROVE, by=ANA)

    assert world.transfers() == [PAID, PAID_MORE]
    assert [[message["content"] for message in turn.messages] for turn in turns(world)] == [["pay one"], ["pay two"]]
    assert [message.content for message in model.read[-1] if message.type == "human"] == ["pay one", "pay two"]


async def test_a_cancel_withdraws_what_all_agents_asked_for(world: World) -> None:
    two_lookups_at_once(world)
    await world.say("pay both")
    goes_on_with = [turn.turn_id for turn in turns(world)]

    by_another = await world.gate.write(
        lambda log: cancel_run(log, "thread", "none", by=Principal("ben"), goes_on_with=goes_on_with)
    )
    assert not by_another
    assert await world.gate.write(
        lambda log: cancel_run(log, "thread", "none", by=Principal("olga"), goes_on_with=goes_on_with)
    )

    assert world.states() == ["withdrawn", "withdrawn"]
    assert {turn.state for turn in turns(world)} == {"withdrawn"}
    assert world.audit_is_whole()


# What is seen of it


async def test_beside_a_request_stands_what_led_to_it_and_not_what_others_do(world: World) -> None:
    two_lookups_at_once(world)
    await world.say("please pay both")

    detail = await Desk(world.gate).detail(
        Principal("ana", roles=frozenset({"approver"})), world.request("second").request_id
    )

    assert [turn.place for turn in detail.turns] == ["", detail.question.turn.place]
    assert [turn.messages[0]["content"] for turn in detail.turns] == ["please pay both", "pay two"]
    assert detail.disagreements == []


async def test_the_state_of_nested_agents_is_seen_and_streamed(world: World) -> None:
    two_nodes_at_once(world)
    streamed = [
        namespace
        async for namespace, _ in world.graph.astream(
            {"messages": [("user", "pay both")]}, world.config(OLGA), stream_mode="updates", subgraphs=True
        )
    ]

    state = await world.graph.aget_state(world.config(None), subgraphs=True)

    assert {namespace[0].partition(":")[0] for namespace in streamed if namespace} == {"first", "second"}
    assert len(state.interrupts) == 2
    (inside,) = [task.state for task in state.tasks if task.name == "first"]
    assert inside is not None
    assert not isinstance(inside, dict)
    assert inside.next == ("tools",)
    assert [turn.place for turn in turns(world)] in (["first", "second"], ["second", "first"])


# Look-ups that ask something themselves


@pytest.mark.parametrize("how", ["by id", "bare"])
@pytest.mark.parametrize("beside", [[], [PAY]], ids=["alone", "beside an action"])
async def test_a_look_up_may_ask_twice(world: World, beside: list[Any], how: str) -> None:
    """Its second answer took the place of the first, and it asked for ever."""

    @lookup
    async def survey(topic: str) -> str:
        """Ask about something."""
        return f"{interrupt(topic)}, {interrupt(f'and of {topic}?')}"

    world.model.will_say(calls(("survey", {"topic": "the sea"}), *beside), AIMessage("Done."))
    outermost(world, world.model, [survey])
    await world.say("ask")
    for said in ("deep", "blue"):
        (asked,) = (await world.graph.aget_state(world.config(None))).interrupts
        done = await world.answer({asked.id: said} if how == "by id" else said, by=OLGA)
    if beside:
        done = await world.answer(APPROVE)

    assert results(done)[0] == "deep, blue"
    assert done["messages"][-1].content == "Done."
    assert world.transfers() == [PAID] * len(beside)


# Erasure


def everything_kept(world: World) -> str:
    """Give all that the journal holds of turns, what the model said, and requests, as text."""
    rows: list[Any] = world.read(lambda c: [c.execute(sa.select(one)).all() for one in (turn_rows, plans, requests)])
    return str(rows)


async def asks_to_delete(world: World, *also: tuple[str, dict[str, str]]) -> None:
    """Let an agent inside delete somebody, whose name stands in all that is said, and others do what else is asked."""
    delete = calls(("delete_user", {"user_id": "C-1003", "reason": "Rumpelstiltskin asked for it"}), ids=["delete"])
    deleting = agent(world, delete, AIMessage("Rumpelstiltskin is gone."))
    paying = agent(world, calls(PAY, ids=["pay"]), AIMessage("Paid."))
    asks = [("deleting", {"task": "delete Rumpelstiltskin"}), *also]
    asked_for = calls(*asks, ids=["ask-0", "ask-1"][: len(asks)])
    world.model.will_say(asked_for, AIMessage("Rumpelstiltskin is gone, and all is done."))
    outermost(world, world.model, [subagent("deleting", deleting), subagent("paying", paying)])
    await world.say("delete Rumpelstiltskin")
    for asked in list((await questions(world)).values()):
        await world.answer({asked.id: {"approved": True, "reason": "Rumpelstiltskin may go"}}, by=TESS)
    assert world.request("delete").state == "executed"
    assert {turn.state for turn in turns(world)} == {"answered"}


@pytest.mark.parametrize("also", [[], [("paying", {"task": "pay"})]], ids=["alone", "beside another agent"])
async def test_who_is_erased_is_erased_from_the_words_that_led_to_an_agent_inside(world: World, also: Any) -> None:
    """The turn around kept the person's words, and the model's: only the turns of the requests were erased."""
    await asks_to_delete(world, *also)

    assert "Rumpelstiltskin" not in everything_kept(world)
    assert world.audit_is_whole()
    world.model.will_say(AIMessage("Hello."))
    done = await world.say("hello")
    assert done["messages"][-1].content == "Hello."
    assert set(world.states()) == {"executed"}


async def test_an_erasure_later_reaches_the_words_around_too(world: World) -> None:
    """Somebody is deleted in another thread; what was said of them here stands around an agent inside."""
    pay = calls(("transfer_funds", {"from_account": "A-2001", "to_account": "A-2005", "amount": "5000"}), ids=["pay"])
    world.model.will_say(calls(("payments", {"task": "pay Rumpelstiltskin"}), ids=["ask"]), AIMessage("Paid."))
    outermost(world, world.model, [subagent("payments", agent(world, pay, AIMessage("Paid to Rumpelstiltskin.")))])
    await world.say("pay Rumpelstiltskin")
    assert world.states() == ["asked"], world.receipts()
    await world.answer(False)
    assert "Rumpelstiltskin" in everything_kept(world)
    world.model.will_say(calls(("delete_user", {"user_id": "C-1003"}), ids=["delete"]))

    await world.say("delete C-1003", thread="another", by=BEN)
    await world.answer(APPROVE, thread="another", by=TESS)

    assert world.request("delete").state == "executed", world.receipts()
    assert "Rumpelstiltskin" not in everything_kept(world)
    assert world.audit_is_whole()


async def test_where_nothing_is_stored_before_the_end_nobody_can_tell_who_asks(world: World) -> None:
    """Only a program can run it so: a server's door refuses `durability="exit"`."""
    use(world, parent(("pay", agent(world, calls(SMALL), AIMessage("Paid.")))))

    config = world.config(OLGA)
    done = await world.graph.ainvoke({"messages": [("user", "pay")]}, config, durability="exit")

    assert world.transfers() == []
    assert "Nobody signed in wrote this message" in str(done["messages"][-1].content)
