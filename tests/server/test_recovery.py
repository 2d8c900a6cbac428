"""After kill -9 and a restart nothing that was open is lost, whatever else is."""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from langgraph_sdk.errors import NotFoundError

from agent.bank.ledger import find_account
from clearance.db.engine import Database
from clearance.db.tables import plans
from clearance.journal.leases import LONGEST_LEASE, take_lease
from clearance.journal.tries import MOST_TRIES
from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.server import Server

HELD = "transfer 5,000 from A-2001 to A-2003 and 2,000 from A-2001 to A-2002"


def balance(server: Server, account_id: str) -> int:
    """Read a balance in cents from the server's database."""
    database = Database(server.database_url)
    account = database.read_now(lambda connection: find_account(connection, account_id))
    database.close()
    assert account is not None
    return account.balance_minor


async def asked_again(server: Server, thread_id: str) -> dict[str, Any]:
    """Wait until a thread shows its question, and give it."""
    async with connected(server.url) as client:
        talk = Conversation(client, thread_id)
        for _ in range(600):
            threads = await client.threads.search(status="interrupted")
            if thread_id in {thread["thread_id"] for thread in threads} and (question := await talk.question()):
                return question
            await asyncio.sleep(0.1)
    raise AssertionError(f"thread {thread_id} shows no question:\n{server.log[-3000:]}")


async def hold(server: Server) -> str:
    """Ask for two transfers, approve the first, and give the thread, which waits for the second."""
    async with connected(server.url) as client:
        talk = await converse(client)
        await talk.say(HELD)
        await talk.answer_by_id({"approved": True})
        return talk.thread_id


async def approve(server: Server, thread_id: str) -> str:
    """Approve the open question, and give the agent's last words."""
    async with connected(server.url) as client:
        done = await Conversation(client, thread_id).answer_by_id({"approved": True})
        return str(done["messages"][-1]["content"])


@pytest.mark.parametrize("config", ["langgraph.dev.json", "langgraph.json"])
async def test_an_open_question_survives_kill_and_is_carried_out_once(
    make_server: Callable[..., Server], config: str
) -> None:
    """`langgraph.json` leaves checkpoints to the platform; in development these are lost, and made again."""
    server = make_server(config).start()
    thread_id = await hold(server)
    before = balance(server, "A-2001")

    server.kill()
    server.start()
    question = await asked_again(server, thread_id)
    said = await approve(server, thread_id)
    after = balance(server, "A-2001")
    server.stop()

    assert [other["state"] for other in question["turn"]["requests"]] == ["approved", "asked"]
    assert "Transferred $5,000.00" in said
    assert "Transferred $2,000.00" in said
    assert after == before - 7_000_00


async def test_a_thread_without_its_checkpoints_is_made_again_from_the_journal(
    make_server: Callable[..., Server],
) -> None:
    server = make_server().start()
    thread_id = await hold(server)
    server.kill()
    for file in server.folder.glob("checkpoints.db*"):
        file.unlink()

    server.start()
    await asked_again(server, thread_id)
    async with connected(server.url) as client:
        messages = await Conversation(client, thread_id).messages()
    said = await approve(server, thread_id)
    server.stop()

    assert messages[0]["content"] == HELD
    assert "Transferred $2,000.00" in said


async def test_what_is_decided_before_recovery_comes_to_its_thread_is_decided(
    make_server: Callable[..., Server],
) -> None:
    """It was refused as one of another server, which takes minutes where ten thousand threads were lost."""
    server = make_server("langgraph.json").start()
    async with connected(server.url) as client:
        talks = [await converse(client) for _ in range(3)]
        await asyncio.gather(*(talk.say("transfer 5,000 from A-2001 to A-2003") for talk in talks))
    server.kill()
    shutil.rmtree(server.folder / ".langgraph_api")
    keep_others_from_recovering(server)

    server.start()
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        listed = (await http.get("/approvals/requests")).json()["requests"]
        decision = {"decision": "approve", "digest": listed[0]["digest"], "revision": listed[0]["revision"]}
        answered = await http.post(f"/approvals/requests/{listed[0]['id']}/decision", json=decision)
    made_again = server.log.count("was lost, made again")
    server.stop()

    assert len(listed) == 3
    assert (answered.status_code, answered.json().get("request", {}).get("state")) == (200, "executed"), answered.text
    assert made_again == 1  # the others were not waited for


def keep_others_from_recovering(server: Server) -> None:
    """Hold the lease of recovery as another server would, for as long as one may."""
    database, now = Database(server.database_url), datetime.now(UTC)
    assert database.write_now(lambda c: take_lease(c, "recovery", "another server", now, now + LONGEST_LEASE))
    database.close()


async def test_a_deleted_thread_stays_deleted(make_server: Callable[..., Server]) -> None:
    server = make_server().start()
    thread_id = await hold(server)
    before = balance(server, "A-2001")
    async with connected(server.url) as client:
        await client.threads.delete(thread_id)

    # Not killed: the platform writes its threads every ten seconds, and would have this one of before by itself.
    server.stop()
    server.start()
    await asyncio.sleep(3)
    async with connected(server.url) as client:
        threads = await client.threads.search(limit=100)
    server.stop()

    assert thread_id not in {thread["thread_id"] for thread in threads}
    assert balance(server, "A-2001") == before


async def test_a_turn_whose_runs_always_fail_is_given_up_and_its_thread_is_told(
    make_server: Callable[..., Server],
) -> None:
    """What went wrong: it was tried some sixty times at each start."""
    server = make_server(ANALYSIS_CHUNK="1").start()
    async with connected(server.url) as client:
        talk = await converse(client)
        words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
        await client.runs.create(talk.thread_id, GRAPH, input=words)
        database = Database(server.database_url)
        # Right behind the model's message: on a slow machine the analysis is over before an answer of the server's.
        while not database.read_now(lambda connection: connection.scalar(sa.select(plans.c.plan_id))):
            time.sleep(0.002)  # noqa: ASYNC251  nothing else runs here
    server.kill()
    broken = sa.update(plans).values(message={"type": "ai", "tool_calls": "none of this can be read"})
    database.write_now(lambda connection: connection.execute(broken))
    database.close()

    server.start()
    async with connected(server.url) as client:
        talk = Conversation(client, talk.thread_id)
        told: list[Any] = [{"content": ""}]
        for _ in range(120):
            with suppress(NotFoundError):  # the row of a thread that was so young is lost, until it is made again
                told = await talk.messages()
            if "could not be carried on" in str(told[-1]["content"]):
                break
            await asyncio.sleep(1)
        runs = await client.runs.list(talk.thread_id, limit=100)
        await asyncio.sleep(5)
        later = await client.runs.list(talk.thread_id, limit=100)
        done = await talk.say("who is Priya Natarajan?")
    server.stop()

    assert "could not be carried on" in str(told[-1]["content"]), server.log[-3000:]
    assert len(later) == len(runs) <= MOST_TRIES + 2
    assert "Priya" in str(done["messages"][-1]["content"])


def test_a_policy_that_cannot_be_stops_the_server_and_says_where(make_server: Callable[..., Server]) -> None:
    server = make_server(POLICY_FILE="bad-policy.toml")
    policy = '[roles]\na = "x"\n[defaults]\napprovers = "a"\n[[rule]]\naction = "no_such_action"\nverdict = "allow"\n'
    (server.folder / "bad-policy.toml").write_text(policy)

    with pytest.raises(RuntimeError, match=r"bad-policy\.toml:6: unknown action 'no_such_action'"):
        server.start()
