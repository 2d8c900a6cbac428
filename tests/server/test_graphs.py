"""Several graphs on one server: two that are gated and one that is not, in one journal and behind one wall."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
import websockets

from clearance.db.tables import turns
from tests.attacks.targets import Attacker, Case, Held, Reply, Target
from tests.support.command import run
from tests.support.conversation import GRAPH
from tests.support.server import Server
from tests.support.several import PLAIN, SECOND, SeveralServer
from tests.support.tokens import token

YES = {"approved": True}
OTHERS = pytest.mark.parametrize("other", [PLAIN, SECOND])


def words(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.fixture(scope="module")
def target(make_server: Callable[..., Server]) -> Target:
    """A running server with three graphs."""
    made = make_server(kind=SeveralServer)
    made.auth = "on"
    return Target("ours", made.start())


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


async def hold_in(case: Case, graph: str) -> tuple[str, str, str]:
    """Ask a graph for a transfer; give thread, source and the interrupt's id."""
    source, goal = case.account(), case.account(0)
    thread_id = await case.olga.thread()
    reply = await case.olga.say(thread_id, f"transfer 5000 from {source} to {goal}", assistant_id=graph)
    assert reply.how == "asked", reply
    return thread_id, source, str(reply.body["__interrupt__"][0]["id"])


# A graph's own question before the gate's entry


async def consenting(who: Attacker, case: Case) -> tuple[str, str, Reply]:
    """Ask for a transfer to which the graph wants consent first; give thread, source and what came of it."""
    source, goal = case.account(), case.account(0)
    thread_id = await who.thread()
    reply = await who.say(thread_id, f"transfer 5000 from {source} to {goal} for consent", assistant_id=SECOND)
    assert reply.body["__interrupt__"][0]["value"] == {"question": "do you consent?"}, reply
    return thread_id, source, reply


@pytest.mark.parametrize("how", ["bare", "id"])
async def test_words_are_heard_behind_a_question_of_the_graphs_own_that_their_writer_answered(
    case: Case, how: str
) -> None:
    thread_id, source, reply = await consenting(case.olga, case)
    resume: Any = "so" if how == "bare" else {reply.body["__interrupt__"][0]["id"]: "so"}

    asked = await case.olga.run(thread_id, assistant_id=SECOND, command={"resume": resume})
    question = asked.body["__interrupt__"][0]
    done = await case.ana.run(thread_id, assistant_id=SECOND, command={"resume": {question["id"]: YES}})

    assert question["value"]["requested_by"] == case.olga.name
    assert done.how == "done"
    assert [effect.amount_minor for effect in case.effects() if effect.source == source] == [500_000]
    state = await case.olga.state(thread_id)
    assert "not heard" not in str(state["values"]["messages"])


async def test_nobody_else_goes_on_behind_it_nor_says_whose_the_run_is(case: Case) -> None:
    thread_id, source, _ = await consenting(case.tess, case)
    told = {"clearance_caller": "0" * 64}

    met = [
        await case.ana.run(thread_id, assistant_id=SECOND, command={"resume": "so"}),
        await case.ana.run(thread_id, assistant_id=SECOND, input=None),
        await case.olga.run(thread_id, assistant_id=SECOND, command={"resume": "so"}),
    ]
    claims = [
        await case.tess.run(thread_id, assistant_id=SECOND, command={"resume": "so"}, metadata=told),
        await case.tess.run(thread_id, assistant_id=SECOND, command={"resume": "so"}, config={"metadata": told}),
    ]

    in_threads = [
        await case.tess.post("/threads", {"metadata": told}),
        await case.tess.send("PATCH", f"/threads/{thread_id}", json={"metadata": told}),
    ]

    assert [one.how for one in met] == ["404", "404", "403"]
    assert [one.how for one in [*claims, *in_threads]] == ["403"] * 4
    assert [effect for effect in case.effects() if effect.source == source] == []


