"""The development checkpointer has what the server asks of one: copies, pruning, deletion by run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiosqlite
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from clearance.server.checkpointer import SqliteCheckpointer


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", f"heard {len(state['messages'])}")]}


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[SqliteCheckpointer]:
    connection = await aiosqlite.connect(tmp_path / "checkpoints.db")
    yield SqliteCheckpointer(connection)
    await connection.close()


@pytest.fixture
def graph(saver: SqliteCheckpointer) -> Any:
    return StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile(checkpointer=saver)


async def say(graph: Any, thread_id: str, run_id: UUID) -> None:
    """Run once, with the run's id in the metadata as the server writes it."""
    config = {"configurable": {"thread_id": thread_id}, "metadata": {"run_id": str(run_id)}}
    await graph.ainvoke({"messages": [("user", "hello")]}, config)


async def words(graph: Any, thread_id: str) -> list[str]:
    state = await graph.aget_state({"configurable": {"thread_id": thread_id}})
    return [str(message.content) for message in state.values.get("messages", [])]


async def count(graph: Any, thread_id: str) -> int:
    return len([one async for one in graph.aget_state_history({"configurable": {"thread_id": thread_id}})])


async def test_a_copy_has_the_whole_history_and_goes_its_own_way(graph: Any, saver: SqliteCheckpointer) -> None:
    await say(graph, "first", uuid4())

    await saver.acopy_thread("first", "second")
    copied = await count(graph, "second")
    await say(graph, "second", uuid4())

    assert copied == await count(graph, "first") > 1
    assert await words(graph, "first") == ["hello", "heard 1"]
    assert await words(graph, "second") == ["hello", "heard 1", "hello", "heard 3"]


async def test_deleting_a_run_takes_the_thread_back_to_before_it(graph: Any, saver: SqliteCheckpointer) -> None:
    kept, undone = uuid4(), uuid4()
    await say(graph, "thread", kept)
    await say(graph, "thread", undone)

    await saver.adelete_for_runs([str(undone)])

    assert await words(graph, "thread") == ["hello", "heard 1"]


async def test_pruning_keeps_the_newest_state_and_no_other_threads_are_touched(
    graph: Any, saver: SqliteCheckpointer
) -> None:
    for thread_id in ("pruned", "other"):
        await say(graph, thread_id, uuid4())
    before = await count(graph, "other")

    await saver.aprune(["pruned"])

    assert await count(graph, "pruned") == 1
    assert await words(graph, "pruned") == ["hello", "heard 1"]
    assert await count(graph, "other") == before


async def test_pruning_all_deletes_the_thread(graph: Any, saver: SqliteCheckpointer) -> None:
    await say(graph, "thread", uuid4())

    await saver.aprune(["thread"], strategy="delete_all")

    assert await count(graph, "thread") == 0


async def test_a_thread_is_deleted_before_any_checkpoint_was_stored(saver: SqliteCheckpointer) -> None:
    """The server answered 500 then: there were no tables yet."""
    await saver.adelete_thread(str(uuid4()))
