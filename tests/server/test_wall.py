"""The server's wall on the real `langgraph dev`: who gets in, what they see, and what nobody may order."""

import asyncio
import base64
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
import sqlalchemy as sa
import websockets

from clearance.db.tables import audit, refusals
from clearance.journal.refusals import FLOOD, ROWS_A_MINUTE
from clearance.server.entry.tokens import DEVELOPMENT, NOT_NFC
from tests.attacks.targets import Attacker, Case, Held, Reply, Target
from tests.support.conversation import GRAPH
from tests.support.provider import ISSUER, Provider, make_claims, running_provider
from tests.support.server import AUTH_SECRET, Server
from tests.support.tokens import bearer, token
from tests.support.world import Person

SIGN_IN = {"detail": "Sign in with a valid token, as Authorization: Bearer or x-api-key."}
STUDIO = {"x-auth-scheme": "langsmith"}
YES = {"approved": True}

#: An id of nothing. Not made anew: it stands in the names of tests, which all workers must agree on.
NO_SUCH = "11111111-1111-4111-8111-111111111111"


def signed(subject: Any = "olga", secret: str = AUTH_SECRET, **claims: Any) -> str:
    return jwt.encode(make_claims(subject, **{"iss": DEVELOPMENT, **claims}), secret, algorithm="HS256")


def unsigned(claims: dict[str, Any]) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def message(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


# Who you are


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no token"),
        pytest.param({"Authorization": "Bearer"}, id="an empty token"),
        pytest.param({"Authorization": "Bearer x.y.z"}, id="no token at all"),
        pytest.param({"Authorization": f"Basic {signed()}"}, id="another scheme"),
        pytest.param({"Authorization": signed()}, id="no scheme"),
        pytest.param({"Cookie": f"token={signed()}; authorization=Bearer {signed()}"}, id="a cookie"),
        pytest.param({"Authorization": f"Bearer {signed(exp=datetime.now(UTC) - timedelta(hours=1))}"}, id="expired"),
        pytest.param({"Authorization": f"Bearer {signed(exp=None)}"}, id="without an end"),
        pytest.param({"Authorization": f"Bearer {signed(secret='x' * 40)}"}, id="another secret"),
        pytest.param({"Authorization": f"Bearer {unsigned(make_claims(exp=2**40))}"}, id="unsigned"),
        pytest.param({"Authorization": f"Bearer {signed(aud='other')}"}, id="another audience"),
        pytest.param({"Authorization": f"Bearer {signed(iss='other')}"}, id="another issuer"),
        pytest.param({"Authorization": f"Bearer {signed('system')}"}, id="the server's name"),
        pytest.param({"Authorization": f"Bearer {signed('local')}"}, id="the local principal's name"),
        pytest.param({"Authorization": f"Bearer {signed('syst' + chr(0x435) + 'm')}"}, id="a name like the server's"),
        pytest.param({"Authorization": f"Bearer {signed('os:root')}"}, id="the command line's name"),
        pytest.param({"Authorization": f"Bearer {signed('langgraph-studio-user')}"}, id="Studio's name"),
        pytest.param({"Authorization": f"Bearer {signed(chr(0x202E) + 'ana')}"}, id="characters that hide"),
        pytest.param({"x-api-key": "x.y.z"}, id="a key that is none"),
        # One is enough to get in, so the one that is looked at has to be right.
        pytest.param({"Authorization": "Bearer x.y.z", "x-api-key": signed()}, id="a bad token beside a good key"),
        pytest.param({"x-auth-scheme": "langsmith2"}, id="almost Studio's header"),
    ],
)
async def test_who_is_not_signed_in_gets_one_plain_answer(guarded: Target, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, headers=headers) as http:
        answers = [await http.post("/threads/search", json={}), await http.get(f"/assistants/{uuid4()}/schemas")]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(401, SIGN_IN)] * 2


async def test_a_name_in_another_form_of_unicode_is_told_so(guarded: Target) -> None:
    headers = {"Authorization": f"Bearer {signed('Rene' + chr(0x301))}"}
    async with httpx.AsyncClient(base_url=guarded.url, headers={**headers, "Origin": guarded.url}) as http:
        answers = [await http.post("/threads/search", json={}), await http.get("/approvals/me")]
        page = await http.post("/inbox/sign-in", data={"token": signed("Rene" + chr(0x301))})
    async with httpx.AsyncClient(base_url=guarded.url, headers={"x-api-key": signed("René")}) as http:
        taken = await http.post("/threads/search", json={})

    assert [(answer.status_code, answer.json()) for answer in answers] == [(401, {"detail": NOT_NFC})] * 2
    assert page.status_code == 401
    assert "NFC" in page.text
    assert taken.status_code == 200


async def test_a_token_counts_in_either_header_and_the_first_of_two_wins(case: Case) -> None:
    tokens = {name: token(Person(f"{name}-{case.mark}")) for name in ("olga", "ben")}
    ways = [
        {"Authorization": f"Bearer {tokens['olga']}"},
        {"authorization": f"bearer  {tokens['olga']}"},
        {"x-api-key": tokens["olga"]},
        {"X-Api-Key": tokens["olga"], "Authorization": "Basic b2xnYTpvbGdh"},
        {"x-api-key": tokens["ben"], "Authorization": f"Bearer {tokens['olga']}"},
    ]

    made = [await case.attacker(None, headers).post("/threads") for headers in ways]

    assert [reply.body["metadata"]["owner"] for reply in made] == [f"olga-{case.mark}"] * len(ways)


async def test_a_claim_of_a_token_is_no_more_than_a_name_and_roles(case: Case, held: Held) -> None:
    claims: dict[str, Any] = {
        "kind": "system",
        "clearance_system": True,
        "has_all_roles": True,
        "permissions": ["*"],
        "roles": [],
    }
    mallory = case.attacker(None, {"Authorization": f"Bearer {signed(f'mallory-{case.mark}', **claims)}"})

    read = await mallory.get(f"/threads/{held.thread_id}")
    answered = await mallory.answer(held.thread_id, YES)

    assert (read.status, answered.status) == (404, 403)
    assert case.effects() == []


# What you see


