"""Words that the graph around an agent hands to it once more, with new ones: what it said to them stands there."""

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.graph import MessagesState

from tests.support.nested import APPROVE, PAY, SMALL, agent, parent, use
from tests.support.scripted_model import calls
from tests.support.world import ANA, OLGA, World

pytestmark = pytest.mark.parametrize("world", ["sqlite", "middleware"], indirect=True)


def types_of(messages: Sequence[BaseMessage]) -> list[str]:
    return [message.type for message in messages]


async def test_what_was_withdrawn_and_done_is_not_asked_for_again_with_the_next_message(world: World) -> None:
    """The agent heard both messages as new ones, and paid a second time."""
    read: list[Sequence[BaseMessage]] = []

    def answers(messages: Sequence[BaseMessage]) -> AIMessage:
        read.append(messages)
        return AIMessage("All right.")

    use(world, parent(("pay", agent(world, calls(SMALL), calls(PAY), answers))))
    await world.say("pay 900, then 5,000", by=OLGA)

    done = await world.say("never mind", by=OLGA)

    (seen,) = read
    said = [message for message in seen if message.type != "system"]
    assert types_of(said) == ["human", "ai", "tool", "ai", "tool", "ai", "human"]
    assert said[5].content == "[The person wrote again before I said more.]"
    assert "withdrawn" in str(said[4].content)
    assert [message.content for message in said if message.type == "human"] == ["pay 900, then 5,000", "never mind"]
    assert world.transfers() == [("A-2001", "A-2003", 90_000)]
    assert done["messages"][-1].content == "All right."
    assert "forged" not in " ".join(world.events())
    assert world.audit_is_whole()


async def test_nor_what_the_graph_around_keeps_no_answer_to(world: World) -> None:
    read: list[Sequence[BaseMessage]] = []

    def answers(messages: Sequence[BaseMessage]) -> AIMessage:
        read.append(messages)
        return AIMessage("All right.")

    pays = agent(world, calls(PAY), AIMessage("It is paid."), answers)

    async def quietly(state: MessagesState) -> dict[str, Any]:
        await pays.ainvoke({"messages": state["messages"]})
        return {}

    use(world, parent(("pay", quietly)))
    await world.say("pay", by=OLGA)
    await world.answer(APPROVE, by=ANA)

    await world.say("thanks", by=OLGA)

    (seen,) = read
    assert types_of([one for one in seen if one.type != "system"]) == ["human", "ai", "tool", "ai", "human"]
    assert world.transfers() == [("A-2001", "A-2003", 500_000)]


async def test_words_that_are_handed_again_alone_are_said_again(world: World) -> None:
    pays = agent(world, calls(PAY), AIMessage("It is paid."), calls(PAY), AIMessage("It is paid again."))

    async def always(state: MessagesState) -> dict[str, Any]:
        done = await pays.ainvoke({"messages": [{"role": "user", "content": "pay", "id": "fixed"}]})
        return {"messages": done["messages"][-1:]}

    use(world, parent(("pay", always)))
    for text in ("now", "once more"):
        await world.say(text, by=OLGA)
        done = await world.answer(APPROVE, by=ANA)

    assert done["messages"][-1].content == "It is paid again."
    assert world.transfers() == [("A-2001", "A-2003", 500_000)] * 2
