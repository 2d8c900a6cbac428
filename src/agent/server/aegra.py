"""What Aegra, the open-source server, needs of us: it has no client of itself, and leaves runs of killed processes.

Source: aegra_api 0.11.0, in the modules named at each import.
"""

import functools
import sys
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import httpx
from langgraph_sdk.client import LangGraphClient
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.db.engine import DatabaseUnavailable
from agent.identity import OF_SYSTEM
from agent.loglines import logger_of
from agent.server.paths import parts_of

if TYPE_CHECKING:
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
    from sqlalchemy.exc import SQLAlchemyError

    query = select(Run.thread_id, func.count()).where(Run.user_id == person, Run.status.in_(ACTIVE_RUN_STATES))
    try:
        async with _own_engine().connect() as connection:
            return Counter({row[0]: row[1] for row in await connection.execute(query.group_by(Run.thread_id))})
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
    """ASGI middleware around all routes: where Aegra gives such a run a thread until it ends, nobody else can tell."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_run = scope["type"] == "http" and scope["method"] == "POST" and parts_of(scope) in _STATELESS
        if not is_run:
            await self._app(scope, receive, send)
            return
        refused = {"detail": "Runs without a thread are off here: nothing could be held or asked in one."}
        await JSONResponse(refused, status_code=403)(scope, receive, send)
