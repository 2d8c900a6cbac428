"""Several graphs on Aegra: a thread belongs to one of them, and those that are not gated are as without us."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from clearance.db.tables import turns
from tests.attacks.targets import Case, Held, Target
from tests.support.aegra import Aegra
from tests.support.conversation import GRAPH
from tests.support.several import PLAIN, SECOND, SeveralAegra

YES = {"approved": True}
YEARLY: dict[str, Any] = {"schedule": "0 0 1 1 *", "input": {"messages": [{"role": "user", "content": "by the clock"}]}}


def words(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.fixture(scope="module")
def target(make_aegra: Callable[..., Aegra]) -> Target:
    """A running server with three graphs."""
    return Target("ours", make_aegra(kind=SeveralAegra).start())


@pytest.fixture
async def case(target: Target) -> AsyncIterator[Case]:
    made = Case(target)
    yield made
    await made.close()


@pytest.fixture
async def held(case: Case) -> Held:
    """A transfer of olga's that waits for an approval in the sample's graph."""
    return await case.hold()


def graphs_of(case: Case, thread_id: str) -> set[str | None]:
    """Give the graphs that the journal names for a thread's turns."""
    query = sa.select(turns.c.graph_id).where(turns.c.thread_id == thread_id)
    return set(case.target.read(lambda c: c.scalars(query).all()))


async def said_last(case: Case, thread_id: str) -> str:
    """Wait until a thread rests, and give its last message."""
    content = ""
    for _ in range(300):
        state = await case.olga.state(thread_id)
        content = ((state["values"] or {}).get("messages") or [{"content": ""}])[-1]["content"]
        if not state["tasks"] and content:  # "next" is empty between two steps, too
            break
        await asyncio.sleep(0.2)
    return str(content)


async def approve(case: Case, thread_id: str) -> None:
    """Approve the one open request of a thread over the approvals API, as Aegra's approvers do."""
    (request,) = (await case.ana.get(f"/approvals/requests?thread_id={thread_id}")).body["requests"]
    body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
    met = await case.ana.post(f"/approvals/requests/{request['id']}/decision", body)
    assert met.status == 200, met


@pytest.mark.parametrize("other", [PLAIN, SECOND])
async def test_a_run_of_another_graph_in_a_thread_of_ours_is_409(case: Case, held: Held, other: str) -> None:
    mine = {"graph_id": PLAIN, "name": "mine", "config": {"tags": [case.mark]}}
    assistant = (await case.olga.post("/assistants", mine)).body
    said = {"assistant_id": other, "input": words("hello")}
    start = {"id": 1, "method": "run.start", "params": said}
    respond = {"interrupt_id": held.interrupt_id, "response": YES, "assistant_id": other}
    thread = f"/threads/{held.thread_id}"

    met = [
        (await case.olga.post(f"{thread}/{path}", body)).status
        for path, body in (
            ("runs", said),
            ("runs/wait", said),
            ("runs/stream", {**said, "multitask_strategy": "interrupt"}),
            ("runs/wait", {"assistant_id": assistant["assistant_id"], "input": words("hello")}),
            ("commands", start),
            ("commands", {"id": 2, "method": "input.respond", "params": respond}),
            ("runs/crons", {"assistant_id": PLAIN, **YEARLY}),
        )
    ]

    assert met == [409] * 7
    assert "graph" in case.traces(case.olga)
    await approve(case, held.thread_id)
    assert case.effects() == [held.effect]
    assert graphs_of(case, held.thread_id) == {GRAPH}


async def test_what_waits_at_the_graphs_own_question_withdraws_and_words_are_no_answer_to_it(case: Case) -> None:
    """What was open before was done all the same, and words of the second protocol were taken for consent."""
    source, goal = case.account(), case.account(0)
    thread_id = await case.olga.thread()
    await case.olga.say(thread_id, f"transfer 5000 from {source} to {goal}", assistant_id=SECOND)
    (request,) = (await case.ana.get(f"/approvals/requests?thread_id={thread_id}")).body["requests"]
    await case.olga.say(thread_id, "never mind, for consent", assistant_id=SECOND)
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": SECOND, "input": words("hello")}}
    body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}

    said = await case.olga.post(f"/threads/{thread_id}/commands", start)
    met = await case.ana.post(f"/approvals/requests/{request['id']}/decision", body)
    (asked,) = await case.olga.interrupts(thread_id)
    heard = await case.olga.run(thread_id, assistant_id=SECOND, command={"resume": {asked["id"]: "so"}})

    assert asked["value"] == {"question": "do you consent?"}
    assert (said.status, met.status) == (409, 409), (said, met)
    assert "withdrawn already" in str(met.body)
    assert case.effects() == []
    assert "never mind, for consent" in [one["content"] for one in heard.body["messages"]]


