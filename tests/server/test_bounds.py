"""What one person may send, and how much may be waiting for them, on the real `langgraph dev`."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import websockets

from clearance.db.tables import refusal_totals, turns
from clearance.settings import Settings
from tests.attacks.targets import Attacker, Case, Held
from tests.support.conversation import GRAPH
from tests.support.server import Server
from tests.support.tokens import token

MOST = Settings.model_fields["max_unfinished_runs"].default
ANALYSE = {"messages": [{"role": "user", "content": "analyze transactions"}]}
LARGE = {"messages": [{"role": "user", "content": "a" * 300_000}]}
PICTURE = {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": "a" * 2_100_000}


def memory_mb(server: Server) -> float:
    """Give the resident memory of a server."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def said_in(case: Case, thread_id: str) -> int:
    query = sa.select(sa.func.count()).select_from(turns).where(turns.c.thread_id == thread_id)
    return int(case.target.read(lambda c: c.scalar(query)))


# Sizes


@pytest.mark.parametrize(
    "given", [LARGE, {"messages": [{"role": "user", "content": [PICTURE]}]}], ids=["text", "picture"]
)
async def test_words_that_are_too_large_are_not_stored(case: Case, given: dict[str, Any]) -> None:
    thread_id = await case.olga.thread()
    body = {"assistant_id": GRAPH, "input": given}
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": GRAPH, "input": given}}

    for path in ("runs", "runs/wait", "runs/stream"):
        reply = await case.olga.post(f"/threads/{thread_id}/{path}", body)
        assert (reply.status, "may have" in str(reply.body)) == (413, True), path
    told = await case.olga.post(f"/threads/{thread_id}/commands", command)

    assert "may have" in str(told.body), told
    assert not (await case.olga.state(thread_id))["values"]
    assert said_in(case, thread_id) == 0
    assert "size" in case.traces(case.olga)


async def test_twenty_megabytes_are_refused_on_every_route(case: Case, held: Held) -> None:
    """It made 113 MB of checkpoints and 73 MB of journal."""
    body = json.dumps({"assistant_id": GRAPH, "input": {"messages": [{"role": "user", "content": "a" * 20_000_000}]}})
    thread = f"/threads/{held.thread_id}"
    for path in (
        f"{thread}/runs",
        f"{thread}/runs/wait",
        f"{thread}/commands",
        f"{thread}/stream/events",
        f"{thread}/state",
        f"{thread}/history",
        "/threads",
        "/threads/search",
        "/runs/cancel",
        f"/approvals/requests/{held.question['id']}/decision",
        "/inbox/sign-in",
    ):
        reply = await case.ana.send("POST", path, content=body)
        assert (reply.status, "may have" in str(reply.body)) == (413, True), path

    assert await case.goes_on(held)


async def test_metadata_of_a_thread_has_a_bound(case: Case) -> None:
    thread_id = await case.olga.thread()

    made = await case.olga.post("/threads", {"metadata": {"note": "a" * 30_000}})
    changed = await case.olga.send("PATCH", f"/threads/{thread_id}", json={"metadata": {"note": "a" * 30_000}})

    assert (made.status, changed.status) == (413, 413)


async def test_a_thread_takes_no_words_once_it_is_full(case: Case) -> None:
    """A picture in each message: each checkpoint of the thread holds all of them."""
    thread_id = await case.olga.thread()
    picture = {**PICTURE, "data": "a" * 1_800_000}

    met = []
    for _ in range(4):
        given = [{"type": "text", "text": "hello"}, picture]
        met.append(await case.olga.run(thread_id, input={"messages": [{"role": "user", "content": given}]}))

    assert [reply.how for reply in met] == ["done", "done", "done", "413"]
    assert "new thread" in met[-1].body["detail"]


