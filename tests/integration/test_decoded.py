"""What a process knows of stored checkpoints: nothing that is not stored so, and nothing that a reader wrote to."""

import gc
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
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
from clearance.message_values import memory_of
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
    decode, times, wholes = JsonPlusSerializer.loads_typed, dict[bytes, int](), dict[bytes, int]()

    def counted(self: JsonPlusSerializer, data: tuple[str, bytes]) -> Any:
        value = decode(self, data)
        if isinstance(value, list) and value and isinstance(value[0], BaseMessage):
            times[data[1]] = times.get(data[1], 0) + 1
        if len(data[1]) > 4_000:
            wholes[data[1]] = wholes.get(data[1], 0) + 1
        return value

    monkeypatch.setattr(JsonPlusSerializer, "loads_typed", counted)
    for _ in range(40):
        await say(graph)

    assert len(times) >= 70
    assert max(times.values()) == 2
    # All messages stand in a checkpoint now and then, which is read again until the next one has them.
    assert wholes
    assert max(wholes.values()) == 2


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
    await graph.ainvoke({"messages": []}, {"configurable": {"thread_id": "thread", "run_id": "one"}})
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


async def test_what_other_threads_read_is_kept_where_one_is_deleted(graph: Any, saver: SqliteCheckpointer) -> None:
    for thread_id in ("thread", "other"):
        for _ in range(3):
            await say(graph, thread_id)
    await saver.acopy_thread("thread", "copy")
    for thread_id in ("thread", "other", "copy"):
        await messages(graph, thread_id)
    in_all, read = known.size, await messages(graph, "copy")

    await saver.adelete_thread("other")
    of_thread = known.size
    await saver.adelete_thread("thread")

    assert 0 < of_thread < in_all
    # Its copy has the same parts, and reads them.
    assert known.size == of_thread
    assert await messages(graph, "copy") == read
    await saver.adelete_thread("copy")
    assert (known.size, known._parts, known._of_threads) == (0, {}, {})


def test_what_is_kept_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "_MOST", 60_000)
    monkeypatch.setattr(decoded, "_LARGEST", 8_000)
    serde = Decoding(JsonPlusSerializer(), "thread")
    parts = [serde.dumps_typed([HumanMessage("x" * 900, id=str(number))]) for number in range(100)]
    picture = serde.dumps_typed([HumanMessage("x" * 6_000, id="picture")])

    for part in [*parts, picture]:
        for _ in range(3):
            assert serde.loads_typed(part)[0].id

    assert 50_000 < known.size <= 60_000
    assert known.find(parts[-1][1], "thread") is not None
    assert known.find(parts[0][1], "thread") is None
    assert known.find(picture[1], "thread") is None
    assert known._of_threads["thread"] == known._parts.keys()


SHAPES: dict[str, Callable[[int], list[Any]]] = {
    "empty lists": lambda many: [[] for _ in range(8 * many)],
    "small dicts": lambda many: [{"a": 1} for _ in range(many)],
    "numbers": lambda many: [at + 10**6 for at in range(8 * many)],
    "words": lambda many: [f"{at} " * 20 for at in range(many)],
    "words of another alphabet": lambda many: ["\N{GREEK SMALL LETTER ALPHA}" * 300 + str(at) for at in range(many)],
    "messages": lambda many: [HumanMessage(f"hello {at}", id=f"id-{at}") for at in range(many)],
    "calls": lambda many: [
        AIMessage("", id=f"id-{at}", tool_calls=[tool_call(name="pay", args={"to": ["A"], "n": at}, id=f"c-{at}")])
        for at in range(many)
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_counted_is_about_what_it_takes(shape: str) -> None:
    """It was counted as it is stored, and 900,000 empty lists of one byte each took 357 MB."""
    serde = Decoding(JsonPlusSerializer(), "thread")
    stored = serde.dumps_typed(SHAPES[shape](800))
    serde.loads_typed(stored)
    gc.collect()

    tracemalloc.start()
    known.add(stored[1], JsonPlusSerializer().loads_typed(stored), "thread")
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] + len(stored[1])
    tracemalloc.stop()

    assert 0.8 * taken < known.size < 1.5 * taken


def test_what_takes_much_memory_is_not_kept_and_is_not_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    serde = Decoding(JsonPlusSerializer(), "thread")
    stored = serde.dumps_typed([[] for _ in range(900_000)])
    counted: list[int] = []

    def count(value: Any, most: int) -> int:
        counted.append(memory_of(value, most))
        return counted[-1]

    monkeypatch.setattr(decoded, "memory_of", count)

    for _ in range(4):
        assert len(serde.loads_typed(stored)) == 900_000

    assert known.size == 0
    assert len(counted) == 1


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
    serde = Decoding(JsonPlusSerializer(), "thread")
    stored = serde.dumps_typed(value)

    read = [serde.loads_typed(stored) for _ in range(4)]

    assert [repr(one) for one in read] == [repr(JsonPlusSerializer().loads_typed(stored))] * 4
    assert [type(one[0]) for one in read] == [type(read[0][0])] * 4
    assert read[2] is not read[3]
    if isinstance(value[0], BaseMessage):
        assert read[3][0].model_fields_set == read[0][0].model_fields_set