async def test_after_a_kill_between_two_steps_it_goes_on_from_there(make_server: Callable[..., Server]) -> None:
    """The graph ran from its beginning, with the nodes that a builder has before the gate."""
    server = make_server("langgraph.dev.json", kind=SeveralServer)
    server.auth = "on"
    case = Case(Target("ours", server.start()))
    thread_id, _, _ = await consenting(case.olga, case)
    await case.olga.run(thread_id, assistant_id=SECOND, command={"resume": "so"})

    server.kill()
    with closing(sqlite3.connect(server.folder / "checkpoints.db")) as checkpoints:  # the last was on its way
        of_thread = "FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"
        last = f"(SELECT max(checkpoint_id) {of_thread})"
        checkpoints.execute(f"DELETE {of_thread} AND checkpoint_id = {last}", [thread_id, thread_id])
        checkpoints.commit()
    server.start()
    for _ in range(300):
        found = await case.olga.get(f"/threads/{thread_id}/state")  # 404 while the thread is lost, too
        if found.status == 200 and found.body["interrupts"]:
            break
        await asyncio.sleep(0.2)
    await approve(case, thread_id)
    said = await last_words(case, thread_id)
    begun = [one["metadata"]["source"] for one in (await case.olga.get(f"/threads/{thread_id}/history?limit=100")).body]
    await case.close()

    assert begun.count("input") == 1
    assert [one["value"].get("action") for one in found.body["interrupts"]] == ["transfer_funds"]
    assert said == "Said by the second graph."


@pytest.mark.parametrize("how", ["api", "id", "cancelled"])
async def test_a_message_that_waits_at_the_graphs_own_question_withdraws_what_is_open_when_somebody_decides(
    case: Case, how: str
) -> None:
    """It was done, whatever the message said: the gate had not heard it yet."""
    thread_id, source, interrupt_id = await hold_in(case, SECOND)
    waits = await case.olga.say(thread_id, "never mind, for consent", assistant_id=SECOND)
    (request,) = (await case.ana.get(f"/approvals/requests?thread_id={thread_id}")).body["requests"]

    if how == "cancelled":
        answers = await case.olga.run(thread_id, wait=False, assistant_id=SECOND, command={"resume": "so"})
        await case.ana.post(f"/threads/{thread_id}/runs/{answers.body['run_id']}/cancel?wait=true")
    if how == "id":
        met = await case.ana.run(thread_id, assistant_id=SECOND, command={"resume": {interrupt_id: YES}})
    else:
        body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
        met = await case.ana.post(f"/approvals/requests/{request['id']}/decision", body)
    heard = await case.olga.run(thread_id, assistant_id=SECOND, command={"resume": "so"})

    assert waits.body["__interrupt__"][0]["value"] == {"question": "do you consent?"}
    assert (met.status, "withdrawn already" in str(met.body)) == (409, True), met
    assert [effect for effect in case.effects() if effect.source == source] == []
    said = [(one["type"], one["content"]) for one in heard.body["messages"]]
    assert ("tool", "Not done: withdrawn, because a new message came before it was carried out.") in said
    assert ("human", "never mind, for consent") in said


async def test_words_of_the_second_protocol_are_no_answer_to_the_graphs_own_question(case: Case) -> None:
    """They were taken for it and heard by nobody, and what was written before was gone on with."""
    thread_id, *_ = await consenting(case.olga, case)
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": SECOND, "input": words("never mind")}}

    met = await case.olga.post(f"/threads/{thread_id}/commands", start)
    assert await case.settle(thread_id) == "idle"
    said = await last_words(case, thread_id)

    assert (met.how, said) == ("done", "Said by the second graph.")
    messages = (await case.olga.state(thread_id))["values"]["messages"]
    assert [one["content"] for one in messages if one["type"] == "human"] == ["never mind"]
    assert "1 message in this thread was not heard" in str(messages)
    assert graphs_of(case, thread_id) == {SECOND}
    assert (await case.ana.get(f"/approvals/requests?thread_id={thread_id}")).body["requests"] == []


# A thread belongs to one graph


async def made_assistant(who: Attacker, graph: str) -> Reply:
    return await who.post("/assistants", {"graph_id": graph, "name": "mine"})


async def by_websocket(who: Attacker, thread_id: str, assistant: str) -> Reply:
    address = f"{who.target.url.replace('http', 'ws')}/threads/{thread_id}/stream/events"
    assert who.person
    async with websockets.connect(address, additional_headers={"x-api-key": token(who.person)}) as connection:
        start = {"id": 7, "method": "run.start", "params": {"assistant_id": assistant, "input": words("hello")}}
        await connection.send(json.dumps(start))
        while True:
            said = json.loads(await connection.recv())
            if said.get("id") == 7:
                return Reply(200, said)


ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "runs": ("runs", {}),
    "wait": ("runs/wait", {}),
    "stream": ("runs/stream", {}),
    "interrupt": ("runs", {"multitask_strategy": "interrupt"}),
    "rollback": ("runs", {"multitask_strategy": "rollback"}),
    "reject": ("runs", {"multitask_strategy": "reject"}),
    "create": ("runs/wait", {"if_not_exists": "create"}),
    "nothing": ("runs/wait", {"input": None}),
    "answer": ("runs/wait", {"input": None, "command": {"resume": YES}}),
    "metadata": ("runs/wait", {"metadata": {"graph_id": PLAIN}, "config": {"configurable": {"graph_id": PLAIN}}}),
}


