"""The audit log: append-only rows, each under an HMAC over itself and the one before, and the head that locks the gate.

Rows hold ids, salted digests and words of ours; nothing personal, since nothing here can be erased.
The key is not in the database: whoever can write the database can still not write a row that verifies.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import canonical
from clearance.db import lent
from clearance.db.compiled import ask, insert_all, rows_of, wait_for_all
from clearance.db.tables import audit, audit_head, refusal_totals
from clearance.db.types import from_text, to_text
from clearance.errors import AuditKeyError
from clearance.journal import binding
from clearance.journal.bound_rows import told_unbound
from clearance.journal.signing import checker, fingerprint, is_changed_to, seal, signer
from clearance.text.rendering import span

_CHUNK = 5_000
#: A log that is further ahead of the clock than this: one of them jumped. Less is two machines that differ.
TOLERANCE = timedelta(minutes=2)


@dataclass
class _Event:
    event: str
    actor: str
    thread_id: str | None
    turn_id: str | None
    request_id: str | None
    details: dict[str, Any]
    #: Mentions of rows, by table and id.
    rows: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Log:
    """The locked head of the audit log: the right to write in this transaction, and its clock.

    Events are kept until the transaction ends, and written together then with the digests of the rows it wrote.
    """

    connection: Connection
    #: Aware UTC, read after the lock; never earlier than any row before. What is written is stamped with it.
    now: datetime
    #: What the clock says. Deadlines and leases are judged by `judged_at`.
    clock: datetime
    #: Whether the freeze switch is on, by whom and why.
    frozen: bool
    frozen_by: str | None
    frozen_reason: str | None
    #: How many requests were ever opened.
    requests: int
    _key: bytes
    _seq: int
    _mac: str
    #: Row from which on the log binds the journal; None when no row said so yet.
    _bound_from: int | None
    _written: binding.WrittenRows
    _events: list[_Event] = field(default_factory=list)

    @property
    def end(self) -> "Head":
        """Where the log ends, with what this transaction wrote of it so far."""
        return Head(self._seq, self._mac)

    @property
    def ahead(self) -> timedelta | None:
        """Tell how far the log is ahead of the clock; None while that is within what machines differ."""
        return self.now - self.clock if self.now - self.clock > TOLERANCE else None

    @property
    def judged_at(self) -> datetime:
        """The moment that deadlines are judged by: a clock that jumped makes nothing last longer."""
        return self.clock if self.ahead else self.now

    def append(
        self,
        event: str,
        actor: str,
        *,
        thread_id: str | None = None,
        turn_id: str | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> None:
        """Append one row. `details` must hold nothing personal: it can never be erased."""
        self._events.append(_Event(event, actor, thread_id, turn_id, request_id, details))

    def sealed(self, text: str) -> str:
        """Digest under the log's key what has no salt of its own, such as the reason of a freeze."""
        return seal(self._key, text)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block wrote and noted when it raises."""
        events, written = len(self._events), self._written.copy()
        with lent.savepoint(self.connection):
            try:
                yield
                wait_for_all(self.connection)  # what the block asked for and fails is undone with it
            except BaseException:
                del self._events[events:]
                self._written.become(written)
                raise
            finally:
                self._written.read.clear()  # the block may have written past us

    def settle_clock(self, actor: str) -> None:
        """Say on the record that the clock is right and the log is ahead; from here on time is the clock's."""
        ahead = self.now - self.clock
        self.now = self.clock
        self.append("clock_settled", actor, ahead_s=int(ahead.total_seconds()))

    def rotate_key(self, actor: str, new: bytes, **details: Any) -> None:
        """Change the key on the record: a row under the old one names the new, and what follows is under that."""
        self.append("key_rotated", actor, key=fingerprint(self._key), new_key=fingerprint(new), **details,
                    proof=seal(new, f"{self._seq}:{self._mac}"))  # fmt: skip
        self.flush()
        self._key = new

    def flush(self) -> None:
        """Write the events, and with them what the rows are now that this transaction wrote."""
        self._bind()
        if self._bound_from is None:
            self._begin_binding()
        rows = [self._signed(event) for event in self._events]
        self._events.clear()
        self._written.become(binding.WrittenRows())
        if rows:
            insert_all(self.connection, audit, rows)

    def _bind(self) -> None:
        """Put each row that was written into the last event about its request, or else its turn, or into its own.

        One of neither, such as a tool's definition, into the last event that is about neither.
        """
        of_request = {event.request_id: event for event in self._events if event.request_id}
        of_turn = {event.turn_id or "": event for event in self._events if event.turn_id or not event.request_id}
        for table, row, mention in self._written.mentions():
            event = of_request.get(row.request_id or "") or of_turn.get(row.turn_id or "")
            if event is None:
                event = _Event("recorded", "system", row.thread_id, row.turn_id, row.request_id, {})
                self._events.append(event)
                of_turn[row.turn_id or ""] = event
            event.rows.setdefault(table, {})[row.id] = mention

    def _begin_binding(self) -> None:
        """Say from which row on the journal is bound, and how many rows of it were there before."""
        self._bound_from = self._seq + 1
        # What this transaction changed has a version by now, and was there before as well.
        changed = Counter(table for (table, _), (_, is_new) in self._written.rows().items() if not is_new)
        unbound = {
            bound.name: changed[bound.name]
            + self.connection.execute(
                sa.select(sa.func.count()).select_from(bound.table).where(bound.table.c.version.is_(None))
            ).scalar_one()
            for bound in binding.BOUND.values()
        }
        told = sa.select(sa.func.count()).select_from(refusal_totals).where(told_unbound())
        unbound[refusal_totals.name] = self.connection.execute(told).scalar_one()
        self._events.insert(0, _Event("binding_began", "system", None, None, None, {"unbound": unbound}))

    def _signed(self, event: _Event) -> dict[str, Any]:
        self._seq += 1
        details = {**event.details, "rows": event.rows} if event.rows else event.details
        row = {  # in the order of the table's columns: that is what is signed
            "seq": self._seq,
            "at": to_text(self.now),
            "event": event.event,
            "actor": event.actor,
            "thread_id": event.thread_id,
            "turn_id": event.turn_id,
            "request_id": event.request_id,
            "details": canonical(details).decode(),
        }
        self._mac = signer(self._key)(tuple(row.values()), self._mac)
        return {**row, "mac": self._mac}