async def _as_a_stranger(stranger: Attacker, held: Held, run_id: str, checkpoint_id: str) -> dict[str, Reply]:
    thread = f"/threads/{held.thread_id}"
    requests: list[tuple[str, str, Any]] = [
        ("GET", thread, None),
        ("GET", f"{thread}?include=ttl", None),
        ("GET", f"{thread}/state", None),
        ("GET", f"{thread}/state?subgraphs=true", None),
        ("GET", f"{thread}/state/{checkpoint_id}", None),
        ("POST", f"{thread}/state/checkpoint", {"checkpoint": {"checkpoint_id": checkpoint_id}}),
        ("GET", f"{thread}/history?limit=10", None),
        ("POST", f"{thread}/history", {"limit": 10}),
        ("GET", f"{thread}/runs", None),
        ("GET", f"{thread}/runs/{run_id}", None),
        ("GET", f"{thread}/runs/{run_id}/join", None),
        ("GET", f"{thread}/runs/{run_id}/stream", None),
        ("GET", f"{thread}/stream", None),
        ("POST", f"{thread}/copy", {}),
        ("PATCH", thread, {"metadata": {"note": "mine"}}),
        ("POST", f"{thread}/state", {"values": {"messages": []}}),
        ("POST", f"{thread}/runs", {"assistant_id": GRAPH, "input": message("hello")}),
        ("POST", f"{thread}/runs/wait", {"assistant_id": GRAPH, "input": message("hello")}),
        ("POST", f"{thread}/runs/stream", {"assistant_id": GRAPH, "input": message("hello")}),
        ("POST", f"{thread}/runs/wait", {"assistant_id": GRAPH, "input": None}),
        ("POST", f"{thread}/runs/wait", {"assistant_id": GRAPH, "command": {"resume": message("hello")}}),
        ("POST", f"{thread}/runs/wait", {"assistant_id": GRAPH, "command": {"goto": "__end__"}}),
        ("POST", f"{thread}/runs/wait", {"assistant_id": GRAPH, "input": message("x"), "if_not_exists": "create"}),
        ("POST", f"{thread}/runs/{run_id}/cancel", {}),
        ("POST", "/runs/cancel", {"thread_id": held.thread_id, "run_ids": [run_id]}),
        ("POST", "/runs/cancel", {"status": "all"}),
        ("DELETE", f"{thread}/runs/{run_id}", None),
        ("DELETE", thread, None),
        ("POST", "/threads/prune", {"thread_ids": [held.thread_id]}),
        ("POST", "/threads", {"thread_id": held.thread_id, "if_exists": "do_nothing"}),
        ("POST", "/threads/search", {"ids": [held.thread_id]}),
        ("POST", "/threads/search", {"metadata": {"graph_id": GRAPH}, "status": "interrupted", "limit": 1000}),
        ("POST", "/threads/search", {"limit": 1000, "extract": {"x": "values.messages"}}),
        ("POST", "/threads/count", {"metadata": {"graph_id": GRAPH}}),
        ("POST", f"{thread}/runs/crons", {"assistant_id": GRAPH, "schedule": "* * * * *"}),
    ]
    met = {}
    for method, path, body in requests:
        options = {"json": body} if body is not None else {}
        met[f"{method} {path} {json.dumps(body)}"] = await stranger.send(method, path, timeout=60, **options)
    return met


async def test_a_stranger_sees_and_changes_nothing_of_a_thread(case: Case, held: Held) -> None:
    (run,) = (await case.olga.get(f"/threads/{held.thread_id}/runs")).body
    state = await case.olga.state(held.thread_id)
    before = (await case.olga.get(f"/threads/{held.thread_id}")).body

    met = await _as_a_stranger(case.mallory, held, run["run_id"], state["checkpoint"]["checkpoint_id"])

    for request, reply in met.items():
        assert reply.status in (403, 404, 409, 501) or reply.body in ([], 0) or "404" in str(reply.body), (
            request,
            reply,
        )
        assert held.memo not in str(reply.body), request
        assert "A-" not in str(reply.body), request
    assert (await case.olga.get(f"/threads/{held.thread_id}")).body == before
    assert await case.goes_on(held)


async def test_a_stranger_hears_nothing_of_a_thread(case: Case) -> None:
    thread_id = await case.olga.thread()
    heard: dict[str, list[str]] = {"olga": [], "mallory": []}

    async def listen(who: Attacker, to: list[str], method: str, path: str, body: Any) -> None:
        async with who.http.stream(method, f"{case.target.url}/threads/{thread_id}{path}", json=body) as answer:
            async for line in answer.aiter_lines():
                to.append(line)

    ears = [
        asyncio.create_task(listen(who, heard[name], *what))
        for name, who in (("olga", case.olga), ("mallory", case.mallory))
        for what in (("POST", "/stream/events", {"channels": ["values", "input"]}), ("GET", "/stream", None))
    ]
    await asyncio.sleep(0.5)
    held = await case.hold(thread_id=thread_id)
    await asyncio.sleep(1)
    for ear in ears:
        ear.cancel()
    await asyncio.gather(*ears, return_exceptions=True)

    assert any(held.memo in line for line in heard["olga"])
    assert not any(held.memo in line for line in heard["mallory"])


async def test_who_approves_reads_every_thread_and_answers_in_it(case: Case, held: Held) -> None:
    thread = f"/threads/{held.thread_id}"
    search = {"status": "interrupted", "metadata": {"owner": case.olga.name}}

    listed = (await case.ana.post("/threads/search", search)).body
    read = [await case.ana.get(f"{thread}{path}") for path in ("", "/state", "/history", "/runs")]

    assert [found["thread_id"] for found in listed] == [held.thread_id]
    assert [reply.status for reply in read] == [200] * 4
    assert await case.goes_on(held)


@pytest.mark.parametrize(
    "body",
    [
        {"input": message("transfer 900 from A-2001 to A-2003")},
        {"input": {"messages": ""}},
        {"input": {"messages": "yes"}},
        {"input": {"messages": {"role": "user", "content": "yes"}}},
        {"input": {"messages": 0}},
        {"command": {"resume": message("yes")}},
        {"command": {"resume": message("yes")}, "if_not_exists": "create"},
    ],
)
async def test_who_approves_puts_no_words_into_another_persons_thread(
    case: Case, held: Held, body: dict[str, Any]
) -> None:
    reply = await case.ana.run(held.thread_id, **body)

    assert reply.status in (403, 404), reply
    assert await case.goes_on(held)


