"""What the journal's tables must hold, given what the audit log tells: the tables are not signed."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from operator import itemgetter
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.actions.action import Actions
from clearance.canonical import canonical
from clearance.db.among import among
from clearance.db.streaming import UnreadableRow, stream
from clearance.db.tables import OUTCOMES, audit, audit_head, decisions, receipts, requests
from clearance.db.types import to_text
from clearance.journal.binding import BOUND
from clearance.journal.bound_rows import REFUSALS, BoundRows, RefusedRows
from clearance.journal.left_behind import LeftBehind
from clearance.journal.signing import fingerprint, seal

#: Events, and the tables in which each has exactly one row. Receipts are compared, the others counted.
_COUNTED: dict[str, tuple[sa.Table, ...]] = {
    "requested": (requests,),
    "approved": (decisions,),
    "edited": (decisions,),
    **dict.fromkeys(OUTCOMES, (receipts,)),
    "rejected": (decisions, receipts),
}
_OUTCOMES = frozenset(OUTCOMES)
#: Events whose details are read though they tell of no row.
_READ = {"binding_began", "frozen", "unfrozen", "executed"}
_NOTHING: dict[str, Any] = {}
_EVENT = itemgetter(2)
#: Outcomes that are compared at a time.
_CHUNK = 1_000


def _parsed(details: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(details)
    except ValueError:  # an integer or a depth beyond what it reads; what is in a row that verified is JSON
        found = json.loads(details)
    return found


class Counterparts:
    """Hears the log's rows in order and compares what they tell with the journal, a chunk of them at a time."""

    def __init__(self, connection: Connection, actions: Actions | None = None) -> None:
        self._connection = connection
        self._actions = actions
        self._heard: Counter[str] = Counter()
        self._chunk: list[tuple[Any, ...]] = []
        self._first: str | None = None
        self._frozen: tuple[str, str] | None = None
        self._reason: Callable[[str], bool] | None = None
        self._at: str | None = None
        self._key: bytes | None = None
        self._bound = {name: BoundRows(connection, bound) for name, bound in BOUND.items()}
        self._refused = RefusedRows(connection)
        self._left_behind = LeftBehind(connection, actions) if actions is not None else None
        #: Row from which on rows of the journal are bound; None when none does yet.
        self.bound_from: int | None = None
        self._has_bound = False
        #: Whether rows were heard before: then nothing is counted.
        self._is_part = False

    def hear(self, rows: list[tuple[Any, ...]], key: bytes) -> None:
        """Take the next rows of the log, as its table has them; they have to be verified, under this key."""
        self._key, self._at = key, rows[-1][1] if rows else self._at
        self._heard.update(map(_EVENT, rows))
        bounds = self._bound
        for row in rows:
            seq, _, event, _, _, _, request_id, details, _ = row
            told = _parsed(details) if '"rows":' in details or event in _READ else _NOTHING
            mentioned = told.get("rows", _NOTHING)
            for table, mentions in mentioned.items():
                self._has_bound = True
                if (bound := bounds.get(table)) is not None:
                    if found := bound.hear(seq, mentions):
                        self._note(found)
                elif table == REFUSALS:
                    self._hear_refused(seq, mentions)
            if event in _OUTCOMES and request_id is not None:
                if "receipts" not in mentioned:
                    self._chunk.append(row)
                    if len(self._chunk) >= _CHUNK:
                        self._compare()
                if "traces" in told and self._left_behind:
                    self._note(self._left_behind.hear(seq, request_id, told["traces"]))
            elif event in _READ:
                self._hear_of_log(row, told, key)

    def begin_after(self, row: tuple[Any, ...], key: bytes) -> None:
        """Take up what a row told that was heard before: the log's time, and how the freeze switch stands."""
        self._is_part, self._key, self._at = True, key, row[1]
        if row[2] in ("frozen", "unfrozen"):
            self._hear_of_log(row, json.loads(row[7]), key)

    def _hear_refused(self, seq: int, mentions: dict[str, str]) -> None:
        for row_id, mention in mentions.items():
            self._note(self._refused.hear(seq, row_id, mention))

    def _hear_of_log(self, row: tuple[Any, ...], told: dict[str, Any], key: bytes) -> None:
        """Hear where binding begins, and how the freeze switch stands."""
        seq, at, event, actor = row[:4]
        if event == "binding_began":
            if self._has_bound:
                self._note(f"row {seq} says that binding begins, though it had: audit_head.bound_from was taken away")
            self.bound_from, self._has_bound = seq, True
            for table, bound in self._bound.items():
                bound.unbound = told["unbound"].get(table, 0)
            self._refused.unbound = told["unbound"].get("refusal_totals")
        elif event == "frozen":
            self._frozen = actor, at
            sealed = told.get("sealed_reason")
            self._reason = (lambda reason: seal(key, reason) == sealed) if sealed else None
        elif event == "unfrozen":
            self._frozen = None

    def _note(self, found: str | None) -> None:
        self._first = self._first or found

    def disagreement(self) -> str | None:
        """Say, after the last row, what the log and the journal disagree about; None when they agree."""
        self._compare()
        for bound in self._bound.values():
            self._note(bound.compare())
        if self._left_behind:
            self._note(self._left_behind.compare())
        try:
            found = [*self._head(), *([self._first] if self._first else () if self._is_part else self._untold())]
        except UnreadableRow as exc:
            return f"the journal cannot be read ({exc})"
        return "; ".join(found) or None

    def _head(self) -> Iterator[str]:
        (head,) = stream(self._connection, _HEAD)
        at, opened, frozen, frozen_by, frozen_at, reason, bound_from, key_id = head
        told = self._frozen and self._frozen[0]
        if frozen_by != told or bool(frozen) != bool(told):
            yield f"the freeze switch is {_switch(frozen_by)}, the log says {_switch(told)}"
        elif self._frozen and _moment(frozen_at) != self._frozen[1]:
            yield f"the freeze switch is on since {frozen_at}, the log says since {self._frozen[1]}"
        elif self._frozen and self._reason and not self._reason(str(reason)):
            yield "the reason of the freeze (audit_head.frozen_reason) is not the one that was given"
        if self._at and at != self._at:
            yield f"the head's time is {at}, its row is of {self._at}"
        if opened != self._told(requests) and not self._is_part:
            yield f"the head counts {opened} requests, the log {self._told(requests)}"
        # A log that binds since its first row has no event that tells so.
        begins = self.bound_from or (1 if self._has_bound and not self._is_part else bound_from)
        self.bound_from = begins if self._heard or self._is_part else None
        if bound_from != begins:
            yield f"audit_head.bound_from is {bound_from}, the log binds from row {begins} on"
        # Both are written with the first row of a program that binds.
        if self._key and begins is not None and key_id != fingerprint(self._key):
            yield f"audit_head.key_id is {key_id}, the log ends under {fingerprint(self._key)}"

    def _compare(self) -> None:
        """Compare the chunk with the journal and drop it."""
        chunk, self._chunk = self._chunk, []
        if self._first is None and chunk:
            try:
                self._first = next(_differences(self._connection, chunk), None)
            except UnreadableRow as exc:
                self._first = f"what rows {chunk[0][0]} to {chunk[-1][0]} tell of cannot be read ({exc})"

    def _told(self, table: sa.Table) -> int:
        return sum(self._heard.get(event, 0) for event, tables in _COUNTED.items() if table in tables)

    def _untold(self) -> Iterator[str]:
        """Say what the journal holds and the log does not tell of."""
        is_told = True
        for table, name in ((requests, "requests"), (decisions, "decisions"), (receipts, "receipts")):
            ((held,),) = stream(self._connection, _COUNTING[name])
            if held != self._told(table):
                events = [event for event, tables in _COUNTED.items() if table in tables]
                about = ", ".join(_alone(self._connection, table, events))
                yield f"the journal holds {held} {name}, the log tells of {self._told(table)}{about and f' ({about})'}"
                is_told = False
        if not is_told or self.bound_from is None:
            return
        untold = (rows.untold() for rows in self._bound.values())
        found = next(filter(None, untold), None) or self._refused.untold()
        if found:
            yield found