@pytest.mark.parametrize(
    "path", ["/approvals/requests/x/decision", "/inbox/sign-in", "/threads/x/runs", "/threads", "/ok"]
)
async def test_a_body_without_end_is_refused_before_anybody_signs_in(case: Case, path: str) -> None:
    """150 MB without a token were read into memory before anyone asked who sends them."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1_000_000
            yield b"a" * 1_000_000

    before, began = memory_mb(case.target.server), time.monotonic()
    async with httpx.AsyncClient(timeout=30) as http:
        try:
            status = (await http.post(f"{case.target.url}{path}", content=endless())).status_code
        except httpx.TransportError:
            status = 413  # it was hung up on while it still sent

    # Who reads no body is not made to by us.
    assert status in (401, 405, 413)
    assert time.monotonic() - began < 20
    assert memory_mb(case.target.server) - before < 40, sent


async def test_a_large_message_ends_its_websocket(case: Case) -> None:
    thread_id = await case.olga.thread()
    url = case.target.url.replace("http", "ws")
    assert case.olga.person is not None
    headers = {"Authorization": f"Bearer {token(case.olga.person)}"}

    async with websockets.connect(f"{url}/threads/{thread_id}/stream/events", additional_headers=headers) as socket:
        await socket.send("a" * 5_000_000)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await asyncio.wait_for(_all(socket), 60)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def _all(socket: websockets.ClientConnection) -> None:
    while True:
        await socket.recv()


# Unfinished runs


async def flood(who: Attacker, times: int) -> list[tuple[str, int, Any]]:
    """Ask for long work in that many threads at once; give thread, status and answer of each."""

    async def one() -> tuple[str, int, Any]:
        thread_id = await who.thread()
        reply = await who.run(thread_id, wait=False, input=ANALYSE)
        return thread_id, reply.status, reply.body

    return list(await asyncio.gather(*(one() for _ in range(times))))


@pytest.fixture
async def slow_case(make_server: Callable[..., Server]) -> AsyncIterator[Case]:
    """Somebody on a server whose analysis takes a while."""
    from tests.attacks.targets import Target

    server = make_server(ANALYSIS_CHUNK="1")
    server.auth = "on"
    case = Case(Target("ours", server.start()))
    yield case
    await case.close()
    server.stop()


async def test_one_person_cannot_fill_the_queue(slow_case: Case) -> None:
    """Of 150 queued analyses ana's approval was not carried out 150 s later."""
    held = await slow_case.hold()
    met = await flood(slow_case.olga, 60)
    let_in = [thread_id for thread_id, status, _ in met if status == 200]
    refused = [body for _, status, body in met if status == 429]
    threads = [await slow_case.olga.get(f"/threads/{thread_id}") for thread_id in let_in]
    # One that ended meanwhile, as on a busy machine some do, made room for another.
    ended = sum(one.body["status"] not in ("busy", "pending") for one in threads)
    began = time.monotonic()

    assert await slow_case.goes_on(held)

    assert time.monotonic() - began < 20
    assert len(let_in) <= MOST + ended
    assert len(let_in) + len(refused) == 60
    assert any("wait for one of them, or cancel it" in str(body) for body in refused)
    query = sa.select(sa.func.sum(refusal_totals.c.count)).where(refusal_totals.c.cause.in_(["runs", "flood"]))
    assert (slow_case.target.read(lambda c: c.scalar(query)) or 0) > 0


async def test_a_run_that_ends_in_whatever_way_makes_room(slow_case: Case) -> None:
    olga = slow_case.olga
    met = await flood(olga, MOST)
    assert {status for _, status, _ in met} == {200}
    thread_id = await olga.thread()
    assert (await olga.run(thread_id, wait=False, input=ANALYSE)).status == 429
    assert (await slow_case.mallory.run(await slow_case.mallory.thread(), wait=False, input=ANALYSE)).status == 200

    (one, _, run), (other, _, _), (third, _, last) = met[0], met[1], met[2]
    assert (await olga.post(f"/threads/{one}/runs/{run['run_id']}/cancel")).status in (202, 404)
    assert (await olga.send("DELETE", f"/threads/{other}")).status == 204
    await olga.send("DELETE", f"/threads/{third}/runs/{last['run_id']}")
    await asyncio.sleep(0.6)

    assert (await olga.run(thread_id, wait=False, input=ANALYSE)).status == 200


async def test_a_run_that_the_server_refused_is_not_counted(case: Case) -> None:
    for _ in range(MOST + 2):
        assert (await case.olga.run("11111111-1111-4111-8111-111111111111", input=ANALYSE)).status == 404

    assert (await case.olga.say(await case.olga.thread(), "hello")).how == "done"


async def test_what_waits_for_an_answer_is_not_counted(case: Case) -> None:
    for _ in range(MOST + 2):
        await case.hold()


async def test_answers_count_for_who_gives_them_and_none_is_recorded_beyond_the_bound(slow_case: Case) -> None:
    held = await slow_case.hold()
    await flood(slow_case.ana, MOST)

    refused = await slow_case.ana.answer(held.thread_id, {held.interrupt_id: {"approved": True}})

    if refused.status == 429:  # else one of ana's ended meanwhile
        shown = await slow_case.ben.get(f"/approvals/requests/{held.question['id']}")
        assert shown.body["request"]["state"] == "asked"
        assert slow_case.effects() == []


def test_the_bound_leaves_workers_free() -> None:
    command = Server(Path(os.devnull), "").command(Path(os.devnull))

    assert int(command[command.index("--n-jobs-per-worker") + 1]) > MOST
