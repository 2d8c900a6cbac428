"""A connection to PostgreSQL whose statements share round trips: what nobody waits for goes with what somebody does.

With the database a millisecond away each round trip is a millisecond, in which a transaction that writes keeps the head
of the audit log from all others. So a statement may be held until the next one whose answer somebody waits for; BEGIN
goes with the first and COMMIT with the last. They arrive in their order, each after the one before it has succeeded:
PostgreSQL leaves out what follows a failed one, COMMIT included.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus


class Held:
    """A statement that is sent at the latest when its answer is asked for."""

    def __init__(self, connection: "Connection", sql: str, values: Any, *, only_reads: bool) -> None:
        self._connection = connection
        self._cursor: psycopg.Cursor[Any] | None = None
        self.sql = sql
        self._values = values
        #: Whether it can neither change anything nor fail by what is stored.
        self.only_reads = only_reads

    def send(self) -> None:
        """Send it, as part of a flight."""
        self._cursor = self._connection.cursor()
        # Prepared, what begins and ends transactions would push out what is worth it: their number is bounded.
        is_worth_preparing = not self.sql.startswith(_OF_TRANSACTIONS)
        self._cursor.execute(self.sql, self._values, prepare=None if is_worth_preparing else False)

    def answer(self) -> psycopg.Cursor[Any]:
        """Give the cursor with the answer, once it is there.

        Raises:
            psycopg.Error: it failed, or one that was held before it did.
        """
        if self._cursor is None:
            self._connection.send_held()
        if self._cursor is None:
            raise psycopg.InterfaceError("a statement was held in a transaction that is over")
        if self._cursor.pgresult is None:  # without rows, as one that gives none
            raise psycopg.errors.InFailedSqlTransaction("a statement before this one failed, so it was left out")
        return self._cursor


class Cursor(psycopg.Cursor[Any]):
    """Runs a statement after all that are held, in the same round trip."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Run the statement, see `psycopg.Cursor.execute`."""
        connection = self.connection
        if not isinstance(connection, Connection) or connection.is_under_way:
            return super().execute(query, params, **options)
        text = str(query)
        is_of_savepoint = text.startswith(_OF_SAVEPOINTS) and ";" not in text
        if not (is_of_savepoint or connection.is_read_only):
            connection.prefetched.clear()  # it may write
        if is_of_savepoint and connection.is_sound:
            # It cannot fail. Where something failed before, of others, that is to be heard in its place.
            connection.hold(text, only_reads=True)
            return self
        if is_of_savepoint:
            options["prepare"] = False
        if text.startswith("ROLLBACK TO SAVEPOINT "):
            # What fails of what this undoes would have it left out. Of what came before, it fails by itself.
            with suppress(psycopg.Error):
                connection.send_held()
        if not connection.is_holding:
            return super().execute(query, params, **options)
        if not params and ";" in text:  # several: PostgreSQL takes them together only when nothing goes with them
            connection.send_held()
            return super().execute(query, params, **options)
        with connection.flight():
            super().execute(query, params, **options)
        return self

    def executemany(self, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> None:
        """Run the statement for each of some values, see `psycopg.Cursor.executemany`."""
        _send_held(self)
        super().executemany(query, params_seq, returning=returning)

    def copy(self, *arguments: Any, **options: Any) -> Any:
        """Copy rows, see `psycopg.Cursor.copy`."""
        _send_held(self)
        return super().copy(*arguments, **options)

    def stream(self, *arguments: Any, **options: Any) -> Any:
        """Give rows one by one, see `psycopg.Cursor.stream`."""
        _send_held(self)
        return super().stream(*arguments, **options)


class FarCursor(psycopg.ServerCursor[Any]):
    """A cursor of the server, declared after all that is held."""

    def execute(self, *arguments: Any, **options: Any) -> Self:
        """Run the statement, see `psycopg.ServerCursor.execute`."""
        _send_held(self)
        return super().execute(*arguments, **options)


def _send_held(cursor: psycopg.Cursor[Any] | psycopg.ServerCursor[Any]) -> None:
    connection = cursor.connection
    if isinstance(connection, Connection) and not connection.is_under_way:
        connection.prefetched.clear()  # what follows may write
        connection.send_held()


class _Flight(psycopg.Pipeline):
    """A pipeline of psycopg's that ends with Sync alone.

    psycopg sends Flush after it, by which PostgreSQL takes its client for busy: a transaction that is left open then
    would hold its locks for ever, whatever `idle_in_transaction_session_timeout` says.
    """

    def _exit_gen(self) -> Generator[Any, Any, None]:
        try:
            self._enqueue_sync()
            yield from self._communicate_gen()
        finally:
            yield from self._fetch_gen(flush=False)


#: What begins and ends the savepoints around what an action does.
_OF_SAVEPOINTS = ("SAVEPOINT ", "RELEASE SAVEPOINT ", "SET TRANSACTION READ ONLY")
#: What begins and ends transactions and their savepoints.
_OF_TRANSACTIONS = ("BEGIN", "COMMIT", *_OF_SAVEPOINTS)


class Connection(psycopg.Connection[Any]):
    """Sends statements together, see this module. It begins no transaction by itself: `begin` does."""

    #: Told from other drivers' connections by this, see `compiled.shares_trips`.
    shares_trips = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cursor_factory = Cursor
        self.server_cursor_factory = FarCursor
        self._held: list[Held] = []
        #: Reads that were asked for before they are needed; what writes, or may, forgets them.
        self.prefetched: dict[Any, Any] = {}
        #: Whether no transaction of it writes: then there is nothing that COMMIT could fail to keep.
        self.is_reader = False
        #: Whether what goes past `hold` can change nothing now.
        self.is_read_only = False
        #: Whether statements are being sent together right now.
        self.is_under_way = False

    @property
    def is_holding(self) -> bool:
        """Whether something waits to go with the next statement."""
        return bool(self._held)

    @property
    def is_sound(self) -> bool:
        """Whether the open transaction takes statements, and nothing that is held can change that."""
        held_are_safe = all(one.only_reads for one in self._held)
        return held_are_safe and self.info.transaction_status == TransactionStatus.INTRANS

    @property
    def has_failed(self) -> bool:
        """Whether the open transaction takes nothing but its end, since a statement failed."""
        return not self.closed and self.info.transaction_status == TransactionStatus.INERROR

    def begin(self) -> None:
        """Begin a transaction with the next statement."""
        self.is_read_only = False
        self.hold("BEGIN")

    def hold(self, sql: str, values: Any = None, *, only_reads: bool = False) -> Held:
        """Take a statement, and send it with the next that somebody waits for. It is one, and gives one answer."""
        if not only_reads:
            self.prefetched.clear()
        held = Held(self, sql, values, only_reads=only_reads)
        self._held.append(held)
        return held

    def send_held(self) -> None:
        """Send what is held, and wait for it.

        Raises:
            psycopg.Error: of the first that failed; those after it were not done.
        """
        if self._held:
            with self.flight():
                pass

    @contextmanager
    def flight(self) -> Iterator[None]:
        """Send what is held and what the block runs in one round trip; answers are there after it.

        Raises:
            psycopg.Error: of the first that failed; those after it were not done.
        """
        held, self._held = self._held, []
        self.is_under_way = True
        together = self._pipeline = _Flight(self)  # which `pipeline` takes
        try:
            with self.pipeline():
                for one in held:
                    one.send()
                yield
        finally:
            self.is_under_way = False
            if self._pipeline is together:  # it did not begin: the connection is closed
                self._pipeline = None

    def commit(self) -> None:
        """Commit, with what is held.

        Raises:
            psycopg.Error: where the transaction is `INERROR` after it a statement failed, and COMMIT was left out;
                else it is COMMIT that failed, or its answer was lost.
        """
        if self.has_failed and not self.is_reader:  # PostgreSQL would roll back, and call that done
            raise psycopg.errors.InFailedSqlTransaction("a statement failed before, and that was hidden")
        if not self._held:
            super().commit()
        elif [one.sql for one in self._held] == ["BEGIN"]:
            self._held.clear()
        else:
            self.hold("COMMIT").answer()

    def rollback(self) -> None:
        """Roll back; what is held is never sent."""
        self._held.clear()
        self.prefetched.clear()
        super().rollback()
