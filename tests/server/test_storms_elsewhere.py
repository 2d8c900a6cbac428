"""Two clients approve the same payment in the same instant, under each multitask strategy: paid once, and told.

`STORMS=50` makes fifty of each.
"""

import asyncio
import os
from collections.abc import Iterator

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.server.test_external import said
from tests.server.test_storms import _is_allowed
from tests.support.conversation import connected, converse
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider
from tests.support.waiting import until

STORMS, AT_ONCE = int(os.environ.get("STORMS", "3")), 4


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[PayingServer]:
    folder = tmp_path_factory.mktemp("storms")
    made = PayingServer(folder, f"sqlite:///{folder / 'clearance.db'}", env=environment(provider.url))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.mark.parametrize("strategy", ["reject", "enqueue", "interrupt", "rollback"])
async def test_two_approvals_at_once_pay_once(server: PayingServer, provider: Provider, strategy: str) -> None:
    # Longer than it takes the second answer to come; every third answer is lost.
    provider.mood, provider.takes_s = "slow", 0.4
    provider.next = ["slow", "slow", "breaks after"] * STORMS
    accounts = [f"X-{strategy}-{number}" for number in range(STORMS)]
    slots = asyncio.Semaphore(AT_ONCE)

    async def storm(client: LangGraphClient, account: str) -> None:
        async with slots:
            await _approved_twice(client, account, strategy)

    async with connected(server.url) as client:
        await asyncio.gather(*(storm(client, account) for account in accounts))

    paid = [account for account, _ in provider.paid() if account in accounts]
    assert sorted(paid) == sorted(accounts)


async def _approved_twice(client: LangGraphClient, account: str, strategy: str) -> None:
    talk = await converse(client)
    await talk.say(f"pay out: account {account}, amount 5000")
    (asked,) = await talk.interrupts()
    answer = {asked["id"]: {"approved": True}}

    answered = await asyncio.gather(
        *(talk.answer(answer, multitask_strategy=strategy) for _ in range(2)), return_exceptions=True
    )

    assert all(isinstance(one, dict) or _is_allowed(one, strategy) for one in answered), answered
    await until(lambda: said(talk, f"Paid 5000 to {account}"))
    # Whatever became of the two runs, the thread goes on.
    await talk.say("hello", multitask_strategy="enqueue")
    assert (await talk.messages())[-1]["content"]
