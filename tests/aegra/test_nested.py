"""Agents of ours inside a graph that is not, on Aegra: asked at once, decided, woken, and gone on without."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.server.test_nested import APPROVE, call, decide, is_over, requests_of, resume
from tests.support.aegra import Aegra
from tests.support.conversation import Conversation, connected, converse
from tests.support.nested_graph import NestedAegra
from tests.support.server import ROOT
from tests.support.tokens import bearer
from tests.support.waiting import until
from tests.support.world import ANA, BEN, OLGA


@pytest.fixture(scope="module")
def nested(make_aegra: Callable[..., Aegra]) -> Aegra:
    return make_aegra(NestedAegra, PYTHONPATH=str(ROOT)).start()


@pytest.fixture
async def talk(nested: Aegra) -> AsyncIterator[Conversation]:
    """A thread of olga's."""
    async with connected(nested.url, **bearer(OLGA)) as client:
        yield await converse(client)


async def test_two_at_once_are_decided_by_the_api(nested: Aegra, talk: Conversation) -> None:
    await talk.say("each: transfer 1,003 from A-2001 to A-2003; transfer 1,004 from A-2001 to A-2002")
    listed = await requests_of(nested, talk.thread_id)
    assert {one["requested_by"] for one in listed} == {"olga"}

    for request in listed[::-1]:
        await decide(nested, request)
    await until(lambda: is_over(talk))

    messages = await talk.messages()
    assert [one["type"] for one in messages] == ["human", "ai", "ai"]
    assert "Transferred $1,003.00" in str(messages)
    assert "Transferred $1,004.00" in str(messages)


async def test_what_the_thread_went_on_without_is_withdrawn(nested: Aegra, talk: Conversation) -> None:
    await talk.say("transfer 1,009 from A-2001 to A-2003")
    assert len(await requests_of(nested, talk.thread_id)) == 1

    await talk.say("chat: how are you?")

    async def is_withdrawn() -> bool:
        return not await requests_of(nested, talk.thread_id)

    await until(is_withdrawn)
    assert (await talk.messages())[-1]["content"] == "Let us chat."


async def test_what_the_thread_went_on_without_is_not_approved_any_more(nested: Aegra, talk: Conversation) -> None:
    await talk.say("transfer 1,021 from A-2001 to A-2003")
    (request,) = await requests_of(nested, talk.thread_id)
    await talk.say("chat: how are you?")

    body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
    met = await call(nested, ANA, "POST", f"/approvals/requests/{request['id']}/decision", json=body)

    assert (met.status_code, "withdrawn already" in met.text) == (409, True), met.text


async def test_beside_the_graphs_own_question_an_answer_without_an_id_is_refused_before_it_is_recorded(
    nested: Aegra, talk: Conversation
) -> None:
    """Who may decide and speaks in the thread, too: Aegra lets nobody else at it."""
    async with connected(nested.url, **bearer(BEN)) as client:
        talk = await converse(client)
        await talk.say("beside: transfer 1,022 from A-2001 to A-2003")
        assert len(await talk.interrupts()) == 2

        met = await resume(nested, talk.thread_id, APPROVE, by=BEN)

        assert (met.status_code, "several questions" in met.text) == (409, True), met.text
        (request,) = await requests_of(nested, talk.thread_id)
        assert request["state"] == "asked"
        await decide(nested, request)

        async def waits_for_its_own() -> bool:
            waiting = await talk.interrupts()
            return await talk.status() == "interrupted" and [one["value"] for one in waiting] == [{"question": "what?"}]

        await until(waits_for_its_own)
        answered = await resume(nested, talk.thread_id, "so", by=BEN)
        assert answered.status_code == 200, answered.text
        await until(lambda: is_over(talk))
        said = str(await talk.messages())
        assert ("Transferred $1,022.00" in said, "You said so." in said) == (True, True)


@pytest.mark.parametrize("how", ["bare", "id"])
async def test_what_the_graph_itself_asks_is_answered_by_who_speaks_in_the_thread(
    nested: Aegra, talk: Conversation, how: str
) -> None:
    await talk.say("own: what")
    (asked,) = await talk.interrupts()
    answer = "so" if how == "bare" else {asked["id"]: "so"}

    others = await resume(nested, talk.thread_id, answer)
    own = await resume(nested, talk.thread_id, answer, by=OLGA)

    assert (others.status_code // 100, own.status_code) == (4, 200), (others.text, own.text)
    await until(lambda: is_over(talk))
    assert (await talk.messages())[-1]["content"] == "You said so."


async def test_words_of_the_second_protocol_that_nobody_would_hear_are_refused(
    nested: Aegra, talk: Conversation
) -> None:
    """It said success, and nobody heard them."""
    await talk.say("each: transfer 1,023 from A-2001 to A-2003; transfer 1,024 from A-2001 to A-2002")
    words = {"messages": [{"role": "user", "content": "chat: hello"}]}
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "clearance", "input": words}}

    met = await call(nested, OLGA, "POST", f"/threads/{talk.thread_id}/commands", json=command)

    assert "send them as the input of a run" in met.text
    assert len(await requests_of(nested, talk.thread_id)) == 2
    await talk.say("chat: hello")
    assert (await talk.messages())[-1]["content"] == "Let us chat."
