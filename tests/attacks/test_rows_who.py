"""Rows about who somebody is: headers that claim it, and tokens that are over."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import jwt
import websockets

from agent.server.tokens import DEVELOPMENT
from tests.attacks.targets import Case, Outcome, Reply, attack
from tests.support.provider import make_claims
from tests.support.server import AUTH_SECRET

YES = {"approved": True}
#: Seconds past its end in which a token still counts on ours.
_LEEWAY_S = 30


@attack(35, ours=("401",))
async def test_row_35_headers_without_a_token_ask_for_nothing(case: Case) -> Outcome:
    """Headers of Studio, of a proxy in front, and of other schemes; none of them comes with a token."""
    outcome = Outcome(harm="let in")
    for headers in (
        {"x-auth-scheme": "langsmith"},
        {"x-auth-scheme": "langsmith", "Origin": "https://smith.langchain.com"},
        {"x-auth-scheme": "langsmith", "x-api-key": "lsv2_pt_0123456789abcdef", "x-user-id": "ana"},
        {"x-auth-scheme": "langsmith", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-User": "ana"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-User": "ana", "X-Forwarded-Prefix": "/noauth"},
        {"Authorization": "Basic YW5hOmFuYQ==", "x-user-id": "ana"},
    ):
        reply = await case.attacker(None, headers).post("/threads")
        outcome.note(reply, got=int(reply.status == 200))
    return outcome


@attack(36, ours=("closed",), targets=("stock", "ours", "gate"))
async def test_row_36_a_websocket_that_was_opened_in_time_answers_too_late(case: Case) -> Outcome:
    """An approver opens the thread's stream, waits until the token is over, and answers."""
    outcome = Outcome()
    held = await case.hold()
    ends = datetime.now(UTC) + timedelta(seconds=3 - (_LEEWAY_S if case.target.is_ours else 0))
    claims = make_claims(case.ana.name, iss=DEVELOPMENT, exp=ends, roles=["approver"])
    token = jwt.encode(claims, AUTH_SECRET, algorithm="HS256")
    url = f"{case.target.url.replace('http', 'ws')}/threads/{held.thread_id}/stream/events"
    answer = {"namespace": [], "interrupt_id": held.interrupt_id, "response": YES}
    met = Reply(200, {"type": "error", "message": "closed"})
    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as connection:
        await asyncio.sleep(4)
        with suppress(websockets.ConnectionClosed, TimeoutError):
            async with asyncio.timeout(20):
                await connection.send(json.dumps({"id": 1, "method": "input.respond", "params": answer}))
                while (heard := json.loads(await connection.recv())).get("id") != 1:
                    pass
                met = Reply(200, heard)
    await case.settle(held.thread_id)

    outcome.tries, outcome.got = 1, case.unwanted()
    outcome.met["closed" if met.body.get("message") == "closed" else met.how] += 1
    return outcome
