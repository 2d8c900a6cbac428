"""The main job on the real server, through the SDK."""

import asyncio
from collections.abc import Callable
from typing import Any

from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

from tests.conftest import copied
from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.payments import Provider
from tests.support.server import Server


async def test_a_held_transfer_is_answered_through_the_sdk_and_happens_once(client: LangGraphClient) -> None:
    talk = await converse(client)

    held = await talk.say("transfer 5,000 from A-2001 to A-2003")
    status = await talk.status()
    done = await talk.answer({"approved": True})

    assert held["__interrupt__"][0]["value"]["action"] == "transfer_funds"
    assert status == "interrupted"
    assert "Transferred $5,000.00 from A-2001 to A-2003" in done["messages"][-1]["content"]


async def test_a_payment_to_another_bank_whose_answer_is_lost_is_found_told_and_paid_once(
    client: LangGraphClient, payment_provider: Provider
) -> None:
    talk, iban = await converse(client), "DE89370400440532013000"
    payment_provider.next, payment_provider.is_blind = ["breaks after"], True

    await talk.say(f"pay 12.50 from A-2003 to {iban} for lunch")
    unknown = await talk.answer({"approved": True})
    payment_provider.is_blind = False
    for _ in range(600):
        told = str((await talk.messages())[-1]["content"])
        if "Paid" in told:
            break
        await asyncio.sleep(0.1)

    assert "Nobody knows yet" in unknown["messages"][-1]["content"]
    assert told == f"[offline model] Paid $12.50 from A-2003 to {iban} (reference P-1)."
    assert payment_provider.paid() == [(iban, "12.50")]


async def test_tokens_updates_and_progress_stream_through_the_server(client: LangGraphClient) -> None:
    talk = await converse(client)
    seen: dict[str, list[Any]] = {}

    words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
    async for part in client.runs.stream(
        talk.thread_id, GRAPH, input=words, stream_mode=["updates", "custom", "messages-tuple"]
    ):
        seen.setdefault(part.event, []).append(part.data)

    progress = seen["custom"]
    assert all(set(step) == {"status", "done", "total", "message"} for step in progress)
    assert progress[-1]["status"] == "done"
    assert len(seen["messages"]) > 10
    assert [next(iter(update)) for update in seen["updates"]][:2] == ["receive", "model"]


async def test_a_page_that_was_closed_joins_the_progress_of_a_long_job_again(client: LangGraphClient) -> None:
    talk = await converse(client)
    words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
    run: dict[str, str] = {}
    before: list[Any] = []
    last = ""
    async for part in client.runs.stream(
        talk.thread_id, GRAPH, input=words, stream_mode="custom", stream_resumable=True,
        on_run_created=lambda made: run.update(run_id=made["run_id"]),
    ):  # fmt: skip
        if part.event == "custom":
            before, last = [part.data], part.id or ""
            break  # the page is closed

    after = [
        part.data
        async for part in client.runs.join_stream(
            talk.thread_id, run["run_id"], stream_mode="custom", last_event_id=last
        )
        if part.event == "custom"
    ]

    total = before[0]["total"]
    # The development server gives twice what comes while the page joins again, the end too. Its ids tell milliseconds:
    # what came in that of the last one seen, a step at most, it does not give again.
    told = sorted({step["done"] for step in [*before, *after] if step["status"] == "running"})
    steps = [*range(0, total, 10), total]
    assert told in (steps, [steps[0], *steps[2:]])
    assert {step["status"] for step in [*before, *after]} == {"running", "done"}
    assert after[-1]["status"] == "done"
    assert f"Read {total} transfers" in (await talk.messages())[-2]["content"]


async def test_a_stateless_run_can_neither_move_money_nor_leave_a_question(client: LangGraphClient) -> None:
    words: Any = {"messages": [{"role": "user", "content": "transfer 10 from A-2001 to A-2003"}]}

    ended: Any = await client.runs.wait(None, GRAPH, input=words)

    assert "__interrupt__" not in ended
    assert "keeps no thread" in ended["messages"][-1]["content"]


async def test_the_main_job_runs_on_postgresql_and_survives_a_kill(
    seeded_postgres: str, make_server: Callable[..., Server]
) -> None:
    with copied(seeded_postgres, "seeded") as url:
        server = make_server(database_url=url).start()
        async with connected(server.url) as client:
            talk = await converse(client)
            await talk.say("transfer 5,000 from A-2001 to A-2003 and 2,000 from A-2001 to A-2002")
            await talk.answer_by_id({"approved": True})
        server.kill()
        server.start()
        async with connected(server.url) as client:
            talk = Conversation(client, talk.thread_id)
            for _ in range(600):
                if await is_asking(talk):
                    break
                await asyncio.sleep(0.1)
            done = await talk.answer_by_id({"approved": True})
        server.stop()

    said = done["messages"][-1]["content"]
    assert "Transferred $5,000.00 from A-2001 to A-2003" in said
    assert "Transferred $2,000.00 from A-2001 to A-2002" in said


async def is_asking(talk: Conversation) -> bool:
    """Tell whether the thread is there again and waits for an answer."""
    try:
        return await talk.status() == "interrupted" and await talk.question() is not None
    except NotFoundError:
        return False
