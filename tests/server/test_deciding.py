"""A decision on the real server is carried out whatever stands in the queue; the queue is how a thread learns of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.server import Server

FAR_S = 1_000_000_000


@pytest.fixture(scope="module")
def slow(make_server: Callable[..., Server]) -> Server:
    """A server without a wall, where an analysis takes some seconds."""
    return make_server(ANALYSIS_CHUNK="1").start()


@pytest.fixture
async def talk(slow: Server) -> AsyncIterator[Conversation]:
    """A thread."""
    async with connected(slow.url) as client:
        yield await converse(client)


async def held(server: Server, talk: Conversation, sentence: str) -> list[dict[str, Any]]:
    """Say something that is held; give its requests in the order the model wrote them."""
    await talk.say(sentence)
    async with httpx.AsyncClient(base_url=f"{server.url}/approvals", timeout=60) as client:
        found = (await client.get("/requests", params={"thread_id": talk.thread_id})).json()["requests"]
        payload = (await client.get(f"/requests/{found[0]['id']}")).json()["payload"]
    order = [one["id"] for one in payload["turn"]["requests"]]
    return sorted(found, key=lambda one: order.index(one["id"]))


async def decide(server: Server, request: dict[str, Any], word: str = "approve") -> dict[str, Any]:
    """Decide on a request as it was listed."""
    body = {"decision": word, "digest": request["digest"], "revision": request["revision"]}
    async with httpx.AsyncClient(base_url=f"{server.url}/approvals", timeout=60) as client:
        answered = await client.post(f"/requests/{request['id']}/decision", json=body)
    assert answered.status_code == 200, answered.text
    return dict(answered.json())


async def until_told(talk: Conversation, words: str) -> list[dict[str, Any]]:
    """Wait until the agent says something; give the transcript."""
    for _ in range(600):
        messages = await talk.messages()
        if messages and messages[-1]["type"] == "ai" and words in str(messages[-1]["content"]):
            return messages
        await asyncio.sleep(0.1)
    raise AssertionError(f"{words!r} was not said: {[one['content'] for one in await talk.messages()]}")


async def pending(talk: Conversation) -> int:
    """Count the runs that wait in the queue of a thread."""
    return len(await talk.client.runs.list(talk.thread_id, status="pending", limit=100))


async def test_a_run_that_is_never_due_keeps_away_neither_the_effect_nor_its_telling(
    slow: Server, talk: Conversation
) -> None:
    first, second = await held(slow, talk, "transfer 1,701 from A-2001 to A-2003 and 1,702 from A-2001 to A-2002")
    await talk.client.runs.create(talk.thread_id, GRAPH, input=None, after_seconds=FAR_S)

    await decide(slow, first)
    done = await decide(slow, second)
    messages = await until_told(talk, "$1,702.00")

    assert done["receipt"]["outcome"] == "executed"
    assert [message["type"] for message in messages] == ["human", "ai", "tool", "tool", "ai"]
    assert await pending(talk) == 1


async def test_a_question_that_follows_is_put_once_beside_a_run_that_is_never_due(
    slow: Server, talk: Conversation
) -> None:
    first, second = await held(slow, talk, "transfer 1,703 from A-2001 to A-2003 and 1,704 from A-2001 to A-2002")
    await talk.client.runs.create(talk.thread_id, GRAPH, input=None, after_seconds=FAR_S)

    await decide(slow, first)
    for _ in range(600):
        if (asked := await talk.question()) and asked["id"] == second["id"]:
            break
        await asyncio.sleep(0.1)
    before = len(await talk.client.runs.list(talk.thread_id, limit=100))
    await asyncio.sleep(3)

    assert asked is not None
    assert asked["id"] == second["id"]
    assert len(await talk.client.runs.list(talk.thread_id, limit=100)) == before
    await decide(slow, second, "reject")


async def test_an_approval_is_carried_out_while_the_queue_is_full(slow: Server, talk: Conversation) -> None:
    (request,) = await held(slow, talk, "transfer 1,705 from A-2001 to A-2003")
    others = [await converse(talk.client) for _ in range(30)]
    for other in others:
        words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
        await talk.client.runs.create(other.thread_id, GRAPH, input=words)

    done = await decide(slow, request)
    waiting = sum([await pending(other) for other in others])
    told = await talk.messages()
    for other in others:
        await talk.client.threads.delete(other.thread_id)

    assert done["receipt"]["outcome"] == "executed"
    assert waiting > 5
    assert "1,705" not in str(told[-1]["content"])
    await until_told(talk, "$1,705.00")


async def test_who_hangs_up_after_deciding_has_decided(slow: Server, talk: Conversation) -> None:
    (request,) = await held(slow, talk, "transfer 1,706 from A-2001 to A-2003")
    sent = httpx.Request(
        "POST",
        f"{slow.url}/approvals/requests/{request['id']}/decision",
        json={"decision": "approve", "digest": request["digest"], "revision": request["revision"]},
    )
    lines = [f"POST {sent.url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.headers.items())]

    with socket.create_connection(("127.0.0.1", slow.port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + sent.content)

    await until_told(talk, "$1,706.00")


async def test_many_decisions_at_once_leave_no_pile_of_runs(slow: Server, talk: Conversation) -> None:
    sums = " and ".join(f"{1_710 + number} from A-2001 to A-2003" for number in range(6))
    requests = await held(slow, talk, f"transfer {sums}")
    before = len(await talk.client.runs.list(talk.thread_id, limit=100))

    await asyncio.gather(*(decide(slow, request) for request in requests))
    await until_told(talk, "$1,715.00")
    runs = len(await talk.client.runs.list(talk.thread_id, limit=100)) - before

    assert runs <= 2