@pytest.mark.parametrize(
    "body",
    [
        {"input": None},
        {"input": {}},
        {"input": {"messages": []}},
        {"input": {"messages": []}, "interrupt_before": ["receive"]},
        {"input": None, "interrupt_before": []},
        {"input": {"messages": []}, "multitask_strategy": "interrupt"},
        {"command": {"goto": "__end__"}},
        {"command": {"goto": ["__end__"]}},
        {"input": {"messages": []}, "if_not_exists": "create"},
    ],
)
async def test_who_approves_takes_no_question_out_of_sight(case: Case, held: Held, body: dict[str, Any]) -> None:
    """What went wrong: after an empty input with a breakpoint the thread was not among the interrupted ones."""
    reply = await case.ana.run(held.thread_id, **body)

    listed = (await case.ben.post("/threads/search", {"status": "interrupted", "limit": 100})).body
    (standing,) = await case.ana.interrupts(held.thread_id)
    counted = case.target.read(
        lambda c: c.scalar(sa.select(sa.func.count()).select_from(refusals).where(refusals.c.person == case.ana.name))
    )
    assert reply.status == 403, reply
    assert held.thread_id in [thread["thread_id"] for thread in listed]
    assert standing["id"] == held.interrupt_id
    assert counted == 1
    assert await case.goes_on(held)


@pytest.mark.parametrize("body", [{"input": None}, {"input": {"messages": []}}, {"input": None, "after_seconds": 0}])
async def test_who_asked_may_run_their_thread_again_and_is_asked_the_same(
    case: Case, held: Held, body: dict[str, Any]
) -> None:
    reply = await case.olga.run(held.thread_id, **body, interrupt_before=[], feedback_keys=[])

    assert reply.how == "asked", reply
    assert await case.goes_on(held)


async def test_who_approves_neither_changes_nor_deletes_a_thread(case: Case, held: Held) -> None:
    (run,) = (await case.olga.get(f"/threads/{held.thread_id}/runs")).body
    thread = f"/threads/{held.thread_id}"

    met = [
        await case.ana.send("PATCH", thread, json={"metadata": {"note": "mine"}}),
        await case.ana.send("DELETE", thread),
        await case.ana.send("DELETE", f"{thread}/runs/{run['run_id']}"),
        await case.ana.post("/threads", {"thread_id": held.thread_id, "if_exists": "do_nothing"}),
    ]

    assert [reply.status for reply in met] == [404, 404, 404, 409]
    assert await case.goes_on(held)


async def test_a_copy_belongs_to_the_threads_owner_and_can_do_nothing(case: Case, held: Held) -> None:
    for who in (case.olga, case.ana):
        copy = (await who.post(f"/threads/{held.thread_id}/copy")).body
        answered = await case.ana.answer(copy["thread_id"], YES)

        assert copy["metadata"]["owner"] == case.olga.name
        assert answered.status == 409
    assert case.effects() == []
    assert await case.goes_on(held)


# Whose a thread is


@pytest.mark.parametrize("field", ["owner", "graph_id", "assistant_id"])
async def test_nobody_says_whose_a_thread_is(case: Case, field: str) -> None:
    claimed = {field: "somebody else's"}
    made = (await case.olga.post("/threads", {"metadata": {**claimed, "note": "x"}})).body
    thread = f"/threads/{made['thread_id']}"

    patched = await case.olga.send("PATCH", thread, json={"metadata": claimed})
    noted = await case.olga.send("PATCH", thread, json={"metadata": {"note": "y"}})
    for body in ({"metadata": claimed}, {"config": {"metadata": claimed}}):
        await case.olga.run(made["thread_id"], input=message("hello"), **body)

    metadata = (await case.olga.get(thread)).body["metadata"]
    # The platform itself leaves the assistant out.
    assert patched.status == (200 if field == "assistant_id" else 403)
    assert noted.status == 200
    assert (metadata["owner"], metadata["graph_id"], metadata["note"]) == (case.olga.name, GRAPH, "y")
    assert metadata["assistant_id"] != "somebody else's"


@pytest.mark.parametrize("where", [{}, {"metadata": "here"}, {"config": {"metadata": "here"}}])
async def test_a_thread_that_a_run_makes_is_its_callers(case: Case, where: dict[str, Any]) -> None:
    """What went wrong: such a thread had the owner that the client wrote into the metadata of the run, or none."""
    claimed = json.loads(json.dumps(where).replace('"here"', json.dumps({"owner": case.ben.name, "graph_id": "x"})))
    thread_id = str(uuid4())

    reply = await case.olga.run(thread_id, input=message("hello"), if_not_exists="create", **claimed)

    metadata = (await case.olga.get(f"/threads/{thread_id}")).body["metadata"]
    seen_by = [(await who.get(f"/threads/{thread_id}")).status for who in (case.olga, case.mallory, case.ana)]
    assert reply.how == "done"
    assert (metadata["owner"], metadata["graph_id"]) == (case.olga.name, GRAPH)
    assert seen_by == [200, 404, 200]


async def test_a_thread_that_a_stateless_run_leaves_behind_is_one_as_any_other(case: Case) -> None:
    source, target = case.account(), case.account(0)
    asked = message(f"transfer 5000 from {source} to {target}")
    body = {"assistant_id": GRAPH, "input": asked, "on_completion": "keep"}

    begun = await case.olga.http.post(f"{case.target.url}/runs/wait", json=body)
    thread_id = begun.headers["content-location"].split("/")[2]

    seen_by = [(await who.get(f"/threads/{thread_id}")).status for who in (case.olga, case.mallory, case.ana)]
    before = case.effects()
    approved = await case.ana.answer(thread_id, YES)
    assert (begun.status_code, seen_by, before, approved.how) == (200, [200, 404, 200], [], "done")
    assert len(case.effects()) == 1


# What nobody orders

