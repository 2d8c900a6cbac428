"""Generated answers through the real server: none of them decides, and none leaves a thread stuck."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from langgraph_sdk.client import LangGraphClient

from tests.support.conversation import Conversation, connected, converse
from tests.support.created import CreatedServer
from tests.support.made_up import made_up
from tests.support.server import Server

THREADS = 10
ANSWERS = 10


async def test_a_hundred_generated_answers_decide_nothing_and_stick_nowhere(client: LangGraphClient) -> None:
    await _fuzz(client)


async def test_nor_in_an_agent_of_create_agent(make_server: Callable[..., Server]) -> None:
    async with connected(make_server(kind=CreatedServer).start().url) as client:
        await _fuzz(client)


async def _fuzz(client: LangGraphClient) -> None:
    chance = random.Random(20261122)
    talks = [await converse(client) for _ in range(THREADS)]

    answered = await asyncio.gather(*(_answer_all(talk, [made_up(chance) for _ in range(ANSWERS)]) for talk in talks))

    assert sum(answered) == THREADS * ANSWERS


async def _answer_all(talk: Conversation, answers: list[Any]) -> int:
    await talk.say("transfer 1,500 from A-2001 to A-2003")
    for answer in answers:
        await talk.answer_by_id(answer)
        question = await talk.question()
        assert question is not None, f"{json.dumps(answer)} decided"
        assert question["notice"], f"{json.dumps(answer)} was not refused"
        assert await talk.status() == "interrupted"
    done = await talk.answer({"approved": False, "reason": "fuzzed enough"})
    assert "fuzzed enough" in done["messages"][-1]["content"]
    return len(answers)
