"""What a thread has behind it: its turns, with what the model said in each and how that ended.

A turn that is closed, and all of whose requests have receipts, changes in one way only: it is erased, and then its own
row is written, too. So such turns are read once, and known again by what says everything of that row: which version of
it this is, how and when it closed, and its salt, which no two turns share and erasure takes. Each read looks at that
of every turn; another process may have erased one.

What somebody changes in the database past all this is not seen here while the turn is known: the thread goes on saying
what was said and done. `audit verify` and the pages read the rows themselves.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import turns
from clearance.journal.binding import is_noting
from clearance.journal.plans import Plan, plans_of_turns, prefetch_plans_of_turns
from clearance.journal.receipts import Receipt, ended_of_plans
from clearance.journal.requests import Request
from clearance.journal.statements import param, prefetch, read_all, read_once
from clearance.journal.turns import Turn, turns_by_id

#: Characters of all turns that a process keeps, and those of one that is kept: pictures are read anew.
_MOST, _LARGEST = 32_000_000, 200_000
#: Turns that one statement reads.
_AT_ONCE = 500


@dataclass(frozen=True)
class Past:
    """A turn, the model's messages in it in order, and their requests with how each ended."""

    turn: Turn
    plans: list[Plan]
    #: None for the receipt while it is open.
    ended: list[tuple[Request, Receipt | None]]


class _Stamp(NamedTuple):
    """What says everything of a turn's row, once the turn is closed."""

    turn_id: str
    version: int | None
    state: str
    closed_at: datetime | None
    salt: str | None


_STAMPS = (
    sa.select(turns.c.turn_id, turns.c.version, turns.c.state, turns.c.closed_at, turns.c.salt)
    .where(turns.c.thread_id == param("thread_id"))
    .order_by(turns.c.number)
)


class _Known:
    """Turns that change no more, those used last; for all threads of this process."""

    def __init__(self) -> None:
        self._turns: OrderedDict[_Stamp, tuple[Past, int]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def find(self, stamps: Sequence[_Stamp]) -> dict[str, Past]:
        """Give those that are known, by their ids."""
        found: dict[str, Past] = {}
        with self._lock:
            for stamp in stamps:
                known = self._turns.get(stamp)
                if known is not None:
                    self._turns.move_to_end(stamp)
                    found[stamp.turn_id] = known[0]
        return found

    def add(self, stamp: _Stamp, past: Past) -> None:
        """Keep one, unless it is large; what was not used for longest goes for it."""
        characters = _characters([past.turn.messages, *_texts(past)])
        if characters > _LARGEST:
            return
        with self._lock:
            if stamp in self._turns:
                return
            self._turns[stamp] = past, characters
            self._characters += characters
            while self._characters > _MOST:
                self._characters -= self._turns.popitem(last=False)[1][1]


_known = _Known()


def history_of(connection: Connection, thread_id: str) -> list[Past]:
    """Read the turns of a thread in order, and what was said and done in them."""
    return list(read_once(connection, "history", thread_id, read=partial(_read_history, connection, thread_id)))


def _read_history(connection: Connection, thread_id: str) -> list[Past]:
    stamps = read_all(connection, _STAMPS, _Stamp, thread_id=thread_id)
    found = _known.find([stamp for stamp in stamps if stamp.state != "open"])
    new = [stamp.turn_id for stamp in stamps if stamp.turn_id not in found]
    read: dict[str, Past] = {}
    for first in range(0, len(new), _AT_ONCE):
        read |= _read(connection, new[first : first + _AT_ONCE])
    # What a transaction sees that writes may be rolled back.
    if read and not is_noting(connection):
        for stamp in stamps:
            past = read.get(stamp.turn_id)
            if past is not None and stamp.state != "open" and all(receipt for _, receipt in past.ended):
                _known.add(stamp, past)
    return [past for stamp in stamps if (past := found.get(stamp.turn_id) or read.get(stamp.turn_id))]


def prefetch_history(connection: Connection, thread_id: str) -> None:
    """Ask for what `history_of` is to read first."""
    prefetch(connection, _STAMPS, thread_id=thread_id)


def _read(connection: Connection, turn_ids: Sequence[str]) -> dict[str, Past]:
    prefetch_plans_of_turns(connection, turn_ids)
    pasts = {turn.turn_id: Past(turn, [], []) for turn in turns_by_id(connection, turn_ids)}
    turn_of = {}
    for plan in plans_of_turns(connection, turn_ids):
        pasts[plan.turn_id].plans.append(plan)
        turn_of[plan.plan_id] = plan.turn_id
    for request, receipt in ended_of_plans(connection, list(turn_of)):
        pasts[turn_of[request.plan_id]].ended.append((request, receipt))
    return pasts


def _texts(past: Past) -> list[Any]:
    of_requests = [[request.arguments, request.facts, request.sentence] for request, _ in past.ended]
    return [*(plan.message for plan in past.plans), *of_requests, *(one.sentence for _, one in past.ended if one)]


def _characters(value: Any) -> int:
    """Estimate the size of JSON, a little for each part of it."""
    match value:
        case str():
            return 50 + len(value)
        case dict():
            return 100 + sum(_characters(name) + _characters(item) for name, item in value.items())
        case list():
            return 100 + sum(map(_characters, value))
        case _:
            return 30
