"""Rows 52 and 53 of the list: another graph of the same server, and what is made of a gated one beside its runs."""

import asyncio
from typing import Any

from tests.attacks.targets import Attacker, Case, Held, Outcome, Reply, attack
from tests.support.conversation import GRAPH
from tests.support.several import PLAIN

YES = {"approved": True}


def words(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def _assistant(case: Case, who: Attacker, graph: str) -> str:
    reply = await who.post("/assistants", {"graph_id": graph, "name": f"of {who.name}"})
    assert reply.status == 200, reply
    return str(reply.body["assistant_id"])


async def _is_as_it_was(case: Case, held: Held) -> bool:
    """Tell whether a thread still puts its question, and nobody said anything in it since."""
    await case.settle(held.thread_id)
    state = await case.olga.state(held.thread_id)
    asked = [one for task in state["tasks"] for one in task["interrupts"]]
    said = [message["content"] for message in state["values"]["messages"] if message["type"] == "human"]
    return [one["id"] for one in asked] == [held.interrupt_id] and len(said) == 1


@attack(52, ours=("409",), targets=("stock", "ours"), trace=("graph",), by=("olga",), server="several")
async def test_row_52_no_other_graph_runs_in_the_thread_of_a_question(case: Case) -> Outcome:
    """By every route, with words, without, with an answer, and through an assistant of the other graph."""
    outcome = Outcome(harm="threads taken over")
    own = await _assistant(case, case.olga, PLAIN)
    said: dict[str, Any] = {"input": words("hello")}
    start: dict[str, Any] = {"id": 1, "method": "run.start"}
    ways: list[tuple[str, dict[str, Any]]] = [
        ("runs", {**said, "assistant_id": PLAIN}),
        ("runs", {**said, "assistant_id": own}),
        ("runs/wait", {**said, "assistant_id": PLAIN, "if_not_exists": "create"}),
        ("runs/stream", {**said, "assistant_id": PLAIN, "multitask_strategy": "interrupt"}),
        ("runs/wait", {**said, "assistant_id": PLAIN, "multitask_strategy": "rollback"}),
        ("runs/wait", {"assistant_id": PLAIN, "command": {"resume": YES}}),
        ("runs/wait", {"assistant_id": PLAIN, "command": {"update": words("hello")}}),
        ("commands", {**start, "params": {**said, "assistant_id": PLAIN}}),
        ("commands", {**start, "params": {**said, "assistant_id": own}}),
        ("runs/crons", {**said, "assistant_id": PLAIN, "schedule": "* * * * * *"}),
    ]
    for path, body in ways:
        held = await case.hold()

        reply = await case.olga.post(f"/threads/{held.thread_id}/{path}", body)
        if path == "runs/crons" and reply.status == 200:
            await _wait_for_the_clock(case, held, reply)

        outcome.note(reply, got=int(not await _is_as_it_was(case, held)))
    return outcome


async def _wait_for_the_clock(case: Case, held: Held, made: Reply) -> None:
    for _ in range(300):
        state = await case.olga.state(held.thread_id)
        if not [one for task in state["tasks"] for one in task["interrupts"]]:
            break
        await asyncio.sleep(0.2)
    await case.olga.send("DELETE", f"/runs/crons/{made.body['cron_id']}")


@attack(53, ours=("403",), targets=("stock", "ours"), trace=("not allowed",), by=("olga", "mallory"), server="several")
async def test_row_53_nobody_makes_an_assistant_or_a_cron_of_a_gated_graph(case: Case) -> Outcome:
    """Made of it, made of another and changed to be of it, and a cron of such a one."""
    outcome = Outcome(harm="let in")
    thread_id = await case.olga.thread()
    hidden = {"configurable": {"limit_minor": "99999999"}}
    yearly = {"schedule": "0 0 1 1 *", "input": words("hello")}
    (system,) = (await case.olga.post("/assistants/search", {"graph_id": GRAPH})).body
    for who in (case.olga, case.mallory):
        own = await _assistant(case, who, PLAIN)
        ways: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "/assistants", {"graph_id": GRAPH, "config": hidden}),
            ("PATCH", f"/assistants/{own}", {"graph_id": GRAPH, "config": hidden}),
            ("PATCH", f"/assistants/{system['assistant_id']}", {"config": hidden}),
            ("POST", "/runs/crons", {"assistant_id": GRAPH, **yearly}),
            ("POST", "/runs/crons", {"assistant_id": system["assistant_id"], **yearly}),
            ("POST", f"/threads/{thread_id}/runs/crons", {"assistant_id": GRAPH, **yearly}),
        ]
        for method, path, body in ways:
            reply = await who.send(method, path, json=body)
            outcome.note(reply, got=int(reply.status < 300))
    return outcome
