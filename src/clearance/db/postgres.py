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
from psycopg import sql as composed
from psycopg.pq import TransactionStatus

from clearance.db.kept import PAST_OURS, SENTENCE, Kept


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
        text = connection.as_text(query)
        connection.check(text)
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
        is_alone = not params and ";" in text  # several: PostgreSQL takes them only when nothing goes with them
        if is_alone:
            connection.send_held()
        if is_alone or not connection.is_holding:
            connection.is_checked = True
            return super().execute(query, params, **options)
        with connection.flight():
            super().execute(query, params, **options)
        return self

    def executemany(self, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> None:
        """Run the statement for each of some values, see `psycopg.Cursor.executemany`."""
        _send_held(self, query)
        super().executemany(query, params_seq, returning=returning)

    def copy(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Copy rows, see `psycopg.Cursor.copy`."""
        _send_held(self, statement)
        return super().copy(statement, *arguments, **options)

    def stream(self, query: Any, *arguments: Any, **options: Any) -> Any:
        """Give rows one by one, see `psycopg.Cursor.stream`."""
        _send_held(self, query)
        return super().stream(query, *arguments, **options)


class FarCursor(psycopg.ServerCursor[Any]):
    """A cursor of the server, declared after all that is held."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Self:
        """Run the statement, see `psycopg.ServerCursor.execute`."""
        _send_held(self, query)
        return super().execute(query, *arguments, **options)

    def close(self) -> None:
        """Close it, see `psycopg.ServerCursor.close`."""
        _send_held(self, "")
        super().close()


def _send_held(cursor: psycopg.Cursor[Any] | psycopg.ServerCursor[Any], query: Any) -> None:
    connection = cursor.connection
    if isinstance(connection, Connection) and not connection.is_under_way:
        connection.check(connection.as_text(query))
        connection.prefetched.clear()  # what follows may write
        connection.send_held()
        connection.is_checked = True


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
#: Its rows are read by COMMIT, where somebody leaves it open till then: so it fails, and keeps nothing. By a value that
#: changes, which the planner does not work out before.
_OPEN = "clearance_open"
_HOLD_OPEN = f"DECLARE {_OPEN} CURSOR WITH HOLD FOR SELECT CAST('{SENTENCE} ' || random() AS integer)"
_LET_GO = f"CLOSE {_OPEN}"
#: What begins and ends transactions, their savepoints and what keeps them open.
_OF_TRANSACTIONS = ("BEGIN", "COMMIT", _HOLD_OPEN, _LET_GO, *_OF_SAVEPOINTS)


class Connection(psycopg.Connection[Any]):
    """Sends statements together, see this module. It begins no transaction by itself: `begin` does."""

    #: Told from other drivers' connections by this, see `compiled.shares_trips`.
    shares_trips = True
    #: What the open transaction is kept from; None where it is its owner's to end.
    kept: Kept | None = None
    #: Whether what is sent next was checked against that.
    is_checked = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cursor_factory = Cursor
        self.server_cursor_factory = FarCursor
        self._held: list[Held] = []
        #: Reads that were asked for before they are needed; what writes, or may, forgets them.
        self.prefetched: dict[Any, Any] = {}
        #: Whether no transaction of it writes: then there is nothing that COMMIT could fail to keep.
        self.is_reader = False
        #: Where tables are looked for that are named without a schema.
        self.search_path = ""
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

    @property
    def is_over(self) -> bool:
        """Whether no transaction is open, and none is about to be."""
        is_begun = any(one.sql == "BEGIN" for one in self._held)
        return not self.closed and not is_begun and self.info.transaction_status == TransactionStatus.IDLE

    def as_text(self, query: Any) -> str:
        """Give a statement as it is sent."""
        if isinstance(query, bytes):
            return query.decode(errors="replace")
        return query.as_string(self) if isinstance(query, composed.Composable) else str(query)

    def check(self, text: str) -> None:
        """Refuse what the open transaction is kept from.

        Raises:
            RuntimeError: it would end it, or change it for others.
        """
        why = None if self.kept is None else self.kept.refusal(text)
        if why is not None:
            raise RuntimeError(why)

    def keep(self, kept: Kept) -> None:
        """Keep the open transaction: COMMIT fails until `let_go`, whatever way it comes."""
        self.hold(_HOLD_OPEN, only_reads=True)
        self.kept, self.is_checked = kept, False

    def let_go(self) -> None:
        """Let the transaction be committed again. Fails, with the next statement, where it is not the one any more."""
        self.hold(_LET_GO, only_reads=True)

    @property
    def is_another(self) -> bool:
        """Whether the open transaction is not the one that was held open, as `let_go` tells; asks the database."""
        try:
            self.send_held()
        except psycopg.Error as exc:
            return isinstance(exc, psycopg.errors.InvalidCursorName | psycopg.errors.InvalidSavepointSpecification)
        return False

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Run what is sent and received, see `psycopg.Connection.wait`."""
        if self.kept is None or self.is_under_way:
            return super().wait(gen, *arguments, **options)
        if not self.is_checked and self._held:  # it would come before what it is to come after
            raise RuntimeError(PAST_OURS)
        self.kept.is_passed = self.kept.is_passed or not self.is_checked
        self.is_checked = False
        try:
            return super().wait(gen, *arguments, **options)
        finally:
            if self.is_over:  # each statement that follows would commit by itself
                self.kept.is_over = True
                self.close()

    def transaction(self, *arguments: Any, **options: Any) -> Any:
        """Give a block that is done whole or not at all, see `psycopg.Connection.transaction`."""
        self.send_held()
        return super().transaction(*arguments, **options)

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
        """Commit, with what is held; roll back where nothing is written: else what was set would hold for the next.

        Raises:
            psycopg.Error: where the transaction is `INERROR` after it a statement failed, and COMMIT was left out;
                else it is COMMIT that failed, or its answer was lost.
        """
        if self.kept is not None:
            raise RuntimeError(SENTENCE)
        if self.is_reader:
            self.rollback()
        elif self.has_failed:  # PostgreSQL would roll back, and call that done
            raise psycopg.errors.InFailedSqlTransaction("a statement failed before, and that was hidden")
        elif not self._held:
            super().commit()
        elif [one.sql for one in self._held] == ["BEGIN"]:
            self._held.clear()
        else:
            self.hold("COMMIT").answer()

    def rollback(self) -> None:
        """Roll back; what is held is never sent."""
        if self.kept is not None:
            raise RuntimeError(SENTENCE)
        self._held.clear()
        self.prefetched.clear()
        super().rollback()
