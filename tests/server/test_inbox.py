"""The inbox as a browser's requests see it: sign-in, forgery, headers, weight. Journeys are in `tests/browser`."""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from random import Random
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.routing import APIRoute

from agent.bank.tables import transfers
from clearance.db.engine import Database
from clearance.db.tables import audit
from clearance.desk.desk import Desk
from clearance.server.entry.dependencies import deciders_only, signed_in
from clearance.server.inbox.oversight import BrokenLogError, log_lines
from clearance.server.inbox.route import HEADERS
from clearance.server.inbox.session import COOKIE, posted, session, signing_in
from clearance.server.reviewers import reviewers_app
from tests.conftest import copied
from tests.support.command import run
from tests.support.conversation import GRAPH, connected, converse
from tests.support.server import Server
from tests.support.tokens import bearer, token
from tests.support.visitor import approve_from_the_list, form_of, read_pages
from tests.support.world import ANA, BEN, OLGA, Person, World


@pytest.fixture(scope="module")
def inbox(make_server: Callable[..., Server]) -> Server:
    """A server with sign-in."""
    made = make_server()
    made.auth = "on"
    return made.start()


@pytest.fixture
def visit(inbox: Server) -> Iterator[Callable[..., httpx.Client]]:
    """Let somebody visit the pages: a client with their cookie, or with none."""
    opened: list[httpx.Client] = []

    def make(person: Person | None = None, **headers: str) -> httpx.Client:
        cookies = {COOKIE: token(person)} if person else {}
        client = httpx.Client(base_url=inbox.url, cookies=cookies, timeout=60,
                              headers={"Origin": inbox.url, **headers})  # fmt: skip
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


Visit = Callable[..., httpx.Client]


@pytest.fixture
def request_id(inbox: Server) -> str:
    """A request that waits for an approver."""
    return ask(inbox, "transfer 1,500 from A-2001 to A-2003")


def ask(inbox: Server, text: str) -> str:
    """Say something as olga in a new thread, and give the first request that comes of it."""
    with httpx.Client(base_url=inbox.url, headers=bearer(OLGA), timeout=60) as olga:
        thread_id = olga.post("/threads", json={}).json()["thread_id"]
        words = {"messages": [{"role": "user", "content": text}]}
        olga.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": GRAPH, "input": words}).raise_for_status()
        found = olga.get("/approvals/requests", params={"thread_id": thread_id}).json()["requests"]
    return str(found[0]["id"])


def state(inbox: Server, request_id: str) -> str:
    answer = httpx.get(f"{inbox.url}/approvals/requests/{request_id}", headers=bearer(ANA), timeout=30)
    return str(answer.json()["request"]["state"])


# What is shown


def test_every_argument_that_runs_is_read_before_the_button_and_after_it(inbox: Server, visit: Visit) -> None:
    """A memo stood nowhere but in the folded form for a change, and so was approved unseen."""
    point = "gift for the CFO"
    memo = f"Invoice {'7 ' * 150}{point}"
    found = ask(inbox, f"transfer 1,510 from A-2001 to A-2003 for {memo}")
    ana = visit(ANA)

    page = ana.get(f"/inbox/requests/{found}").text
    row = next(one for one in ana.get("/inbox").text.split("<tr") if f'id="r-{found}"' in one)
    shown = httpx.get(f"{inbox.url}/approvals/requests/{found}", headers=bearer(ANA), timeout=30).json()
    form = form_of(page, f"/inbox/requests/{found}/approve")
    done = ana.post(f"/inbox/requests/{found}/approve", data=form, follow_redirects=True).text

    before_the_button = page.partition('id="decide"')[0]
    for label, text in [("From account", "A-2001"), ("To account", "A-2003"), ("Amount", "$1,510.00")]:
        assert f"<dt>{label}</dt><dd>{text}</dd>" in _unspaced(before_the_button)
    assert f"Read all {len(memo)} characters" in before_the_button
    assert point in before_the_button
    assert f"Memo has {len(memo)} characters." in before_the_button
    assert "Memo: Invoice 7" in row
    called = {one["name"]: one["text"] for one in shown["review"]["arguments"]}
    assert called == {"from_account": "A-2001", "to_account": "A-2003", "amount": "$1,510.00", "memo": memo}
    assert point in shown["payload"]["description"]
    assert "Exactly this ran" in done
    assert point in done