PICTURE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
DEEP: dict[str, Any] = {"a": [{"b": {"__pregel_resume_map": {}}}]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"command": {"goto": "tools"}}, id="goto"),
        pytest.param({"command": {"goto": {"node": "tools", "input": {}}}}, id="goto Send"),
        pytest.param({"command": {"goto": "__end__", "resume": True}}, id="goto end with an answer"),
        pytest.param({"command": {"update": {"messages": []}}}, id="update"),
        pytest.param({"command": {"update": {"turn_id": "x"}, "resume": YES}}, id="update with an answer"),
        pytest.param({"command": {"goto": "tools"}, "input": message("x")}, id="goto with words"),
        pytest.param({"config": {"configurable": {"__pregel_resume_map": {"a" * 32: YES}}}}, id="resume map"),
        pytest.param({"config": {"configurable": {"__clearance_is_resume": True}}}, id="our own key"),
        pytest.param({"config": {"configurable": {"x": DEEP}}}, id="deep in configurable"),
        pytest.param({"config": {"metadata": DEEP}}, id="deep in the config's metadata"),
        pytest.param({"config": {"__pregel_x": 1}}, id="in the config"),
        pytest.param({"context": {"__pregel_resume_map": {}}}, id="in the context"),
        pytest.param({"context": {"x": DEEP}}, id="deep in the context"),
        pytest.param({"checkpoint": {"__pregel_resume_map": {}}}, id="in the checkpoint"),
        pytest.param({"checkpoint": {"checkpoint_ns": "tools:1"}}, id="inside a step"),
        pytest.param({"metadata": {"x": DEEP}}, id="deep in the metadata"),
        pytest.param({"input": message("hello"), "durability": "exit"}, id="durability exit"),
        pytest.param({"input": message("hello"), "checkpoint_during": False}, id="no checkpoints"),
        pytest.param({"input": message("hello"), "webhook": "https://8.8.8.8/hook"}, id="a webhook"),
        pytest.param({"input": [message("hello")]}, id="a list as input"),
        pytest.param({"input": message("hello"), "interrupt_before": ["receive"]}, id="a breakpoint"),
        pytest.param({"input": message("hello"), "interrupt_after": "*"}, id="breakpoints everywhere"),
        pytest.param({"input": {"messages": []}, "interrupt_before": "*"}, id="a breakpoint and nothing"),
        pytest.param({"command": {"resume": YES}, "interrupt_before": ["tools"]}, id="a breakpoint and an answer"),
        pytest.param({"input": message("hello"), "after_seconds": 8}, id="later"),
        pytest.param({"input": message("hello"), "after_seconds": 10**9}, id="in thirty years"),
        pytest.param({"input": message("hello"), "after_seconds": -60}, id="earlier"),
        pytest.param({"command": {"resume": YES}, "after_seconds": 8}, id="an answer, later"),
        pytest.param({"input": None, "after_seconds": 8}, id="nothing, later"),
        pytest.param({"input": message("hello"), "feedback_keys": ["up"]}, id="feedback"),
        pytest.param({"input": message("hello"), "langsmith_tracer": {"project_name": "x"}}, id="a tracer"),
        pytest.param({"input": {"messages": [{"role": "user", "content": [PICTURE]}]}}, id="a picture to be fetched"),
    ],
)
async def test_what_nobody_may_order_is_refused_to_everybody(case: Case, held: Held, body: dict[str, Any]) -> None:
    met = [await who.run(held.thread_id, **body) for who in (case.olga, case.ana)]

    assert [reply.status for reply in met] == [403, 403], met
    assert await case.goes_on(held)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/runs", {"assistant_id": GRAPH, "input": message("hello")}, 403),
        ("POST", "/runs/wait", {"assistant_id": GRAPH, "input": message("hello")}, 403),
        ("POST", "/runs", {"assistant_id": GRAPH, "input": message("hello"), "on_completion": "keep"}, 403),
        ("POST", "/runs/stream", {"assistant_id": GRAPH, "input": message("hello")}, 403),
        ("POST", "/runs/batch", [{"assistant_id": GRAPH, "input": message("hello")}], 403),
        ("POST", "/assistants", {"graph_id": GRAPH}, 403),
        ("POST", "/assistants", {"graph_id": GRAPH, "config": {"configurable": {"__pregel_resume_map": {}}}}, 403),
        ("PATCH", "/assistants/ASSISTANT", {"metadata": {"x": 1}}, 403),
        ("DELETE", "/assistants/ASSISTANT", None, 403),
        ("POST", "/assistants/ASSISTANT/latest", {"version": 1}, 403),
        ("POST", "/runs/crons", {"assistant_id": GRAPH, "schedule": "* * * * *", "input": {}}, 403),
        ("POST", "/threads/THREAD/runs/crons", {"assistant_id": GRAPH, "schedule": "* * * * *", "input": {}}, 403),
        ("POST", "/runs/crons/search", {}, 403),
        ("POST", "/runs/crons/count", {}, 403),
        ("PATCH", f"/runs/crons/{NO_SUCH}", {"enabled": True}, 403),
        ("DELETE", f"/runs/crons/{NO_SUCH}", None, 403),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}}, 403),
        ("GET", "/store/items?namespace=a&key=k", None, 403),
        ("DELETE", "/store/items", {"namespace": ["a"], "key": "k"}, 403),
        ("POST", "/store/items/search", {"namespace_prefix": ["a"]}, 403),
        ("POST", "/store/namespaces", {}, 403),
        ("POST", "/threads/THREAD/state", {"values": {"messages": []}}, 403),
        ("POST", "/threads/THREAD/state", {"values": None, "as_node": "tools"}, 403),
        ("POST", "/threads/prune", {"thread_ids": ["THREAD"]}, 403),
        ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, 404),
        ("POST", f"/a2a/{GRAPH}", {"jsonrpc": "2.0", "id": 1, "method": "message/send"}, 404),
        ("POST", "/internal/truncate", {}, 404),
        ("GET", "/internal/debug/thread/THREAD", None, 404),
        ("GET", "/deploy", None, 404),
        ("POST", "/deploy", {}, 404),
    ],
)
async def test_other_roads_to_a_run_or_its_state_are_closed_to_everybody(
    case: Case, method: str, path: str, body: Any, status: int
) -> None:
    (assistant,) = (await case.olga.post("/assistants/search", {})).body
    text = json.dumps([path, body])
    for name, value in (("THREAD", await case.olga.thread()), ("ASSISTANT", assistant["assistant_id"])):
        text = text.replace(name, value)
    there, what = json.loads(text)

    met = [await who.send(method, there, **({} if body is None else {"json": what})) for who in (case.olga, case.ana)]

    assert [reply.status for reply in met] == [status] * 2, met


async def test_a_thread_made_with_a_history_has_none(case: Case) -> None:
    forged = {"updates": [{"values": message("pay"), "as_node": "__start__"}]}

    reply = await case.olga.post("/threads", {"supersteps": [forged]})

    (made,) = (await case.olga.post("/threads/search", {})).body
    assert "No client writes the state" in reply.body["detail"]
    assert made["values"] is None
    assert (await case.olga.state(made["thread_id"]))["values"] == {}


async def test_leaving_with_goto_end_passes_and_the_next_message_withdraws(case: Case, held: Held) -> None:
    left = await case.olga.run(held.thread_id, command={"goto": "__end__"})
    said = await case.olga.say(held.thread_id, "hello")
    late = await case.ana.answer(held.thread_id, {held.interrupt_id: YES})

    assert (left.status, said.how, late.status) == (200, "done", 409)
    assert case.effects() == []


# Answers


