"""Whether the log is whole, and the journal beside it says the same: `clearance audit verify`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.actions.action import Actions
from clearance.db.streaming import UnreadableRow, in_lists, stream
from clearance.db.tables import audit, audit_head
from clearance.db.types import from_text
from clearance.journal.audit import Head, ahead_of
from clearance.journal.counterparts import Counterparts
from clearance.journal.signing import Chain, Keys, checker, fingerprint


@dataclass(frozen=True)
class Verification:
    """Whether the log is whole, and the journal beside it says the same."""

    #: Good rows before the first bad one.
    rows: int
    head: Head
    #: Number of the first bad row; None when all rows are good.
    broken_at: int | None
    #: What is wrong, naming the row; None when nothing is.
    reason: str | None
    #: Row from which on the log binds the rows of the journal; None when it does not yet, or is empty.
    bound_from: int | None = None
    #: How far the log is ahead of the clock, which stops effects; None while it is not.
    ahead: timedelta | None = None
    #: Row after which it was checked; 0 when all was.
    since: int = 0

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing was changed, removed, inserted or reordered."""
        return self.reason is None


@dataclass(frozen=True)
class FoundWhole:
    """Where a whole log ended when it was last looked at, and when all of it was."""

    head: Head
    at: datetime


def verify(
    connection: Connection,
    key: bytes | Keys,
    noted: Head | None = None,
    *,
    actions: Actions | None = None,
    now: datetime | None = None,
    since: Head | None = None,
) -> Verification:
    """Check every row, the head, `noted` (a head that was written down before), and the journal against the log.

    Reads each row once, in constant memory. With `actions` what they left behind is compared, too.

    `since` is a head up to which all was checked before. Then only what follows it is, with what that tells of: its
    time is that of the rows that came since, and it does not tell whether what stood before is still as it was, nor
    whether the journal holds rows that the log tells nothing of.
    """
    try:
        heads = list(stream(connection, _PLAIN_HEAD))
    except UnreadableRow:
        return _without_head("is not what was written (not even text)")
    if len(heads) != 1 or heads[0][0] != 1:
        return _without_head("is not one row, with the id 1" if heads else "is not there")
    _, head_seq, head_mac, head_at = heads[0]
    if type(head_seq) is not int or type(head_mac) is not str:  # SQLite takes anything
        return _without_head("is not what was written")
    head, journal = Head(head_seq, head_mac), Counterparts(connection, actions)
    keys, since = key if isinstance(key, Keys) else Keys(key), since if since and since.seq else None
    chain = Chain(keys)
    if since and (changed := _begin_after(connection, keys, since, chain, journal)):
        return Verification(0, head, since.seq, changed, since=since.seq)
    if since and noted and 0 < noted.seq < since.seq and (changed := _is_unlike(connection, noted)):
        return Verification(0, head, noted.seq, changed, since=since.seq)
    seq, broken_at, reason = _check_rows(connection, chain, head, noted, journal, since or Head(0, ""))
    if broken_at is None and reason is None:
        reason = journal.disagreement()
    try:
        ahead = ahead_of(from_text(head_at), now or datetime.now(UTC))
    except (TypeError, ValueError):  # nobody wrote that, and it was told above
        ahead = None
    return Verification(seq, head, broken_at, reason, journal.bound_from, ahead, since.seq if since else 0)


def _without_head(wrong: str) -> Verification:
    return Verification(0, Head(0, ""), None, f"the head of the log (audit_head) {wrong}")


def _begin_after(connection: Connection, keys: Keys, since: Head, chain: Chain, journal: Counterparts) -> str | None:
    """Take up the chain and the freeze switch after a head noted before; say what is wrong with it."""
    try:
        found, switched = (list(stream(connection, query, seq=since.seq)) for query in (_NOTED, _SWITCHED))
    except UnreadableRow:
        return f"row {since.seq} or the last switch before it is not what was written (not even text)"
    if wrong := _unlike(since, found):
        return wrong
    for *row, before in (*switched, *found):
        # Each under the key of its time.
        key = next((one for one in (keys.now, *keys.before) if checker(one)(tuple(row), before)), None)
        if key is None:
            return f"row {row[0]} is not what was written (event {row[2]!r}), or its key is not given (AUDIT_OLD_KEYS)"
        journal.begin_after(tuple(row), key)
        wrong = chain.begin_after(tuple(row), before, key)
    return wrong