async def test_a_thread_of_a_graph_that_is_not_gated_takes_no_run_of_a_gated_one(case: Case) -> None:
    thread_id = await case.olga.thread()
    said = await case.olga.run(thread_id, assistant_id=PLAIN, input=words("hello"))

    met = await case.olga.run(thread_id, assistant_id=GRAPH, input=words("hello"))

    assert said.body["messages"][-1]["content"] == "You said hello"
    assert met.status == 409, met


async def test_what_a_graph_that_is_not_gated_asks_is_answered_by_its_owner(case: Case) -> None:
    said = []
    for how in ("bare", "id"):
        thread_id = await case.olga.thread()
        await case.olga.run(thread_id, assistant_id=PLAIN, input=words("ask what"))
        (interrupt,) = await case.olga.interrupts(thread_id)
        resume = "so" if how == "bare" else {interrupt["id"]: "so"}
        await case.olga.run(thread_id, assistant_id=PLAIN, command={"resume": resume})
        said.append(await said_last(case, thread_id))

    assert said == ["You said what: so"] * 2


async def test_stateless_runs_the_store_crons_and_assistants_are_there_for_it_and_not_for_gated_ones(
    case: Case,
) -> None:
    item = {"namespace": ["notes", case.mark], "key": "k", "value": {"a": 1}}
    put = await case.olga.send("PUT", "/store/items", json=item)
    met = {
        graph: [
            (await case.olga.post("/runs/wait", {"assistant_id": graph, "input": words("hello")})).status,
            (await case.olga.post("/runs/crons", {"assistant_id": graph, **YEARLY})).status,
            (await case.olga.post("/assistants", {"graph_id": graph, "name": f"{graph}-{case.mark}",
                                                  "config": {"tags": [case.mark]}})).status,
        ]
        for graph in (PLAIN, GRAPH, SECOND)
    }  # fmt: skip

    assert put.status in (200, 204), put
    assert met == {PLAIN: [200, 200, 200], GRAPH: [403, 403, 403], SECOND: [403, 403, 403]}


async def test_what_is_decided_over_the_api_goes_on_in_its_graph_also_after_a_crash(
    make_aegra: Callable[..., Aegra],
) -> None:
    server = make_aegra(kind=SeveralAegra).start()
    case = Case(Target("ours", server))
    held = []
    for graph in (SECOND, GRAPH, SECOND):
        source, goal = case.account(), case.account(0)
        thread_id = await case.olga.thread()
        await case.olga.run(thread_id, assistant_id=graph, input=words(f"transfer 5000 from {source} to {goal}"))
        held.append(thread_id)

    await approve(case, held[0])
    said = [await said_last(case, held[0])]
    server.kill()
    server.start()
    for thread_id in held[1:]:
        await approve(case, thread_id)
        said.append(await said_last(case, thread_id))

    noted = [graphs_of(case, thread_id) for thread_id in held]
    effects = case.effects()
    await case.close()
    assert [said[0], said[2]] == ["Said by the second graph."] * 2
    assert "Transferred" in said[1], said
    assert noted == [{SECOND}, {GRAPH}, {SECOND}]
    assert len(effects) == 3


async def test_after_a_kill_between_two_steps_it_goes_on_from_there(make_aegra: Callable[..., Aegra]) -> None:
    """The graph ran from its beginning, with the nodes that a builder has before the gate."""
    server = make_aegra(kind=SeveralAegra).start()
    case = Case(Target("ours", server))
    source, goal = case.account(), case.account(0)
    thread_id = await case.olga.thread()
    await case.olga.run(thread_id, assistant_id=SECOND, input=words(f"transfer 5000 from {source} to {goal}"))

    server.kill()
    of_thread = "FROM checkpoints WHERE thread_id = :thread_id AND checkpoint_ns = ''"
    last = sa.text(f"DELETE {of_thread} AND checkpoint_id = (SELECT max(checkpoint_id) {of_thread})")
    gone = case.target.write(lambda c: c.execute(last, {"thread_id": thread_id}).rowcount)  # it was on its way
    server.start()
    for _ in range(300):
        state = await case.olga.state(thread_id)
        if state["interrupts"]:
            break
        await asyncio.sleep(0.2)
    await approve(case, thread_id)
    said = await said_last(case, thread_id)
    begun = [one["metadata"]["source"] for one in (await case.olga.get(f"/threads/{thread_id}/history?limit=100")).body]
    effects = case.effects()
    await case.close()

    assert gone == 1
    assert begun.count("input") == 1
    assert said == "Said by the second graph."
    assert len(effects) == 1