ALL_THEY_KNOW: list[dict[str, Any]] = [
    message("transfer 900 from SOURCE to TARGET for nothing"),
    {"messages": [{"type": "human", "content": "hello", "id": "made-up"}], "tools": [], "copilotkit": {"actions": []}},
    {"turn_id": "x", "ag-ui": {"context": []}},
]


@pytest.mark.parametrize("beside", ALL_THEY_KNOW, ids=["words", "a page's state", "no words"])
async def test_what_a_page_sends_beside_an_answer_is_not_read(case: Case, held: Held, beside: dict[str, Any]) -> None:
    """What went wrong: pages that send their state as input with each answer could not answer at all."""
    given = json.loads(json.dumps(beside).replace("SOURCE", held.source).replace("TARGET", held.target))

    refused = await case.olga.answer(held.thread_id, {held.interrupt_id: YES}, input=given)
    left = await case.ana.run(held.thread_id, command={"goto": "__end__"}, input=given)
    empty = await case.ana.run(held.thread_id, command={}, input=given)
    wrong = await case.ana.answer(held.thread_id, {held.interrupt_id: "yes"}, input=given)
    taken = await case.ana.answer(held.thread_id, {held.interrupt_id: YES}, input=given)
    again = await case.ben.answer(held.thread_id, {held.interrupt_id: YES}, input=given)
    await case.settle(held.thread_id)

    state = await case.olga.state(held.thread_id)
    assert [one.status for one in (refused, left, empty, wrong, taken, again)] == [403, 403, 403, 422, 200, 409]
    assert [one["type"] for one in state["values"]["messages"]] == ["human", "ai", "tool", "ai"]
    assert case.effects() == [held.effect]


async def test_what_stands_beside_an_order_to_leave_is_not_read(case: Case, held: Held) -> None:
    left = await case.olga.run(held.thread_id, command={"goto": "__end__"}, input=message("hello"))
    state = await case.olga.state(held.thread_id)

    assert left.status == 200
    assert [one["type"] for one in state["values"]["messages"]] == ["human", "ai"]


async def test_words_beside_an_empty_command_are_words_and_bounded_as_that(case: Case, held: Held) -> None:
    """The server reads the input there: what passed for part of an answer was said without a bound."""
    much = await case.olga.run(held.thread_id, command={}, input=message("x" * 1_000_000))
    said = await case.olga.run(held.thread_id, command={}, input=message("hello"))

    assert (much.status, said.how) == (413, "done")
    assert await case.olga.interrupts(held.thread_id) == []


async def test_an_answer_to_what_is_no_longer_open_is_told_so_and_recorded(case: Case, held: Held) -> None:
    pinned = (await case.olga.state(held.thread_id))["checkpoint"]["checkpoint_id"]
    assert await case.goes_on(held)

    met = [
        await case.ana.answer(held.thread_id, YES),
        await case.ana.answer(held.thread_id, {held.interrupt_id: YES}),
        await case.ana.answer(held.thread_id, {"f" * 32: YES}),
        await case.ana.answer(held.thread_id, YES, checkpoint_id=pinned),
        await case.ana.answer(held.thread_id, {"approved": False}, checkpoint={"checkpoint_id": pinned}),
    ]

    events = case.target.read(
        lambda c: list(c.scalars(sa.select(audit.c.event).where(audit.c.actor == case.ana.name).order_by(audit.c.seq)))
    )
    assert [reply.status for reply in met] == [409] * 5
    assert events == ["approved", "answer_late", "answer_late", "answer_unknown", "answer_late", "answer_late"]
    assert case.effects() == [held.effect]


async def test_a_wrong_answer_is_refused_with_its_reason_and_the_question_stands(case: Case, held: Held) -> None:
    """What went wrong: it was answered 200, which pages show as success, and asked again under another id."""
    met = [
        await case.ben.answer(held.thread_id, {held.interrupt_id: "yes"}),
        await case.ben.answer(held.thread_id, "yes"),
        await case.ben.answer(held.thread_id, {held.interrupt_id: {"approved": True, "edited_args": {"amount": "-1"}}}),
        await case.ben.answer(held.thread_id, {held.interrupt_id: YES, "f" * 32: YES}),
        await case.ben.answer(held.thread_id, {held.interrupt_id: YES, "f" * 32: message("pay")}),
        await case.ben.answer(held.thread_id, {held.interrupt_id: {"approved": True, "digest": "f" * 64}}),
    ]
    (standing,) = await case.ana.interrupts(held.thread_id)

    reply = await case.ana.answer(held.thread_id, {held.interrupt_id: YES})
    await case.settle(held.thread_id)

    assert [one.status for one in met] == [422, 422, 422, 409, 422, 409], met
    assert all(one.body["detail"] for one in met)
    assert standing["id"] == held.interrupt_id
    assert reply.how == "done"
    assert case.effects() == [held.effect]


@pytest.mark.parametrize("who", ["olga", "mallory"])
async def test_an_answer_of_who_may_not_decide_is_refused_before_its_run(case: Case, held: Held, who: str) -> None:
    runs = len((await case.ana.get(f"/threads/{held.thread_id}/runs")).body)

    met = [await case.somebody(who).answer(held.thread_id, answer) for answer in (YES, {held.interrupt_id: YES}, "yes")]

    assert [reply.status for reply in met] == [403] * 3
    assert len((await case.ana.get(f"/threads/{held.thread_id}/runs")).body) == runs
    assert await case.goes_on(held)


async def test_the_second_protocol_takes_words_as_words_and_answers_of_who_may(case: Case, held: Held) -> None:
    """What went wrong: every command was refused, since the server's own mark was taken for the client's."""
    path = f"/threads/{held.thread_id}/commands"
    start: dict[str, Any] = {
        "id": 1,
        "method": "run.start",
        "params": {"assistant_id": GRAPH, "input": message("hello")},
    }
    respond: dict[str, Any] = {
        "id": 2,
        "method": "input.respond",
        "params": {"interrupt_id": held.interrupt_id, "response": YES},
    }
    sent = {"id": 2, "method": "input.respond", "params": {**respond["params"], "goto": "tools"}}

    refused = [
        (await who.post(path, command)).body["message"][:3]
        for who, command in (
            (case.mallory, start), (case.ana, start), (case.olga, respond), (case.ana, sent),
            (case.olga, {**start, "params": {**start["params"], "input": YES}}),
            (case.ana, {**sent, "params": {**respond["params"], "update": {"messages": []}}}),
            (case.ana, {**sent, "params": {**respond["params"], "config": {"configurable": {"x": DEEP}}}}),
        )
    ]  # fmt: skip
    assert case.effects() == []
    approved = await case.ana.post(path, respond)
    await case.settle(held.thread_id)

    second = await case.hold()
    said = await case.olga.post(f"/threads/{second.thread_id}/commands", start)
    await case.settle(second.thread_id)

    assert refused[:2] in (["404", "404"], ["403", "403"])
    assert refused[2:] == ["403"] * 5
    assert (approved.body["type"], said.body["type"]) == ("success", "success")
    assert case.effects() == [held.effect]
    assert await case.olga.interrupts(second.thread_id) == []