@OTHERS
@pytest.mark.parametrize("route", ROUTES)
async def test_a_run_of_another_graph_in_a_thread_of_ours_is_409(
    case: Case, held: Held, route: str, other: str
) -> None:
    path, more = ROUTES[route]

    met = await case.olga.post(
        f"/threads/{held.thread_id}/{path}", {"assistant_id": other, "input": words("hello"), **more}
    )

    assert met.status == 409, met
    assert met.body["detail"] == (
        f"This thread belongs to the graph {GRAPH!r}: talk to {other!r} in a thread of its own."
    )
    assert "graph" in case.traces(case.olga)
    assert await case.goes_on(held)
    assert graphs_of(case, held.thread_id) == {GRAPH}


@OTHERS
async def test_and_by_the_second_protocol(case: Case, held: Held, other: str) -> None:
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": other, "input": words("hello")}}

    met = [
        await case.olga.post(f"/threads/{held.thread_id}/commands", start),
        await by_websocket(case.olga, held.thread_id, other),
    ]

    assert [one.body["message"][:3] for one in met] == ["409", "409"], met
    assert await case.goes_on(held)


async def test_and_through_an_assistant_of_ones_own(case: Case, held: Held) -> None:
    assistant = (await made_assistant(case.olga, PLAIN)).body["assistant_id"]

    met = await case.olga.run(held.thread_id, assistant_id=assistant, input=words("hello"))

    assert met.status == 409, met
    assert await case.goes_on(held)


async def test_and_when_the_turn_is_over(case: Case, held: Held) -> None:
    assert await case.goes_on(held)

    met = await case.olga.run(held.thread_id, assistant_id=PLAIN, input=words("hello"))

    assert met.status == 409, met
    assert (await case.olga.run(held.thread_id, input=words("hello"))).how == "done"


async def test_and_when_the_first_run_is_only_in_the_queue(case: Case) -> None:
    """Nothing of it is in the journal yet."""
    for first, then in ((GRAPH, PLAIN), (PLAIN, GRAPH), (GRAPH, SECOND)):
        thread_id = await case.olga.thread()

        begun, met = await asyncio.gather(
            case.olga.run(thread_id, wait=False, assistant_id=first, input=words("hello")),
            case.olga.run(thread_id, wait=False, assistant_id=then, input=words("hello")),
        )

        assert sorted([begun.status, met.status]) == [200, 409], (begun, met)


@pytest.mark.parametrize("gated", [GRAPH, SECOND])
async def test_a_thread_of_a_graph_that_is_not_gated_takes_no_run_of_a_gated_one(case: Case, gated: str) -> None:
    source, goal = case.account(), case.account(0)
    thread_id = await case.olga.thread()
    assert (await case.olga.run(thread_id, assistant_id=PLAIN, input=words("hello"))).how == "done"

    met = await case.olga.run(thread_id, assistant_id=gated, input=words(f"transfer 10 from {source} to {goal}"))

    assert met.status == 409, met
    assert case.effects() == []


async def test_a_thread_may_be_made_for_a_graph_and_none_of_another_runs_in_it(case: Case) -> None:
    made = await case.olga.thread(metadata={"graph_id": PLAIN})
    steps = [{"updates": [{"values": words("hello"), "as_node": "say_back"}]}]
    begun = await case.olga.thread(metadata={"graph_id": PLAIN}, supersteps=steps)

    met = [await case.olga.run(one, assistant_id=GRAPH, input=words("hello")) for one in (made, begun)]

    assert [one.status for one in met] == [409, 409], met
    assert (await case.olga.run(made, assistant_id=PLAIN, input=words("hello"))).how == "done"


async def test_a_thread_is_made_without_a_graph(case: Case) -> None:
    made = [(await case.olga.post("/threads", {"metadata": given})).body for given in ({}, {"graph_id": "x"})]

    assert [(one["metadata"].get("graph_id"), one["metadata"]["owner"]) for one in made] == [(None, case.olga.name)] * 2


# Graphs that are not gated work as without us