def _is_unlike(connection: Connection, noted: Head) -> str | None:
    """Say what is wrong with the row of a head that was noted."""
    try:
        return _unlike(noted, list(stream(connection, _NOTED, seq=noted.seq)))
    except UnreadableRow:
        return f"row {noted.seq} is not what was written (not even text)"


def _unlike(noted: Head, found: Sequence[Sequence[Any]]) -> str | None:
    if found and found[0][8] == noted.mac:
        return None
    return f"row {noted.seq} {'differs from the head noted before' if found else 'is missing'}"


def _check_rows(
    connection: Connection, chain: Chain, head: Head, noted: Head | None, journal: Counterparts, since: Head
) -> tuple[int, int | None, str | None]:
    """Check the chain and let the journal hear it: the last good row, the first bad one, what is wrong."""
    seq, mac, keys = since.seq, since.mac, chain.keys
    if noted and noted.seq == seq and seq and noted.mac != mac:
        return seq, seq, f"row {seq} differs from the head noted before"
    journal.hear([], chain.key)
    try:
        for rows in in_lists(stream(connection, _ROWS, after=seq or _BEFORE_ALL), _AT_ONCE):
            numbers = range(seq + 1, seq + 1 + len(rows))
            is_noted = noted is not None and noted.seq in numbers
            if not is_noted and list(map(_SEQ, rows)) == list(numbers) and chain.goes_on(rows, mac):
                journal.hear(rows, chain.key)
                seq, mac = rows[-1][0], rows[-1][8]
                continue
            seq, mac, broken_at, reason = _check_each(rows, Head(seq, mac), chain, noted, journal)
            if reason is not None:
                return seq, broken_at, reason
    except UnreadableRow:
        return seq, seq + 1, f"row {seq + 1} is not what was written (not even text)"
    if seq < head.seq:
        return seq, seq + 1, f"the log ends at row {seq}, its head says {head.seq}"
    if noted and noted.seq > seq:
        return seq, seq + 1, f"the log ends at row {seq}; row {noted.seq} was noted before"
    if seq > head.seq:
        return seq, None, f"the log ends at row {seq}, its head says {head.seq}"
    if mac != head.mac:
        return seq, None, f"the head is not that of row {seq}"
    if seq and chain.key != keys.now:
        return seq, None, f"the log ends under the key {fingerprint(chain.key)}, not under {fingerprint(keys.now)}"
    return seq, None, None


def _check_each(
    rows: list[tuple[Any, ...]], end: Head, chain: Chain, noted: Head | None, journal: Counterparts
) -> tuple[int, str, int | None, str | None]:
    """Check rows after `end` one by one, and let the journal hear them: the last good row, its mac, and as above."""
    seq, mac, key, heard = end.seq, end.mac, chain.key, list[tuple[Any, ...]]()
    try:
        for row in rows:
            number = row[0]
            if number != seq + 1:
                if number <= seq:
                    return seq, mac, number, f"row {number} was put in before the first"
                return seq, mac, seq + 1, f"row {seq + 1} is missing"
            wrong = chain.check(row, mac)
            if wrong:
                return seq, mac, number, wrong
            seq, mac = number, row[8]
            if noted and noted.seq == seq and noted.mac != mac:
                return seq, mac, seq, f"row {seq} differs from the head noted before"
            if chain.key is not key:
                journal.hear(heard, key)
                key, heard = chain.key, []
            heard.append(row)
    finally:
        journal.hear(heard, key)
    return seq, mac, None, None


#: Rows that are checked, and heard by the journal, at a time: as many as stay in a processor's cache.
_AT_ONCE = 100
_SEQ = itemgetter(0)
#: By a number that none has: what was put in before the first is to be seen.
_BEFORE_ALL = -(2**63)
_ROWS = sa.select(audit).where(audit.c.seq > sa.bindparam("after")).order_by(audit.c.seq)
_BEFORE = audit.alias("before")
_WITH_BEFORE = sa.select(audit, sa.func.coalesce(_BEFORE.c.mac, "")).outerjoin(
    _BEFORE, _BEFORE.c.seq == audit.c.seq - 1
)
_NOTED = _WITH_BEFORE.where(audit.c.seq == sa.bindparam("seq"))
_SWITCHED = (
    _WITH_BEFORE.where(audit.c.event.in_(("frozen", "unfrozen")), audit.c.seq <= sa.bindparam("seq"))
    .order_by(audit.c.seq.desc())
    .limit(1)
)
_PLAIN_HEAD = sa.select(audit_head.c.id, audit_head.c.seq, audit_head.c.mac, audit_head.c.at).limit(2)
