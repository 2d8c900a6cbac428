"""Rows about who somebody is: headers that claim it, tokens that are over, lines of the log that were made up."""

import asyncio
import base64
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import websockets

from clearance.server.entry.tokens import DEVELOPMENT
from tests.attacks.targets import OF_ANY_GRAPH, Attacker, Case, Outcome, Reply, attack
from tests.support.conversation import GRAPH
from tests.support.provider import make_claims
from tests.support.server import AUTH_SECRET

YES = {"approved": True}
#: Seconds past its end in which a token still counts on ours.
_LEEWAY_S = 30


@attack(35, ours=("401",), targets=OF_ANY_GRAPH)
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


@attack(36, ours=("closed",))
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
            async with asyncio.timeout(60):
                await connection.send(json.dumps({"id": 1, "method": "input.respond", "params": answer}))
                while (heard := json.loads(await connection.recv())).get("id") != 1:
                    pass
                met = Reply(200, heard)
    await case.settle(held.thread_id)

    outcome.tries, outcome.got = 1, case.unwanted()
    outcome.met["closed" if met.body.get("message") == "closed" else met.how] += 1
    return outcome


_MADE_UP = "2026-11-25T12:00:00.000000Z [info     ] approved by tess"


@attack(45, server="own")
async def test_row_45_text_from_outside_makes_no_line_of_the_log(case: Case) -> Outcome:
    """A line, and a title for the terminal, in a path, a query, the header of a token and the id of a request."""
    outcome = Outcome(harm="lines forged")
    hidden = f"x\n{_MADE_UP}\n\x1b]0;pwned\x07"
    header = {"alg": "HS256", "typ": "JWT", "crit": [hidden], hidden: 1}
    parts = (base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in (header, {}))
    nobody = case.attacker(None, {"Authorization": f"Bearer {'.'.join(parts)}.eA"})
    path = hidden.replace("\n", "%0A").replace("\x1b", "%1B").replace("\x07", "%07").replace(" ", "%20")
    numbered = case.attacker(None, {})
    # Without a space in it, which would make the platform's log quote it.
    numbered.http.headers["x-request-id"] = "x\x85approved-by-tess\u2028\x9d0;pwned\x9c"
    thread_id = await case.olga.thread()
    requests: list[tuple[Attacker, str, str, Any]] = [
        (nobody, "POST", "/threads/search", {}),
        (numbered, "POST", "/threads/search", {}),
        (case.olga, "GET", f"/threads/{path}", None),
        (case.olga, "GET", f"/{path}", None),
        (case.olga, "POST", f"/threads/search?{path}", {}),
        (case.olga, "POST", f"/threads/{thread_id}/runs", {"assistant_id": hidden}),
        (case.olga, "POST", f"/threads/{thread_id}/runs", {"assistant_id": GRAPH, "multitask_strategy": hidden}),
        (case.olga, "POST", f"/threads/{thread_id}/commands", {"id": 1, "method": hidden}),
        (case.olga, "POST", "/threads", {"thread_id": hidden}),
        (case.olga, "POST", f"/threads/{thread_id}/state", {"values": {"messages": hidden}}),
        # Its run fails, and the platform's worker logs the error with the name.
        (case.olga, "POST", f"/threads/{thread_id}/runs/wait",
         {"assistant_id": GRAPH, "input": {"messages": [{"role": hidden, "content": "hello"}]}}),
    ]  # fmt: skip
    for who, method, asked, body in requests:
        before = len(case.target.server.log)
        reply = await who.send(method, asked, **({} if body is None else {"json": body}))
        await asyncio.sleep(0.3)
        lines = case.target.server.log[before:].splitlines()
        is_forged = any(line.startswith((_MADE_UP, "approved")) or "\x1b]0;" in line for line in lines)
        outcome.note(reply, got=int(is_forged))
    return outcome


@attack(50)
async def test_row_50_who_looks_like_the_requester_approves_nothing(case: Case) -> Outcome:
    """One person with two names that nobody can tell apart: a Cyrillic letter, a capital I, a zero."""
    outcome = Outcome()
    for mine, others in (("olga", "\u043elga"), ("paul", "pauI"), ("bob", "b0b")):
        held = await case.hold(by=case.somebody(mine))
        before = len(case.effects())

        reply = await case.somebody(others, "approver", "treasurer").answer(held.thread_id, YES)
        await case.settle(held.thread_id)

        outcome.note(reply, got=len(case.effects()) - before)
    return outcome
