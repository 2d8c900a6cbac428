"""Broken is told, on the real `langgraph dev`: with the database gone, and with what cannot be a request."""

import asyncio
import base64
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from tests.attacks.targets import Case, Held, Reply, Target
from tests.conftest import _administer, copied
from tests.support.cutting import Cutting
from tests.support.server import Server

YES = {"decision": "approve"}
NOTHING = "Nothing was recorded"
NO_SUCH = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="module")
def cutting(make_server: Callable[..., Server], seeded_postgres: str) -> Iterator[tuple[Target, Cutting]]:
    """A server whose journal is in PostgreSQL, and the way there, as a role that is not its administrator."""
    role = f"role_{uuid4().hex}"
    with copied(seeded_postgres, "seeded") as url, closing(psycopg.connect(seeded_postgres, autocommit=True)) as asking:
        asking.execute(f"CREATE ROLE {role} LOGIN; GRANT postgres TO {role}")
        cutting = Cutting(sa.make_url(url).set(username=role).render_as_string(hide_password=False)).start()
        server = make_server(database_url=cutting.url_through)
        server.auth = "on"
        yield Target("ours", server.start()), cutting
        server.stop()
        cutting.stop()
    _administer(seeded_postgres, f"DROP ROLE {role}")


@pytest.fixture
async def on_postgres(cutting: tuple[Target, Cutting]) -> AsyncIterator[Case]:
    """People on that server."""
    case = Case(cutting[0])
    yield case
    await case.close()