async def test_what_a_graph_that_is_not_gated_asks_is_answered_by_its_owner(case: Case) -> None:
    said = []
    for how in ("bare", "id", "command"):
        thread_id = await case.olga.thread()
        asked = await case.olga.run(thread_id, assistant_id=PLAIN, input=words("ask what"))
        (interrupt,) = asked.body["__interrupt__"]
        if how == "command":
            answer = {"interrupt_id": interrupt["id"], "namespace": [], "response": "so"}
            met = await case.olga.post(
                f"/threads/{thread_id}/commands", {"id": 1, "method": "input.respond", "params": answer}
            )
            assert met.body["type"] == "success", met
        else:
            resume = "so" if how == "bare" else {interrupt["id"]: "so"}
            await case.olga.run(thread_id, assistant_id=PLAIN, command={"resume": resume})
        said.append(await last_words(case, thread_id))

    assert said == ["You said what: so"] * 3


async def test_its_runs_may_have_what_the_server_has(case: Case) -> None:
    thread_id = await case.olga.thread()
    more: dict[str, Any] = {"interrupt_before": ["say_back"], "durability": "exit"}
    await case.olga.run(thread_id, assistant_id=PLAIN, input=words("hello"), **more)
    written = await case.olga.post(f"/threads/{thread_id}/state", {"values": words("written"), "as_node": "__start__"})
    await case.olga.run(thread_id, assistant_id=PLAIN, input=None)
    adrift = await case.olga.post("/runs/wait", {"assistant_id": PLAIN, "input": words("adrift")})

    assert written.status == 200, written
    assert (await case.olga.state(thread_id))["values"]["messages"][-1]["content"] == "You said written"
    assert adrift.body["messages"][-1]["content"] == "You said adrift"


async def test_nobody_else_writes_into_or_reads_its_threads(case: Case) -> None:
    thread_id = await case.olga.thread()
    await case.olga.run(thread_id, assistant_id=PLAIN, input=words("ask what"))

    met = [
        reply.status
        for who in (case.mallory, case.ana)
        for reply in (
            await who.run(thread_id, assistant_id=PLAIN, input=words("hello")),
            await who.run(thread_id, assistant_id=PLAIN, command={"resume": "mine"}),
            await who.post(f"/threads/{thread_id}/state", {"values": words("written"), "as_node": "say_back"}),
            await who.get(f"/threads/{thread_id}/state"),
        )
    ]

    assert set(met) <= {403, 404}, met
    assert len(await case.olga.interrupts(thread_id)) == 1


async def test_the_store_and_crons_are_there_for_it_and_not_for_gated_ones(case: Case) -> None:
    item = {"namespace": ["notes", case.mark], "key": "k", "value": {"a": 1}}
    put = await case.olga.send("PUT", "/store/items", json=item)
    got = await case.olga.get(f"/store/items?key=k&namespace=notes.{case.mark}")
    yearly = {"schedule": "0 0 1 1 *", "input": words("hello")}
    thread_id = await case.olga.thread()

    made = [
        await case.olga.post(path, {"assistant_id": graph, **yearly})
        for path in ("/runs/crons", f"/threads/{thread_id}/runs/crons")
        for graph in (PLAIN, GRAPH, SECOND)
    ]
    mine = (await case.olga.post("/runs/crons/search", {})).body
    others = (await case.mallory.post("/runs/crons/search", {})).body
    ends = [(await who.send("DELETE", f"/runs/crons/{mine[0]['cron_id']}")).status for who in (case.mallory, case.olga)]

    assert (put.status, got.body["value"]) == (204, {"a": 1})
    assert [one.status for one in made] == [200, 403, 403] * 2, made
    assert (len(mine), others) == (2, [])
    assert ends == [404, 204]


async def test_a_cron_of_it_runs_and_not_in_a_thread_of_ours(case: Case, held: Held) -> None:
    every = {"schedule": "* * * * * *", "input": words("by the clock")}
    thread_id, later = await case.olga.thread(), await case.olga.thread()

    refused = await case.olga.post(f"/threads/{held.thread_id}/runs/crons", {"assistant_id": PLAIN, **every})
    crons = [
        (await case.olga.post(f"/threads/{one}/runs/crons", {"assistant_id": PLAIN, **every})).body["cron_id"]
        for one in (thread_id, later)
    ]
    # Before it is due the thread becomes another graph's.
    taken = await case.olga.run(later, assistant_id=GRAPH, input=words("hello"))
    for _ in range(300):
        values = (await case.olga.state(thread_id))["values"] or {}
        if values.get("messages"):
            break
        await asyncio.sleep(0.2)
    for cron_id in crons:
        assert (await case.olga.send("DELETE", f"/runs/crons/{cron_id}")).status == 204

    assert refused.status == 409, refused
    assert values["messages"][-1]["content"] == "You said by the clock"
    heard = str((await case.olga.state(later))["values"])
    assert taken.status in (200, 409), taken
    assert ("by the clock" in heard) == (taken.status == 409)
    assert await case.goes_on(held)