def _unspaced(html: str) -> str:
    return re.sub(r">\s+|\s+<", lambda found: found[0].strip(), html)


# Who is let in


def test_every_route_of_ours_asks_who_calls() -> None:
    known = {signed_in, deciders_only, session, posted, signing_in}
    public = {"/inbox/sign-in", "/inbox/static/{name}"}

    routes = list(_routes(reviewers_app().routes))
    open_ones = {route.path for route in routes if not known & _dependencies(route.dependant)}

    assert len(routes) > 20
    assert open_ones == public
    posts = [route for route in routes if route.path.startswith("/inbox") and "POST" in (route.methods or ())]
    assert [route.path for route in posts if not {posted, signing_in} & _dependencies(route.dependant)] == []


def _routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    for route in routes:
        inner = getattr(route, "original_router", None)  # a router that FastAPI includes as a whole
        if inner is not None:
            yield from _routes(inner.routes)
        else:
            assert isinstance(route, APIRoute), route
            yield route


def _dependencies(dependant: Any) -> set[Any]:
    found = {dependant.call}
    for inner in dependant.dependencies:
        found |= _dependencies(inner)
    return found


@pytest.mark.parametrize(
    "path", ["", "?tab=open", "/requests/none", "/audit", "/audit.jsonl", "/freeze", "/statistics", "/live"]
)
def test_without_a_cookie_every_page_leads_to_the_sign_in(path: str, visit: Visit) -> None:
    answer = visit().get(f"/inbox{path}")
    with_header = visit(None, **bearer(ANA)).get(f"/inbox{path}")

    for one in (answer, with_header):
        assert one.status_code == 303
        assert one.headers["location"].startswith("/inbox/sign-in?next=/inbox")


def test_the_cookie_opens_nothing_but_the_pages(inbox: Server, visit: Visit) -> None:
    ana = visit(ANA)
    assert ana.get("/inbox").status_code == 200

    with ana.stream("GET", "/approvals/stream") as stream:
        assert stream.status_code == 401
    refused = [
        ana.get("/approvals/requests"),
        ana.post("/approvals/freeze", json={"reason": "x"}),
        ana.post("/threads/search", json={}),
        ana.post("/threads", json={}),
        ana.get("/assistants/none"),
    ]

    assert {one.status_code for one in refused} <= {401, 403}


def test_the_cookie_is_for_these_pages_only_and_no_longer_than_its_token(visit: Visit) -> None:
    short = token(ANA, timedelta(minutes=5))

    plain = visit().post("/inbox/sign-in", data={"token": short, "next": "/inbox"})
    secure = visit(None, **{"X-Forwarded-Proto": "https"}).post("/inbox/sign-in", data={"token": token(ANA)})

    said = plain.headers["set-cookie"].lower()
    assert all(part in said for part in ("httponly", "samesite=strict", "path=/inbox;"))
    assert "secure" not in said
    assert "secure" in secure.headers["set-cookie"].lower()
    assert 0 < int(re.search(r"max-age=(\d+)", said)[1]) <= 300  # type: ignore[index]


@pytest.mark.parametrize(
    "onward",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/inbox//evil.example", "/inboxevil", "javascript:1",
     "/inbox/../threads\r\nSet-Cookie: a=b", "/inbox/sign-out", "/threads", "/inbox\\@evil.example", ""],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(onward: str, visit: Visit) -> None:
    answer = visit().post("/inbox/sign-in", data={"token": token(ANA), "next": onward})
    already = visit(ANA).get("/inbox/sign-in", params={"next": onward})

    assert answer.headers["location"] == "/inbox"
    assert already.headers["location"] == "/inbox"


@pytest.mark.parametrize("wrong", ["", "x", "a.b.c", "x" * 20_000])
def test_a_wrong_token_signs_nobody_in(wrong: str, visit: Visit) -> None:
    answer = visit().post("/inbox/sign-in", data={"token": wrong})

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "This token is not valid here" in answer.text


def test_a_token_that_expired_ends_the_session(visit: Visit, inbox: Server) -> None:
    with httpx.Client(base_url=inbox.url, cookies={COOKIE: token(ANA, timedelta(minutes=-5))}) as late:
        answer = late.get("/inbox?tab=open")
        polled = late.get("/inbox/live?since=2026-01-01T00:00:00Z", headers={"HX-Request": "true"})

    assert answer.headers["location"] == "/inbox/sign-in?ended=1&next=/inbox%3Ftab%3Dopen"
    assert polled.status_code == 401


