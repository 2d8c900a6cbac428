"""Checkpoints keep what is new of a thread's messages: it is whole by every route of the server, and after a kill."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.support.conversation import GRAPH, Conversation, connected
from tests.support.server import Server

#: More than after how many all messages are kept once, and some after that.
TURNS = 15


@pytest.mark.parametrize("config", ["langgraph.dev.json", "langgraph.json"])
async def test_a_thread_is_whole_by_every_route(make_server: Callable[..., Server], config: str) -> None:
    server = make_server(config).start()
    async with connected(server.url) as client:
        talk = Conversation(client, (await client.threads.create())["thread_id"])
        for number in range(TURNS):
            await talk.say(f"balance of A-200{1 + number % 3}")
        await talk.say("transfer 5000 from A-2001 to A-2003")
        await talk.answer({"approved": True})
        said = _ids(await talk.messages())
        history: list[Any] = await client.threads.get_history(talk.thread_id, limit=1_000)
        past = [_ids(one["values"].get("messages", [])) for one in history]
        made: Any = await client.http.post(f"/threads/{talk.thread_id}/copy", json=None)
        copied = Conversation(client, made["thread_id"])
        of_copy = _ids(await copied.messages())
        forked = await _run_again(client, talk, history[len(history) // 2])
    assert len(said) == len(set(said)) >= 2 * TURNS + 4
    assert past[0] == said == of_copy
    assert all(earlier == later[: len(earlier)] for later, earlier in pairwise(past))
    assert [len(one) for one in past][-1] == 0
    assert forked

    # The development server's own checkpoints outlive no kill.
    (server.kill if config == "langgraph.dev.json" else server.stop)()
    server.start()
    async with connected(server.url) as client:
        # The server writes down every ten seconds which threads there are.
        for one in (talk, copied):
            await client.threads.create(thread_id=one.thread_id, if_exists="do_nothing", graph_id=GRAPH)
        after, of_copy = [_ids(await Conversation(client, one.thread_id).messages()) for one in (talk, copied)]
    assert (after, of_copy) == (forked, said)


async def _run_again(client: LangGraphClient, talk: Conversation, checkpoint: Any) -> list[str]:
    """Say something else at an earlier checkpoint, behind what stood there; give the ids of all that stands then."""
    stood = _ids(checkpoint["values"].get("messages", []))
    words: Any = {"messages": [{"role": "user", "content": "hello again"}]}
    at = checkpoint["checkpoint"]["checkpoint_id"]
    ended: Any = await client.runs.wait(talk.thread_id, GRAPH, input=words, checkpoint_id=at)
    now = _ids(ended["messages"])
    state = _ids(await talk.messages())
    said = [one["content"] for one in ended["messages"]]
    assert stood
    assert now[: len(stood)] == stood
    assert "hello again" in said[len(stood) :]
    assert state == now
    return now


def _ids(messages: list[Any]) -> list[str]:
    return [message["id"] for message in messages]
