"""External actions on the real `langgraph dev`: nobody waits for them, and their threads hear what became of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

from clearance.db.engine import Database
from clearance.db.tables import attempts, turns
from clearance.journal.attempts import all_in_flight
from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider
from tests.support.server import Server
from tests.support.waiting import until


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture
def server(tmp_path: Path, provider: Provider) -> Iterator[PayingServer]:
    made = PayingServer(tmp_path, f"sqlite:///{tmp_path / 'clearance.db'}", env=environment(provider.url))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
async def client(server: PayingServer) -> AsyncIterator[LangGraphClient]:
    async with connected(server.url) as made:
        yield made


async def said(talk: Conversation, text: str) -> bool:
    try:
        return any(text in str(message["content"]) for message in await talk.messages())
    except NotFoundError:  # lost with the last process, and not made again yet
        return False


async def approve(server: Server, question: dict[str, Any]) -> httpx.Response:
    body = {"decision": "approve", "digest": question["digest"], "revision": question["revision"]}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        return await http.post(f"/approvals/requests/{question['id']}/decision", json=body)


async def asked(client: LangGraphClient, text: str) -> tuple[Conversation, dict[str, Any]]:
    talk = await converse(client)
    await talk.say(text)
    question = await talk.question()
    assert question is not None
    return talk, question


async def test_an_answer_in_the_thread_pays_once_and_tells_the_receipt(
    client: LangGraphClient, provider: Provider
) -> None:
    talk, question = await asked(client, "pay out: account X-1, amount 5000")

    await talk.answer(True)

    assert question["facts"] == {"is_closed": False, "pending": 0}
    assert provider.paid() == [("X-1", 5000)]
    assert await said(talk, "Paid 5000 to X-1 (P-1).")


async def test_an_approval_of_the_api_is_performed_and_told_in_the_thread(
    client: LangGraphClient, server: PayingServer, provider: Provider
) -> None:
    talk, question = await asked(client, "pay out: account X-1, amount 5000")

    answer = await approve(server, question)
    await until(lambda: said(talk, "Paid 5000 to X-1 (P-1)."))

    assert answer.status_code == 200
    assert provider.paid() == [("X-1", 5000)]
    await until(lambda: at_rest(talk))


@pytest.mark.parametrize("mood", ["breaks after", "pays, then hangs"])
async def test_a_lost_answer_is_found_and_told_without_being_asked(
    client: LangGraphClient, provider: Provider, mood: str
) -> None:
    provider.next, provider.takes_s, provider.is_blind = [mood], 8, True
    talk, _ = await asked(client, "pay out: account X-1, amount 5000")

    await talk.answer(True)
    unknown = await said(talk, "Nobody knows yet whether pay_out was done")
    provider.is_blind = False
    await until(lambda: said(talk, "Paid 5000 to X-1 (P-1)."))

    assert unknown
    assert provider.paid() == [("X-1", 5000)]
    await until(lambda: at_rest(talk))


async def at_rest(talk: Conversation) -> bool:
    return await talk.status() == "idle"


async def test_killed_while_it_pays_it_is_looked_up_at_the_next_start(
    server: PayingServer, client: LangGraphClient, provider: Provider
) -> None:
    provider.next, provider.takes_s = ["pays, then hangs"], 60
    talk, question = await asked(client, "pay out blocking: account X-1, amount 5000")
    await approve(server, question)
    await until(lambda: provider.paid() != [])

    server.kill()
    server.start()
    async with connected(server.url) as again:
        talk = Conversation(again, talk.thread_id)
        await until(lambda: said(talk, "Paid 5000 to X-1 (P-1)."))

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 1


async def test_a_thread_that_went_on_is_told_what_became_of_it_once_its_graph_is_there(
    client: LangGraphClient, server: PayingServer, provider: Provider
) -> None:
    """Where the server had its graph no more, the thread counted as told, and never heard of it."""
    provider.next, provider.is_blind = ["breaks after"], True
    talk, _ = await asked(client, "pay out: account X-1, amount 5000")
    await talk.answer(True)
    await talk.say("hello")
    database = Database(server.database_url)

    _is_of(database, "a graph that was renamed")
    provider.is_blind = False
    await until(lambda: f"thread {talk.thread_id} is not told here" in server.log)
    server.stop()
    _is_of(database, GRAPH)
    database.close()
    server.start()
    async with connected(server.url) as again:
        talk = Conversation(again, talk.thread_id)
        await until(lambda: said(talk, "It is known now what became of pay_out"))
        assert await said(talk, "Paid 5000 to X-1 (P-1).")

    assert provider.paid() == [("X-1", 5000)]


async def test_what_a_thread_asks_by_now_stands_until_it_is_answered_and_then_it_is_told(
    client: LangGraphClient, server: PayingServer, provider: Provider
) -> None:
    """What it was told took its question out of it: no client saw one, and an answer by its id did nothing."""
    provider.next, provider.is_blind = ["breaks after"], True
    talk, _ = await asked(client, "pay out: account X-1, amount 5000")
    await talk.answer(True)
    await talk.say("pay out: account X-2, amount 6000")
    (interrupt,) = await talk.interrupts()

    provider.is_blind = False
    database = Database(server.database_url)
    await until(lambda: database.read_now(all_in_flight) == [])
    database.close()
    await asyncio.sleep(7)  # every 5 s it is looked whom to tell
    stands = await talk.interrupts()
    await talk.answer({interrupt["id"]: {"approved": True}})
    await until(lambda: said(talk, "It is known now what became of pay_out"))

    assert [one["id"] for one in stands] == [interrupt["id"]]
    assert await said(talk, "Paid 5000 to X-1 (P-1).")
    assert sorted(provider.paid()) == [("X-1", 5000), ("X-2", 6000)]


def _is_of(database: Database, graph_id: str) -> None:
    """Say of which graph all turns are, past the gate."""
    database.write_now(lambda connection: connection.execute(sa.update(turns).values(graph_id=graph_id)))


async def test_cancelled_by_its_owner_what_is_in_flight_stops_waiting_and_is_looked_up(
    client: LangGraphClient, server: PayingServer, provider: Provider
) -> None:
    """What was started cannot be withdrawn, and its thread says what became of it."""
    provider.next, provider.takes_s = ["pays, then hangs"], 60
    talk, _ = await asked(client, "pay out: account X-1, amount 5000")
    (interrupt,) = await talk.interrupts()
    run = await client.runs.create(talk.thread_id, GRAPH, command={"resume": {interrupt["id"]: {"approved": True}}})
    await until(lambda: provider.paid() != [])

    await client.runs.cancel(talk.thread_id, run["run_id"], action="interrupt")
    database = Database(server.database_url)
    await until(lambda: database.read_now(all_in_flight) == [])
    made = database.read_now(lambda connection: connection.execute(sa.select(attempts)).all())
    ended = database.read_now(lambda connection: list(connection.scalars(sa.select(turns.c.state))))
    database.close()
    await until(lambda: said(talk, "Paid 5000 to X-1 (P-1)."))

    assert [(one.state, one.cause) for one in made] == [("executed", "cancelled")]
    assert ended == ["withdrawn"]
    assert provider.paid() == [("X-1", 5000)]


async def test_nobody_waits_for_one_that_hangs(
    client: LangGraphClient, server: PayingServer, provider: Provider
) -> None:
    provider.mood, provider.takes_s = "slow", 20
    _, question = await asked(client, "pay out blocking: account X-1, amount 5000")
    await approve(server, question)
    await until(lambda: provider.asked != [])

    began = time.monotonic()
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        frozen = await http.post("/approvals/freeze", json={"reason": "drill"})
        listed = await http.get("/approvals/requests")
        lifted = await http.delete("/approvals/freeze")
    await asked(client, "pay out: account X-2, amount 700")
    took = time.monotonic() - began

    assert (frozen.status_code, listed.status_code, lifted.status_code) == (200, 200, 200)
    assert took < 20  # it hangs for longer


async def test_ended_in_the_middle_it_waits_for_what_is_in_flight(
    client: LangGraphClient, server: PayingServer, provider: Provider
) -> None:
    provider.mood, provider.takes_s = "slow", 2
    talk, question = await asked(client, "pay out: account X-1, amount 5000")
    await approve(server, question)
    await until(lambda: provider.asked != [])

    server.stop()
    server.start()
    async with connected(server.url) as again:
        talk = Conversation(again, talk.thread_id)
        await until(lambda: said(talk, "Paid 5000 to X-1 (P-1)."))

    assert len(provider.asked) == 1
    assert "left in flight" not in server.log
