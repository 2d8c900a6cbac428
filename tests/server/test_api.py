"""The approvals API on the real server: who may see and do what, and a decision that is carried out in its thread."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.conversation import Conversation, connected, converse
from tests.support.server import Server
from tests.support.tokens import bearer
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, Person


@pytest.fixture(scope="module")
def walled(make_server: Callable[..., Server]) -> Server:
    """A server as it is deployed, with authentication."""
    server = make_server()
    server.auth = "on"
    return server.start()


@pytest.fixture
async def talk(walled: Server) -> AsyncIterator[Conversation]:
    """A thread of olga's."""
    async with connected(walled.url, **bearer(OLGA)) as client:
        yield await converse(client)


async def call(server: Server, person: Person | None, method: str, path: str, **options: Any) -> httpx.Response:
    """Call a route of ours as somebody, or as nobody."""
    headers = bearer(person) if person else {}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        return await client.request(method, f"/approvals{path}", **options)


async def held(server: Server, talk: Conversation, sentence: str) -> list[dict[str, Any]]:
    """Say something that is held; give its requests in the order the model wrote them."""
    await talk.say(sentence)
    found = (await call(server, ANA, "GET", "/requests", params={"thread_id": talk.thread_id})).json()["requests"]
    payload = (await call(server, ANA, "GET", f"/requests/{found[0]['id']}")).json()["payload"]
    order = [one["id"] for one in payload["turn"]["requests"]]
    return sorted(found, key=lambda one: order.index(one["id"]))


async def decide(server: Server, person: Person, request: dict[str, Any], word: str = "approve", **more: Any) -> Any:
    """Decide on a request as it was listed."""
    body = {"decision": word, "digest": request["digest"], "revision": request["revision"], **more}
    return await call(server, person, "POST", f"/requests/{request['id']}/decision", json=body)


