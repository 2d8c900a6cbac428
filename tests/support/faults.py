"""What goes wrong in a database or an action, on purpose."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from agent.bank.actions import TransferFunds
from agent.clearance.action import Effect
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

    def watch(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            wrote.it = True

    def lose(dbapi_connection: Any) -> None:
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

    sa.event.listen(engine, "before_cursor_execute", watch)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine.dialect, "do_commit", lose)
        yield failed
    sa.event.remove(engine, "before_cursor_execute", watch)
    assert left[0] < times