#: By whom, the answer, and how it is refused.
WRONG: list[tuple[str, Any, str]] = [
    ("olga", YES, "403: Who may decide holds a role of the policy"),
    ("ana", "yes", "422: Not recorded: "),
    ("ana", {"approved": True, "edited_args": {"amount": "-1"}}, "422: Not recorded: "),
    ("ana", {"approved": True, "edited_args": {"colour": "red"}}, "422: Not recorded: "),
    ("ana", {"approved": True, "digest": "f" * 64}, "409: Not recorded: "),
]


@pytest.mark.parametrize("way", ["command", "websocket"])
async def test_what_is_refused_of_a_command_tells_why_in_its_envelope_and_the_question_stands(
    case: Case, held: Held, way: str
) -> None:
    """These ways answer everything with 200: without the sentence a refusal would look like a success."""

    async def respond(who: Attacker, answer: Any) -> dict[str, Any]:
        command = {
            "id": 1,
            "method": "input.respond",
            "params": {"interrupt_id": held.interrupt_id, "response": answer},
        }
        if way == "command":
            return dict((await who.post(f"/threads/{held.thread_id}/commands", command)).body)
        assert who.person
        url = f"{case.target.url.replace('http', 'ws')}/threads/{held.thread_id}/stream/events"
        async with asyncio.timeout(60), websockets.connect(url, additional_headers=bearer(who.person)) as socket:
            await socket.send(json.dumps(command))
            while True:
                heard: dict[str, Any] = json.loads(await socket.recv())
                if heard.get("id") == 1:
                    return heard

    met = [
        (await respond(case.somebody(who, *(["approver"] if who == "ana" else [])), said), why)
        for who, said, why in WRONG
    ]
    (standing,) = await case.ana.interrupts(held.thread_id)
    taken = await respond(case.ana, YES)
    await case.settle(held.thread_id)

    for envelope, why in met:
        assert envelope["type"] == "error", envelope
        assert envelope["message"].startswith(why), envelope
        assert len(envelope["message"]) > len(why)
    assert standing["id"] == held.interrupt_id
    assert taken["type"] == "success"
    assert case.effects() == [held.effect]


async def test_of_two_approvals_one_persons_counts_once_and_each_way_says_so(case: Case) -> None:
    held = await case.hold("70000")
    path = f"/threads/{held.thread_id}/commands"

    async def respond(who: Attacker) -> dict[str, Any]:
        (asked,) = await who.interrupts(held.thread_id)
        params = {"interrupt_id": asked["id"], "response": YES}
        reply = await who.post(path, {"id": 1, "method": "input.respond", "params": params})
        await case.settle(held.thread_id)
        return dict(reply.body)

    first = await respond(case.tess)
    (asked,) = await case.tess.interrupts(held.thread_id)
    messages = (await case.olga.state(held.thread_id))["values"]["messages"]
    again = await respond(case.tess)
    second = await respond(case.tom)

    assert (first["type"], second["type"]) == ("success", "success")
    assert asked["value"]["description"].startswith("1 of 2 given: Transfer $70,000.00")
    assert messages[-1]["content"].startswith("1 of 2 approvals of transfer_funds given, by tess-")
    assert (again["type"], again["message"][:14]) == ("error", "409: Not recor")
    assert case.effects() == [held.effect]


async def test_the_websocket_asks_who_somebody_is_and_what_they_may(case: Case, held: Held) -> None:
    url = f"{case.target.url.replace('http', 'ws')}/threads/{held.thread_id}/stream/events"
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": GRAPH, "input": message("hello")}}
    respond = {"id": 1, "method": "input.respond", "params": {"interrupt_id": held.interrupt_id, "response": YES}}

    async def send(who: Attacker, command: dict[str, Any]) -> str:
        assert who.person
        try:
            async with asyncio.timeout(60), websockets.connect(url, additional_headers=bearer(who.person)) as socket:
                await socket.send(json.dumps(command))
                while True:
                    heard = json.loads(await socket.recv())
                    if heard.get("id") == 1:
                        return str(heard.get("message") or heard["type"])
        except websockets.ConnectionClosed:
            return "closed"  # as soon as the server sees that the thread is not theirs

    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(url)
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{url}?token={token(Person('ana', ('approver',)))}")
    words, stranger, requester = (
        await send(case.ana, start),
        await send(case.mallory, respond),
        await send(case.olga, respond),
    )
    assert case.effects() == []

    assert words[:3] in ("403", "404")
    assert requester[:3] == "403"
    assert stranger == "closed" or "No interrupted run" in stranger
    assert await send(case.ana, respond) == "success"
    await case.settle(held.thread_id)
    assert case.effects() == [held.effect]


# Floods


async def test_a_flood_is_counted_answered_429_and_holds_nobody_up(case: Case, held: Held) -> None:
    # The minute may turn over once on the way, and counting begins anew.
    met: list[int] = []
    while 429 not in met and len(met) < 2 * FLOOD + 2:
        met.append((await case.mallory.answer(held.thread_id, YES)).status)
    served = await case.goes_on(held)
    rows = case.target.read(
        lambda c: c.scalar(sa.select(sa.func.count()).where(refusals.c.person == case.mallory.name))
    )
    chained = case.target.read(lambda c: c.scalar(sa.select(sa.func.count()).where(audit.c.actor == case.mallory.name)))

    assert met[-1] == 429
    assert set(met[:-1]) == {403}
    assert served
    assert rows <= 2 * ROWS_A_MINUTE
    assert chained <= 2


# From where


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.example.com", "", "10.0.0.1:80", "[::2]", "loc"])
async def test_another_host_name_is_refused_on_loopback(guarded: Target, host: str) -> None:
    headers = {**bearer(Person("ana", ("approver",))), "Host": host}
    async with httpx.AsyncClient(base_url=guarded.url, headers=headers) as http:
        answer = await http.post("/threads/search", json={})

    assert answer.status_code in (400, 403)


