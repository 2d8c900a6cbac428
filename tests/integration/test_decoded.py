"""What a process knows of stored checkpoints: nothing that is not stored so, and nothing that a reader wrote to."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Send

from clearance.graph.messages import keep_changes
from clearance.server import decoded
from clearance.server.checkpointer import SqliteCheckpointer
from clearance.server.decoded import Decoding, known

#: Of a call, so that there is something inside a message to write to.
ARGS = {"to": "A-2003", "parts": [{"of": 1}]}


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    known.forget()
    yield
    known.forget()


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[SqliteCheckpointer]:
    connection = await aiosqlite.connect(tmp_path / "checkpoints.db")
    yield SqliteCheckpointer(connection)
    await connection.close()


def answer(state: MessagesState) -> dict[str, Any]:
    call = tool_call(name="pay", args=ARGS, id=f"call-{len(state['messages'])}")
    return {"messages": [AIMessage(f"heard {len(state['messages'])}", tool_calls=[call])]}


@pytest.fixture
def graph(saver: SqliteCheckpointer) -> Any:
    builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    keep_changes(builder)
    return builder.compile(checkpointer=saver)


async def say(graph: Any, thread_id: str = "thread", **given: Any) -> None:
    await graph.ainvoke({"messages": [HumanMessage("hello")], **given}, {"configurable": {"thread_id": thread_id}})


async def messages(graph: Any, thread_id: str = "thread") -> list[Any]:
    state = await graph.aget_state({"configurable": {"thread_id": thread_id}})
    return list(state.values.get("messages", []))


async def test_a_thread_that_goes_on_has_each_part_decoded_twice_at_most(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, times = JsonPlusSerializer.loads_typed, dict[bytes, int]()

    def counted(self: JsonPlusSerializer, data: tuple[str, bytes]) -> Any:
        value = decode(self, data)
        if isinstance(value, list) and value and isinstance(value[0], BaseMessage):
            times[data[1]] = times.get(data[1], 0) + 1
        return value

    monkeypatch.setattr(JsonPlusSerializer, "loads_typed", counted)
    for _ in range(20):
        await say(graph)

    assert len(times) >= 38
    assert max(times.values()) == 2


async def test_what_a_reader_writes_to_is_not_read_by_the_next(graph: Any) -> None:
    for _ in range(3):
        await say(graph)
    before = [one.model_copy(deep=True) for one in await messages(graph)]
    assert known.size

    for one in await messages(graph):
        one.content = "I owe olga a million"
        one.additional_kwargs["cached"] = True
        if isinstance(one, AIMessage):
            one.tool_calls[0]["args"]["parts"][0]["of"] = 2

    assert await messages(graph) == before


async def test_what_another_program_writes_into_the_file_is_read_as_it_stands(graph: Any, tmp_path: Path) -> None:
    for _ in range(3):
        await say(graph)
    await messages(graph)

    with sqlite3.connect(tmp_path / "checkpoints.db") as other:
        found = other.execute("SELECT rowid, type, value FROM writes WHERE channel = 'messages'").fetchall()
        for rowid, _, value in found:
            changed = bytes(value).replace(b"hello", b"jello").replace(b"A-2003", b"A-2004")
            other.execute("UPDATE writes SET value = ? WHERE rowid = ?", (changed, rowid))
    read = await messages(graph)

    assert {one.content for one in read if isinstance(one, HumanMessage)} == {"jello"}
    assert {one.tool_calls[0]["args"]["to"] for one in read if isinstance(one, AIMessage)} == {"A-2004"}


async def test_what_was_taken_out_stays_out_and_earlier_checkpoints_have_it(graph: Any) -> None:
    config: Any = {"configurable": {"thread_id": "thread"}}
    for _ in range(3):
        await say(graph)
    before = await messages(graph)
    pinned = (await graph.aget_state(config)).config

    await graph.aupdate_state(config, {"messages": [RemoveMessage(id=before[0].id)]}, as_node="answer")
    assert [one.id for one in await messages(graph)] == [one.id for one in before[1:]]
    await graph.aupdate_state(config, {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]}, as_node="answer")
    await say(graph)

    assert [one.content for one in await messages(graph)] == ["hello", "heard 1"]
    assert (await graph.aget_state(pinned)).values["messages"] == before


@pytest.mark.parametrize("how", ["delete", "prune", "undo"])
async def test_nothing_is_kept_in_memory_of_what_was_deleted(graph: Any, saver: SqliteCheckpointer, how: str) -> None:
    for _ in range(3):
        await say(graph)
    await messages(graph)
    assert known.size

    match how:
        case "delete":
            await saver.adelete_thread("thread")
        case "prune":
            await saver.aprune(["thread"])
        case _:
            await saver.adelete_for_runs(["one"])

    assert known.size == 0


def test_what_is_kept_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "_MOST", 20_000)
    monkeypatch.setattr(decoded, "_LARGEST", 5_000)
    serde = Decoding(JsonPlusSerializer())
    parts = [serde.dumps_typed([HumanMessage("x" * 900, id=str(number))]) for number in range(100)]
    picture = serde.dumps_typed([HumanMessage("x" * 6_000, id="picture")])

    for part in [*parts, picture]:
        for _ in range(3):
            assert serde.loads_typed(part)[0].id

    assert 15_000 < known.size <= 20_000
    assert known.find(parts[-1][1]) is not None
    assert known.find(parts[0][1]) is None
    assert known.find(picture[1]) is None


@pytest.mark.parametrize(
    "value",
    [
        [Send("tools", {"a": 1})], [{1, 2}], [("a", "b")], [[], {}, None, 1, 1.5, True, "a", b"a"], [{"a": {"b": [1]}}],
        [AIMessage("x", id="1", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})],
        [ToolMessage([{"type": "text", "text": "x"}], tool_call_id="c", artifact={"a": [1]}, status="error")],
    ],
    ids=lambda value: type(value[0]).__name__,
)  # fmt: skip
def test_a_value_is_read_as_it_was_the_first_time(value: list[Any]) -> None:
    serde = Decoding(JsonPlusSerializer())
    stored = serde.dumps_typed(value)

    read = [serde.loads_typed(stored) for _ in range(4)]

    assert [repr(one) for one in read] == [repr(JsonPlusSerializer().loads_typed(stored))] * 4
    assert [type(one[0]) for one in read] == [type(read[0][0])] * 4
    assert read[2] is not read[3]
    if isinstance(value[0], BaseMessage):
        assert read[3][0].model_fields_set == read[0][0].model_fields_set
