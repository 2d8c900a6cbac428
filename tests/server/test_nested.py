"""Agents of ours inside a graph that is not, on the real server: asked, answered, woken, killed and gone on without."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk.errors import NotFoundError

from tests.support.conversation import Conversation, connected, converse
from tests.support.nested_graph import CONSULTING, SUPERVISED, NestedServer
from tests.support.server import ROOT, Server
from tests.support.tokens import bearer
from tests.support.waiting import until
from tests.support.world import ANA, BEN, OLGA, Person

#: Timekeeping looks every 5 s, and goes on with a turn that nothing runs on after 10.
APPROVE = {"approved": True}


@pytest.fixture(scope="module")
def nested(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NestedServer]:
    folder = tmp_path_factory.mktemp("nested")
    shutil.copy(seeded_sqlite, folder / "clearance.db")
    env = {"PYTHONPATH": str(ROOT)}
    server = NestedServer(folder, f"sqlite:///{folder / 'clearance.db'}", env=env, auth="on")
    yield server.start()
    server.stop()


@pytest.fixture
def killed(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NestedServer]:
    """A server of a test's own, which it kills."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copy(seeded_sqlite, folder / "clearance.db")
    env = {"PYTHONPATH": str(ROOT)}
    server = NestedServer(folder, f"sqlite:///{folder / 'clearance.db'}", env=env, auth="on")
    yield server.start()
    server.stop()


@pytest.fixture
async def talk(nested: NestedServer) -> AsyncIterator[Conversation]:
    """A thread of olga's."""
    async with connected(nested.url, **bearer(OLGA)) as client:
        yield await converse(client)