@contextmanager
def gone(url: str, administrator: str, *, why: str) -> Iterator[None]:
    """Let nobody into a database, and throw out who is in, for as long as the block runs."""
    name, role = sa.make_url(url).database, sa.make_url(url).username
    closing_it, opening_it = {
        "away": (f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
        "out of connections": (f"ALTER ROLE {role} CONNECTION LIMIT 0", f"ALTER ROLE {role} CONNECTION LIMIT -1"),
    }[why]
    with closing(psycopg.connect(administrator, autocommit=True)) as connection:
        connection.execute(closing_it)
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(opening_it)


async def sent_form(case: Case, path: str, **fields: Any) -> Reply:
    """Send a form of the inbox, as ana's browser would; its hidden key was in a page read before."""
    ana = case.ana
    cookie = {"Cookie": f"clearance_inbox={ana.http.headers['authorization'].removeprefix('Bearer ')}"}
    return await ana.send("POST", path, data=fields, headers={**cookie, "Origin": case.target.url})


async def csrf(case: Case) -> str:
    ana = case.ana
    cookie = {"Cookie": f"clearance_inbox={ana.http.headers['authorization'].removeprefix('Bearer ')}"}
    page = await ana.get("/inbox/freeze", headers=cookie)
    return str(page.body).partition('name="csrf" value="')[2].partition('"')[0]


@pytest.mark.parametrize("why", ["away", "out of connections"])
async def test_without_a_database_everybody_is_told_and_nothing_is_recorded(
    on_postgres: Case, seeded_postgres: str, why: str
) -> None:
    """The approvals API answered a bare 500."""
    case, ana, olga = on_postgres, on_postgres.ana, on_postgres.olga
    held = await case.hold()
    of_request = f"/approvals/requests/{held.question['id']}"
    seen = {name: held.question[name] for name in ("digest", "revision")}
    key = await csrf(case)
    (run,) = (await olga.get(f"/threads/{held.thread_id}/runs")).body
    met: dict[str, Reply] = {}

    with gone(case.target.server.database_url, seeded_postgres, why=why):
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
        met["cancel"] = await olga.post(f"/threads/{held.thread_id}/runs/{run['run_id']}/cancel")
        met["cancel all"] = await olga.post("/runs/cancel", {"status": "all"})
        met["form"] = await sent_form(case, f"/inbox/requests/{held.question['id']}/approve", csrf=key, **seen)
        met["freeze form"] = await sent_form(case, "/inbox/freeze", csrf=key, reason="try", confirm="freeze")
        signed_in = {"Cookie": f"clearance_inbox={ana.http.headers['authorization'].removeprefix('Bearer ')}"}
        page = await ana.get("/inbox", headers=signed_in)

    for what, reply in met.items():
        assert (reply.status, NOTHING in str(reply.body)) == (503, True), (what, reply)
    assert page.status == 503
    assert NOTHING in page.body
    assert await case.goes_on(held)


UNKNOWN = "may have been recorded: look before you repeat it"


async def test_a_commit_whose_answer_is_lost_is_told_as_unknown_and_is_found(
    on_postgres: Case, cutting: tuple[Target, Cutting]
) -> None:
    """The database is gone at once afterwards: what was asked for did happen, and nobody can know."""
    case, ana, olga, way = on_postgres, on_postgres.ana, on_postgres.olga, cutting[1]

    async def lost(event: str, sending: Callable[[], Awaitable[Reply]], who: str = ana.name) -> Reply:
        with way.lose_answer(event, who):
            reply = await sending()
            assert way.cut.is_set(), event
        return reply

    key = await csrf(case)
    decided = []
    for word, event in (("approve", "approved"), ("reject", "rejected")):
        held = await case.hold()
        of_request = f"/approvals/requests/{held.question['id']}"
        seen = {name: held.question[name] for name in ("digest", "revision")}
        sent = {"decision": word, **seen}
        decided.append(await lost(event, lambda: ana.post(f"{of_request}/decision", sent)))  # noqa: B023  runs at once
        state = (await ana.get(of_request)).body["request"]["state"]
        assert state in (event, "executed")
    held = await case.hold()
    seen = {name: held.question[name] for name in ("digest", "revision")}
    path = f"/inbox/requests/{held.question['id']}/approve"
    decided.append(await lost("approved", lambda: sent_form(case, path, csrf=key, **seen)))
    held = await case.hold()
    decided.append(await lost("approved", lambda: ana.answer(held.thread_id, {held.interrupt_id: {"approved": True}})))
    decided.append(await lost("frozen", lambda: ana.post("/approvals/freeze", {"reason": "try"})))
    assert (await ana.get("/approvals/freeze")).body["by"] == ana.name
    decided.append(await lost("unfrozen", lambda: ana.send("DELETE", "/approvals/freeze")))
    assert (await ana.get("/approvals/freeze")).body["by"] is None
    held = await case.hold()
    deleted = await lost("withdrawn", lambda: olga.send("DELETE", f"/threads/{held.thread_id}"), held.thread_id)

    assert [(reply.status, UNKNOWN in str(reply.body)) for reply in decided] == [(503, True)] * 6, decided
    assert deleted.status == 503
    assert "is deleted" in deleted.body["detail"]
    request = (await ana.get(f"/approvals/requests/{held.question['id']}")).body["request"]
    assert request["state"] == "withdrawn"
    for _ in range(300):
        if len(case.effects()) == 3:  # of what was approved, each once
            break
        await asyncio.sleep(0.2)
    assert len(case.effects()) == 3


async def test_what_a_deleted_thread_left_open_is_withdrawn_when_the_database_answers(
    on_postgres: Case, cutting: tuple[Target, Cutting]
) -> None:
    """It stayed open, and a restart made the thread again."""
    case, way = on_postgres, cutting[1]
    held = await case.hold()

    with way.gone_at("its thread was deleted"):
        deleted = await case.olga.send("DELETE", f"/threads/{held.thread_id}")
    assert deleted.status == 503
    assert "is withdrawn when it does" in deleted.body["detail"]

    for _ in range(300):
        request = (await case.ana.get(f"/approvals/requests/{held.question['id']}")).body["request"]
        if request["state"] != "asked":
            break
        await asyncio.sleep(0.2)
    assert request["state"] == "withdrawn"


async def test_what_a_cancelled_run_was_to_do_is_withdrawn_when_the_database_answers(
    on_postgres: Case, cutting: tuple[Target, Cutting]
) -> None:
    """The run was over by then, and what it had asked for stayed open."""
    case, way = on_postgres, cutting[1]
    held = await case.hold()
    (run,) = (await case.olga.get(f"/threads/{held.thread_id}/runs")).body

    with way.gone_at("cancelled the run"):
        cancelled = await case.olga.send("DELETE", f"/threads/{held.thread_id}/runs/{run['run_id']}")
        assert way.cut.is_set()
    assert cancelled.status == 503
    assert "is withdrawn when it does" in cancelled.body["detail"]

    for _ in range(300):
        shown = (await case.ana.get(f"/approvals/requests/{held.question['id']}")).body
        if shown["request"]["state"] != "asked":
            break
        await asyncio.sleep(0.2)
    assert shown["request"]["state"] == "withdrawn"
    assert shown["receipt"]["sentence"] == f"Not done: withdrawn, because {case.olga.name} cancelled the run."


@contextmanager
def full(server: Server) -> Iterator[None]:
    """Let a server write into no file any more, as on a full disk, for as long as the block runs."""
    assert server.process is not None
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)


async def test_on_a_full_disk_one_can_look_and_everybody_else_is_told(case: Case, held: Held) -> None:
    of_request = f"/approvals/requests/{held.question['id']}"
    seen = {name: held.question[name] for name in ("digest", "revision")}
    met: dict[str, Reply] = {}

    with full(case.target.server):
        looked = [await case.ana.get(path) for path in (of_request, "/approvals/requests", "/approvals/freeze")]
        for word in ("approve", "reject"):
            met[word] = await case.ana.post(f"{of_request}/decision", {"decision": word, **seen})
        met["freeze"] = await case.ana.post("/approvals/freeze", {"reason": "try"})
        met["answer"] = await case.ana.answer(held.thread_id, {held.interrupt_id: {"approved": True}})

    assert [reply.status for reply in looked] == [200, 200, 200]
    for what, reply in met.items():
        # A limit is met at COMMIT with an error of which SQLite does not say what became of it, unlike a full disk.
        told = any(sentence in str(reply.body) for sentence in (NOTHING, UNKNOWN))
        assert (reply.status, told) == (503, True), (what, reply)
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