def test_a_link_from_elsewhere_asks_the_browser_once_more_for_its_cookie(visit: Visit) -> None:
    answer = visit(None, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).get(
        "/inbox/sign-in", params={"next": "/inbox?tab=open"}
    )

    assert 'http-equiv="refresh"' in answer.text
    assert "/inbox/sign-in?next=%2Finbox%3Ftab%3Dopen" in answer.text


# Forgery


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", ""])
def test_a_form_of_another_site_is_refused(origin: str, visit: Visit, inbox: Server, request_id: str) -> None:
    page = visit(ANA).get(f"/inbox/requests/{request_id}").text
    fields = form_of(page, f"/inbox/requests/{request_id}/approve")

    elsewhere = visit(ANA)
    if origin:
        elsewhere.headers["Origin"] = origin
    else:
        del elsewhere.headers["Origin"]
    answers = [
        elsewhere.post(f"/inbox/requests/{request_id}/{word}", data=fields)
        for word in ("approve", "reject", "check", "edit", "close")
    ]
    answers += [elsewhere.post(f"/inbox/{path}", data=fields) for path in ("freeze", "unfreeze", "sign-in", "sign-out")]

    assert {one.status_code for one in answers} == {403}
    assert state(inbox, request_id) == "asked"


@pytest.mark.parametrize("csrf", ["", "x", "0" * 64, "ü", "of ben"])
def test_a_form_without_the_sessions_own_mark_is_refused(
    csrf: str, visit: Visit, inbox: Server, request_id: str
) -> None:
    address = f"/inbox/requests/{request_id}"
    fields = form_of(visit(ANA).get(address).text, f"{address}/approve")
    if csrf == "of ben":
        csrf = form_of(visit(BEN).get(address).text, f"{address}/approve")["csrf"]

    answer = visit(ANA).post(f"{address}/approve", data={**fields, "csrf": csrf})

    assert answer.status_code == 403
    assert state(inbox, request_id) == "asked"


def test_what_was_typed_into_a_form_that_was_not_taken_is_there_again(visit: Visit, request_id: str) -> None:
    address, ana = f"/inbox/requests/{request_id}", visit(ANA)
    fields = form_of(ana.get(address).text, f"{address}/reject")

    refused = ana.post(f"{address}/reject", data={**fields, "csrf": "x", "reason": "no & no"})
    again, afterwards = ana.get(address), ana.get(address)

    assert refused.status_code == 403
    assert "no &amp; no</textarea>" in again.text
    assert "What you had typed is still here." in again.text
    assert "no &amp; no" not in afterwards.text


def test_another_sites_script_reads_nothing(visit: Visit) -> None:
    fetched = visit(ANA, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}).get("/inbox")
    clicked = visit(ANA, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).get("/inbox")

    assert (fetched.status_code, clicked.status_code) == (403, 200)
    assert fetched.headers.get("access-control-allow-credentials") != "true"


def test_a_form_that_is_none_is_refused(visit: Visit) -> None:
    ana = visit(ANA)

    assert ana.post("/inbox/freeze", content=b"a" * 200_000).status_code == 413
    assert ana.post("/inbox/freeze", content=b"\xff=%ff").status_code == 422
    assert ana.post("/inbox/freeze", content="&".join(f"f{n}=1" for n in range(500)).encode()).status_code == 422


def test_who_holds_no_role_sees_the_own_requests_and_turns_no_switch(visit: Visit, request_id: str) -> None:
    olga, nobody = visit(OLGA), visit(Person("mallory"))
    csrf = form_of(olga.get("/inbox").text, "/inbox/sign-out")["csrf"]

    assert olga.get(f"/inbox/requests/{request_id}").status_code == 200
    assert nobody.get(f"/inbox/requests/{request_id}").status_code == 404
    assert nobody.get(f"/inbox/requests/{request_id}/status").status_code == 404
    assert request_id not in nobody.get("/inbox?tab=open").text
    for path in ("audit", "audit.jsonl", "statistics"):
        assert olga.get(f"/inbox/{path}").status_code == 403
    for path in ("freeze", "unfreeze"):
        answer = olga.post(f"/inbox/{path}", data={"csrf": csrf, "reason": "x", "confirm": "effects on"})
        assert answer.status_code == 403
    address = f"/inbox/requests/{request_id}"
    assert olga.post(f"{address}/close", data={"csrf": csrf}).status_code == 403
    assert olga.post(f"{address}/approve", data={"csrf": csrf, "revision": "1"}).status_code in (403, 409)

    ana = visit(ANA)
    ana.post(f"{address}/reject", data=form_of(ana.get(address).text, f"{address}/reject"))
    live = f"/inbox/live?since=2026-01-01T00:00:00Z&ids={request_id}"
    assert [request_id in one.get(live).text for one in (ana, olga, nobody)] == [True, True, False]