async def call(server: Server, person: Person, method: str, path: str, **options: Any) -> httpx.Response:
    """Call a route as somebody."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(person), timeout=60) as client:
        return await client.request(method, path, **options)


async def requests_of(server: Server, thread_id: str, state: str = "open") -> list[dict[str, Any]]:
    """List the requests of a thread, oldest first."""
    params = {"thread_id": thread_id, "state": state}
    listed = (await call(server, ANA, "GET", "/approvals/requests", params=params)).json()["requests"]
    return sorted(listed, key=lambda one: str(one["sentence"]))


async def decide(server: Server, request: dict[str, Any]) -> None:
    """Approve a request by the API."""
    body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
    met = await call(server, ANA, "POST", f"/approvals/requests/{request['id']}/decision", json=body)
    assert met.status_code == 200, met.text


async def resume(server: Server, thread_id: str, answer: Any, by: Person = ANA) -> httpx.Response:
    """Answer in the thread and wait for the run."""
    body = {"assistant_id": "clearance", "command": {"resume": answer}}
    return await call(server, by, "POST", f"/threads/{thread_id}/runs/wait", json=body)


async def is_over(talk: Conversation) -> bool:
    """Tell whether a thread has come to its end."""
    return await talk.status() == "idle" and not await talk.interrupts()


async def last_words(talk: Conversation) -> str:
    return str((await talk.messages())[-1]["content"])


async def test_a_node_of_ours_asks_and_is_answered_by_id(nested: NestedServer, talk: Conversation) -> None:
    await talk.say("transfer 1,001 from A-2001 to A-2003")
    (asked,) = await talk.interrupts()

    met = await resume(nested, talk.thread_id, {asked["id"]: APPROVE})

    assert met.status_code == 200
    assert "Transferred $1,001.00" in await last_words(talk)
    assert asked["value"]["requested_by"] == "olga"
    assert await is_over(talk)


async def test_a_decision_by_the_api_wakes_the_graph_around(nested: NestedServer, talk: Conversation) -> None:
    await talk.say("transfer 1,002 from A-2001 to A-2003")
    (request,) = await requests_of(nested, talk.thread_id)

    await decide(nested, request)
    await until(lambda: is_over(talk))

    messages = await talk.messages()
    assert "Transferred $1,002.00" in str(messages[-1]["content"])
    assert [one["content"] for one in messages if one["type"] == "human"] == ["transfer 1,002 from A-2001 to A-2003"]


@pytest.mark.parametrize("first", [0, 1], ids=["in order", "the other way"])
async def test_two_at_once_are_decided_by_the_api_in_any_order(
    nested: NestedServer, talk: Conversation, first: int
) -> None:
    """Waking put their words into the outer graph, 25 runs and 29 messages in under a minute."""
    await talk.say("each: transfer 1,003 from A-2001 to A-2003; transfer 1,004 from A-2001 to A-2002")
    listed = await requests_of(nested, talk.thread_id)
    assert len(listed) == 2

    await decide(nested, listed[first])
    await asyncio.sleep(2)
    assert len(await talk.interrupts()) == 1
    await decide(nested, listed[1 - first])
    await until(lambda: is_over(talk))

    messages = await talk.messages()
    assert [one["type"] for one in messages] == ["human", "ai", "ai"]
    assert {one["requested_by"] for one in listed} == {"olga"}
    runs = (await call(nested, OLGA, "GET", f"/threads/{talk.thread_id}/runs")).json()
    assert len(runs) <= 4


async def test_an_answer_without_an_id_is_refused_before_it_is_recorded(
    nested: NestedServer, talk: Conversation
) -> None:
    await talk.say("each: transfer 1,005 from A-2001 to A-2003; transfer 1,006 from A-2001 to A-2002")
    asked = await talk.interrupts()

    met = await resume(nested, talk.thread_id, APPROVE)

    assert met.status_code == 409
    assert "several questions are open in this thread" in met.text
    assert [one["state"] for one in await requests_of(nested, talk.thread_id)] == ["asked", "asked"]
    assert await talk.status() == "interrupted"
    await resume(nested, talk.thread_id, {asked[0]["id"]: APPROVE})
    assert (await resume(nested, talk.thread_id, APPROVE, by=BEN)).status_code == 200
    assert await is_over(talk)


async def test_the_second_agent_is_asked_for_by_who_wrote(nested: NestedServer, talk: Conversation) -> None:
    await talk.say("first: transfer 1,007 from A-2001 to A-2003; transfer 1,008 from A-2001 to A-2002")
    (asked,) = await talk.interrupts()

    await resume(nested, talk.thread_id, {asked["id"]: APPROVE})

    (following,) = await requests_of(nested, talk.thread_id)
    assert following["requested_by"] == "olga"
    await decide(nested, following)
    await until(lambda: is_over(talk))
    assert "Transferred $1,008.00" in await last_words(talk)


async def test_what_the_thread_went_on_without_is_withdrawn(nested: NestedServer, talk: Conversation) -> None:
    await talk.say("transfer 1,009 from A-2001 to A-2003")
    (request,) = await requests_of(nested, talk.thread_id)

    await talk.say("chat: how are you?")

    async def is_withdrawn() -> bool:
        return not await requests_of(nested, talk.thread_id)

    await until(is_withdrawn)
    seen = (await call(nested, OLGA, "GET", f"/approvals/requests/{request['id']}")).json()
    assert seen["receipt"]["outcome"] == "withdrawn"
    assert "went on without it" in seen["receipt"]["sentence"]
    assert await last_words(talk) == "Let us chat."


# Answers and words beside what an agent inside asks


async def own_and_ours(talk: Conversation) -> tuple[str, str]:
    """Give the ids of the interrupts that a thread waits with: of the graph's own node, and of the agent's question."""
    by_kind = {"question" in one["value"]: one["id"] for one in await talk.interrupts()}
    return by_kind[True], by_kind[False]


async def test_an_answer_without_an_id_beside_the_graphs_own_question_is_refused_before_it_is_recorded(
    nested: NestedServer, talk: Conversation
) -> None:
    """It was recorded, langgraph refused the run, and the thread took no answer any more."""
    await talk.say("beside: transfer 1,017 from A-2001 to A-2003")
    own, ours = await own_and_ours(talk)

    met = await resume(nested, talk.thread_id, APPROVE)

    assert met.status_code == 409
    assert "several questions are open in this thread" in met.text
    assert [one["state"] for one in await requests_of(nested, talk.thread_id)] == ["asked"]
    assert await talk.status() == "interrupted"
    both = await resume(nested, talk.thread_id, {own: "so", ours: APPROVE})
    assert (both.status_code, "send it by itself" in both.text) == (409, True)
    assert (await resume(nested, talk.thread_id, {ours: APPROVE})).status_code == 200
    assert (await resume(nested, talk.thread_id, {own: "so"}, by=OLGA)).status_code == 200
    assert await is_over(talk)
    said = str(await talk.messages())
    assert ("Transferred $1,017.00" in said, "You said so." in said) == (True, True)


@pytest.mark.parametrize("how", ["bare", "id", "command"])
async def test_what_the_graph_itself_asks_is_answered_by_who_speaks_in_the_thread(
    nested: NestedServer, talk: Conversation, how: str
) -> None:
    """Nobody could: who has no role got 403, who has one 409."""
    await talk.say("own: what")
    (asked,) = await talk.interrupts()
    answer = {"interrupt_id": asked["id"], "namespace": [], "response": "so"}
    command = {"id": 1, "method": "input.respond", "params": answer}

    async def answered_by(person: Person) -> httpx.Response:
        if how == "command":
            return await call(nested, person, "POST", f"/threads/{talk.thread_id}/commands", json=command)
        return await resume(nested, talk.thread_id, "so" if how == "bare" else {asked["id"]: "so"}, by=person)

    others = await answered_by(ANA)
    assert await talk.status() == "interrupted", others.text
    own = await answered_by(OLGA)

    assert "error" not in own.text
    await until(lambda: is_over(talk))
    assert await last_words(talk) == "You said so."


async def test_what_a_look_up_asks_is_left_to_whom_it_asks_though_all_else_is_decided(
    nested: NestedServer, talk: Conversation
) -> None:
    """A run was started again and again; then the turn was given up, and the question with it."""
    words: Any = {"messages": [{"role": "user", "content": "1021"}]}
    await talk.client.runs.wait(talk.thread_id, CONSULTING, input=words)
    (request,) = await requests_of(nested, talk.thread_id)

    await decide(nested, request)
    await asyncio.sleep(8)
    runs = (await call(nested, OLGA, "GET", f"/threads/{talk.thread_id}/runs")).json()
    (asked,) = await talk.interrupts()
    answer = {"assistant_id": CONSULTING, "command": {"resume": {asked["id"]: "so"}}}
    await call(nested, OLGA, "POST", f"/threads/{talk.thread_id}/runs/wait", json=answer)

    assert len(runs) == 2
    assert "They said so." in await last_words(talk)
    assert "Transferred $1,021.00" in await last_words(talk)
    assert await is_over(talk)


@pytest.mark.parametrize("how", ["api", "id", "bare"])
async def test_what_the_thread_went_on_without_is_not_approved_any_more(
    nested: NestedServer, talk: Conversation, how: str
) -> None:
    """It was for five seconds, and for as long as the run took that went on."""
    await talk.say("transfer 1,018 from A-2001 to A-2003")
    (request,) = await requests_of(nested, talk.thread_id)
    (asked,) = await talk.interrupts()
    words: Any = {"messages": [{"role": "user", "content": "slowly: how are you?"}]}
    await talk.client.runs.create(talk.thread_id, "clearance", input=words)

    async def goes_on() -> bool:
        return "slowly" in (await talk.client.threads.get_state(talk.thread_id))["next"]

    await until(goes_on)

    if how == "api":
        body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
        met = await call(nested, ANA, "POST", f"/approvals/requests/{request['id']}/decision", json=body)
    else:
        met = await resume(nested, talk.thread_id, APPROVE if how == "bare" else {asked["id"]: APPROVE})

    assert met.status_code == 409, met.text
    assert "withdrawn already" in met.text
    seen = (await call(nested, OLGA, "GET", f"/approvals/requests/{request['id']}")).json()
    assert seen["receipt"]["outcome"] == "withdrawn"


@pytest.mark.parametrize("open_ones", [1, 2])
async def test_words_of_the_second_protocol_are_a_new_message_to_the_graph_around(
    nested: NestedServer, talk: Conversation, open_ones: int
) -> None:
    """The server makes an answer of them: one agent heard them alone, and of two none, though it said success."""
    transfers = "transfer 1,019 from A-2001 to A-2003; transfer 1,020 from A-2001 to A-2002"
    await talk.say(f"each: {transfers}" if open_ones == 2 else transfers.partition(";")[0])
    start = {"assistant_id": "clearance", "input": {"messages": [{"role": "user", "content": "chat: hello"}]}}

    command = {"id": 1, "method": "run.start", "params": start}
    met = await call(nested, OLGA, "POST", f"/threads/{talk.thread_id}/commands", json=command)

    assert met.json()["type"] == "success", met.text

    async def is_answered() -> bool:
        return await last_words(talk) == "Let us chat."

    await until(is_answered)

    async def is_withdrawn() -> bool:
        return not await requests_of(nested, talk.thread_id)

    await until(is_withdrawn)
    assert await is_over(talk)


async def test_a_cancel_by_the_owner_withdraws_all_that_the_run_goes_on_with(
    nested: NestedServer, talk: Conversation
) -> None:
    await talk.say("each: transfer 1,010 from A-2001 to A-2003; transfer 1,011 from A-2001 to A-2002")
    assert len(await requests_of(nested, talk.thread_id)) == 2

    await call(nested, OLGA, "DELETE", f"/threads/{talk.thread_id}")

    assert await requests_of(nested, talk.thread_id) == []


async def test_the_state_inside_is_seen_and_streamed(nested: NestedServer, talk: Conversation) -> None:
    words: Any = {"messages": [{"role": "user", "content": "transfer 1,012 from A-2001 to A-2003"}]}
    streamed = [
        str(part.event)
        async for part in talk.client.runs.stream(
            talk.thread_id, "clearance", input=words, stream_mode="updates", stream_subgraphs=True
        )
    ]

    state: Any = await talk.client.threads.get_state(talk.thread_id, subgraphs=True)

    assert any(event.startswith("updates|pay:") for event in streamed)
    (inside,) = [task["state"] for task in state["tasks"] if task["name"] == "pay"]
    assert inside["next"] == ["tools"]
    assert inside["values"]["messages"]


async def test_an_agent_that_waits_for_others_is_left_to_wait_after_a_restart(killed: NestedServer) -> None:
    """Nothing of its own is asked, so it was run again and again, and given up."""
    server = killed
    words: Any = {"messages": [{"role": "user", "content": "transfer 1,015 from A-2001 to A-2003; transfer 1,016 from"
                  " A-2001 to A-2002"}]}  # fmt: skip
    async with connected(server.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await client.runs.wait(talk.thread_id, SUPERVISED, input=words)
        assert len(await talk.interrupts()) == 2
    server.kill()
    server.start()

    async with connected(server.url, **bearer(OLGA)) as client:
        talk = Conversation(client, talk.thread_id)
        await asyncio.sleep(20)
        runs = (await call(server, OLGA, "GET", f"/threads/{talk.thread_id}/runs")).json()
        assert len(runs) <= 3
        for request in await requests_of(server, talk.thread_id):
            await decide(server, request)
        await until(lambda: is_over(talk))
        said = await last_words(talk)

    assert "Transferred $1,015.00" in said
    assert "Transferred $1,016.00" in said


async def test_after_kill_and_restart_what_is_nested_goes_on(killed: NestedServer) -> None:
    """One is decided while the server is down, as the command does; the other is answered by id afterwards."""
    server = killed
    async with connected(server.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await talk.say("each: transfer 1,013 from A-2001 to A-2003; transfer 1,014 from A-2001 to A-2002")

    server.kill()
    server.start()
    async with connected(server.url, **bearer(OLGA)) as client:
        talk = Conversation(client, talk.thread_id)

        async def is_asked() -> bool:
            try:
                return await talk.status() == "interrupted" and len(await talk.interrupts()) == 2
            except NotFoundError:  # it is made again
                return False

        await until(is_asked)
        listed = await requests_of(server, talk.thread_id)
        await decide(server, listed[0])
        server.kill()
        server.start()

    async with connected(server.url, **bearer(OLGA)) as client:
        talk = Conversation(client, talk.thread_id)

        async def waits_for_one() -> bool:
            try:
                return await talk.status() == "interrupted" and len(await talk.interrupts()) == 1
            except NotFoundError:  # it is made again
                return False

        await until(waits_for_one)
        (asked,) = await talk.interrupts()
        met = await resume(server, talk.thread_id, {asked["id"]: APPROVE})
        assert met.status_code == 200
        await until(lambda: is_over(talk))
        messages = await talk.messages()

    assert [one["type"] for one in messages] == ["human", "ai", "ai"]
    assert sorted(str(one["content"])[-60:] for one in messages[1:])
    assert "Transferred $1,013.00" in str(messages)
    assert "Transferred $1,014.00" in str(messages)
