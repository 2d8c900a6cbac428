"""The audit log: append-only rows, each under an HMAC over itself and the one before, and the head that locks the gate.

Rows hold ids, salted digests and words of ours; nothing personal, since nothing here can be erased.
The key is not in the database: whoever can write the database can still not write a row that verifies.
"""

import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance.canonical import canonical
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
        row = {
            "seq": self._seq,
            "at": to_text(self.now),
            "event": event,
            "actor": actor,
            "thread_id": thread_id,
            "turn_id": turn_id,
            "request_id": request_id,
            "details": canonical(details).decode(),
        }
        self._mac = _mac(self._key, row, self._mac)
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
    """Whether the log is whole. `broken_at` is the first bad row's number, None when all are good."""

    rows: int
    head: Head
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


def verify(connection: Connection, key: bytes, noted: Head | None = None) -> Verification:
    """Check every row, the head, and `noted`, a head that was written down before."""
    seq, mac = 0, ""
    head = read_head(connection)
    for row in rows(connection):
        if row["seq"] <= seq:
            return Verification(seq, head, row["seq"], f"row {row['seq']} was put in before the first")
        if row["seq"] != seq + 1:
            return Verification(seq, head, seq + 1, f"row {seq + 1} is missing")
        stored = row.pop("mac")
        if not hmac.compare_digest(stored, _mac(key, row, mac)):
            return Verification(seq, head, seq + 1, f"row {seq + 1} is not what was written (event {row['event']!r})")
        seq, mac = row["seq"], stored
        if noted and noted.seq == seq and noted.mac != mac:
            return Verification(seq, head, seq, f"row {seq} differs from the head noted before")
    if (seq, mac) != (head.seq, head.mac):
        return Verification(seq, head, seq + 1, f"the log ends at row {seq}, its head says {head.seq}")
    if noted and noted.seq > seq:
        return Verification(seq, head, seq + 1, f"the log ends at row {seq}; row {noted.seq} was noted before")
    return Verification(seq, head)


def _mac(key: bytes, row: dict[str, Any], before: str) -> str:
    signed = json.dumps([*(row[name] for name in _SIGNED), before], separators=(",", ":"))
    return hmac.digest(key, signed.encode(), "sha256").hex()


_SIGNED = ("seq", "at", "event", "actor", "thread_id", "turn_id", "request_id", "details")
