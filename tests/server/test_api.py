"""The approvals API on the real server: who may see and do what, and a decision that is carried out in its thread."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.conversation import GRAPH, Conversation, connected, converse
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
    for _ in range(600):
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


async def test_how_awake_reviewers_are_is_told_to_those_who_decide(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,507 from A-2001 to A-2003")
    await decide(walled, TOM, request, "reject", reason="not today")

    told = (await call(walled, ANA, "GET", "/statistics", params={"days": 1})).json()
    refused = await call(walled, OLGA, "GET", "/statistics")

    (tom,) = [one for one in told["reviewers"] if one["person"] == "tom"]
    assert tom["rejected"] >= 1
    assert 0 <= tom["median_s"] < 60
    assert told["verdicts"]["transfer_funds"]["ask"] >= 1
    assert refused.status_code == 403


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
    same = await call(walled, ANA, "POST", f"/requests/{request['id']}/check",
                      json={**change, "arguments": {"amount": "6001.00"}})  # fmt: skip
    before = (await call(walled, ANA, "GET", f"/requests/{request['id']}")).json()["request"]
    made = await decide(walled, ANA, request, "edit", arguments={"amount": "1506"})

    assert checked["sentence"].startswith("Transfer $1,506.00 from A-2001")
    assert checked["is_enough"]
    assert wrong.status_code == 422
    assert "amount" in wrong.json()["detail"]
    assert same.status_code == 422
    assert "nothing is changed" in same.json()["detail"]
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
    assert refused.json()["detail"].startswith("This server has no thread of this request")
    assert closed.json()["receipt"]["outcome"] == "withdrawn"


def lose_thread(server: Server, thread_id: str) -> None:
    """Leave the journal with a thread that the server does not have, as a pruned or lost one does."""
    with sqlite3.connect(server.folder / "clearance.db", timeout=60) as connection:
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
            told = []
            while "requested" not in told:
                seen = await _next_event(lines)
                told += [seen["event"], seen["request_id"]]
        await decide(walled, ANA, request, "reject")
        async with client.stream("GET", "/approvals/stream", params={"after": seen["seq"]}) as again:
            following = await _next_event(again.aiter_lines())

    assert following["seq"] == seen["seq"] + 1
    assert request["id"] in told


async def _next_event(lines: AsyncIterator[str]) -> dict[str, Any]:
    async with asyncio.timeout(60):
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
    # Another test of this server gives a turn to a thread that is not there, past the gate: the log tells of it.
    assert [part for part in (whole["reason"] or "").split("; ") if part and ".thread_id" not in part] == []


async def test_me_tells_whose_token_it_is(walled: Server) -> None:
    ana, olga = [(await call(walled, person, "GET", "/me")).json() for person in (ANA, OLGA)]

    assert ana == {"id": "ana", "kind": "person", "roles": ["approver"], "is_decider": True, "graphs": [GRAPH]}
    assert olga == {"id": "olga", "kind": "person", "roles": [], "is_decider": False, "graphs": [GRAPH]}


async def test_a_request_is_looked_up_by_the_beginning_of_its_id_open_or_not(
    walled: Server, talk: Conversation
) -> None:
    (request,) = await held(walled, talk, "transfer 1,513 from A-2001 to A-2003")
    prefix = {"begins": request["id"][:10]}

    waiting = (await call(walled, ANA, "GET", "/lookup", params=prefix)).json()
    await decide(walled, ANA, request)
    decided = (await call(walled, OLGA, "GET", "/lookup", params=prefix)).json()
    stranger = await call(walled, Person("nora"), "GET", "/lookup", params=prefix)
    wrong = [await call(walled, ANA, "GET", "/lookup", params={"begins": text}) for text in ("", "%", "G", "a" * 101)]

    assert waiting == [request]
    assert [(one["state"], one["approvals_given"]) for one in decided] == [("executed", ["ana"])]
    assert (stranger.status_code, stranger.json()) == (200, [])
    assert [answer.status_code for answer in wrong] == [422] * 4


async def test_a_look_up_lists_at_most_so_many_by_id(walled: Server, talk: Conversation) -> None:
    for _ in range(17):  # two of them begin with the same digit
        (request,) = await held(walled, talk, "transfer 1,514 from A-2001 to A-2003")
    found = [
        (await call(walled, ANA, "GET", "/lookup", params={"begins": digit})).json() for digit in "0123456789abcdef"
    ]
    several = next(ids for ids in ([one["id"] for one in some] for some in found) if len(ids) > 1)

    one = (await call(walled, ANA, "GET", "/lookup", params={"begins": several[0][0], "limit": 1})).json()

    assert several == sorted(several)
    assert [entry["id"] for entry in one] == several[:1]
    await decide(walled, ANA, request, "reject")


async def shown(server: Server, person: Person, request: dict[str, Any]) -> dict[str, Any]:
    """Read one request as somebody."""
    answer: dict[str, Any] = (await call(server, person, "GET", f"/requests/{request['id']}")).json()
    return answer


async def test_an_open_request_is_shown_as_things_stand_with_what_was(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 6,015 from A-2001 to A-2003")
    first = await shown(walled, ANA, request)
    (other,) = await held(walled, await converse(talk.client), "transfer 1,516 from A-2001 to A-2004")
    await decide(walled, ANA, other)

    now = await shown(walled, ANA, request)

    (before,), (after,) = [
        [change for change in one["review"]["changes"] if change["label"] == "Balance of A-2001"]
        for one in (first, now)
    ]
    assert dollars(before["before"]) - dollars(before["after"]) == 6_015
    assert before["change"] == "−$6,015.00"
    assert dollars(before["before"]) - dollars(after["before"]) == 1_516
    facts = {fact["label"]: fact for fact in now["review"]["facts"]}
    # What moves all day is read afresh, and not told as a change.
    assert (before["was"], after["was"], facts["Requester sent in 24 h"]["was"]) == (None, None, None)
    assert facts["Paying account"] == {"label": "Paying account", "text": "open", "was": None}
    assert datetime.fromisoformat(now["review"]["read_at"]) > datetime.fromisoformat(first["review"]["read_at"])
    assert (now["review"]["heading"], now["review"]["what"]) == ("Transfer", "$6,015.00")
    words = {"why_not": "", "hint": "", "button": "Transfer $6,015.00", "after_press": "Runs at once."}
    may = {"may_approve": True, "may_reject": True, "may_edit": True, "may_close": False, "may_settle": False}
    assert now["answers"] == {**may, "not_happened_from": None, **words}


def dollars(text: str) -> float:
    """Read `$1,234.00`."""
    return float(text.strip("$").replace(",", ""))


async def test_activity_tells_what_went_before_and_what_this_would_add(walled: Server, talk: Conversation) -> None:
    (other,) = await held(walled, talk, "transfer 1,517 from A-2001 to A-2003")
    await decide(walled, ANA, other)
    (request,) = await held(walled, await converse(talk.client), "transfer 1,518 from A-2001 to A-2003")

    activity = (await shown(walled, ANA, request))["activity"]

    today = datetime.now(UTC).date().isoformat()
    assert (activity["title"], activity["of"]) == ("Sent per day", "A-2001")
    assert activity["this"] == {"day": today, "value": 151_800, "text": "$1,518.00"}
    assert activity["days"][-1]["day"] == today
    assert activity["days"][-1]["value"] >= 151_700
    assert [day["day"] for day in activity["days"]] == sorted({day["day"] for day in activity["days"]})
    await decide(walled, ANA, request, "reject")
    assert (await shown(walled, ANA, request))["activity"] is None


async def test_something_critical_says_what_to_type_and_an_approval_of_two_how_many(
    walled: Server, talk: Conversation
) -> None:
    (request,) = await held(walled, talk, "transfer 30,019 from A-2001 to A-2003")

    first = await shown(walled, TESS, request)
    await decide(walled, TESS, request)
    own, second = await shown(walled, TESS, request), await shown(walled, TOM, request)

    assert first["request"]["risk"] == "critical"
    assert (first["review"]["confirm"], first["review"]["confirm_is"]) == ("30,019.00", "the amount")
    assert first["answers"]["button"] == "Approve $30,019.00, 1 of 2"
    assert not own["answers"]["may_approve"]
    assert own["answers"]["why_not"] == "You approved it; 1 more person has to."
    assert second["answers"]["button"] == "Transfer $30,019.00"
    await decide(walled, TOM, request, "reject")


async def test_who_may_not_decide_hears_why(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 30,020 from A-2001 to A-2003")

    asked, lacks = [(await shown(walled, person, request))["answers"] for person in (OLGA, ANA)]

    assert asked["why_not"] == "You asked for this, so others decide."
    assert lacks["why_not"] == "Who holds the role treasurer decides this."
    for answers in (asked, lacks):
        assert not any(answers[name] for name in ("may_approve", "may_reject", "may_edit", "may_close"))
    await decide(walled, TESS, request, "reject")


async def test_what_is_asked_again_says_so_and_what_changed(walled: Server, talk: Conversation) -> None:
    (request,) = await held(walled, talk, "transfer 1,521 from A-2001 to A-2010")
    (other,) = await held(walled, await converse(talk.client), "transfer 1,522 from A-2001 to A-2010")
    await decide(walled, ANA, other)

    stale = await shown(walled, ANA, request)
    again = await decide(walled, ANA, request)
    now = await shown(walled, ANA, request)

    assert stale["look_first"][0]["is_bad"]
    assert stale["look_first"][0]["text"].startswith("Not as it was when it was asked for: New payee.")
    assert (again.json()["receipt"], again.json()["request"]["revision"]) == (None, 2)
    assert again.json()["sentence"].startswith("It is asked again:")
    assert "new payee" in now["request"]["notice"]
    assert now["look_first"][0]["text"].startswith("Asked again.")
    assert [change["was"] for change in now["review"]["changes"]] == [None] * 3  # the new facts are what was asked
    assert (await decide(walled, ANA, now["request"])).json()["receipt"]["outcome"] == "executed"


async def test_the_talk_and_what_stands_before_it_tell_people_from_look_ups_and_the_model(
    walled: Server, talk: Conversation
) -> None:
    await talk.say("show account A-2001")
    (request,) = await held(walled, talk, "transfer 1,523 from A-2001 to A-2003")

    detail = await shown(walled, ANA, request)

    assert [(said["kind"], said["by"]) for said in detail["talk"]] == [("person", "olga"), ("model", "")]
    assert detail["talk"][0]["text"] == "transfer 1,523 from A-2001 to A-2003"
    assert [(said["kind"], said["by"]) for said in detail["earlier"]] == [
        *(("model", ""), ("lookup", "get_account"), ("model", ""), ("person", "olga"))
    ]
    assert "Account A-2001" in detail["earlier"][0]["text"]
    assert (detail["earlier"][3]["text"], detail["talk"][0]["at"] is None) == ("show account A-2001", False)


async def test_what_is_decided_is_shown_as_it_was_asked_with_how_it_ended(walled: Server, talk: Conversation) -> None:
    rejected, done = await held(walled, talk, "transfer 1,524 from A-2001 to A-2003 and 1,525 from A-2001 to A-2003")
    await decide(walled, ANA, done)
    approved = await shown(walled, ANA, done)
    await decide(walled, ANA, rejected, "reject", reason="paid")
    (again,) = (await call(walled, ANA, "GET", "/requests", params={"thread_id": talk.thread_id})).json()["requests"]
    await decide(walled, ANA, again)  # asked once more
    await _last_words(talk)

    not_done, was_done = await shown(walled, ANA, rejected), await shown(walled, ANA, done)

    assert [one["review"]["heading"] for one in (approved, not_done, was_done)] == [
        *("Will transfer", "Not transferred:", "Transferred")
    ]
    assert not_done["receipt"]["sentence"] == "Not done: ana rejected it: paid"
    assert not_done["review"]["read_at"] is None
    assert (not_done["look_first"], not_done["answers"]["may_reject"], not_done["thread"]) == ([], False, "unknown")
    assert [event["event"] for event in not_done["history"]] == ["requested", "question_put", "rejected"]


async def test_hidden_characters_in_names_and_words_are_shown_as_code_points(
    walled: Server, talk: Conversation
) -> None:
    with sqlite3.connect(walled.folder / "clearance.db", timeout=60) as connection:
        account = "SELECT customer_id FROM accounts WHERE account_id = 'A-2004'"
        (before,) = connection.execute(f"SELECT name FROM customers WHERE customer_id = ({account})").fetchone()
        rename = "UPDATE customers SET name = ? WHERE customer_id = (" + account + ")"
        connection.execute(rename, ("Tom \u202egnp\u200b",))
    try:
        (request,) = await held(walled, talk, "transfer 6,026 from A-2001 to A-2004 for \u202erent")
        read = await call(walled, ANA, "GET", f"/requests/{request['id']}")
    finally:
        with sqlite3.connect(walled.folder / "clearance.db", timeout=60) as connection:
            connection.execute(rename, (before,))
        connection.close()

    detail = read.json()
    text = json.dumps(detail, ensure_ascii=False)
    assert not {"\u202e", "\u200b"} & set(text)
    name = r'"Tom \u202egnp\u200b"'
    assert name in detail["request"]["sentence"]
    assert name in detail["review"]["who"]
    assert name in [change["of"] for change in detail["review"]["changes"]]
    assert detail["look_first"][0]["is_bad"]
    assert "‹U+202E›rent" in detail["talk"][0]["text"]
    await decide(walled, ANA, request, "reject")


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