class _HeadRow(NamedTuple):
    """The head as it is locked; columns as in `db.tables.audit_head`."""

    id: int
    seq: int
    mac: str
    at: str
    frozen: bool
    frozen_by: str | None
    frozen_at: datetime | None
    frozen_reason: str | None
    requests: int
    key_id: str | None
    bound_from: int | None


_HEAD = sa.select(*(audit_head.c[name] for name in _HeadRow._fields)).with_for_update()
_MOVE_HEAD = sa.update(audit_head).values(
    {name: sa.bindparam(f"new_{name}") for name in ("seq", "mac", "at", "requests", "key_id", "bound_from")}
)


@contextmanager
def locked(
    connection: Connection,
    key: bytes,
    clock: Callable[[], datetime],
    prefetch: Callable[[Connection], None] | None = None,
) -> Iterator[Log]:
    """Lock the head for the rest of the transaction; every gate write begins here, so they happen one after another.

    What `prefetch` asks for comes with the lock: it is read once that is had.

    Raises:
        AuditKeyError: the log is under another key; a row under this one would break it.
    """
    head = ask(connection, _HEAD, {})
    if prefetch is not None:
        prefetch(connection)
    (read_row,) = head.rows()
    row = _HeadRow(*read_row)
    key_id = fingerprint(key)
    if row.key_id is None:
        check_key(connection, key)
    elif row.key_id != key_id:
        raise AuditKeyError(row.key_id, key_id)
    before, read = from_text(row.at), clock()
    info = connection.info  # kept: a connection that is lost meanwhile gives it no more, and would hide why
    try:
        log = Log(
            connection=connection,
            # Strictly later, so that the order of rows is the order of times.
            now=max(read, before + timedelta(microseconds=1)),
            clock=read,
            frozen=row.frozen,
            frozen_by=row.frozen_by,
            frozen_reason=row.frozen_reason,
            requests=row.requests,
            _key=key,
            _seq=row.seq,
            _mac=row.mac,
            _bound_from=row.bound_from,
            _written=binding.begin_noting(info),
        )
        yield log
        if log._events or log._written.rows():
            log.flush()
    finally:
        binding.end_noting(info)
    if log._seq != row.seq or log.requests != row.requests:
        moved = {
            "new_seq": log._seq,
            "new_mac": log._mac,
            "new_at": to_text(log.now),
            "new_requests": log.requests,
            "new_key_id": fingerprint(log._key),
            "new_bound_from": log._bound_from,
        }
        ask(connection, _MOVE_HEAD, moved)


def check_key(connection: Connection, key: bytes) -> None:
    """Check that the log's next row belongs under this key: that which signed the last, or that it changed to.

    A log without rows takes any.

    Raises:
        AuditKeyError: it is not.
    """
    last = connection.execute(_LAST).all()
    before = last[1].mac if len(last) > 1 else ""
    if not last:
        return
    if last[0].event == "key_rotated":
        told = json.loads(last[0].details)
        is_it = is_changed_to(told, key, last[0].seq, before)
    else:
        is_it = checker(key)(tuple(last[0]), before)
    if not is_it:
        named = read_key_id(connection)
        raise AuditKeyError(named if named != fingerprint(key) else None, fingerprint(key))


