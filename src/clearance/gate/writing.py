"""A transaction of the gate: under the lock of the audit head, and done once where nobody knows whether it was."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy.engine import Connection

from clearance.journal import audit
from clearance.journal.audit import Log

T = TypeVar("T")


def under_lock(
    work: Callable[[Log], T],
    key: bytes,
    clock: Callable[[], datetime],
    prefetch: Callable[[Connection], None] | None = None,
) -> Callable[[Connection], T]:
    """Make of `work` what a write transaction runs, and may run again when the database lost it.

    `prefetch` asks for what `work` reads first, see `audit.locked`.
    """
    #: Where the log ended with the last try, and what it gave.
    tried: list[tuple[audit.Head, T]] = []

    def run(connection: Connection) -> T:
        # The answer to its COMMIT may be what was lost: it is not done again then, nor refused as done already.
        if tried and audit.is_committed(connection, tried[-1][0]):
            return tried[-1][1]
        with audit.locked(connection, key, clock, prefetch) as log:
            before = log.end
            result = work(log)
        if log.end != before:
            tried.append((log.end, result))
        return result

    return run
