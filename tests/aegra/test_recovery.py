"""Killed, stopped, cancelled, deleted: on Aegra, too, nothing that was open is lost and nothing is done twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError
from pydantic import SecretStr

from clearance.db.engine import Database, normalise_url
from clearance.db.tables import audit, audit_head
from clearance.gate.answers import Approve, parse
from clearance.gate.caller import Caller
from clearance.gate.taking import decide_now
from clearance.journal.turns import Turn, open_turns
from clearance.principal import LOCAL
from clearance.settings import Settings
from tests.aegra.test_main_job import effects
from tests.support.aegra import Aegra
from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.crash import campaign, with_policy
from tests.support.server import ROOT, Server
from tests.support.told import opened

_PATIENCE_S = 60


@asynccontextmanager
async def talking(server: Aegra, thread_id: str = "") -> AsyncIterator[Conversation]:
    """Open a client and a thread, new or known."""
    async with connected(server.url) as client:
        yield Conversation(client, thread_id) if thread_id else await converse(client)


async def asked(talk: Conversation) -> str:
    """Wait until the thread is listed as waiting for an answer; give the memo of what it asks for."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if await talk.status() == "interrupted" and (question := await talk.question()):
            return str(question["memo"])
        await asyncio.sleep(0.1)
    raise AssertionError(f"the thread is {await talk.status()} and asks nothing")