# What pages say and carry


def pages(request_id: str) -> list[str]:
    return ["", "?tab=open", "?tab=decided", f"/requests/{request_id}", "/audit", "/freeze", "/statistics",
            "/requests/none", "/sign-in", f"/requests/{request_id}/status?state=asked", "?tab=nonsense",
            "/live?since=2026-01-01T00:00:00Z", "/static/none", "?after=nonsense", "/static/htmx.min.js"]  # fmt: skip


def test_every_page_is_strict_about_what_runs_in_it(visit: Visit, request_id: str) -> None:
    for path in pages(request_id):
        answer = visit(ANA).get(f"/inbox{path}")

        assert answer.status_code < 500, path
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
        kept = "immutable" if path.endswith(".js") else "no-store"
        assert kept in answer.headers["cache-control"], path
        if "html" in answer.headers.get("content-type", ""):
            assert not re.search(r"<[^>]*\s(?:style|on\w+|hx-on\S*)=", answer.text), path
            assert not re.search(r"<style|javascript:|<script(?! src=\"/inbox/static/)", answer.text), path
            assert not re.search(r'(?:src|href|action)="(?!/inbox|#)', answer.text), path


def test_pages_are_packed_and_the_stream_of_changes_is_not(inbox: Server, visit: Visit) -> None:
    page = visit(ANA).get("/inbox")
    plain = visit(ANA, **{"Accept-Encoding": "identity"}).get("/inbox")
    with httpx.stream("GET", f"{inbox.url}/approvals/stream", headers=bearer(ANA), timeout=30) as stream:
        packed = stream.headers.get("content-encoding")

    assert page.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert page.text.count("<tr") == plain.text.count("<tr")
    assert packed is None


def test_a_reason_that_is_too_long_is_kept_and_told(visit: Visit, inbox: Server, request_id: str) -> None:
    address, ana = f"/inbox/requests/{request_id}", visit(ANA)
    fields = form_of(ana.get(address).text, f"{address}/reject")
    reason = "</textarea><script>" + "x" * 2_000

    answer = ana.post(f"{address}/reject", data={**fields, "reason": reason})

    assert answer.status_code == 422
    assert "A reason is text of at most 2,000 characters" in answer.text
    assert "&lt;/textarea&gt;&lt;script&gt;xxx" in answer.text
    assert "<script>x" not in answer.text
    assert state(inbox, request_id) == "asked"


def test_an_answer_to_another_revision_is_refused_and_what_was_typed_kept(
    visit: Visit, inbox: Server, request_id: str
) -> None:
    address, ana = f"/inbox/requests/{request_id}", visit(ANA)
    fields = form_of(ana.get(address).text, f"{address}/reject")

    for wrong in ({"digest": "0" * 64}, {"digest": ""}, {"revision": "2", "digest": ""}):
        answer = ana.post(f"{address}/reject", data={**fields, **wrong, "reason": "no & no"})
        if answer.status_code != 303:
            assert answer.status_code == 409
            assert "no &amp; no</textarea>" in answer.text
            assert state(inbox, request_id) == "asked"


def test_an_edit_cannot_bring_what_the_action_does_not_have(visit: Visit, inbox: Server, request_id: str) -> None:
    address, ana = f"/inbox/requests/{request_id}", visit(ANA)
    fields = form_of(ana.get(address).text, f"{address}/check")

    answer = ana.post(f"{address}/edit", data={**fields, "arg.is_admin": "true", "arg.amount": "1500.00"})

    assert answer.status_code == 422
    assert "Nothing is changed yet" in answer.text
    assert state(inbox, request_id) == "asked"


