"""What Aegra, the open-source server, needs of us: it has no client of itself, and leaves runs of killed processes.

Source: aegra_api 0.11.0, in the modules named at each import.
"""

import functools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

import httpx
from langgraph_sdk.client import LangGraphClient
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clearance.errors import DatabaseUnavailable
from clearance.loglines import logger_of
from clearance.server.entry.bodies import read_body
from clearance.server.entry.paths import parts_of

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncEngine

logger = logger_of(__name__)

_STATELESS = (["runs"], ["runs", "wait"], ["runs", "stream"])


def is_here() -> bool:
    """Tell whether this process is an Aegra server."""
    return "aegra_api.main" in sys.modules


def has_auth() -> bool:
    """Tell whether our handlers are called. When their file fails to load, Aegra says so and serves everybody."""
    from aegra_api.core.auth_middleware import get_auth_instance

    return get_auth_instance() is not None


def client(owner: str) -> LangGraphClient:
    """Give a client of this server's own routes that acts as the owner of a thread: Aegra lets nobody else at it."""
    from aegra_api.main import app
    from aegra_api.models.auth import User

    from clearance.graph.identity import OF_SYSTEM

    user = User(identity=owner, **{OF_SYSTEM: True})

    async def as_owner(scope: Scope, receive: Receive, send: Send) -> None:
        # Where Aegra keeps whom it authenticated (core.auth_deps); no client can write into a scope.
        await app({**scope, "user": user, "aegra.auth_result": user}, receive, send)

    transport = httpx.ASGITransport(as_owner, raise_app_exceptions=False)
    return LangGraphClient(httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=60))


async def end_dead_runs() -> None:
    """End the runs that a killed process left "running", before this one takes requests.

    Nobody else does without Redis, and Aegra takes no answer in a thread that has one.
    """
    from aegra_api.core.orm import Run, _get_session_maker
    from aegra_api.services.run_status import ACTIVE_RUN_STATES, interrupt_unowned_run
    from aegra_api.settings import settings
    from sqlalchemy import select

    if settings.redis.REDIS_BROKER_ENABLED:
        return  # there runs have owners and leases, and Aegra tries them again
    async with _get_session_maker()() as session:
        dead = select(Run.run_id, Run.thread_id, Run.user_id).where(Run.status.in_(ACTIVE_RUN_STATES))
        for run_id, thread_id, user_id in (await session.execute(dead)).all():
            logger.warning("run %s of thread %s was cut off", run_id, thread_id)
            await interrupt_unowned_run(session, run_id, thread_id, user_id=user_id)


async def unfinished(person: str) -> Counter[str]:
    """Count the runs of somebody that wait or run, by thread.

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    from aegra_api.core.orm import Run
    from aegra_api.services.run_status import ACTIVE_RUN_STATES
    from sqlalchemy import func, select

    query = select(Run.thread_id, func.count()).where(Run.user_id == person, Run.status.in_(ACTIVE_RUN_STATES))
    return Counter({row[0]: row[1] for row in await _rows(query.group_by(Run.thread_id))})


async def busy_threads() -> list[str]:
    """Name the threads in which a run of anybody waits or runs.

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    from aegra_api.core.orm import Run
    from aegra_api.services.run_status import ACTIVE_RUN_STATES
    from sqlalchemy import select

    return [row[0] for row in await _rows(select(Run.thread_id).where(Run.status.in_(ACTIVE_RUN_STATES)).distinct())]