async def test_a_decision_answers_when_the_effect_is_in(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,501 from A-2001 to A-2003")

    answered = await decide(walled, ANA, request)

    assert answered.status_code == 200
    assert answered.json()["receipt"]["outcome"] == "executed"
    assert "Transferred $1,501.00 from A-2001 to A-2003" in answered.json()["sentence"]


async def test_requests_of_a_plan_are_decided_in_any_order_and_the_agent_goes_on(
    walled: Server, talk: Conversation
) -> None:
    first, second = await held(walled, talk, "transfer 1,502 from A-2001 to A-2003 and 1,503 from A-2001 to A-2002")

    early = await decide(walled, BEN, second)
    done = await decide(walled, ANA, first)
    said = await _last_words(talk)

    assert early.json()["receipt"] is None
    assert early.json()["waits_for"] == [first["id"]]
    assert done.json()["receipt"]["outcome"] == "executed"
    assert "$1,502.00" in said
    assert "$1,503.00" in said


async def _last_words(talk: Conversation) -> str:
    for _ in range(100):
        if await talk.status() == "idle":
            break
        await asyncio.sleep(0.1)
    return str((await talk.messages())[-1]["content"])


async def test_two_approvers_at_once_are_both_counted(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 25,001 from A-2001 to A-2003")

    answers = await asyncio.gather(decide(walled, TESS, request), decide(walled, TOM, request))

    assert [answer.status_code for answer in answers] == [200, 200]
    shown = (await call(walled, ANA, "GET", f"/requests/{request['id']}")).json()
    assert shown["receipt"]["outcome"] == "executed"
    assert {event["actor"] for event in shown["history"] if event["event"] == "approved"} == {"tess", "tom"}


async def test_what_is_out_of_the_ordinary_is_told_first(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 12,000 from A-2002 to A-2003")

    shown = (await call(walled, ANA, "GET", f"/requests/{request['id']}")).json()

    assert any("of what A-2002 holds" in one["text"] for one in shown["look_first"]), shown["look_first"]
    await decide(walled, ANA, request, "reject")


async def test_who_is_second_hears_that_it_is_decided(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,504 from A-2001 to A-2003")
    await decide(walled, ANA, request, "reject", reason="the invoice is paid")

    late = await decide(walled, BEN, request)

    assert late.status_code == 409
    assert late.json() == {"detail": "Not recorded: it is rejected already."}
    assert "the invoice is paid" in await _last_words(talk)


async def test_who_asked_cannot_decide_and_who_holds_no_role_sees_only_their_own(
    walled: Server, talk: Conversation
) -> None:
    (request,) = await held(walled, talk, "transfer 1,505 from A-2001 to A-2003")
    stranger = Person("nora")

    own = await decide(walled, OLGA, request)
    other = await decide(walled, stranger, request)
    listed = await call(walled, stranger, "GET", "/requests")

    assert own.status_code == 403
    assert other.status_code == 404
    assert listed.json()["requests"] == []
    assert (await call(walled, OLGA, "GET", f"/requests/{request['id']}")).status_code == 200
    for method, path in (("GET", "/audit"), ("GET", "/audit/verification"), ("GET", "/stream"), ("DELETE", "/freeze")):
        assert (await call(walled, OLGA, method, path)).status_code == 403


async def test_an_edit_is_checked_first_and_then_made(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 6,001 from A-2001 to A-2003")
    change = {"arguments": {"amount": "1506"}, "digest": request["digest"], "revision": request["revision"]}

    checked = (await call(walled, ANA, "POST", f"/requests/{request['id']}/check", json=change)).json()
    wrong = await call(walled, ANA, "POST", f"/requests/{request['id']}/check",
                       json={**change, "arguments": {"amount": "-1"}})  # fmt: skip
    before = (await call(walled, ANA, "GET", f"/requests/{request['id']}")).json()["request"]
    made = await decide(walled, ANA, request, "edit", arguments={"amount": "1506"})

    assert checked["sentence"].startswith("Transfer $1,506.00 from A-2001")
    assert checked["is_enough"]
    assert wrong.status_code == 422
    assert "amount" in wrong.json()["detail"]
    assert before["revision"] == 1
    assert "Transferred $1,506.00" in made.json()["sentence"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "decision"),
        ({"decision": "yes", "digest": "d", "revision": 1}, "decision"),
        ({"decision": "approve", "revision": 1}, "digest"),
        ({"decision": "approve", "digest": "d", "revision": 1, "by": "ana"}, "by"),
        ({"decision": "edit", "digest": "d", "revision": 1}, "arguments"),
        ({"decision": "reject", "digest": "d", "revision": 1, "reason": "x" * 2001}, "reason"),
    ],
)
async def test_what_is_no_decision_is_refused_by_name(
    walled: Server, talk: Conversation, body: dict[str, Any], named: str
) -> None:
    (request,) = await held(walled, talk, "transfer 1,507 from A-2001 to A-2003")

    refused = await call(walled, ANA, "POST", f"/requests/{request['id']}/decision", json=body)

    assert refused.status_code == 422
    assert named in refused.text


async def test_a_decision_on_other_arguments_than_shown_is_refused(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,508 from A-2001 to A-2003")

    refused = await decide(walled, ANA, {**request, "digest": "0" * 64})
    older = await decide(walled, ANA, {**request, "revision": 0})

    assert (refused.status_code, older.status_code) == (409, 200)
    assert "other arguments" in refused.json()["detail"]


async def test_a_request_whose_thread_is_gone_is_shown_so_and_can_be_closed(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,509 from A-2001 to A-2003")
    shown = await call(walled, ANA, "GET", f"/requests/{request['id']}")
    early = await call(walled, ANA, "POST", f"/requests/{request['id']}/close")

    lose_thread(walled, talk.thread_id)
    gone = await call(walled, ANA, "GET", f"/requests/{request['id']}")
    refused = await decide(walled, ANA, request)
    closed = await call(walled, ANA, "POST", f"/requests/{request['id']}/close")

    assert (shown.json()["thread"], early.status_code) == ("there", 409)
    assert gone.json()["thread"] == "gone"
    assert refused.status_code == 409
    assert "gone" in refused.json()["detail"]
    assert closed.json()["receipt"]["outcome"] == "withdrawn"


def lose_thread(server: Server, thread_id: str) -> None:
    """Leave the journal with a thread that the server does not have, as a pruned or lost one does."""
    with sqlite3.connect(server.folder / "clearance.db", timeout=20) as connection:
        lost = str(uuid4())
        for table in ("turns", "plans", "requests"):
            connection.execute(f"UPDATE {table} SET thread_id = ? WHERE thread_id = ?", (lost, thread_id))
    connection.close()


async def test_changes_are_streamed_and_go_on_after_the_last_that_arrived(walled: Server, talk: Conversation) -> None:
    async with httpx.AsyncClient(base_url=walled.url, headers=bearer(ANA), timeout=30) as client:
        async with client.stream("GET", "/approvals/stream") as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            (request,) = await held(walled, talk, "transfer 1,510 from A-2001 to A-2003")
            seen = await _next_event(lines)
        await decide(walled, ANA, request, "reject")
        async with client.stream("GET", "/approvals/stream", params={"after": seen["seq"]}) as again:
            following = await _next_event(again.aiter_lines())

    assert (seen["event"], seen["request_id"]) == ("requested", request["id"])
    assert (following["event"], following["seq"]) == ("rejected", seen["seq"] + 1)


async def _next_event(lines: AsyncIterator[str]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        async for line in lines:
            if line.startswith("data: "):
                event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return event
    raise AssertionError("the stream ended")


async def test_the_freeze_stops_approvals_over_the_api_and_names_who_froze(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,511 from A-2001 to A-2003")
    try:
        frozen = await call(walled, TESS, "POST", "/freeze", json={"reason": "two payouts look doubled"})
        refused = await decide(walled, ANA, request)
        empty = await call(walled, TESS, "POST", "/freeze", json={"reason": " "})
    finally:
        lifted = await call(walled, TESS, "DELETE", "/freeze")

    assert (frozen.json()["frozen"], frozen.json()["by"]) == (True, "tess")
    assert refused.status_code == 409
    assert "tess" in refused.json()["detail"]
    assert empty.status_code == 422
    assert lifted.json()["frozen"] is False
    assert (await decide(walled, ANA, request, "reject")).status_code == 200


async def test_counts_audit_and_verification_are_there(walled: Server, talk: Conversation) -> None:
    await held(walled, talk, "transfer 1,512 from A-2001 to A-2003")

    counts = (await call(walled, ANA, "GET", "/counts")).json()
    newest, *older = (await call(walled, ANA, "GET", "/audit", params={"limit": 3})).json()
    before = (await call(walled, ANA, "GET", "/audit", params={"before": newest["seq"], "limit": 2})).json()
    whole = (await call(walled, ANA, "GET", "/audit/verification")).json()

    assert counts["mine"] >= 1
    assert before == older
    assert whole["is_whole"], whole


async def test_without_a_token_every_route_answers_401_and_a_cookie_is_none(walled: Server) -> None:
    async with httpx.AsyncClient(base_url=walled.url) as client:
        spec = (await client.get("/openapi.json", headers=bearer(ANA))).json()
        routes = [(method, path) for path, methods in spec["paths"].items() if path.startswith("/approvals")
                  for method in methods]  # fmt: skip
        cookie = {"Cookie": f"session={bearer(ANA)['Authorization'].split()[1]}"}
        seen = {(await client.request(method, path.replace("{request_id}", "x"), headers=headers)).status_code
                for method, path in routes for headers in ({}, cookie)}  # fmt: skip

    assert len(routes) >= 11
    assert seen == {401}


async def test_the_openapi_document_shows_how_to_decide(walled: Server) -> None:
    async with httpx.AsyncClient(base_url=walled.url, headers=bearer(ANA)) as client:
        spec = (await client.get("/openapi.json")).json()

    examples = spec["components"]["schemas"]["Decision"]["examples"]
    assert [example["decision"] for example in examples] == ["approve", "reject", "edit"]