@pytest.mark.parametrize("form", ["check", "edit"])
def test_an_edit_that_comes_to_the_same_is_none(form: str, visit: Visit, inbox: Server, request_id: str) -> None:
    address, ana = f"/inbox/requests/{request_id}", visit(ANA)
    fields = form_of(ana.get(address).text, f"{address}/check")

    answer = ana.post(f"{address}/{form}", data={**fields, "arg.amount": "1,500"})

    assert answer.status_code == 422
    assert "Nothing is changed by them; approve it as it is" in answer.text
    assert state(inbox, request_id) == "asked"


def test_what_the_page_asks_to_type_is_what_confirms_it(visit: Visit, inbox: Server) -> None:
    with httpx.Client(base_url=inbox.url, headers=bearer(OLGA), timeout=60) as olga:
        thread_id = olga.post("/threads", json={}).json()["thread_id"]
        words = {"messages": [{"role": "user", "content": "delete customer C-1003"}]}
        olga.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": GRAPH, "input": words}).raise_for_status()
        (asked,) = olga.get("/approvals/requests", params={"thread_id": thread_id}).json()["requests"]
    address, ana = f"/inbox/requests/{asked['id']}", visit(ANA)
    with closing(sqlite3.connect(inbox.database_url.removeprefix("sqlite:///"))) as bank, bank:
        bank.execute("UPDATE customers SET name = 'Ada Newman' WHERE customer_id = 'C-1003'")

    page = ana.get(address).text
    fields = form_of(page, f"{address}/approve")
    old = ana.post(f"{address}/approve", data={**fields, "confirm": "Ada Quist"})
    new = ana.post(f"{address}/approve", data={**fields, "confirm": "ada newman"})
    after = httpx.get(f"{inbox.url}/approvals/requests/{asked['id']}", headers=bearer(ANA), timeout=30).json()

    assert "Type the name, Ada Newman" in page
    assert "You typed Ada Quist; the name is Ada Newman" in old.text
    # It is what confirms; that the name is another than the one asked for makes it be asked again.
    assert new.status_code == 303
    assert (after["request"]["state"], after["request"]["revision"]) == ("asked", 2)


@pytest.mark.parametrize("name", ["requester", "thread", "action"])
def test_what_a_list_is_filtered_to_stays_inside_its_attribute(name: str, visit: Visit) -> None:
    page = visit(ANA).get("/inbox", params={"tab": "open", name: '\u202ebob" x="1'}).text

    (said,) = re.findall(r'<div class="panel list" id="list" tabindex="-1" data-said="([^"<>]*)">', page)
    assert "‹U+202E›bob" in said


# What the log does not tell


