"""A connection on Aegra ends with the token that opened it: streams that it serves itself, and ours."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from clearance.server.entry.token_lifetimes import ENDED
from tests.aegra.test_recovery import held_up
from tests.attacks.targets import Case, Target
from tests.server.test_lifetimes import ending, with_token
from tests.support.aegra import Aegra
from tests.support.conversation import GRAPH

SAY: dict[str, Any] = {"assistant_id": GRAPH, "input": {"messages": [{"role": "user", "content": "hello"}]}}
#: Runs wait for the gate's lock as long as the token lasts.
STREAMS = [
    pytest.param("POST", "/threads/{thread}/runs/stream", SAY, id="of a run"),
    pytest.param("GET", "/threads/{thread}/runs/{run}/stream", None, id="of a run that goes on"),
    pytest.param("POST", "/threads/{thread}/stream/events", {"channels": ["values"]}, id="of events"),
    pytest.param("GET", "/approvals/stream", None, id="of approvals"),
]


@pytest.fixture(scope="module")
def target(make_aegra: Callable[..., Aegra]) -> Target:
    return Target("ours", make_aegra(AUTH="on").start())


@pytest.fixture
async def case(target: Target) -> AsyncIterator[Case]:
    made = Case(target)
    yield made
    await made.close()


@pytest.mark.parametrize(("method", "path", "body"), STREAMS)
async def test_a_stream_ends_with_its_token_and_says_why(
    case: Case, method: str, path: str, body: dict[str, Any] | None
) -> None:
    assert case.ana.person
    thread_id, run_id = await case.ana.thread(), ""
    headers = with_token(ending(case.ana.person, 6))
    with held_up(case.target.server):
        if "{run}" in path:
            run_id = (await case.ana.run(thread_id, wait=False, **SAY)).body["run_id"]
        began = time.monotonic()
        async with (
            httpx.AsyncClient(base_url=case.target.url, headers=headers, timeout=60) as http,
            http.stream(method, path.format(thread=thread_id, run=run_id), json=body) as answer,
        ):
            heard = "".join([chunk async for chunk in answer.aiter_text()])
            lasted_s = time.monotonic() - began
            late = await http.get(f"/threads/{thread_id}")

    assert (answer.status_code, late.status_code) == (200, 401)
    assert heard.count("event: error") == 1, heard[-500:]
    assert ENDED in heard
    assert lasted_s < 40
