"""Two clients answer the same request in the same instant, under each multitask strategy: one effect each."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from langgraph_sdk.client import LangGraphClient

from agent.bank.tables import transfers
from clearance.db.engine import Database
from tests.support.conversation import connected, converse
from tests.support.crash import with_policy
from tests.support.server import Server

STORMS = 50
AT_ONCE = 6


@pytest.fixture(scope="module")
def storm_server(make_server: Callable[..., Server]) -> Server:
    """A server whose policy asks for everything above ten dollars, without cumulative limits."""
    return with_policy(make_server()).start()


@pytest.mark.parametrize("strategy", ["reject", "enqueue", "interrupt", "rollback"])
async def test_two_answers_at_once_have_one_effect(storm_server: Server, strategy: str) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def storm(client: LangGraphClient, memo: str) -> None:
        async with slots:
            await _answered_twice(client, memo, strategy)

    async with connected(storm_server.url) as client:
        await asyncio.gather(*(storm(client, f"{strategy}{number}") for number in range(STORMS)))

    assert _effects(storm_server, strategy) == {f"{strategy}{number}": 1 for number in range(STORMS)}


async def _answered_twice(client: LangGraphClient, memo: str, strategy: str) -> None:
    talk = await converse(client)
    await talk.say(f"transfer 11.25 from A-2001 to A-2003 for {memo}")
    (question,) = await talk.interrupts()
    answer = {question["id"]: {"approved": True}}

    answered = await asyncio.gather(
        *(talk.answer(answer, multitask_strategy=strategy) for _ in range(2)), return_exceptions=True
    )

    assert all(isinstance(one, dict) or _is_allowed(one, strategy) for one in answered), answered
    # Whatever became of the two runs, the thread goes on, and knows what happened.
    said = await talk.say("show account A-2001", multitask_strategy="enqueue")
    assert "A-2001" in said["messages"][-1]["content"]
    assert "Transferred $11.25 from A-2001 to A-2003" in str(said["messages"])


def _is_allowed(outcome: Any, strategy: str) -> bool:
    """Tell whether a client may be told this: 409 under reject, the end of the run that another one replaced."""
    if isinstance(outcome, httpx.HTTPStatusError):
        return strategy == "reject" and outcome.response.status_code == 409
    return strategy in ("interrupt", "rollback")


def _effects(server: Server, strategy: str) -> dict[str, int]:
    database = Database(server.database_url)
    counted = sa.select(transfers.c.memo, sa.func.count()).where(transfers.c.memo.like(f"{strategy}%"))
    rows = database.read_now(lambda c: c.execute(counted.group_by(transfers.c.memo)).all())
    database.close()
    return {row[0]: row[1] for row in rows}
