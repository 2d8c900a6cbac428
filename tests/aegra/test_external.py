"""External actions on Aegra: approved by the API, performed once, and told in the thread by itself."""

from collections.abc import Callable, Iterator

import pytest

from tests.server.test_external import said
from tests.server.test_nested import decide, requests_of
from tests.support.aegra import Aegra
from tests.support.conversation import connected, converse
from tests.support.paying import PayingAegra, environment
from tests.support.payments import Provider
from tests.support.tokens import bearer
from tests.support.waiting import until
from tests.support.world import OLGA


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


async def test_a_lost_answer_is_found_and_told_without_being_asked(
    make_aegra: Callable[..., Aegra], provider: Provider
) -> None:
    server = make_aegra(PayingAegra, **environment(provider.url)).start()
    provider.next, provider.is_blind = ["breaks after"], True
    async with connected(server.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await talk.say("pay out: account X-1, amount 5000")
        (request,) = await requests_of(server, talk.thread_id)

        await decide(server, request)
        await until(lambda: said(talk, "Nobody knows yet whether pay_out was done"))
        provider.is_blind = False
        await until(lambda: said(talk, "Paid 5000 to X-1 (P-1)."))

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 1
