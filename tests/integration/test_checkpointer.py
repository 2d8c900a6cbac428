"""The development checkpointer has what the server asks of one: copies, pruning, deletion by run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiosqlite
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Overwrite

from clearance.graph.messages import MessagesChannel, keep_changes
from clearance.server.checkpointer import SqliteCheckpointer


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", f"heard {len(state['messages'])}")]}


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[SqliteCheckpointer]:
    connection = await aiosqlite.connect(tmp_path / "checkpoints.db")
    yield SqliteCheckpointer(connection)
    await connection.close()


@pytest.fixture(params=["all messages each time", "what is new"])
def graph(saver: SqliteCheckpointer, request: pytest.FixtureRequest) -> Any:
    """A graph whose checkpoints keep all messages, and one of which they keep what is new, as ours."""
    builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    if request.param == "what is new":
        keep_changes(builder)
    return builder.compile(checkpointer=saver)


#: Runs after which all messages are kept once, and some after.
_SNAPSHOT_EVERY = 30


def is_whole(graph: Any) -> bool:
    """Tell whether each checkpoint of a graph has all messages."""
    return not isinstance(graph.channels["messages"], MessagesChannel)


async def say(graph: Any, thread_id: str, run_id: UUID) -> None:
    """Run once, with the run's id in the metadata as the server writes it."""
    config = {"configurable": {"thread_id": thread_id}, "metadata": {"run_id": str(run_id)}}
    await graph.ainvoke({"messages": [("user", "hello")]}, config)


def thread(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id}}


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
    """What is made from earlier checkpoints keeps those: without them it would be empty, and nobody would be told."""
    for thread_id in ("pruned", "other"):
        for _ in range(_SNAPSHOT_EVERY):
            await say(graph, thread_id, uuid4())
    before, said = await count(graph, "other"), await words(graph, "pruned")

    await saver.aprune(["pruned"])

    left = await count(graph, "pruned")
    assert left == 1 if is_whole(graph) else 1 <= left < before / 2
    assert await words(graph, "pruned") == said
    assert len(said) == 2 * _SNAPSHOT_EVERY
    assert await count(graph, "other") == before
    await say(graph, "pruned", uuid4())
    assert await words(graph, "pruned") == [*said, "hello", f"heard {len(said) + 1}"]


async def test_deleting_a_run_leaves_later_ones_all_that_was_said(graph: Any, saver: SqliteCheckpointer) -> None:
    first = uuid4()
    await say(graph, "thread", first)
    await say(graph, "thread", uuid4())

    await saver.adelete_for_runs([str(first)])

    assert await words(graph, "thread") == ["hello", "heard 1", "hello", "heard 3"]


async def test_deleting_a_run_leaves_the_copies_of_its_thread(graph: Any, saver: SqliteCheckpointer) -> None:
    kept, undone = uuid4(), uuid4()
    await say(graph, "thread", kept)
    await say(graph, "thread", undone)
    await saver.acopy_thread("thread", "copy")
    await saver.acopy_thread("copy", "copy of the copy")

    await saver.adelete_for_runs([str(undone)])

    assert await words(graph, "thread") == ["hello", "heard 1"]
    assert await words(graph, "copy") == ["hello", "heard 1", "hello", "heard 3"]
    assert await words(graph, "copy of the copy") == await words(graph, "copy")


async def test_a_thread_goes_on_that_was_begun_by_a_program_that_kept_all_messages_and_back_again(
    saver: SqliteCheckpointer,
) -> None:
    def build(*, is_new: bool) -> Any:
        builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
        if is_new:
            keep_changes(builder)
        return builder.compile(checkpointer=saver)

    before, after = build(is_new=False), build(is_new=True)
    for graph in (before, after, after, before, after):
        await say(graph, "thread", uuid4())

    said = [word for number in range(1, 10, 2) for word in ("hello", f"heard {number}")]
    assert await words(after, "thread") == said
    assert await words(before, "thread") == said


