"""Durable checkpoints for `langgraph.dev.json`: the development server's own are lost by kill -9.

The SQLite saver lacks what the server calls for `multitask_strategy="rollback"` (it answers 500 and leaves the thread
busy), for copies of threads and for pruning; added here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, TypeVar, cast

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from clearance.db.files import make_database_private, make_folder
from clearance.server.decoded import Decoding, known
from clearance.settings import settings

T = TypeVar("T")

_TABLES = ("writes", "checkpoints")
_IS_ONE = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
#: Which runs a thread has since it is a copy of another, where they were: the runs' ids stand in both threads.
_COPIED = "CREATE TABLE IF NOT EXISTS copied_runs (thread_id TEXT, run_id TEXT, PRIMARY KEY (thread_id, run_id))"
_RUN = "json_extract(CAST(metadata AS TEXT), '$.run_id')"
_NOTE_COPIED = (
    f"INSERT OR IGNORE INTO copied_runs SELECT DISTINCT ?, {_RUN} FROM checkpoints"
    f" WHERE thread_id = ? AND {_RUN} IS NOT NULL"
)
_OF_RUN = (
    f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE {_RUN} = ?1 AND NOT EXISTS"
    " (SELECT 1 FROM copied_runs WHERE copied_runs.thread_id = checkpoints.thread_id AND copied_runs.run_id = ?1)"
)
_BUT_NEWEST = (
    "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = ? AND checkpoint_id <"
    " (SELECT max(newest.checkpoint_id) FROM checkpoints AS newest WHERE newest.thread_id = checkpoints.thread_id"
    " AND newest.checkpoint_ns = checkpoints.checkpoint_ns)"
)
_CHAIN = (
    "SELECT checkpoint_id, parent_checkpoint_id,"
    " json_extract(CAST(metadata AS TEXT), '$.counters_since_delta_snapshot')"
    " FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ?"
)


class SqliteCheckpointer(AsyncSqliteSaver):
    """A SQLite saver with all that the server asks of one."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint."""
        return await self._read_at_once(config, lambda saver: saver.get_tuple(config))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read of which updates the state of channels is made that keep what is new."""
        return await self._read_at_once(
            config, lambda saver: saver.get_delta_channel_history(config=config, channels=channels)
        )

    async def _read_at_once(self, config: RunnableConfig, read: Callable[[SqliteSaver], T]) -> T:
        # Each statement, its rows and its cursor are a way there and back, else, which takes longer than to read them.
        await self.setup()
        saver = SqliteSaver(self.conn._conn, serde=Decoding(self.serde, str(config["configurable"]["thread_id"])))
        saver.is_setup, saver._has_task_path = True, self._has_task_path
        async with self.lock:
            return await self._at_once(read, saver)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint."""
        await self.setup()
        return await AsyncSqliteSaver.aput(self._in_one_go(), config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote."""
        await self.setup()
        await AsyncSqliteSaver.aput_writes(self._in_one_go(), config, writes, task_id, task_path)

    def _in_one_go(self) -> AsyncSqliteSaver:
        """Give this saver so that what it writes next is one way to the connection's thread and back."""
        saver: Any = copy(self)
        saver.conn = _Writing(self)
        return cast("AsyncSqliteSaver", saver)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints; without tables, before the first one was stored, there are none."""
        await self.setup()
        await super().adelete_thread(thread_id)
        known.forget([str(thread_id)])
        async with self.lock:
            await self.conn.execute(_COPIED)
            await self.conn.execute("DELETE FROM copied_runs WHERE thread_id = ?", (str(thread_id),))
            await self.conn.commit()

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs made in their own thread, and their writes; not those of its copies.

        What a later checkpoint needs to know its state, of which it keeps only what is new, stays.
        """
        await self.setup()
        async with self.lock:
            await self._at_once(self._delete, _OF_RUN, [str(run_id) for run_id in run_ids])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes to another thread."""
        await self.setup()
        async with self.lock:
            await self.conn.execute(_COPIED)
            await self.conn.execute(_NOTE_COPIED, (str(target_thread_id), str(source_thread_id)))
            for table in _TABLES:
                cursor = await self.conn.execute(f"SELECT * FROM {table} WHERE thread_id = ?", (str(source_thread_id),))
                names = [column[0] for column in cursor.description]
                at = names.index("thread_id")
                rows = [[*row[:at], str(target_thread_id), *row[at + 1 :]] for row in await cursor.fetchall()]
                marks = ", ".join("?" * len(names))
                await self.conn.executemany(
                    f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})", rows
                )
            await self.conn.commit()

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all but the newest checkpoint of each namespace of these threads, or with `delete` all.

        What the newest needs to know its state, of which it may keep only what is new, stays.
        """
        await self.setup()
        for thread_id in thread_ids:
            if strategy != "keep_latest":
                await self.adelete_thread(str(thread_id))
                continue
            async with self.lock:
                await self._at_once(self._delete, _BUT_NEWEST, [str(thread_id)])

    async def _at_once(self, work: Callable[..., T], *given: Any) -> T:
        """Do several things in the connection's thread, in one go.

        A run that is undone is deleted by whom cancels it and by what runs it, and the server answers 404 to the first
        where the second is quicker: to come back here between statements would make that the rule.
        """
        done: T = await self.conn._execute(work, *given)  # type: ignore[no-untyped-call]  # not public
        return done

    def _delete(self, which: str, given: Sequence[str]) -> None:
        """Delete the checkpoints that a query finds for each of some values, but for those that others need."""
        connection = self.conn._conn
        connection.execute(_COPIED)
        threads = set[str]()
        for one in given:
            going: dict[tuple[str, str], set[str]] = {}
            for thread_id, namespace, checkpoint_id in connection.execute(which, (one,)).fetchall():
                going.setdefault((thread_id, namespace), set()).add(checkpoint_id)
            threads |= {thread_id for thread_id, _ in going}
            for where, ids in going.items():
                rows = [(*where, checkpoint_id) for checkpoint_id in sorted(ids - self._needed(where, ids))]
                for table in _TABLES:
                    connection.executemany(f"DELETE FROM {table} WHERE {_IS_ONE}", rows)
        connection.commit()
        known.forget(threads)

    def _needed(self, where: tuple[str, str], going: set[str]) -> set[str]:
        """Give those of the checkpoints that go from which the state of one that stays is made.

        A channel that keeps what is new has its value in some checkpoints only; for others it is made from the last one
        that has it and the writes since. Each checkpoint tells for which channels langgraph counts some.
        """
        parents: dict[str, str | None] = {}
        waiting: list[tuple[str, str]] = []
        for one, parent, counted in self.conn._conn.execute(_CHAIN, where).fetchall():
            parents[one] = parent
            if one not in going and parent in going and counted:
                waiting.append((one, counted))
        needed: set[str] = set()
        for one, counted in waiting:
            found = self._checkpoint(where, one)
            missing = (json.loads(counted).keys() & found["channel_versions"].keys()) - found["channel_values"].keys()
            way, at = {one}, parents[one]
            while missing and at is not None and at in parents and at not in way:
                way.add(at)
                missing -= self._checkpoint(where, at)["channel_values"].keys()
                at = parents[at]
            needed |= way & going
        return needed

    def _checkpoint(self, where: tuple[str, str], checkpoint_id: str) -> Checkpoint:
        query = f"SELECT type, checkpoint FROM checkpoints WHERE {_IS_ONE}"
        found: Checkpoint = self.serde.loads_typed(self.conn._conn.execute(query, (*where, checkpoint_id)).fetchone())
        return found


class _Writing:
    """Takes the statements of one write as a connection does, and runs them with its commit: all of them or none."""

    def __init__(self, saver: SqliteCheckpointer) -> None:
        self._saver = saver
        self._given: list[tuple[str, Sequence[Sequence[Any]]]] = []

    @asynccontextmanager
    async def execute(self, sql: str, values: Sequence[Any]) -> AsyncIterator[None]:
        self._given.append((sql, [values]))
        yield

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator["_Writing"]:
        yield self

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._given.append((sql, rows))

    async def commit(self) -> None:
        await self._saver._at_once(self._write)

    def _write(self) -> None:
        connection = self._saver.conn._conn
        try:
            for sql, rows in self._given:
                connection.executemany(sql, rows)
            connection.commit()
        except BaseException:  # what one of them wrote would stay open, and be committed with the next write
            connection.rollback()
            raise


@asynccontextmanager
async def create() -> AsyncIterator[SqliteCheckpointer]:
    """Open the checkpoint file that CHECKPOINT_FILE names."""
    file = settings().checkpoint_file
    await asyncio.to_thread(make_folder, file.parent)
    await asyncio.to_thread(make_database_private, file)
    connection = await aiosqlite.connect(file)
    try:
        # A checkpoint may be lost with the power, never torn: the journal, which is FULL, makes it again.
        # Fetched: a statement that has a row left holds its lock, and with isolated loops there are other connections.
        await connection.execute_fetchall("PRAGMA synchronous = NORMAL")
        await connection.execute_fetchall("PRAGMA journal_mode = WAL")
        yield SqliteCheckpointer(connection)
    finally:
        await connection.close()