def test_a_request_that_the_log_tells_otherwise_is_shown_as_that_before_anything_else(
    inbox: Server, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ask(inbox, "transfer 1,600 from A-2001 to A-2003")
    path = f"/approvals/requests/{request_id}"
    before = httpx.get(f"{inbox.url}{path}", headers=bearer(ANA), timeout=30).json()
    said = f"requests.requested_by of {request_id} is not what was written"
    monkeypatch.setenv("CLEARANCE_TOKEN", token(ANA))

    bend(inbox, "UPDATE requests SET requested_by = 'tess' WHERE request_id = ?", request_id)
    try:
        shown = httpx.get(f"{inbox.url}{path}", headers=bearer(ANA), timeout=30).json()
        page = visit(ANA).get(f"/inbox/requests/{request_id}").text
        told = " ".join(run("--url", inbox.url, "show", request_id).out.replace("│", "").split())
        log = visit(ANA).get("/inbox/audit").text
        whole = httpx.get(f"{inbox.url}/approvals/audit/verification", headers=bearer(ANA), timeout=60).json()
    finally:
        bend(inbox, "UPDATE requests SET requested_by = 'olga' WHERE request_id = ?", request_id)

    assert (before["disagreements"], shown["disagreements"]) == ([], [said])
    main = page[page.index("<main") :]
    assert main.index("The database says otherwise than the log") < main.index("<h1>")
    assert f"<li>{said}</li>" in main
    assert told.index(f"The database says otherwise than the log: {said}.") < told.index("Arguments")
    assert said in str(whole["reason"])
    assert f"Broken: {said}" in log
    assert "says otherwise" not in visit(ANA).get(f"/inbox/requests/{request_id}").text


def bend(inbox: Server, statement: str, *values: str) -> None:
    """Change the database past the gate."""
    with closing(sqlite3.connect(str(sa.make_url(inbox.database_url).database), timeout=30)) as file, file:
        assert file.execute(statement, values).rowcount == 1


def test_the_log_is_checked_on_from_where_it_was_and_says_so(inbox: Server, visit: Visit) -> None:
    heading = re.compile(r'<h2 id="ver-h">(.*?)</h2>')

    (whole,) = heading.findall(visit(ANA).get("/inbox/audit?check=1").text)
    (nothing,) = heading.findall(visit(ANA).get("/inbox/audit").text)
    ask(inbox, "transfer 1,610 from A-2001 to A-2003")
    page = visit(ANA).get("/inbox/audit").text
    (since,) = heading.findall(page)
    (again,) = heading.findall(visit(ANA).get("/inbox/audit?check=1").text)

    rows = int(re.sub(r"\D", "", whole))
    assert whole == f"Whole: {rows:,} events, none changed, removed or inserted"
    assert nothing == f"Whole: nothing since event {rows:,}"
    assert since.startswith(f"Whole from event {rows + 1:,} to ")
    assert f"Events 1 to {rows:,} were looked at before, all of them together at" in page
    assert again.startswith("Whole: ")


# The log as a file


def test_the_log_is_given_as_the_command_line_exports_it(
    inbox: Server, visit: Visit, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "AUDIT_KEY"):
        monkeypatch.setenv(name, inbox.environment()[name])

    answer = visit(ANA).get("/inbox/audit.jsonl")
    exported = run("audit", "export")

    assert request_id in answer.text
    assert answer.text == exported.out
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert re.fullmatch(r'attachment; filename="[\w-]+\.jsonl"', answer.headers["content-disposition"])
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "content-length" not in answer.headers


async def test_the_log_is_read_some_rows_at_a_time_and_a_missing_end_breaks_off(world: World) -> None:
    row = {"at": "t", "event": "frozen", "actor": "ana", "details": "{}", "mac": "m"}
    world.database.write_now(lambda c: c.execute(sa.insert(audit), [{**row, "seq": n} for n in range(1, 2_501)]))

    parts = [part async for part in log_lines(Desk(world.gate), 2_500)]

    assert [part.count("\n") for part in parts] == [1_000, 1_000, 500]
    assert [json.loads(line)["seq"] for line in "".join(parts).splitlines()] == list(range(1, 2_501))
    with pytest.raises(BrokenLogError, match="ends at row 2500, its head says 2501"):
        _ = [part async for part in log_lines(Desk(world.gate), 2_501)]


@pytest.mark.parametrize("query", ["before=99999999999999999999", "before=0", f"request={'x' * 200}"])
def test_the_log_cannot_be_asked_for_what_no_log_has(query: str, visit: Visit) -> None:
    assert visit(ANA).get(f"/inbox/audit?{query}").status_code == 422


# On PostgreSQL


async def test_the_main_journey_runs_on_postgresql(seeded_postgres: str, make_server: Callable[..., Server]) -> None:
    with copied(seeded_postgres, "seeded") as url:
        server = make_server(database_url=url)
        server.auth = "on"
        server.start()
        async with connected(server.url, **bearer(OLGA)) as client:
            talk = await converse(client)
            await talk.say("transfer 1,500 from A-2001 to A-2003")
        visit = approve_from_the_list(server.url, ANA)
        paths = ["?tab=open&requester=olga", "?tab=decided&risk=high", "/audit?event=executed&who=ana",
                 f"/audit?request={visit.listed[0]}", "/statistics", "/audit.jsonl"]  # fmt: skip
        pages = read_pages(server.url, ANA, paths)
        database = Database(url)
        made = database.read_now(lambda c: c.scalars(sa.select(transfers.c.request_id)).all())
        database.close()
        server.stop()

    assert (len(visit.listed), visit.forged, visit.taken) == (1, 403, 303)
    assert "Transferred $1,500.00 from A-2001 to A-2003 (T-" in visit.receipt
    assert made.count(visit.listed[0]) == 1
    assert [page.status_code for page in pages] == [200] * 6
    assert all(visit.listed[0] in page.text for page in (pages[1], pages[3], pages[5]))


# How heavy, how fast


def _many(inbox: Server, number: int) -> None:
    """Copy an open request, its turn and its plan many times, past the gate."""
    random = Random(1)
    with sqlite3.connect(inbox.database_url.removeprefix("sqlite:///"), timeout=30) as connection:
        connection.row_factory = sqlite3.Row
        one = dict(connection.execute("SELECT * FROM requests WHERE state = 'asked' LIMIT 1").fetchone())
        kept = {
            table: dict(connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (one[key],)).fetchone())
            for table, key in (("turns", "turn_id"), ("plans", "plan_id"))
        }
        (last,) = connection.execute("SELECT requests FROM audit_head").fetchone()
        for n in range(number):
            own = {"turn_id": f"turn-{n}", "plan_id": f"plan-{n}", "thread_id": f"thread-{n}",
                   "request_id": f"{random.getrandbits(96):024x}", "number": last + n + 1}  # fmt: skip
            _insert(connection, "turns", {**kept["turns"], **_of(own, "turn_id", "thread_id")})
            _insert(connection, "plans", {**kept["plans"], **_of(own, "turn_id", "plan_id", "thread_id")})
            # Each with a name and an amount of its own, as compression would find them.
            name = "".join(random.choices("abcdefghijklmnopqrstuvwxyz ", k=18))
            amount = f"{random.randrange(100_000, 9_999_999) / 100:.2f}"
            texts = {
                "facts": one["facts"].replace("Tom Becker", name),
                "arguments": one["arguments"].replace("1500.00", amount),
                "requested_by": f"requester-{n % 300}",
            }
            _insert(connection, "requests", {**one, **own, **texts})
        connection.execute("UPDATE audit_head SET requests = requests + ?", (number,))


