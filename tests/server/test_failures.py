"""Broken is told, on the real `langgraph dev`: with the database gone, and with what cannot be a request."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.attacks.targets import Case, Held, Reply, Target
from tests.conftest import copied
from tests.support.server import Server

YES = {"decision": "approve"}
NOTHING = "Nothing was recorded"
NO_SUCH = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def on_postgres(make_server: Callable[..., Server], seeded_postgres: str) -> AsyncIterator[Case]:
    """People on a server whose journal is in PostgreSQL."""
    with copied(seeded_postgres, "seeded") as url:
        server = make_server(database_url=url)
        server.auth = "on"
        case = Case(Target("ours", server.start()))
        yield case
        await case.close()
        server.stop()


@contextmanager
def gone(url: str, administrator: str) -> Iterator[None]:
    """Take a database away from who uses it, for as long as the block runs."""
    name = sa.make_url(url).database
    with closing(psycopg.connect(administrator, autocommit=True)) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_without_a_database_everybody_is_told_and_nothing_is_recorded(
    on_postgres: Case, seeded_postgres: str
) -> None:
    """The approvals API answered a bare 500."""
    case, ana, olga = on_postgres, on_postgres.ana, on_postgres.olga
    held = await case.hold()
    of_request = f"/approvals/requests/{held.question['id']}"
    seen = {name: held.question[name] for name in ("digest", "revision")}
    met: dict[str, Reply] = {}

    with gone(case.target.server.database_url, seeded_postgres):
        for path in ("/approvals/requests", "/approvals/counts", of_request, "/approvals/freeze", "/approvals/audit",
                     "/approvals/audit/verification", "/approvals/statistics",
                     "/approvals/lookup?begins=a"):  # fmt: skip
            met[path] = await ana.get(path)
        met["decide"] = await ana.post(f"{of_request}/decision", {**YES, **seen})
        met["freeze"] = await ana.post("/approvals/freeze", {"reason": "try"})
        met["answer"] = await ana.answer(held.thread_id, {held.interrupt_id: {"approved": True}})
        met["say"] = await olga.say(held.thread_id, "hello")
        met["make"] = await olga.post("/threads", {})
        met["delete"] = await olga.send("DELETE", f"/threads/{held.thread_id}")
        signed_in = {"Cookie": f"clearance_inbox={ana.http.headers['authorization'].removeprefix('Bearer ')}"}
        page = await ana.get("/inbox", headers=signed_in)

    for what, reply in met.items():
        assert (reply.status, NOTHING in str(reply.body)) == (503, True), (what, reply)
    assert page.status == 503
    assert NOTHING in page.body
    assert await case.goes_on(held)


# What cannot be a request


def cursor(value: Any) -> str:
    return base64.urlsafe_b64encode((value if isinstance(value, str) else json.dumps(value)).encode()).decode()


CURSORS = {
    "deep": cursor("[" * 30_000),
    "deep and closed": cursor("[" * 20_000 + "]" * 20_000),
    "no time": cursor(["soon", "a"]),
    "the last year": cursor(["9999-12-31T23:59:59-23:59", "a"]),
    "the first year": cursor(["0001-01-01T00:00:00+23:59", "a"]),
    "no zone": cursor(["2026-01-01T00:00:00", "a"]),
    "a large number": cursor([10**30, 10**30]),
    "NUL": cursor(["2026-01-01T00:00:00+00:00", "\0"]),
    "half a character": cursor('["2026-01-01T00:00:00+00:00", "\\ud800"]'),
    "no base64": "€€€",
}


@pytest.mark.parametrize("name", CURSORS)
@pytest.mark.parametrize("tab", ["open", "mine", "decided"])
async def test_a_cursor_that_is_none_is_told(case: Case, tab: str, name: str) -> None:
    reply = await case.ana.get("/approvals/requests", params={"tab": tab, "after": CURSORS[name]})

    assert reply.status in (200, 422), reply
    if reply.status == 422:
        assert "cursor" in reply.body["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "/approvals/requests?thread_id=%00",
        "/approvals/requests?requested_by=%00%ff",
        "/approvals/requests?action=%F0%9F",
        f"/approvals/requests?older_than_s={10**9}",
        f"/approvals/requests?older_than_s={10**40}",
        f"/approvals/requests?limit={10**40}",
        f"/approvals/audit?before={2**63 - 1}",
        f"/approvals/audit?before={10**40}",
        f"/approvals/statistics?days={10**12}",
        "/approvals/requests/%00",
        "/approvals/requests/%F0%9F",
        f"/approvals/requests/{'a' * 30_000}",
        "/inbox/requests/%00",
        f"/inbox?after={CURSORS['deep']}",
        f"/inbox/audit?before={10**40}",
    ],
)
async def test_an_address_that_cannot_be_is_told(case: Case, query: str) -> None:
    token = case.ana.http.headers["authorization"].removeprefix("Bearer ")

    reply = await case.ana.get(query, headers={"Cookie": f"clearance_inbox={token}"})

    # 400: characters that cannot be seen, which would stand in a line of the log.
    assert reply.status in (200, 400, 404, 422), reply


DEEP = "[" * 30_000 + "]" * 30_000
BODIES = {
    "half a character": '{"decision": "reject", "reason": "\\ud800"}',
    "half a character as a word": '{"decision": "\\ud800"}',
    "half a character as a name": '{"decision": "approve", "\\ud800": 1}',
    "NUL": '{"decision": "reject", "reason": "\\u0000"}',
    "a large number": f'{{"decision": "approve", "revision": {10**40}}}',
    "no number": '{"decision": "approve", "revision": NaN}',
    "deep": f'{{"decision": "edit", "arguments": {DEEP}}}',
    "deep arguments": f'{{"decision": "edit", "arguments": {{"amount": {DEEP}}}}}',
    "no JSON": "{",
    "no UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/decision", "/check", "/close"])
async def test_a_body_that_cannot_be_is_told(case: Case, held: Held, path: str, name: str) -> None:
    headers = {"Content-Type": "application/json"}

    reply = await case.ana.send(
        "POST", f"/approvals/requests/{held.question['id']}{path}", content=BODIES[name], headers=headers
    )

    assert reply.status in (200, 400, 409, 422), reply
    assert case.effects() == []


async def test_a_run_that_cannot_be_is_told(case: Case, held: Held) -> None:
    for body in (
        '{"assistant_id": "clearance", "command": {"resume": "\\ud800"}}',
        f'{{"assistant_id": "clearance", "command": {{"resume": {DEEP}}}}}',
        f'{{"assistant_id": "clearance", "command": {{"resume": {{"approved": true, "revision": {10**40}}}}}}}',
        f'{{"assistant_id": "clearance", "input": {{"messages": {DEEP}}}}}',
        '{"assistant_id": "clearance", "input": {"messages": "\\ud800"}}',
    ):
        reply = await case.ana.send("POST", f"/threads/{held.thread_id}/runs/wait", content=body)
        assert 400 <= reply.status < 500 or reply.how in ("asked", "done"), reply

    assert await case.goes_on(held)
