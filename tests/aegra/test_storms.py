"""Two clients answer the same request in the same instant. Aegra runs both: stock, two effects in fifty of fifty."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient

from tests.aegra.test_main_job import effects
from tests.support.aegra import Aegra
from tests.support.conversation import connected, converse
from tests.support.crash import with_policy

STORMS = 20
AT_ONCE = 4


@pytest.fixture(scope="module")
def storm_server(make_aegra: Callable[..., Aegra]) -> Aegra:
    """A server whose policy asks for everything above ten dollars, without cumulative limits."""
    server = make_aegra(AUTH="off")
    with_policy(server)
    return server.start()


@pytest.mark.parametrize("kind", ["by id", "bare"])
async def test_two_answers_at_once_have_one_effect(storm_server: Aegra, kind: str) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def storm(client: LangGraphClient, memo: str) -> None:
        async with slots:
            await _answered_twice(client, memo, kind)

    async with connected(storm_server.url) as client:
        await asyncio.gather(*(storm(client, f"{kind} {number}") for number in range(STORMS)))

    assert [effects(storm_server, f"{kind} {number}") for number in range(STORMS)] == [1] * STORMS


async def _answered_twice(client: LangGraphClient, memo: str, kind: str) -> None:
    talk = await converse(client)
    await talk.say(f"transfer 11.25 from A-2001 to A-2003 for {memo}")
    (question,) = await talk.interrupts()
    answer: Any = {question["id"]: {"approved": True}} if kind == "by id" else {"approved": True}

    answered = await asyncio.gather(*(talk.answer(answer) for _ in range(2)), return_exceptions=True)

    assert all(isinstance(one, dict) or _is_refused(one) for one in answered), answered
    # Whatever became of the two runs, the thread goes on, and knows what happened.
    said = await talk.say("show account A-2001")
    assert "A-2001" in said["messages"][-1]["content"]
    assert str(said["messages"]).count("'Transferred $11.25 from A-2001 to A-2003") == 1


def _is_refused(outcome: Any) -> bool:
    """Tell whether a client was told that there is nothing to answer any more."""
    return isinstance(outcome, httpx.HTTPStatusError) and outcome.response.status_code in (400, 409)


async def test_a_double_click_does_not_answer_the_next_question(storm_server: Aegra) -> None:
    """Aegra holds a resume that comes too early for up to a second: long enough for the next question to be put."""
    async with connected(storm_server.url) as client:
        for number in range(STORMS):
            first, second = f"click {number}a", f"click {number}b"
            talk = await converse(client)
            await talk.say(
                f"transfer 11.25 from A-2001 to A-2003 for {first} and 12.50 from A-2001 to A-2003 for {second}"
            )

            # A page has its connections open. And where the second click found the next question put, on a machine with
            # much to do, it would have come after it, as far as any server can tell.
            await asyncio.gather(*(talk.status() for _ in range(4)))
            with storm_server.held_up():
                clicks = [asyncio.create_task(talk.answer({"approved": True})) for _ in range(2)]
                await asyncio.sleep(0.05)
            await asyncio.gather(*clicks, return_exceptions=True)

            question = await talk.question()
            assert question is not None
            assert question["memo"] == second
            assert (effects(storm_server, first), effects(storm_server, second)) == (0, 0)
