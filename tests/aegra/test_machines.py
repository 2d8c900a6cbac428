"""Two Aegra servers that share their queue through Redis: each takes over what the other leaves, and nothing twice.

`make crash-machines` does the same with three, and with many more kills.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from clearance.db.engine import Database
from clearance.db.tables import turns
from tests.support.aegra import Aegra
from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.crash import with_policy
from tests.support.crash_machines import ASKER, Campaign
from tests.support.machines import Machine, Redis
from tests.support.redis_server import MISSING
from tests.support.tokens import bearer

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason=MISSING)

_PATIENCE_S = 60


@pytest.fixture(scope="module")
def two(make_aegra: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """Two servers, not started, on one database and one queue."""
    redis = Redis(tmp_path_factory.mktemp("redis")).start()
    env = {"AUTH_BOTH_PARTS": "true", "ANALYSIS_CHUNK": "1"}
    one: Machine = make_aegra(Machine, **env)
    one.redis = redis.url
    other = Machine(tmp_path_factory.mktemp("other"), one.database_url, env=env, auth="on", redis=redis.url)
    for server in (one, other):
        with_policy(server)
    yield [one, other]
    one.stop()
    other.stop()
    redis.stop()


async def test_a_run_of_a_server_that_is_stopped_is_gone_on_with_by_the_other(two: list[Machine]) -> None:
    for server in two:
        server.start()
    async with connected(two[0].url, **bearer(ASKER)) as client:
        talk = await converse(client)
        words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
        run = await client.runs.create(talk.thread_id, GRAPH, input=words)
        async with asyncio.timeout(_PATIENCE_S):
            # It is other processes that we wait for.
            while len(await talk.messages()) < 2 or not (at := _who_runs(two, run["run_id"])):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    await asyncio.to_thread(at.stop)
    (left,) = (server for server in two if server is not at)
    async with connected(left.url, **bearer(ASKER)) as client:
        talk = Conversation(client, talk.thread_id)
        async with asyncio.timeout(_PATIENCE_S):
            while await talk.status() != "idle":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        told, again = await talk.messages(), await client.runs.get(talk.thread_id, run["run_id"])

    assert [one["type"] for one in told] == ["human", "ai", "tool", "ai"]
    assert "transfers" in told[-1]["content"]
    assert again["status"] == "success"
    assert _turns_in(left, talk.thread_id) == 1


async def test_kills_and_stops_under_load_lose_and_double_nothing(
    two: list[Machine], record_property: Callable[[str, object], None]
) -> None:
    """Nor does a lease change hands before its time is up, which the database itself has noted."""
    seen = await Campaign(two, seed=3, people=3).run(kills=2)

    record_property("measured", f"two machines: {seen}")
    assert seen.kills + seen.stops == 2
    assert seen.is_clean, (seen, seen.problems)


def _who_runs(servers: list[Machine], run_id: str) -> Machine | None:
    """Give the server that works on a run; None while it stands in the queue."""
    database = Database(servers[0].database_url)
    claimed = sa.text("SELECT claimed_by FROM runs WHERE run_id = :run_id AND status = 'running'")
    holder = database.read_now(lambda connection: connection.scalar(claimed, {"run_id": run_id}))
    database.close()
    found = re.search(r"-(\d+)-worker-", str(holder))
    group = os.getpgid(int(found[1])) if found else None
    return next((server for server in servers if server.process is not None and server.process.pid == group), None)


def _turns_in(server: Aegra, thread_id: str) -> int:
    database = Database(server.database_url)
    count = sa.select(sa.func.count()).select_from(turns).where(turns.c.thread_id == thread_id)
    found = database.read_now(lambda connection: connection.scalar(count))
    database.close()
    return found or 0
