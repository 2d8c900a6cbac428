"""The main job on Aegra, through the same SDK."""

from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from langgraph_sdk.client import LangGraphClient

from agent.bank.tables import transfers
from clearance.db.engine import Database
from tests.support.aegra import Aegra
from tests.support.conversation import GRAPH, converse


def effects(server: Aegra, memo: str) -> int:
    """Count the transfers with this memo."""
    database = Database(server.database_url)
    count = sa.select(sa.func.count()).select_from(transfers).where(transfers.c.memo == memo)
    found = database.read_now(lambda connection: connection.scalar(count))
    database.close()
    return found or 0


async def test_a_wrong_answer_is_refused_its_question_stands_and_the_approved_call_happens_once(
    aegra: Aegra, client: LangGraphClient
) -> None:
    talk = await converse(client)

    held = await talk.say("transfer 5,000 from A-2001 to A-2003 for main job")
    first = await talk.question()
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await talk.answer_by_id({"approved": "false"})
    again, status = await talk.question(), await talk.status()
    done = await talk.answer_by_id({"approved": True})

    assert held["__interrupt__"][0]["value"]["action"] == "transfer_funds"
    assert first is not None
    assert again is not None
    assert (again["id"], status) == (first["id"], "interrupted")
    assert refused.value.response.status_code == 422
    assert "approved is the text 'false'" in refused.value.response.text
    assert await talk.status() == "idle"
    assert "Transferred $5,000.00 from A-2001 to A-2003" in done["messages"][-1]["content"]
    assert effects(aegra, "main job") == 1
    receipts = [message["content"] for message in await talk.messages() if message["type"] == "tool"]
    assert len(receipts) == 1
    assert receipts[0].startswith("Transferred $5,000.00 from A-2001 to A-2003")


async def test_lookups_run_at_once_and_two_requests_of_a_plan_one_after_the_other(
    aegra: Aegra, client: LangGraphClient
) -> None:
    talk = await converse(client)

    looked = await talk.say("show account A-2001 and show account A-2003")
    await talk.say("transfer 4,000 from A-2001 to A-2003 for first and 3,000 from A-2001 to A-2002 for second")
    first = await talk.question()
    await talk.answer_by_id({"approved": True})
    second, early = await talk.question(), (effects(aegra, "first"), effects(aegra, "second"))
    await talk.answer_by_id({"approved": True})

    assert "__interrupt__" not in looked
    assert [message["type"] for message in looked["messages"]] == ["human", "ai", "tool", "tool", "ai"]
    assert first is not None
    assert second is not None
    assert [first["memo"], second["memo"]] == ["first", "second"]
    assert early == (0, 0)
    assert (effects(aegra, "first"), effects(aegra, "second")) == (1, 1)


async def test_a_rejected_call_does_not_happen(aegra: Aegra, client: LangGraphClient) -> None:
    talk = await converse(client)

    await talk.say("transfer 5,000 from A-2001 to A-2003 for rejected")
    await talk.answer_by_id({"approved": False, "reason": "not today"})

    assert "not today" in str(await talk.messages())
    assert effects(aegra, "rejected") == 0


async def test_a_new_message_withdraws_what_was_asked(aegra: Aegra, client: LangGraphClient) -> None:
    talk = await converse(client)

    await talk.say("transfer 5,000 from A-2001 to A-2003 for withdrawn")
    (question,) = await talk.interrupts()
    said = await talk.say("show account A-2001")

    assert "A-2001" in said["messages"][-1]["content"]
    assert question["value"]["id"] not in str(await talk.interrupts())
    assert effects(aegra, "withdrawn") == 0


async def test_progress_and_tokens_stream(client: LangGraphClient) -> None:
    talk = await converse(client)
    seen: dict[str, list[Any]] = {}

    words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
    async for part in client.runs.stream(
        talk.thread_id, GRAPH, input=words, stream_mode=["updates", "custom", "messages-tuple"]
    ):
        seen.setdefault(part.event, []).append(part.data)

    assert seen["custom"][-1]["status"] == "done"
    assert len(seen["messages"]) > 10


async def test_a_stateless_run_can_neither_move_money_nor_leave_a_question(
    aegra: Aegra, client: LangGraphClient
) -> None:
    """Aegra gives it a thread and a checkpointer until it ends, so it looks like any other."""
    words: Any = {"messages": [{"role": "user", "content": "transfer 10 from A-2001 to A-2003 for adrift"}]}

    with pytest.raises(httpx.HTTPStatusError, match="without a thread"):
        await client.runs.wait(None, GRAPH, input=words)
    with pytest.raises(httpx.HTTPStatusError, match="without a thread"):
        await client.runs.create(None, GRAPH, input=words)
    with pytest.raises(httpx.HTTPStatusError, match="without a thread"):
        [part async for part in client.runs.stream(None, GRAPH, input=words)]

    assert effects(aegra, "adrift") == 0
