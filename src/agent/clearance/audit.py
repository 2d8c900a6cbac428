"""The audit log: append-only rows, each under an HMAC over itself and the one before, and the head that locks the gate.

Rows hold ids, salted digests and words of ours; nothing personal, since nothing here can be erased.
The key is not in the database: whoever can write the database can still not write a row that verifies.
"""

import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from json.encoder import encode_basestring_ascii as _text
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance.canonical import canonical
from agent.clearance.counterparts import Counterparts
from agent.db.streaming import UnreadableRow, stream
from agent.db.tables import audit, audit_head
from agent.db.types import from_text, to_text

_CHUNK = 5_000


@dataclass
class Log:
    """The locked head of the audit log: the right to write in this transaction, and its clock."""

    connection: Connection
    #: Aware UTC, read after the lock; never earlier than any row before.
    now: datetime
    #: Whether the freeze switch is on, by whom and why.
    frozen: bool
    frozen_by: str | None
    frozen_reason: str | None
    #: How many requests were ever opened.
    requests: int
    _key: bytes
    _seq: int
    _mac: str

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
        self._seq += 1
        row = {  # in the order of the table's columns: that is what is signed
            "seq": self._seq,
            "at": to_text(self.now),
            "event": event,
            "actor": actor,
            "thread_id": thread_id,
            "turn_id": turn_id,
            "request_id": request_id,
            "details": canonical(details).decode(),
        }
        self._mac = _signer(self._key)(tuple(row.values()), self._mac)
        self.connection.execute(_INSERT, {**row, "mac": self._mac})


_INSERT = sa.insert(audit)
_HEAD = sa.select(audit_head).with_for_update()


@contextmanager
def locked(connection: Connection, key: bytes, clock: Callable[[], datetime]) -> Iterator[Log]:
    """Lock the head for the rest of the transaction; every gate write begins here, so they happen one after another."""
    row = connection.execute(_HEAD).one()
    before = from_text(row.at)
    log = Log(
        connection=connection,
        # Strictly later, so that the order of rows is the order of times.
        now=max(clock(), before + timedelta(microseconds=1)),
        frozen=row.frozen,
        frozen_by=row.frozen_by,
        frozen_reason=row.frozen_reason,
        requests=row.requests,
        _key=key,
        _seq=row.seq,
        _mac=row.mac,
    )
    yield log
    if log._seq != row.seq or log.requests != row.requests:
        connection.execute(
            sa.update(audit_head).values(seq=log._seq, mac=log._mac, at=to_text(log.now), requests=log.requests)
        )


@dataclass(frozen=True)
class Head:
    """Where the log ends: note it elsewhere, and a cut tail shows."""

    seq: int
    mac: str


@dataclass(frozen=True)
class Verification:
    """Whether the log is whole, and the journal beside it says the same."""

    #: Good rows before the first bad one.
    rows: int
    head: Head
    #: Number of the first bad row; None when all rows are good, also if `reason` names something beside them.
    broken_at: int | None = None
    reason: str | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing was changed, removed, inserted or reordered."""
        return self.reason is None


def read_head(connection: Connection) -> Head:
    """Read where the log ends."""
    row = connection.execute(sa.select(audit_head.c.seq, audit_head.c.mac)).one()
    return Head(row.seq, row.mac)


def rows(connection: Connection, after: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield rows in order in constant memory: all, whatever their numbers, or those after one."""
    query = sa.select(audit).order_by(audit.c.seq)
    query = query if after is None else query.where(audit.c.seq > after)
    with connection.execute(query, execution_options={"yield_per": _CHUNK}) as result:
        yield from (dict(row) for row in result.mappings())


def rows_about(connection: Connection, request_id: str) -> list[dict[str, Any]]:
    """Read the rows about one request, oldest first."""
    query = sa.select(audit).where(audit.c.request_id == request_id).order_by(audit.c.seq)
    return [dict(row) for row in connection.execute(query).mappings()]


def details_of(connection: Connection, event: str, request_ids: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Read (request, details) of the rows of one event about these requests, oldest first."""
    query = sa.select(audit.c.request_id, audit.c.details).where(
        audit.c.request_id.in_(request_ids), audit.c.event == event
    )
    return [(row[0], json.loads(row[1])) for row in connection.execute(query.order_by(audit.c.seq))]


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


def verify(connection: Connection, key: bytes, noted: Head | None = None) -> Verification:
    """Check every row, the head, `noted` (a head that was written down before), and the journal against the log.

    Reads each row once, in constant memory.
    """
    seq, mac = 0, ""
    head, is_signed, journal = read_head(connection), _checker(key), Counterparts(connection)
    try:
        for row in stream(connection, _ROWS):
            number = row[0]
            if number != seq + 1:
                if number <= seq:
                    return Verification(seq, head, number, f"row {number} was put in before the first")
                return Verification(seq, head, seq + 1, f"row {seq + 1} is missing")
            if not is_signed(row, mac):
                reason = f"row {number} is not what was written (event {row[2]!r})"
                return Verification(seq, head, number, reason)
            seq, mac = number, row[8]
            if noted and noted.seq == seq and noted.mac != mac:
                return Verification(seq, head, seq, f"row {seq} differs from the head noted before")
            journal.hear(row)
    except UnreadableRow:
        return Verification(seq, head, seq + 1, f"row {seq + 1} is not what was written (not even text)")
    if seq < head.seq:
        return Verification(seq, head, seq + 1, f"the log ends at row {seq}, its head says {head.seq}")
    if noted and noted.seq > seq:
        return Verification(seq, head, seq + 1, f"the log ends at row {seq}; row {noted.seq} was noted before")
    if seq > head.seq:
        return Verification(seq, head, None, f"the log ends at row {seq}, its head says {head.seq}")
    if mac != head.mac:
        return Verification(seq, head, None, f"the head is not that of row {seq}")
    return Verification(seq, head, None, journal.disagreement())


_ROWS = sa.select(audit).order_by(audit.c.seq)


def _signer(key: bytes) -> Callable[[tuple[Any, ...], str], str]:
    """Make the function that signs a row, given its columns in the table's order and the mac of the row before."""
    keyed = hmac.new(key, digestmod="sha256")

    def sign(row: tuple[Any, ...], before: str) -> str:
        # The bytes of json.dumps([*columns, before], separators=(",", ":")), in less than half of its time.
        seq, at, event, actor, thread_id, turn_id, request_id, details = row
        mac = keyed.copy()
        mac.update(
            f"[{seq},{_text(at)},{_text(event)},{_text(actor)},"
            f"{'null' if thread_id is None else _text(thread_id)},"
            f"{'null' if turn_id is None else _text(turn_id)},"
            f"{'null' if request_id is None else _text(request_id)},"
            f"{_text(details)},{_text(before)}]".encode()
        )
        return mac.hexdigest()

    return sign


def _checker(key: bytes) -> Callable[[tuple[Any, ...], str], bool]:
    """Make the function that tells whether a row as the table has it, mac included, was signed after the mac before."""
    sign = _signer(key)

    def is_signed(row: tuple[Any, ...], before: str) -> bool:
        try:
            return bool(sign(row[:-1], before) == row[-1])
        except TypeError:  # neither text nor null, such as bytes, which SQLite takes for text: nobody signed that
            return False

    return is_signed