def _alone(connection: Connection, table: sa.Table, events: list[str]) -> Iterator[str]:
    """Name a request with a row in `table` and no event of these, and the first such event without a row."""
    is_same = (audit.c.request_id == table.c.request_id) & audit.c.event.in_(events)
    for row in stream(connection, sa.select(table.c.request_id).where(~sa.exists().where(is_same)).limit(1)):
        yield f"nothing of request {row[0]}"
    of_events = sa.select(audit.c.seq, audit.c.request_id).where(audit.c.event.in_(events))
    for row in stream(connection, of_events.where(~sa.exists().where(is_same)).order_by(audit.c.seq).limit(1)):
        yield f"row {row[0]} of request {row[1]}, which has none"


_COUNTING = {table.name: sa.select(sa.func.count()).select_from(table) for table in (requests, decisions, receipts)}
_HEAD = sa.select(
    audit_head.c.at,
    audit_head.c.requests,
    audit_head.c.frozen,
    audit_head.c.frozen_by,
    sa.cast(audit_head.c.frozen_at, sa.Text),
    audit_head.c.frozen_reason,
    audit_head.c.bound_from,
    audit_head.c.key_id,
)
# Times as text: what somebody put there need not be a time.
_RECEIPTS = (
    sa.select(
        receipts.c.request_id,
        receipts.c.outcome,
        sa.cast(receipts.c.finished_at, sa.Text),
        receipts.c.sentence,
        requests.c.salt,
    )
    .outerjoin(requests, requests.c.request_id == receipts.c.request_id)
    .where(among(receipts.c.request_id))
)


def _differences(connection: Connection, chunk: list[tuple[Any, ...]]) -> Iterator[str]:
    """Yield what the receipts say otherwise than these rows, first row first."""
    held = {row[0]: row for row in stream(connection, _RECEIPTS, ids=[row[6] for row in chunk])}
    for seq, at, event, _, _, _, request_id, details, _ in chunk:
        told = f"row {seq} says {event} of request {request_id}"
        if request_id not in held:
            yield f"{told}, which has no receipt"
            continue
        _, outcome, finished_at, sentence, salt = held[request_id]
        if outcome != event:
            yield f"{told}, its receipt says {outcome}"
        elif finished_at != at and _moment(finished_at) != at:
            yield f"{told} at {at}, its receipt says at {finished_at}"
        # Erasure takes the salt away; the eraser's own receipt keeps its sentence.
        elif salt is not None and sentence is not None and _receipt_detail(salt, sentence) not in details:
            yield f"{told}, its receipt has another sentence"


def _receipt_detail(salt: Any, sentence: Any) -> str:
    """Give the part of canonical details that `transitions.finish` wrote of a sentence. Both may be anything."""
    return f'"receipt":"{hashlib.sha256(str(salt).encode() + canonical(str(sentence))).hexdigest()}"'


def _moment(text: Any) -> str:
    """Write a time as the log does; what is none stays as it is."""
    try:
        # SQLite stores what the log writes, PostgreSQL shows a moment in its session's zone.
        return text if text[-1] == "Z" else to_text(datetime.fromisoformat(text))
    except (TypeError, ValueError, LookupError):
        return str(text)


def _switch(frozen_by: str | None) -> str:
    return "off" if frozen_by is None else f"on, by {frozen_by}"