def _of(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    marks = ", ".join("?" for _ in values)
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def test_the_first_page_is_light_with_ten_thousand_open_requests(
    make_server: Callable[..., Server], record_property: Callable[[str, str], None]
) -> None:
    server = make_server()
    server.auth = "on"
    server.start()
    with httpx.Client(base_url=server.url, headers=bearer(OLGA), timeout=60) as olga:
        thread_id = olga.post("/threads", json={}).json()["thread_id"]
        words = {"messages": [{"role": "user", "content": "transfer 1,500 from A-2001 to A-2003"}]}
        olga.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": GRAPH, "input": words}).raise_for_status()
    _many(server, 10_000)

    took, live_took = [], []
    with httpx.Client(base_url=server.url, cookies={COOKIE: token(ANA)}, timeout=60) as ana:
        for _ in range(10):
            began = time.perf_counter()
            with ana.stream("GET", "/inbox") as answer:
                sent = sum(len(chunk) for chunk in answer.iter_raw())
            took.append(time.perf_counter() - began)
        page = ana.get("/inbox").text
        assets = 0
        for address in set(re.findall(r'(?:src|href)="(/inbox/static/[^"]+)"', page)):
            with ana.stream("GET", address) as answer:
                assets += sum(len(chunk) for chunk in answer.iter_raw())
        (live,) = re.findall(r'hx-get="(/inbox/live[^"]+)"', page)
        (ids,) = re.findall(r'name="ids" value="([^"]+)"', page)
        for _ in range(5):
            began = time.perf_counter()
            assert ana.get(f"{live.replace('&amp;', '&')}&ids={ids}").status_code == 200
            live_took.append(time.perf_counter() - began)
    server.stop()

    middle, worst = sorted(took)[len(took) // 2], max(took[1:])
    record_property(
        "measured",
        f"inbox with 10,000 open requests: {sent / 1000:.0f} kB page + {assets / 1000:.0f} kB style and scripts,"
        f" {middle * 1000:.0f} ms at the median, {worst * 1000:.0f} ms at worst;"
        f" a look for news {sorted(live_took)[2] * 1000:.0f} ms",
    )
    assert page.count('id="r-') == 50
    assert "999+" in page
    assert sent + assets < 100_000


def test_what_browsers_get_of_htmx_is_the_file_of_its_package(inbox: Server, visit: Visit) -> None:
    import hashlib

    answer = visit().get("/inbox/static/htmx.min.js")

    # htmx.org 2.0.11 from npm, dist/htmx.min.js
    assert hashlib.sha256(answer.content).hexdigest() == (
        "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    )
