"""What a thread has behind it: its turns, with what the model said in each and how that ended.

A turn that is closed, and all of whose requests have receipts, changes in one way only: it is erased, and then its own
row is written, too. So such turns are read once, and known again by what says everything of that row: which version of
it this is, how and when it closed, and its salt, which no two turns share and erasure takes. Each read looks at that
of every turn; another process may have erased one.

What somebody changes in the database past all this is not seen here while the turn is known: the thread goes on saying
what was said and done. `audit verify` and the pages read the rows themselves.

The first turns of a thread that are known so are put together once, too, as `Settled`: what a thread has behind it is
many small things, and each step of it asks for all of them.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from math import inf
from operator import is_
from typing import Any

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
#: Seconds for which turns that are erased are not kept as they were: longer than anybody reads who began before that.
#: What was erased and rolled back is kept again after it.
_ERASING_S = 120
#: Turns that one statement reads.
_AT_ONCE = 500


@dataclass(frozen=True)
class Past:
    """A turn, the model's messages in it in order, and their requests with how each ended."""

    turn: Turn
    plans: list[Plan]
    #: None for the receipt while it is open.
    ended: list[tuple[Request, Receipt | None]]


@dataclass(eq=False)
class Kept:
    """What goes when something of some turns does."""

    #: How the messages of the thread stood when they were found true, see `clearance.graph.beginning`.
    beginning: Any = None


@dataclass(frozen=True, eq=False)
class Settled:
    """The first turns of a thread, which are over and change no more, as they are seen from one place of it.

    Of what the model said, and of what came of it, only what stands in the thread. Nobody writes to what is in here,
    but for `kept`.
    """

    place: str = ""
    pasts: Sequence[Past] = ()
    #: By id of the AI message.
    plans: dict[str, Plan] = field(default_factory=dict)
    #: By id of the request.
    requests: dict[str, Request] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    #: What persons wrote: content by id of the message.
    heard: dict[str, Any] = field(default_factory=dict)
    heard_here: frozenset[str] = frozenset()
    said_here: frozenset[str] = frozenset()
    is_any_inside: bool = False
    #: Ids of what the model said and does not stand in the thread.
    absent: frozenset[str] = frozenset()
    #: What somebody else worked out from these turns, and nothing else. It goes when one of them does, and is handed on
    #: when more turns are over.
    kept: Kept = field(default_factory=Kept)

    def with_more(self, pasts: Sequence[Past], standing: Set[str]) -> "Settled":
        """Give what these turns and the next ones say together; `standing` are ids of the messages in the thread."""
        plans = [plan for past in pasts for plan in past.plans]
        there = {plan.message_id: plan for plan in plans if plan.message_id in standing}
        plan_ids = {plan.plan_id for plan in there.values()}
        ended = [one for past in pasts for one in past.ended if one[0].plan_id in plan_ids]
        here = [past for past in pasts if past.turn.place == self.place]
        return Settled(
            self.place,
            [*self.pasts, *pasts],
            self.plans | there,
            self.requests | {request.request_id: request for request, _ in ended},
            self.receipts | {receipt.request_id: receipt for _, receipt in ended if receipt},
            self.heard | {message["id"]: message["content"] for past in pasts for message in past.turn.messages},
            self.heard_here | {message["id"] for past in here for message in past.turn.messages},
            self.said_here | {plan.message_id for past in here for plan in past.plans if plan.message_id in standing},
            self.is_any_inside or any(past.turn.place and past.turn.state != "open" for past in pasts),
            self.absent | {plan.message_id for plan in plans if plan.message_id not in standing},
            self.kept,
        )


#: What says everything of a turn's row, once the turn is closed, as the driver gives it: it is only compared.
_Stamp = tuple[Any, ...]
#: Where in it the salt stands.
_SALT = 4
_STAMPS = (
    sa.select(
        turns.c.turn_id, turns.c.state, turns.c.version, sa.type_coerce(turns.c.closed_at, sa.types.NULLTYPE),
        turns.c.salt,
    )
    .where(turns.c.thread_id == param("thread_id"))
    .order_by(turns.c.number)
)  # fmt: skip


@dataclass
class _Thread:
    """What is known of a thread: turns that change no more."""

    #: By id of the turn.
    turns: dict[str, tuple[_Stamp, Past]] = field(default_factory=dict)
    characters: int = 0
    #: Of the first turns, up to one that is not known; each step asks for all of them.
    first: list[_Stamp] = field(default_factory=list)
    pasts: list[Past] = field(default_factory=list)
    #: What those say together, by the place that it is seen from.
    settled: dict[str, Settled] = field(default_factory=dict)

    def find(self, stamps: Sequence[_Stamp]) -> list[Past | None]:
        """Give those of a thread's turns that are known; what is another version of one goes."""
        if stamps[: len(self.first)] != self.first:
            self.first, self.pasts = [], []
            self.settled.clear()
        found: list[Past | None] = [*self.pasts, *map(self._find, stamps[len(self.first) :])]
        for past in found[len(self.pasts) :]:
            if past is None:
                break
            self.first.append(self.turns[past.turn.turn_id][0])
            self.pasts.append(past)
        return found

    def _find(self, stamp: _Stamp) -> Past | None:
        known = self.turns.get(stamp[0])
        if known is None:
            return None
        if known[0] != stamp:
            del self.turns[stamp[0]]
            return None
        return known[1]