async def test_assistants_are_made_of_it_and_not_of_gated_ones(case: Case) -> None:
    made = [await made_assistant(case.olga, graph) for graph in (PLAIN, GRAPH, SECOND)]
    mine = f"/assistants/{made[0].body['assistant_id']}"
    changed = [
        await who.send("PATCH", mine, json=body)
        for who, body in ((case.olga, {"graph_id": GRAPH}), (case.mallory, {"name": "x"}), (case.olga, {"name": "y"}))
    ]
    thread_id = await case.olga.thread()
    ran = await case.olga.run(thread_id, assistant_id=made[0].body["assistant_id"], input=words("hello"))
    ends = [(await who.send("DELETE", mine)).status for who in (case.mallory, case.olga)]
    (system,) = (await case.olga.post("/assistants/search", {"graph_id": SECOND})).body

    assert [one.status for one in made] == [200, 403, 403], made
    assert [one.status for one in changed] == [403, 404, 200], changed
    assert ran.how == "done", ran
    assert ends == [404, 204]
    for assistant in (system["assistant_id"],):
        assert (await case.olga.send("PATCH", f"/assistants/{assistant}", json={"graph_id": PLAIN})).status == 403
        assert (await case.olga.send("DELETE", f"/assistants/{assistant}")).status == 403


async def test_what_somebody_made_of_it_is_read_and_run_by_nobody_else(case: Case) -> None:
    """Everybody read its config, prompts and keys in it, and ran with them; and one passed off as the server's."""
    body = {"name": f"name-{case.mark}", "config": {"configurable": {"key": f"secret-{case.mark}"}}}
    servers = {"metadata": {"created_by": "system"}}
    made = await case.olga.post("/assistants", {"graph_id": PLAIN, **body, **servers})
    mine = f"/assistants/{made.body['assistant_id']}"
    assert (await case.olga.send("PATCH", mine, json=servers)).status == 200

    seen = [
        (await who.get(mine), await who.post(f"{mine}/versions"), await who.post("/assistants/search", {"limit": 1000}))
        for who in (case.mallory, case.ana, case.olga)
    ]
    ran = [
        (await who.run(await who.thread(), assistant_id=made.body["assistant_id"], input=words("hello"))).how
        for who in (case.mallory, case.olga)
    ]

    assert [case.mark in str(one) for one in seen] == [False, False, True]
    assert ran == ["404", "done"]
    listed = [{one["graph_id"] for one in searched.body} for *_, searched in seen]
    assert listed == [{GRAPH, SECOND, PLAIN}] * 3


async def test_each_sees_own_threads_of_any_graph_and_approvers_all_of_gated_ones(case: Case, held: Held) -> None:
    second, _, _ = await hold_in(case, SECOND)
    plain, made = await case.olga.thread(), await case.olga.thread()
    await case.olga.run(plain, assistant_id=PLAIN, input=words("ask what"))
    anas = await case.ana.thread()
    await case.ana.run(anas, assistant_id=PLAIN, input=words("hello"))
    theirs = {held.thread_id, second, plain, made, anas}

    seen = [
        {one["thread_id"] for one in (await who.post("/threads/search", {"limit": 1000})).body} & theirs
        for who in (case.olga, case.ana, case.mallory)
    ]
    waiting = (await case.ana.post("/threads/search", {"status": "interrupted", "limit": 1000})).body

    assert seen == [{held.thread_id, second, plain, made}, {held.thread_id, second, anas}, set()]
    assert {one["thread_id"] for one in waiting} & theirs == {held.thread_id, second}


# Two gated graphs


