"""Generated answers through the real server: none of them decides, and none leaves a thread stuck."""

import asyncio
import json
import random
from typing import Any

from langgraph_sdk.client import LangGraphClient

from tests.support.conversation import Conversation, converse

THREADS = 10
ANSWERS = 10
WORDS = ["approve", "approved", "true", "false", "yes", "no", "reject", "edit", "accept", "ok", "1", "", "null"]
KEYS = ["approved", "type", "decisions", "args", "reason", "edited_args", "edited_action", "id", "digest", "name", "x"]


def made_up(chance: random.Random, depth: int = 0) -> Any:
    """Make JSON that looks like an answer and is none: its truth values are never the booleans a decision needs."""
    kinds = ["word", "number", "list", "object"] if depth < 3 else ["word", "number"]
    match chance.choice(kinds):
        case "word":
            return chance.choice(WORDS)
        case "number":
            return chance.choice([0, 1, -1, 3.5, 2**60])
        case "list":
            return [made_up(chance, depth + 1) for _ in range(chance.randrange(3))]
        case _:
            keys = chance.sample(KEYS, chance.randrange(1, 4))
            # A type outside the words of a decision, so that what is made up never is one by chance.
            return {key: "perhaps" if key == "type" else made_up(chance, depth + 1) for key in keys}


async def test_a_hundred_generated_answers_decide_nothing_and_stick_nowhere(client: LangGraphClient) -> None:
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