#: What may stand in a request that no token stands in: none of it says who somebody is.
CLAIMS = [
    pytest.param({**STUDIO, **more}, id=f"Studio's header{what}")
    for more, what in (
        ({}, ""),
        ({"Origin": "https://smith.langchain.com"}, " from Studio"),
        ({"Origin": "https://evil.example.com"}, " from elsewhere"),
        ({"X-AUTH-SCHEME": "langsmith"}, " twice"),
        ({"x-api-key": "lsv2_pt_0123456789abcdef"}, " with a key of LangSmith's"),
        ({"x-user-id": "ana", "x-tenant-id": "1", "x-organization-id": "1"}, " and a name"),
        ({"Authorization": ""}, " and an empty token"),
        ({"Host": "clearance.example.com"}, " at another name"),
    )
] + [
    pytest.param(headers, id=", ".join(headers))
    for headers in (
        {"x-user-id": "ana", "x-tenant-id": "1"},
        {"x-api-key": "lsv2_pt_0123456789abcdef"},
        {"x-service-key": "x", "x-internal": "true"},
        {"Authorization": "Basic YW5hOmFuYQ=="},
        {"Authorization": "Negotiate YW5h"},
        {"Authorization": "langsmith ana"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/noauth"},
        {"Forwarded": "for=127.0.0.1;host=127.0.0.1", "X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-User": "ana", "X-Remote-User": "ana", "Remote-User": "ana", "X-Auth-Request-User": "ana"},
        {"X-Original-URL": "/ok", "X-Rewrite-URL": "/ok", "X-HTTP-Method-Override": "GET"},
        {"Cookie": "clearance_inbox=x; session=x; x-auth-scheme=langsmith"},
    )
]


@pytest.mark.parametrize("headers", CLAIMS)
async def test_in_production_no_header_but_a_token_lets_anybody_in(production: Target, headers: dict[str, str]) -> None:
    """What went wrong: with Studio's header alone one asked, and approved with one's own token."""
    async with httpx.AsyncClient(base_url=production.url, headers=headers, timeout=60) as http:
        met = {
            f"{method} {path}": (await http.request(method, _filled(path), json={})).status_code
            for method, path in await _routes(http)
            if f"{method} {path}" not in OPEN
        }
    sockets = [f"/threads/{NO_SUCH}/stream/events", f"/threads/{NO_SUCH}/runs/{NO_SUCH}/protocol"]
    for path in sockets:
        with pytest.raises((websockets.InvalidStatus, websockets.InvalidMessage)):
            await websockets.connect(f"{production.url.replace('http', 'ws')}{path}", additional_headers=headers)

    assert len(met) > 70
    let_in = {route: status for route, status in met.items() if status not in (401, 404, 405)}
    pages = {route for route in let_in if route.split()[1].startswith("/inbox")}
    assert not let_in.keys() - pages, let_in


async def test_studios_header_beside_a_token_is_the_tokens_person(case: Case) -> None:
    """What went wrong: the platform looked at nothing else then, so that nobody could decide in Studio."""
    assert case.ana.person
    both = case.attacker(case.ana.person, {**STUDIO, **bearer(case.ana.person)})

    assert (await both.post("/threads")).body["metadata"]["owner"] == case.ana.name


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
async def test_without_authentication_a_foreign_page_does_nothing(server: Server, content_type: str) -> None:
    """What went wrong: with AUTH=off any page that somebody had open could ask and approve as `local`."""
    headers = {"Origin": "https://evil.example.com", "Content-Type": content_type}
    async with httpx.AsyncClient(base_url=server.url) as http:
        foreign = await http.post("/threads", content="{}", headers=headers)
        near = await http.post("/threads", content="{}", headers={**headers, "Origin": "http://localhost:3000"})
        none = await http.post("/threads", json={})
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(
            f"{server.url.replace('http', 'ws')}/threads/{uuid4()}/stream/events",
            origin=websockets.Origin("https://evil.example.com"),
        )

    assert (foreign.status_code, near.status_code, none.status_code) == (403, 200, 200)


async def test_studio_without_a_key_is_nobody(case: Case, held: Held) -> None:
    for origin in ({}, {"Origin": "https://smith.langchain.com"}, {"Origin": "http://localhost:3000"}):
        studio = case.attacker(None, {**STUDIO, **origin})

        met = [
            await studio.post("/threads"),
            await studio.get(f"/threads/{held.thread_id}"),
            await studio.answer(held.thread_id, YES),
            await studio.post("/assistants/search"),
        ]

        assert [(reply.status, reply.body) for reply in met] == [(401, SIGN_IN)] * 4
    assert case.effects() == []


async def test_a_cross_site_post_with_a_cookie_does_nothing(case: Case, held: Held) -> None:
    assert case.ana.person
    cookies = {"Cookie": f"token={token(case.ana.person)}; x-api-key={token(case.ana.person)}"}
    page = case.attacker(None, {**cookies, "Origin": "https://evil.example.com", "Content-Type": "text/plain"})
    body = json.dumps({"assistant_id": GRAPH, "command": {"resume": YES}})

    reply = await page.send("POST", f"/threads/{held.thread_id}/runs/wait", content=body)

    assert (reply.status, reply.body) == (401, SIGN_IN)
    assert await case.goes_on(held)


# Every route

#: What answers without credentials, and why it may: health and figures for a load balancer, documents without data.
OPEN = {"GET /", "GET /ok", "GET /info", "GET /metrics", "GET /docs", "GET /openapi.json"}
_ROUTE = re.compile(r'Route\(\s*"(/[^"]*)"(?:[^()]|\([^()]*\))*?methods=\[([^\]]*)\]')


def _written_routes() -> Iterator[tuple[str, str]]:
    """Give every route in the source of the server, those that are switched off among them."""
    for package in ("langgraph_api", "langgraph_runtime_inmem"):
        spec = find_spec(package)
        assert spec
        assert spec.origin
        for file in Path(spec.origin).parent.rglob("*.py"):
            for path, methods in _ROUTE.findall(file.read_text()):
                yield from ((method.strip(" \"'"), path) for method in methods.split(",") if method.strip())


async def _routes(http: httpx.AsyncClient) -> list[tuple[str, str]]:
    """Give every route that the server documents or that is written in its source."""
    documented = {
        (method.upper(), path)
        for path, methods in (await http.get("/openapi.json")).json()["paths"].items()
        for method in methods
        if method.upper() in ("GET", "POST", "PUT", "PATCH", "DELETE")
    }
    return sorted({*documented, *_written_routes()})


def _filled(path: str) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", NO_SUCH, path)


async def test_every_route_asks_for_credentials_but_a_short_list(guarded: Target) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, timeout=60) as http:
        routes = await _routes(http)
        met = {}
        for method, path in routes:
            answer = await http.request(method, _filled(path), json={})
            met[f"{method} {path}"] = answer.status_code

    answered = {route for route, status in met.items() if status not in (401, 404, 405)}
    assert len(routes) > 70
    assert ("POST", "/internal/truncate") in routes
    assert answered == OPEN, {route: met[route] for route in answered ^ OPEN if route in met}