async def test_two_gated_graphs_share_the_journal_and_each_turn_knows_its_own(case: Case, held: Held) -> None:
    thread_id, source, interrupt_id = await hold_in(case, SECOND)
    listed = (await case.ana.get("/approvals/requests?tab=open&limit=200")).body["requests"]

    answered = await case.ana.run(thread_id, assistant_id=SECOND, command={"resume": {interrupt_id: YES}})

    assert {held.thread_id, thread_id} <= {one["thread_id"] for one in listed}
    assert answered.body["messages"][-1]["content"] == "Said by the second graph."
    assert [effect.source for effect in case.effects()] == [source]
    assert (graphs_of(case, thread_id), graphs_of(case, held.thread_id)) == ({SECOND}, {GRAPH})
    assert (await case.ana.get("/approvals/me")).body["graphs"] == [GRAPH, SECOND]


async def test_what_is_decided_over_the_api_goes_on_in_its_graph(case: Case) -> None:
    thread_id, source, _ = await hold_in(case, SECOND)

    await approve(case, thread_id)

    assert await last_words(case, thread_id) == "Said by the second graph."
    assert [effect.source for effect in case.effects()] == [source]
    assert (await case.olga.get(f"/threads/{thread_id}")).body["metadata"]["graph_id"] == SECOND


async def test_a_turn_from_before_turns_noted_their_graph_goes_on_in_that_of_its_thread(case: Case) -> None:
    thread_id, source, _ = await hold_in(case, SECOND)
    unnoted = sa.update(turns).where(turns.c.thread_id == thread_id).values(graph_id=None)
    case.target.write(lambda c: c.execute(unnoted))

    met = [(await case.olga.run(thread_id, assistant_id=one, input=words("hello"))).status for one in (PLAIN, GRAPH)]
    await approve(case, thread_id)

    assert met == [409, 409]
    assert await last_words(case, thread_id) == "Said by the second graph."
    assert [effect.source for effect in case.effects()] == [source]


async def approve(case: Case, thread_id: str) -> None:
    """Approve the one open request of a thread over the approvals API."""
    (request,) = (await case.ana.get(f"/approvals/requests?thread_id={thread_id}")).body["requests"]
    body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
    met = await case.ana.post(f"/approvals/requests/{request['id']}/decision", body)
    assert met.status == 200, met


async def last_words(case: Case, thread_id: str) -> str:
    """Wait until a thread rests, and give its last message."""
    content = ""
    for _ in range(300):
        state = await case.olga.state(thread_id)
        content = ((state["values"] or {}).get("messages") or [{"content": ""}])[-1]["content"]
        if not state["tasks"] and content:  # "next" is empty between two steps, too
            break
        await asyncio.sleep(0.2)
    return str(content)


@pytest.mark.parametrize("config", ["langgraph.dev.json", "langgraph.json"])
async def test_after_a_crash_each_turn_goes_on_in_its_own_graph(
    make_server: Callable[..., Server], config: str
) -> None:
    """With `langgraph.json` nothing of the threads is left but the journal, and their rows are made again."""
    server = make_server(config, kind=SeveralServer)
    server.auth = "on"
    server.start()
    case = Case(Target("ours", server))
    held = {graph: await hold_in(case, graph) for graph in (SECOND, GRAPH)}

    server.kill()
    server.start()
    for graph, (thread_id, _, _) in held.items():
        for _ in range(300):
            row = await case.ana.get(f"/threads/{thread_id}")
            if row.status == 200 and row.body["status"] == "interrupted":
                break
            await asyncio.sleep(0.2)
        assert (row.body["metadata"]["graph_id"], row.body["metadata"]["owner"]) == (graph, case.olga.name), row
        await approve(case, thread_id)

    said = [await last_words(case, held[graph][0]) for graph in (SECOND, GRAPH)]
    await case.close()
    assert said[0] == "Said by the second graph."
    assert "Transferred" in said[1], said
    assert len(case.effects()) == 2


# The command


def test_chat_talks_to_the_graph_that_is_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_URL", case.target.url)
    assert case.olga.person
    monkeypatch.setenv("CLEARANCE_TOKEN", token(case.olga.person))

    unsaid = run("chat", "hello")
    wrong = run("chat", "hello", "--graph", PLAIN)
    said = run("chat", "hello", "--graph", SECOND)
    thread_id = said.out.split()[1]
    again = run("chat", "hello again", "--thread", thread_id)

    assert (unsaid.code, wrong.code, said.code, again.code) == (1, 1, 0, 0), (unsaid, wrong, said, again)
    assert f"This server has several gated graphs: {GRAPH}, {SECOND}. Say by --graph which to talk to." in unsaid.err
    assert f"This server has no gated graph '{PLAIN}'. There are: {GRAPH}, {SECOND}." in wrong.err
    assert graphs_of(case, thread_id) == {SECOND}
