"""What a session of the ORM takes for the transaction, on a connection that is lent: a savepoint of its own.

A session that finds a transaction open joins it: its `commit` is no COMMIT then, but its `rollback`, and any flush that
fails, would end what is not its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection, NestedTransaction


class _Joined(NestedTransaction):
    """The savepoint of a session."""


@contextmanager
def sessions_apart(connection: Connection) -> Iterator[None]:
    """Let sessions of the ORM join the open transaction by a savepoint each, for the length of the block.

    What one flushed stays unless it rolls back, whether it commits, is closed or is left open: as SQLAlchemy has it
    where a session joins a transaction.
    """

    def is_nested() -> bool:
        # Not by what another session left: in a nested one a session undoes at its end what it has not committed.
        nested = connection._nested_transaction
        return nested is not None and nested.is_active and not isinstance(nested, _Joined)

    here: Any = connection
    if "_get_required_transaction" in vars(connection):  # in an outer block, which ends it
        yield
        return
    here._get_required_transaction = lambda: _Joined(connection)
    here.in_nested_transaction = is_nested
    try:
        yield
    finally:
        del here._get_required_transaction, here.in_nested_transaction
