"""A connection on the real `langgraph dev` ends with the token that opened it, and what arrives late is nobody's."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import jwt
import pytest
import websockets

from clearance.server.entry.token_lifetimes import ENDED
from clearance.server.entry.tokens import DEVELOPMENT
from clearance.server.inbox.session import COOKIE
from tests.attacks.targets import Case, Held, Target
from tests.support.conversation import GRAPH
from tests.support.provider import ISSUER, make_claims, running_provider
from tests.support.server import AUTH_SECRET, Server
from tests.support.world import Person

#: Seconds past its end in which a token still counts, for clocks that differ.
LEEWAY_S = 30


def ending(person: Person, in_s: float) -> str:
    """Sign a token that counts for so many seconds more."""
    end = datetime.now(UTC) + timedelta(seconds=in_s - LEEWAY_S)
    claims = make_claims(person.identity, iss=DEVELOPMENT, exp=end, roles=list(person.roles))
    return jwt.encode(claims, AUTH_SECRET, algorithm="HS256")


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def respond(held: Held) -> str:
    answer = {"interrupt_id": held.interrupt_id, "response": {"approved": True}}
    return json.dumps({"id": 1, "method": "input.respond", "params": {"namespace": [], **answer}})


async def closing(connection: websockets.ClientConnection) -> tuple[int | None, str, list[str]]:
    """Read until the server closes, and give its code, its reason, and what came before."""
    heard = []
    async with asyncio.timeout(60):
        while True:
            try:
                heard.append(str(await connection.recv()))
            except websockets.ConnectionClosed as exc:
                return exc.rcvd.code if exc.rcvd else None, exc.rcvd.reason if exc.rcvd else "", heard


async def test_a_websocket_is_closed_when_its_token_ends_and_takes_no_answer_after(case: Case, held: Held) -> None:
    """What went wrong: opened before the end, it took `input.respond` after it, and the approval counted."""
    assert case.ana.person
    url = f"{case.target.url.replace('http', 'ws')}/threads/{held.thread_id}/stream/events"
    token = ending(case.ana.person, 6)
    async with websockets.connect(url, additional_headers=with_token(token)) as connection:
        code, reason, _ = await closing(connection)
        with pytest.raises(websockets.ConnectionClosed):
            await connection.send(respond(held))
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(url, additional_headers=with_token(token))

    assert (code, reason) == (1008, ENDED)
    assert case.effects() == []
    assert await case.goes_on(held)


async def test_a_websocket_takes_answers_while_its_token_holds(case: Case, held: Held) -> None:
    assert case.ana.person
    url = f"{case.target.url.replace('http', 'ws')}/threads/{held.thread_id}/stream/events"
    async with websockets.connect(url, additional_headers=with_token(ending(case.ana.person, 600))) as connection:
        await connection.send(respond(held))
        async with asyncio.timeout(60):
            while json.loads(await connection.recv()).get("id") != 1:
                pass
    await case.settle(held.thread_id)

    assert case.effects() == [held.effect]


async def test_a_key_that_the_provider_took_back_ends_what_was_opened_with_it(
    make_server: Callable[..., Server],
) -> None:
    """Keys are asked for again when they are five minutes old; here by a token of an unknown key."""
    with running_provider() as provider:
        provider.add_key("one")
        provider.add_key("two")
        server = make_server(AUTH_JWKS_URL=provider.url, AUTH_ISSUER=ISSUER)
        server.auth = "on"
        case = Case(Target("ours", server.start()))
        old, new = (with_token(provider.sign(kid, "olga")) for kid in ("one", "two"))
        thread_id = await case.attacker(None, old).thread()
        url = f"{server.url.replace('http', 'ws')}/threads/{thread_id}/stream/events"
        async with websockets.connect(url, additional_headers=old) as connection:
            provider.remove_key("one")
            provider.add_key("three")
            for _ in range(120):
                if (await case.attacker(None, with_token(provider.sign("three"))).post("/threads")).status == 200:
                    break
                await asyncio.sleep(0.5)
            await connection.send(json.dumps({"id": 1, "method": "run.start", "params": {"assistant_id": GRAPH}}))
            code, _, heard = await closing(connection)
        assert (await case.attacker(None, new).get(f"/threads/{thread_id}")).status == 200
        await case.close()

    assert code == 1008
    assert not any(json.loads(one).get("id") == 1 for one in heard)


STREAMS = [
    pytest.param("POST", "/threads/{thread}/stream/events", {"channels": ["values"]}, "event: error", id="v2 events"),
    pytest.param("GET", "/threads/{thread}/stream", None, "event: error", id="events of a thread"),
    pytest.param("GET", "/approvals/stream", None, "event: error", id="approvals"),
]


@pytest.mark.parametrize(("method", "path", "body", "last"), STREAMS)
async def test_a_stream_ends_with_its_token_and_says_why(
    case: Case, held: Held, method: str, path: str, body: dict[str, object] | None, last: str
) -> None:
    """What went wrong: it told for ever what only somebody signed in may read."""
    assert case.ana.person
    headers = with_token(ending(case.ana.person, 6))
    began = time.monotonic()
    async with (
        httpx.AsyncClient(base_url=case.target.url, headers=headers, timeout=60) as http,
        http.stream(method, path.format(thread=held.thread_id), json=body) as answer,
    ):
        heard = "".join([chunk async for chunk in answer.aiter_text()])

    assert answer.status_code == 200
    assert last in heard
    assert ENDED in heard
    assert time.monotonic() - began < 40


async def test_waiting_for_a_run_ends_with_the_token_and_not_the_run(case: Case) -> None:
    assert case.olga.person
    short = case.attacker(case.olga.person, with_token(ending(case.olga.person, 2.5)))
    thread_id = await case.olga.thread()

    reply = await short.say(thread_id, "analyze transactions")
    status = await case.settle(thread_id)

    told = reply.body.get("__error__") if isinstance(reply.body, dict) else None
    # On a fast machine the run is done before.
    assert told in (None, {"error": "TokenEnded", "message": ENDED})
    assert status == "idle"


async def test_a_body_that_trickles_in_past_the_end_makes_no_run(case: Case) -> None:
    """The headers came in time, and the words did not."""
    assert case.olga.person
    thread_id = await case.olga.thread()
    account = case.account()
    said = {"messages": [{"role": "user", "content": f"transfer 10 from {account} to {case.account(0)}"}]}
    body = json.dumps({"assistant_id": GRAPH, "input": said}).encode()
    host, port = "127.0.0.1", int(case.target.url.rsplit(":", 1)[1])
    head = (
        f"POST /threads/{thread_id}/runs HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {ending(case.olga.person, 6)}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )

    def trickle() -> bytes:
        with socket.create_connection((host, port), timeout=60) as connection:
            connection.sendall(head.encode() + body[:10])
            time.sleep(7)
            connection.sendall(body[10:])
            return b"".join(iter(lambda: connection.recv(4096), b""))  # the head may come alone

    answered = await asyncio.to_thread(trickle)
    runs = await case.olga.get(f"/threads/{thread_id}/runs")

    assert answered.startswith(b"HTTP/1.1 401")
    assert ENDED.encode() in answered
    assert runs.body == []


async def test_a_session_of_the_inbox_ends_with_its_token(case: Case) -> None:
    assert case.ana.person
    async with httpx.AsyncClient(
        base_url=case.target.url, cookies={COOKIE: ending(case.ana.person, 6)}, timeout=60
    ) as http:
        before = await http.get("/inbox")
        await asyncio.sleep(7)
        after = await http.get("/inbox")

    assert before.status_code == 200
    assert (after.status_code, after.headers["location"].split("?")[0]) == (303, "/inbox/sign-in")


async def test_the_cookie_of_a_session_lives_no_longer_than_its_token(case: Case) -> None:
    assert case.ana.person
    form = {"token": ending(case.ana.person, LEEWAY_S + 100)}
    async with httpx.AsyncClient(base_url=case.target.url, headers={"Origin": case.target.url}) as http:
        answer = await http.post("/inbox/sign-in", data=form)

    (lives,) = [part for part in answer.headers["set-cookie"].split("; ") if part.startswith("Max-Age=")]
    assert 90 <= int(lives.removeprefix("Max-Age=")) <= 100


async def test_without_a_token_nothing_is_ended(server: Server) -> None:
    async with websockets.connect(f"{server.url.replace('http', 'ws')}/threads/{uuid4()}/stream/events"):
        await asyncio.sleep(0.5)
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post("/threads", json={})).status_code == 200
