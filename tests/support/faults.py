"""What goes wrong in a database or an action, on purpose."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from agent.actions import TransferFunds
from clearance.actions.action import Effect
from clearance.db.postgres import Connection
from tests.support.wire import heard
from tests.support.world import World


@contextmanager
def slow_writes(world: World, action: type = TransferFunds) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold the effect until `go`; `started` tells that it is there."""
    started, go = threading.Event(), threading.Event()
    perform: Callable[[Any, Effect], str] = TransferFunds.perform

    def slow(self: Any, effect: Effect) -> str:
        started.set()
        go.wait(10)
        return perform(self, effect)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(action, "perform", slow)
        yield started, go


@contextmanager
def failing_commits(world: World, times: int, *, after: int = 0, is_done: bool = False) -> Iterator[threading.Event]:
    """Lose the connection at the next commits of transactions that wrote something, once `after` have passed.

    With `is_done` they are committed, and only the answer to that is lost.
    """
    engine: sa.Engine = world.database._engine
    commit = engine.dialect.do_commit
    left, passing, wrote, failed = [times], [after], threading.local(), threading.Event()

    def watch(statement: str, _values: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            wrote.it = True

    def lose(dbapi_connection: Any) -> None:
        _send_held(dbapi_connection)
        has_written, wrote.it = getattr(wrote, "it", False), False
        if has_written and passing[0]:
            passing[0] -= 1
        elif has_written and left[0]:
            left[0] -= 1
            failed.set()
            if is_done:
                commit(dbapi_connection)
            raise engine.dialect.loaded_dbapi.OperationalError("connection lost")
        commit(dbapi_connection)

    with heard(world.database, watch), pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine.dialect, "do_commit", lose)
        yield failed
    assert left[0] < times


@contextmanager
def cut_at(world: World, event: str, *, is_done: bool, for_s: float) -> Iterator[threading.Event]:
    """Lose the connection at the COMMIT of the next transaction that tells `event`, and all others for so long.

    With `is_done` it is committed, and only the answer to that is lost. PostgreSQL ends the connection itself.
    """
    engines = [world.database._engine, world.database._reading]
    telling, cut = threading.local(), threading.Event()
    over_at = [0.0]
    commits = {id(engine.dialect): engine.dialect.do_commit for engine in engines}

    def watch(statement: str, values: Any) -> None:
        if statement.startswith("INSERT INTO audit") and f"'{event}'" in f"{statement} {values}":
            telling.it = True

    def commit_of(dialect: sa.Dialect) -> Callable[[Any], None]:
        commit = commits[id(dialect)]

        def lose(connection: Any) -> None:
            _send_held(connection)
            tells, telling.it = getattr(telling, "it", False), False
            if tells and not cut.is_set():
                over_at[0] = time.monotonic() + for_s
                cut.set()
                if is_done:
                    commit(connection)
                _end(world, connection)
                raise dialect.loaded_dbapi.OperationalError("connection lost")
            if time.monotonic() < over_at[0]:
                raise dialect.loaded_dbapi.OperationalError("connection lost")
            commit(connection)

        return lose

    with heard(world.database, watch), pytest.MonkeyPatch.context() as patched:
        for engine in engines:
            patched.setattr(engine.dialect, "do_commit", commit_of(engine.dialect))
        yield cut
    assert cut.is_set()


def _send_held(connection: Any) -> None:
    # What would go with COMMIT is heard first, to know what is committed. `tests/support/cutting.py` cuts both.
    driver = connection.driver_connection
    if isinstance(driver, Connection):
        driver.send_held()


def end_all(world: World) -> None:
    """End every connection to PostgreSQL, as its administrator would."""
    if not world.database.is_sqlite:
        _administer(world, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip


def _end(world: World, connection: Any) -> None:
    if not world.database.is_sqlite:
        _administer(world, f"SELECT pg_terminate_backend({connection.driver_connection.info.backend_pid})")


def _administer(world: World, statement: str) -> None:
    engine = sa.create_engine(world.database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