_LAST = sa.select(audit).order_by(audit.c.seq.desc()).limit(2)


def ahead_in_words(ahead: timedelta) -> str:
    """Say that the log is ahead of the clock, and what to do."""
    return (
        f"all effects are stopped, because the audit log is {span(ahead)} ahead of this machine's clock: one of them"
        " jumped. Set the clock right, then `clearance audit settle-clock`"
    )


def stopped_by_clock(ahead: timedelta) -> str:
    """Say the same as a sentence of its own."""
    said = ahead_in_words(ahead)
    return f"{said[0].upper()}{said[1:]}."


def read_ahead(connection: Connection, now: datetime) -> timedelta | None:
    """Tell how far the log is ahead of the clock, which stops effects; None while it is not."""
    return ahead_of(from_text(connection.execute(sa.select(audit_head.c.at)).scalar_one()), now)


def ahead_of(at: datetime, now: datetime) -> timedelta | None:
    """Tell how far a log whose last row is of `at` is ahead of the clock; None while that stops nothing."""
    return at - now if at - now > TOLERANCE else None


@dataclass(frozen=True)
class Head:
    """Where the log ends: note it elsewhere, and a cut tail shows."""

    seq: int
    mac: str


def read_head(connection: Connection) -> Head:
    """Read where the log ends."""
    ((seq, mac),) = rows_of(connection, _END, {})
    return Head(seq, mac)


_END = sa.select(audit_head.c.seq, audit_head.c.mac)


def read_key_id(connection: Connection) -> str | None:
    """Read the fingerprint of the key that the log is under, None where its head does not say."""
    found: str | None = connection.scalar(sa.select(audit_head.c.key_id))
    return found


def is_committed(connection: Connection, end: Head) -> bool:
    """Tell whether a transaction of ours that wrote the log up to `end` was committed, once it is over for certain."""
    # Under the lock that it held: in PostgreSQL it may still be at its COMMIT when its connection is lost.
    rows_of(connection, _HEAD, {})
    return bool(connection.scalar(sa.select(audit.c.mac).where(audit.c.seq == end.seq)) == end.mac)


def rows(connection: Connection, after: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield rows in order in constant memory: all, whatever their numbers, or those after one."""
    query = sa.select(audit).order_by(audit.c.seq)
    query = query if after is None else query.where(audit.c.seq > after)
    with connection.execute(query, execution_options={"yield_per": _CHUNK}) as result:
        yield from (dict(row) for row in result.mappings())


def rows_about(connection: Connection, request_id: str) -> list[dict[str, Any]]:
    """Read the rows about one request, oldest first."""
    found = rows_of(connection, _ABOUT, {"request_id": request_id})
    return [dict(zip(audit.c.keys(), row, strict=True)) for row in found]


_ABOUT = sa.select(audit).where(audit.c.request_id == sa.bindparam("request_id")).order_by(audit.c.seq)


def details_of(connection: Connection, event: str, request_ids: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Read (request, details) of the rows of one event about these requests, oldest first."""
    query = sa.select(audit.c.request_id, audit.c.details).where(
        audit.c.request_id.in_(request_ids), audit.c.event == event
    )
    return [(row[0], json.loads(row[1])) for row in connection.execute(query.order_by(audit.c.seq))]


def happened_since(connection: Connection, event: str, moment: datetime) -> bool:
    """Tell whether there is a row of an event since a moment."""
    since = sa.select(audit.c.seq).where(audit.c.event == event, audit.c.at >= to_text(moment)).limit(1)
    return connection.execute(since).first() is not None


def some_rows(
    connection: Connection, *, before: int | None, after: int | None, limit: int, only: dict[str, str]
) -> list[dict[str, Any]]:
    """Read the newest rows first, those before one; with `after`, the oldest first, those after one.

    `only` narrows them by columns.
    """
    # About one request there are few rows: the other columns are compared in those, not looked up by indexes of theirs.
    plain = ["request_id"] if "request_id" in only else list(only)
    columns = {name: audit.c[name] if name in plain else sa.func.coalesce(audit.c[name], "") for name in only}
    query = sa.select(audit).where(*(columns[name] == value for name, value in only.items())).limit(limit)
    if after is not None:
        query = query.where(audit.c.seq > after).order_by(audit.c.seq)
    else:
        query = query.order_by(audit.c.seq.desc())
        query = query if before is None else query.where(audit.c.seq < before)
    return [dict(row) for row in connection.execute(query).mappings()]