class _Known:
    """Turns that change no more, by thread, those used last; for all threads of this process."""

    def __init__(self) -> None:
        self._threads: OrderedDict[str, _Thread] = OrderedDict()
        self._characters = 0
        #: By id of each turn that was erased here lately, when that was: who reads since before sees it.
        self._erased: dict[str, float] = {}
        self._lock = threading.Lock()

    def find(self, thread_id: str, stamps: Sequence[_Stamp]) -> list[Past | None]:
        """Give the turns of a thread, None for each that is not known."""
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is None:
                return [None] * len(stamps)
            self._threads.move_to_end(thread_id)
            return thread.find(stamps)

    def add(self, thread_id: str, stamp: _Stamp, past: Past) -> None:
        """Keep one, unless it is large; threads that were not used for longest go for it."""
        characters = _characters([past.turn.messages, *_texts(past)])
        if characters > _LARGEST:
            return
        with self._lock:
            if stamp[_SALT] is not None and time.monotonic() - self._erased.get(stamp[0], -inf) < _ERASING_S:
                return
            thread = self._threads.setdefault(thread_id, _Thread())
            if stamp[0] in thread.turns or thread.characters + characters > _MOST:
                return
            thread.turns[stamp[0]] = stamp, past
            thread.characters += characters
            self._characters += characters
            while self._characters > _MOST:
                self._drop(next(iter(self._threads)))

    def forget(self, thread_ids: Iterable[str], turn_ids: Iterable[str]) -> None:
        """Keep nothing of some threads, nor of these turns what they say before they are erased."""
        with self._lock:
            now = time.monotonic()
            lately = {one: at for one, at in self._erased.items() if now - at < _ERASING_S}
            self._erased = lately | dict.fromkeys(turn_ids, now)
            for thread_id in thread_ids:
                if thread_id in self._threads:
                    self._drop(thread_id)

    def settled(self, thread_id: str, place: str, history: Sequence[Past], standing: Set[str]) -> Settled:
        """Put together the first turns of a history that are known, as far as that was not done before."""
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is None:
                return Settled(place)
            done = thread.settled.get(place)
            if done is None or not _begins_with(history, done.pasts) or not _stands_alike(done, standing):
                done = Settled(place)
            since = len(done.pasts)
            more = [one for one, _ in takewhile(_is_same, zip(history[since:], thread.pasts[since:], strict=False))]
            if more:
                done = thread.settled[place] = done.with_more(more, standing)
            return done

    def _drop(self, thread_id: str) -> None:
        self._characters -= self._threads.pop(thread_id).characters


def _is_same(pair: tuple[Past, Past]) -> bool:
    return pair[0] is pair[1]


def _begins_with(history: Sequence[Past], pasts: Sequence[Past]) -> bool:
    return len(pasts) <= len(history) and all(map(is_, pasts, history))


def _stands_alike(settled: Settled, standing: Set[str]) -> bool:
    """Tell whether of what the model said in some turns the same stands in a thread as when they were put together."""
    return settled.plans.keys() <= standing and settled.absent.isdisjoint(standing)


_known = _Known()


def history_of(connection: Connection, thread_id: str) -> list[Past]:
    """Read the turns of a thread in order, and what was said and done in them."""
    return list(read_once(connection, "history", thread_id, read=partial(_read_history, connection, thread_id)))


def _read_history(connection: Connection, thread_id: str) -> list[Past]:
    stamps = read_all(connection, _STAMPS, _as_given, thread_id=thread_id)
    found = _known.find(thread_id, stamps)
    new = [stamp[0] for stamp, past in zip(stamps, found, strict=True) if past is None]
    if not new:
        return [past for past in found if past is not None]
    read: dict[str, Past] = {}
    for first in range(0, len(new), _AT_ONCE):
        read |= _read(connection, new[first : first + _AT_ONCE])
    # What a transaction sees that writes may be rolled back.
    if not is_noting(connection):
        for stamp in stamps:
            past = read.get(stamp[0])
            if past is not None and stamp[1] != "open" and all(receipt for _, receipt in past.ended):
                _known.add(thread_id, stamp, past)
    both = zip(stamps, found, strict=True)
    return [past for stamp, known in both if (past := known if known is not None else read.get(stamp[0]))]


def _as_given(*row: Any) -> _Stamp:
    return row


def settled_in(thread_id: str, place: str, history: Sequence[Past], standing: Set[str]) -> Settled:
    """Give the first turns of a thread's history that change no more, as one; none of them where none is known.

    They are seen from a place; `standing` are the ids of the messages in the thread.
    """
    return _known.settled(thread_id, place, history, standing)


def forget_erased(thread_ids: Iterable[str], turn_ids: Iterable[str]) -> None:
    """Keep nothing of these threads in this process: what was said and done there in these turns is erased.

    To be called before that is committed: who reads beside it reads what stood there.
    """
    _known.forget(thread_ids, turn_ids)


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
