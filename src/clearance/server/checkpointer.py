"""Durable checkpoints for `langgraph.dev.json`: the development server's own are lost by kill -9.

The SQLite saver lacks what the server calls for `multitask_strategy="rollback"` (it answers 500 and leaves the thread
busy), for copies of threads and for pruning; added here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from clearance.db.files import make_database_private, make_folder
from clearance.settings import settings

_TABLES = ("writes", "checkpoints")


class SqliteCheckpointer(AsyncSqliteSaver):
    """A SQLite saver with all that the server asks of one."""

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints; without tables, before the first one was stored, there are none."""
        await self.setup()
        await super().adelete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs made, and their writes."""
        await self.setup()
        async with self.lock:
            for run_id in run_ids:
                of_run = "json_extract(CAST(metadata AS TEXT), '$.run_id') = ?"
                await self.conn.execute(
                    "DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN"
                    f" (SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE {of_run})",
                    (str(run_id),),
                )
                await self.conn.execute(f"DELETE FROM checkpoints WHERE {of_run}", (str(run_id),))
            await self.conn.commit()

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes to another thread."""
        await self.setup()
        async with self.lock:
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
        """Delete all but the newest checkpoint of each namespace of these threads, or with `delete` all."""
        await self.setup()
        for thread_id in thread_ids:
            if strategy != "keep_latest":
                await self.adelete_thread(str(thread_id))
                continue
            async with self.lock:
                for table in _TABLES:
                    await self.conn.execute(
                        f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id < (SELECT max(newest.checkpoint_id)"
                        f" FROM checkpoints AS newest WHERE newest.thread_id = {table}.thread_id"
                        f" AND newest.checkpoint_ns = {table}.checkpoint_ns)",
                        (str(thread_id),),
                    )
                await self.conn.commit()


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