@pytest.mark.parametrize("odd", [5, [5], [{"content": "x"}], {"x": 1}], ids=str)
async def test_what_is_no_message_takes_the_place_of_none(saver: SqliteCheckpointer, odd: Any) -> None:
    """It was kept as it came, and every run of the thread after that failed as it read it."""
    builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    keep_changes(builder)
    graph: Any = builder.compile(checkpointer=saver)
    config = thread("thread")
    await say(graph, "thread", uuid4())

    with pytest.raises((NotImplementedError, ValueError)):
        await graph.ainvoke({"messages": Overwrite(odd)}, config)
    with pytest.raises((NotImplementedError, ValueError)):
        await graph.aupdate_state(config, {"messages": Overwrite(odd)})
    await say(graph, "thread", uuid4())
    whole = await words(graph, "thread")
    await graph.ainvoke({"messages": Overwrite(HumanMessage("alone"))}, config)

    assert whole == ["hello", "heard 1", "hello", "heard 3"]
    assert await words(graph, "thread") == ["alone", "heard 1"]


async def test_pruning_all_deletes_the_thread(graph: Any, saver: SqliteCheckpointer) -> None:
    await say(graph, "thread", uuid4())

    await saver.aprune(["thread"], strategy="delete_all")

    assert await count(graph, "thread") == 0


async def test_a_thread_is_deleted_before_any_checkpoint_was_stored(saver: SqliteCheckpointer) -> None:
    """The server answered 500 then: there were no tables yet."""
    await saver.adelete_thread(str(uuid4()))


def counted(saver: SqliteCheckpointer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the ways to the connection and back, which are noted from now on."""
    ways: list[Any] = []
    go = saver.conn._execute

    async def going(work: Any, *given: Any) -> Any:
        ways.append(work)
        return await go(work, *given)  # type: ignore[no-untyped-call]  # not public

    monkeypatch.setattr(saver.conn, "_execute", going)
    return ways


async def test_a_state_is_read_by_one_way_to_the_connection_and_back_for_each_part_of_it(
    graph: Any, saver: SqliteCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way for each statement, its rows and its cursor takes longer than to read them."""
    await say(graph, "one", uuid4())
    ways = counted(saver, monkeypatch)

    assert await words(graph, "one") == ["hello", "heard 1"]
    assert len(ways) == (1 if is_whole(graph) else 2)


async def test_a_checkpoint_and_what_a_task_wrote_are_stored_by_one_way_to_the_connection_and_back_each(
    graph: Any, saver: SqliteCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way for each statement, its cursor and its commit takes longer than to run them."""
    await say(graph, "one", uuid4())
    found = await saver.aget_tuple(thread("one"))
    assert found is not None
    ways = counted(saver, monkeypatch)

    await saver.aput(found.config, {**found.checkpoint, "id": "z"}, found.metadata, {})
    assert len(ways) == 1
    await saver.aput_writes(found.config, [("a", 1), ("b", 2)], "task")
    assert len(ways) == 2
    monkeypatch.undo()
    stored, written = await saver.aget_tuple(thread("one")), await saver.aget_tuple(found.config)
    assert stored is not None
    assert stored.checkpoint["id"] == "z"
    assert written is not None
    assert ("task", "b", 2) in (written.pending_writes or ())


async def test_what_a_task_wrote_is_stored_whole_or_not_at_all(saver: SqliteCheckpointer) -> None:
    """Left open, a part of it would be committed by whatever is stored next."""
    config: RunnableConfig = {"configurable": {"thread_id": "one", "checkpoint_ns": "", "checkpoint_id": "a"}}
    await saver.setup()
    await saver.conn.execute("CREATE TRIGGER refuse BEFORE INSERT ON writes WHEN NEW.channel = 'refused'"
                             " BEGIN SELECT RAISE(FAIL, 'refused'); END")  # fmt: skip
    await saver.conn.commit()

    with pytest.raises(aiosqlite.Error, match="refused"):
        await saver.aput_writes(config, [("taken", 1), ("refused", 2)], "task")
    assert not saver.conn.in_transaction
    await saver.aput_writes(config, [("next", 3)], "task")

    rows = await saver.conn.execute_fetchall("SELECT channel FROM writes")
    assert [channel for (channel,) in rows] == ["next"]