def test_nobody_else_reads_the_folder_in_which_the_server_keeps_threads(guarded: Target) -> None:
    folder = guarded.server.folder / ".langgraph_api"

    assert f"{stat.S_IMODE(folder.stat().st_mode):o}" == "700"


@pytest.mark.parametrize("value", ["\x85\u202e".encode(), b"\xff\xfe"], ids=["not visible", "no text"])
async def test_the_id_of_a_request_is_of_ascii_or_refused_with_a_sentence(guarded: Target, value: bytes) -> None:
    """What went wrong: it stood in the platform's log as it came, and bytes that are no text were a bare 500."""
    async with httpx.AsyncClient(base_url=guarded.url, timeout=60) as http:
        answer = await http.post("/threads/search", json={}, headers=[(b"x-request-id", value)])
        other = await http.post("/threads/search", json={}, headers={"x-request-id": "r-1"})

    assert (answer.status_code, answer.json()) == (400, {"detail": "The header x-request-id is of ASCII characters."})
    assert other.status_code == 401


async def test_what_answers_without_credentials_tells_of_nobody(case: Case, held: Held) -> None:
    anybody = case.attacker(None, {})

    told = [str((await anybody.get(route.split()[1])).body) for route in sorted(OPEN)]

    assert not any(word in text for text in told for word in (held.memo, held.thread_id, case.mark, held.source))


# An identity provider, and one person in both parts


@dataclass
class Elsewhere:
    """A server that takes the tokens of an identity provider, from everywhere, and people in both parts."""

    target: Target
    provider: Provider


@pytest.fixture(scope="module")
def elsewhere(make_server: Callable[..., Server]) -> Iterator[Elsewhere]:
    with running_provider() as provider:
        provider.add_key("one")
        provider.add_key("two", "ES256")
        server = make_server(AUTH_JWKS_URL=provider.url, AUTH_ISSUER=ISSUER, AUTH_BOTH_PARTS="true")
        server.auth = "on"
        yield Elsewhere(Target("ours", server.start()), provider)


@pytest.fixture(scope="module")
def production(make_server: Callable[..., Server]) -> Iterator[Target]:
    """A server as it is deployed: what `langgraph.json` says, an identity provider, from everywhere."""
    with running_provider() as provider:
        provider.add_key("one")
        server = make_server("langgraph.json", AUTH_JWKS_URL=provider.url, AUTH_ISSUER=ISSUER)
        server.auth = "on"
        yield Target("ours", server.start())


async def _status(elsewhere: Elsewhere, signed_token: str, **headers: str) -> int:
    given = {"Authorization": f"Bearer {signed_token}", **headers}
    async with httpx.AsyncClient(base_url=elsewhere.target.url, headers=given) as http:
        return (await http.post("/threads/search", json={})).status_code


async def test_tokens_of_the_provider_count_and_ours_do_not(elsewhere: Elsewhere) -> None:
    provider = elsewhere.provider
    tokens = [provider.sign("one"), provider.sign("two"), signed(iss=ISSUER), token(Person("ana", ("approver",)))]
    forged = [provider.sign("one", header={"kid": "two"}), provider.sign("one", iss="https://evil.example.com/")]

    assert [await _status(elsewhere, one) for one in (*tokens, *forged)] == [200, 200, 401, 401, 401, 401]


async def test_a_provider_that_fails_and_made_up_keys_keep_nobody_out(elsewhere: Elsewhere) -> None:
    provider = elsewhere.provider
    good = provider.sign("one")
    assert await _status(elsewhere, good) == 200
    provider.mood = "garbage"
    before = provider.asked

    made_up = [
        await _status(elsewhere, provider.sign("one", header={"kid": f"made-up-{number}"})) for number in range(30)
    ]
    still = await _status(elsewhere, good)
    provider.mood = "well"

    assert (set(made_up), still) == ({401}, 200)
    assert provider.asked - before <= 1


async def test_a_key_that_is_new_at_the_provider_counts_after_a_while(elsewhere: Elsewhere) -> None:
    elsewhere.provider.add_key("three")
    signed_token = elsewhere.provider.sign("three")

    met = []
    for _ in range(120):
        met.append(await _status(elsewhere, signed_token))
        if met[-1] == 200:
            break
        await asyncio.sleep(0.5)

    assert met[-1] == 200


async def test_with_a_provider_other_host_names_are_answered(elsewhere: Elsewhere) -> None:
    assert await _status(elsewhere, elsewhere.provider.sign("one"), Host="clearance.example.com") == 200


async def _approve_own(case: Case, who: Attacker) -> tuple[Held, Reply, set[str]]:
    """Let somebody ask and approve; give who is marked in the audit log as having approved what they asked for."""
    held = await case.hold(by=who)
    reply = await who.answer(held.thread_id, YES)
    query = sa.select(audit.c.actor, audit.c.details).where(audit.c.event == "approved")
    rows = case.target.read(lambda c: c.execute(query).all())
    return held, reply, {row.actor for row in rows if json.loads(row.details).get("own_request")}


async def test_where_one_person_may_play_both_parts_their_own_approval_is_marked(elsewhere: Elsewhere) -> None:
    case = Case(elsewhere.target)
    name = f"ana-{case.mark}"
    ana = case.attacker(None, {"Authorization": f"Bearer {elsewhere.provider.sign('one', name)}"})

    held, reply, marked = await _approve_own(case, ana)

    await case.close()
    assert reply.how == "done"
    assert case.effects() == [held.effect]
    assert name in marked


async def test_studio_without_a_key_may_play_both_parts_where_that_is_on(elsewhere: Elsewhere) -> None:
    """What went wrong: its approval was recorded and then not enough, since it holds no role by name."""
    case = Case(elsewhere.target)

    held, reply, marked = await _approve_own(case, case.attacker(None, STUDIO))

    await case.close()
    assert reply.how == "done", reply.body["__interrupt__"][0]["value"]["message"]
    assert case.effects() == [held.effect]
    assert "langgraph-studio-user" in marked