async def rested(talk: Conversation) -> str:
    """Wait until the thread is idle and its turn over; give its last words."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        last = (await talk.messages() or [{"type": "none"}])[-1]
        if await talk.status() == "idle" and last["type"] == "ai" and not last["tool_calls"]:
            return str(last["content"])
        await asyncio.sleep(0.1)
    raise AssertionError(f"the thread is {await talk.status()}: {await talk.messages()}")


@contextmanager
def held_up(server: Server) -> Iterator[None]:
    """Hold the lock that every write of the gate waits for."""
    engine = sa.create_engine(normalise_url(server.database_url))
    with engine.begin() as connection:
        connection.execute(sa.select(audit_head).with_for_update())
        yield
    engine.dispose()


async def test_an_open_question_survives_kill_and_is_carried_out_once(make_aegra: Callable[..., Aegra]) -> None:
    server = make_aegra(AUTH="off").start()
    async with talking(server) as talk:
        await talk.say("transfer 5,000 from A-2001 to A-2003 for one and 2,000 from A-2001 to A-2002 for two")
        await talk.answer_by_id({"approved": True})

    server.kill()
    server.start()
    async with talking(server, talk.thread_id) as talk:
        memo = await asked(talk)
        done = await talk.answer_by_id({"approved": True})
    server.stop()

    assert memo == "two"
    assert "Transferred $5,000.00" in done["messages"][-1]["content"]
    assert (effects(server, "one"), effects(server, "two")) == (1, 1)


@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_what_was_approved_and_not_done_is_done_after_the_start(
    make_aegra: Callable[..., Aegra], way: str
) -> None:
    """The decision is in the journal and its run dies before the effect: nobody has to answer again."""
    server = make_aegra(AUTH="off").start()
    async with talking(server) as talk:
        await talk.say("transfer 5,000 from A-2001 to A-2003 for cleared")
        question = await talk.question()

    getattr(server, way)()
    assert question is not None
    await asyncio.to_thread(_approve_in_the_journal, server, question)
    server.start()
    async with talking(server, talk.thread_id) as talk:
        said = await rested(talk)
    server.stop()

    assert "Transferred $5,000.00" in said
    assert effects(server, "cleared") == 1


def _approve_in_the_journal(server: Aegra, question: dict[str, Any]) -> None:
    given = server.environment()
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # no .env of whoever runs the tests
        database_url=server.database_url,
        audit_key=SecretStr(given["AUDIT_KEY"]),
        policy_file=ROOT / "policy.toml",
        auth="off",
    )
    parts = opened(settings)
    answer = parse({"approved": True})
    assert isinstance(answer, Approve)
    asyncio.run(
        parts.gate.write(
            lambda log: decide_now(log, parts.gate.judge, question["id"], answer, 1, Caller(principal=LOCAL))
        )
    )
    parts.database.close()


async def test_a_thread_whose_run_was_killed_is_answerable_again(make_aegra: Callable[..., Aegra]) -> None:
    """Aegra leaves the killed run "running" and takes no answer in its thread for ever after."""
    server = make_aegra(AUTH="off", ANALYSIS_CHUNK="1").start()
    async with talking(server) as talk:
        words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
        run = await talk.client.runs.create(talk.thread_id, GRAPH, input=words)
        while len(await talk.messages()) < 2:  # noqa: ASYNC110  it is another process that we wait for
            await asyncio.sleep(0.01)
        server.kill()
    server.start()
    async with talking(server, talk.thread_id) as talk:
        said = await rested(talk)
        cut_off = await talk.client.runs.get(talk.thread_id, run["run_id"])
        await talk.say("transfer 5,000 from A-2001 to A-2003 for afterwards")
        await talk.answer_by_id({"approved": True})
    server.stop()

    assert "transfers" in said
    assert cut_off["status"] == "interrupted"
    assert effects(server, "afterwards") == 1


def _open_turns(server: Aegra) -> list[Turn]:
    database = Database(server.database_url)
    found = database.read_now(open_turns)
    database.close()
    return found


def _withdrawn_by(server: Aegra, thread_id: str) -> list[str]:
    database = Database(server.database_url)
    of = sa.select(audit.c.actor).where(audit.c.thread_id == thread_id, audit.c.event == "withdrawn")
    found = database.read_now(lambda connection: list(connection.scalars(of)))
    database.close()
    return found


async def test_a_question_is_put_again_when_whoever_waited_for_its_run_left(
    aegra: Aegra, client: LangGraphClient
) -> None:
    """Aegra cancels the run then, the thread is idle, and takes no answer."""
    talk = await converse(client)
    await talk.say("transfer 5,000 from A-2001 to A-2003 for left")

    with held_up(aegra):
        await _leave(talk)
    memo = await asked(talk)
    await talk.answer_by_id({"approved": True})

    assert memo == "left"
    assert effects(aegra, "left") == 1


async def test_an_answer_that_aegra_has_no_run_for_counts(aegra: Aegra, client: LangGraphClient) -> None:
    """It is taken at the door, before Aegra refuses the run because the thread is idle; the timekeeper goes on."""
    talk = await converse(client)
    await talk.say("transfer 5,000 from A-2001 to A-2003 for no run")
    (question,) = await talk.interrupts()

    with held_up(aegra):
        await _leave(talk)
    with pytest.raises(httpx.HTTPStatusError, match="Cannot resume"):
        await talk.answer({question["id"]: {"approved": True}})
    said = await rested(talk)

    assert "Transferred $5,000.00" in said
    assert effects(aegra, "no run") == 1


async def test_a_thread_that_aegra_left_busy_is_told_what_was_decided(aegra: Aegra, client: LangGraphClient) -> None:
    """As two runs do that end at once: each finds the other going on. Nothing runs there, and nothing would."""
    talk = await converse(client)
    await talk.say("transfer 5,000 from A-2001 to A-2003 for left busy")
    question = await talk.question()
    assert question is not None
    database = Database(aegra.database_url)
    left = sa.text("UPDATE thread SET status = 'busy' WHERE thread_id = :id")
    database.write_now(lambda connection: connection.execute(left, {"id": talk.thread_id}))
    database.close()

    given = {"decision": "approve", "digest": question["digest"], "revision": question["revision"]}
    async with httpx.AsyncClient(base_url=aegra.url) as http:
        decided = await http.post(f"/approvals/requests/{question['id']}/decision", json=given)
    said = await rested(talk)

    assert decided.status_code == 200, decided.text
    assert "Transferred $5,000.00" in said
    assert effects(aegra, "left busy") == 1


async def _leave(talk: Conversation) -> None:
    """Start a run, stop listening to it, and wait until Aegra has therefore cancelled it."""
    words: Any = {"messages": []}

    async def listen() -> None:
        async for _ in talk.client.runs.stream(talk.thread_id, GRAPH, input=words):
            pass

    listening = asyncio.create_task(listen())
    while await talk.status() != "busy":  # noqa: ASYNC110  it is another process that we wait for
        await asyncio.sleep(0.02)
    listening.cancel()
    while await talk.status() != "idle":  # noqa: ASYNC110  the same
        await asyncio.sleep(0.02)


async def test_a_deleted_thread_stays_deleted_and_what_was_open_in_it_is_withdrawn(
    make_aegra: Callable[..., Aegra],
) -> None:
    server = make_aegra(AUTH="off").start()
    async with talking(server) as talk:
        await talk.say("transfer 5,000 from A-2001 to A-2003 for deleted")
        opened = _open_turns(server)
        await talk.client.threads.delete(talk.thread_id)
    still_open = _open_turns(server)
    assert _withdrawn_by(server, talk.thread_id) == ["local"]

    server.kill()
    server.start()
    await asyncio.sleep(3)
    async with talking(server, talk.thread_id) as talk:
        with pytest.raises(NotFoundError):
            await talk.status()
    server.stop()

    assert (len(opened), len(still_open)) == (1, 0)
    assert effects(server, "deleted") == 0


async def test_what_was_open_in_a_thread_that_aegra_pruned_is_withdrawn_at_the_next_start(
    make_aegra: Callable[..., Aegra],
) -> None:
    """Its threads are as durable as the journal: one that is gone was deleted, by its age for example."""
    server = make_aegra(AUTH="off").start()
    async with talking(server) as talk:
        await talk.say("transfer 5,000 from A-2001 to A-2003 for pruned")
    server.stop()
    database = Database(server.database_url)
    database.write_now(lambda c: c.execute(sa.text("DELETE FROM thread")))
    database.close()

    server.start()
    for _ in range(600):
        if not _open_turns(server):
            break
        await asyncio.sleep(0.1)
    server.stop()

    assert not _open_turns(server)


async def test_kills_at_random_moments_lose_and_double_nothing(
    make_aegra: Callable[..., Aegra], record_property: Callable[[str, object], None]
) -> None:
    server = make_aegra(AUTH="off")
    with_policy(server)

    counts = await campaign(server, kills=5, seed=20261122)

    record_property("measured", f"Aegra: {counts}")
    assert counts.kills == 5
    assert counts.is_clean, counts
