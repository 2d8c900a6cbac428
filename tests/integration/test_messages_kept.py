"""A thread of which checkpoints keep what is new says the same, at each of them, as one of which they keep all."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiosqlite
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, RemoveMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Overwrite

from clearance.graph.messages import MESSAGES, MessagesChannel
from clearance.server.checkpointer import SqliteCheckpointer

IDS = st.sampled_from(["m1", "m2", "m3"])
WORDS = st.sampled_from(["a", "b", "c"])
SAID: st.SearchStrategy[Any] = st.one_of(
    st.builds(lambda text, one: HumanMessage(text, id=one), WORDS, IDS | st.none()),
    st.builds(lambda text, one: AIMessage(text, id=one), WORDS, IDS | st.none()),
    st.builds(lambda text, one: AIMessageChunk(content=text, id=one), WORDS, IDS),
    st.builds(lambda text, one: {"role": "user", "content": text, "id": one}, WORDS, IDS),
)
#: What an update may consist of. What is not there cannot be taken out, so mostly it was said just before.
PIECE: st.SearchStrategy[list[Any]] = st.one_of(
    SAID.map(lambda one: [one]),
    st.builds(lambda text: [("user", text)], WORDS),
    st.builds(lambda text, one: [HumanMessage(text, id=one), RemoveMessage(id=one)], WORDS, IDS),
    st.builds(lambda t, one: [AIMessage(t, id=one), RemoveMessage(id=one), AIMessage(t + "!", id=one)], WORDS, IDS),
    st.builds(lambda: [RemoveMessage(id=REMOVE_ALL_MESSAGES)]),
    st.builds(lambda one: [RemoveMessage(id=one)], IDS),
)
UPDATE: st.SearchStrategy[Any] = st.one_of(
    st.lists(PIECE, max_size=4).map(lambda pieces: [one for piece in pieces for one in piece]),
    SAID,
    # Langgraph takes what it holds as it is; ours as messages.
    st.builds(Overwrite, st.lists(SAID.filter(lambda one: type(one) in (HumanMessage, AIMessage)), max_size=3)),
)


@dataclass(frozen=True)
class Run:
    """What a run brings, what two nodes beside each other write in it, and the checkpoint it goes on from."""

    brought: Any
    written: tuple[Any, Any]
    #: Of all there are, counted from the newest; None: the newest.
    from_checkpoint: int | None
    #: Only written into the thread, as a client does that edits it.
    is_edit: bool


FEW = st.lists(SAID, max_size=2)
RUN = st.builds(Run, UPDATE, st.tuples(FEW, FEW), st.none() | st.integers(0, 20), st.booleans())


class Thread:
    """A thread of a graph that writes what it is told to."""

    def __init__(self, connection: aiosqlite.Connection, channel: MessagesChannel | None) -> None:
        self._written: tuple[Any, Any] = ([], [])
        builder = StateGraph(MessagesState)
        for at, name in enumerate(("one", "other")):
            builder.add_node(name, self._node(at)).add_edge(START, name)
        if channel is not None:
            channel.key = MESSAGES
            builder.channels[MESSAGES] = channel
        self._graph: Any = builder.compile(checkpointer=SqliteCheckpointer(connection))

    def _node(self, at: int) -> Any:
        async def write(state: MessagesState) -> dict[str, Any]:
            return {MESSAGES: self._written[at]}

        return write

    async def play(self, run: Run) -> str:
        """Run, and tell what became of it."""
        config: Any = {"configurable": {"thread_id": "thread"}}
        found = await self._checkpoints()
        if run.from_checkpoint is not None and found:
            config = found[run.from_checkpoint % len(found)].config
        self._written = run.written
        try:
            if run.is_edit:
                await self._graph.aupdate_state(config, {MESSAGES: run.brought}, as_node="one")
            else:
                await self._graph.ainvoke({MESSAGES: run.brought}, config)
        except Exception as exc:  # noqa: BLE001  both have to fail alike
            return f"{type(exc).__name__}: {exc}"
        return "done"

    async def says(self) -> list[list[tuple[str, str, str | None]]]:
        """Give the messages at each checkpoint, newest first; ids that were made up are left out."""
        return [
            [
                (one.type, str(one.content), one.id if str(one.id).startswith("m") else None)
                for one in state.values.get(MESSAGES, [])
            ]
            for state in await self._checkpoints()
        ]

    async def _checkpoints(self) -> list[Any]:
        return [one async for one in self._graph.aget_state_history({"configurable": {"thread_id": "thread"}})]


# Not made smaller where it fails: that takes minutes.
@settings(max_examples=20, phases=[Phase.reuse, Phase.generate])
@given(st.lists(RUN, min_size=6, max_size=10), st.sampled_from([2, 3, 50]))
def test_what_is_new_and_all_of_it_say_the_same_at_every_checkpoint(runs: Sequence[Run], often: int) -> None:
    async def compare() -> None:
        async with aiosqlite.connect(":memory:") as new, aiosqlite.connect(":memory:") as all_of_it:
            kept, whole = Thread(new, MessagesChannel(snapshot_frequency=often)), Thread(all_of_it, None)
            for run in runs:
                assert await kept.play(run) == await whole.play(run)
            assert await kept.says() == await whole.says()

    asyncio.run(compare())