async def has_run(thread_id: str) -> bool:
    """Tell whether a run of anybody waits or runs in a thread.

    The thread's own row does not tell: two runs that end at once each find the other going on, and leave it "busy".

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    from aegra_api.core.orm import Run
    from aegra_api.services.run_status import ACTIVE_RUN_STATES
    from sqlalchemy import select

    query = select(Run.run_id).where(Run.thread_id == thread_id, Run.status.in_(ACTIVE_RUN_STATES)).limit(1)
    return bool(await _rows(query))


def graphs() -> dict[str, object]:
    """Give the graphs of this server by name, each as it was loaded: a graph, or a function that makes one."""
    from aegra_api.services.langgraph_service import get_langgraph_service

    service = get_langgraph_service()
    made: dict[str, object] = {**service._graph_factories, **service._base_graph_cache}
    return {name: made.get(name) for name in service.list_graphs()}


async def graph_of_assistant(assistant_id: str) -> str | None:
    """Give the graph of an assistant; None where there is none.

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    from aegra_api.core.orm import Assistant
    from sqlalchemy import select

    return await _scalar(select(Assistant.graph_id).where(Assistant.assistant_id == assistant_id))


async def graph_of_thread(thread_id: str) -> str | None:
    """Give the graph of a thread's last run, or None.

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    from aegra_api.core.orm import Thread
    from sqlalchemy import select

    named = Thread.metadata_json["graph_id"].astext
    return await _scalar(select(named).where(Thread.thread_id == thread_id))


async def cron_of(cron_id: str) -> tuple[str, str | None] | None:
    """Give assistant and thread of a cron; None where there is none.

    Raises:
        DatabaseUnavailable: Aegra's database did not answer.
    """
    from aegra_api.core.orm import Cron
    from sqlalchemy import select

    rows = await _rows(select(Cron.assistant_id, Cron.thread_id).where(Cron.cron_id == cron_id))
    return (str(rows[0][0]), rows[0][1]) if rows else None


async def _scalar(query: "Select[Any]") -> str | None:
    rows = await _rows(query)
    return str(rows[0][0]) if rows and rows[0][0] else None


async def _rows(query: "Select[Any]") -> list[tuple[Any, ...]]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        async with _own_engine().connect() as connection:
            return [tuple(row) for row in await connection.execute(query)]
    except (SQLAlchemyError, OSError) as exc:
        raise DatabaseUnavailable(f"Aegra's database did not answer: {exc}") from exc


@functools.cache
def _own_engine() -> "AsyncEngine":
    """Give connections of our own: whoever asks for a run holds one of Aegra's while our handler is called.

    With those, as many requests at once as Aegra has connections would each wait for one more, and everybody else
    with them, for half a minute.
    """
    from aegra_api.core.database import db_manager
    from sqlalchemy.ext.asyncio import create_async_engine

    # As Aegra makes its own.
    return create_async_engine(
        db_manager.get_engine().url,
        pool_size=2,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={"prepared_statement_cache_size": 0},
    )


async def at_rest(thread_ids: Collection[str]) -> list[str]:
    """Give those of the threads in which nothing runs and no answer is taken."""
    from aegra_api.core.orm import Thread, _get_session_maker
    from sqlalchemy import select

    found = select(Thread.thread_id).where(Thread.thread_id.in_(thread_ids), Thread.status.in_(("idle", "error")))
    async with _get_session_maker()() as session:
        return list((await session.execute(found)).scalars())


class NoStatelessRuns:
    """ASGI middleware around all routes: where Aegra gives such a run a thread until it ends, nobody else can tell.

    Runs of graphs that are not gated (`is_others`, by the assistant) are let through.
    """

    def __init__(self, app: ASGIApp, is_others: Callable[[object], Awaitable[bool]]) -> None:
        self._app = app
        self._is_others = is_others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_run = scope["type"] == "http" and scope["method"] == "POST" and parts_of(scope) in _STATELESS
        # Asked with each request, not when this is put together: our app may be imported before the server's own.
        if not is_run or not is_here():
            await self._app(scope, receive, send)
            return
        body, receive = await read_body(receive)
        if isinstance(body, dict) and await self._is_others(body.get("assistant_id")):
            await self._app(scope, receive, send)
            return
        refused = {"detail": "Runs without a thread are off here: nothing could be held or asked in one."}
        await JSONResponse(refused, status_code=403)(scope, receive, send)
