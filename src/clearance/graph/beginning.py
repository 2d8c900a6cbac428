"""How much of a thread stands as it did when it was found true: that much is not looked through once more.

Whoever owns a thread can write its state, so of each message all that it has is compared with what it was then. What it
was found true by are turns of the journal that change no more: with the first of them that does, it is not known of the
thread any more what stood there.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from clearance.gate.records import Truth
from clearance.graph.transcript import RESULT
from clearance.journal.history import Kept
from clearance.message_values import Noted, OtherKindError, first_same, noted
from clearance.models import Arranged

#: Of fewer messages it is as quick to look through them.
_FEWEST = 20
#: Bytes that a process keeps of the beginnings of all threads, those used last; and those that a message takes beside
#: its words: what it was, and what a model reads of it.
_MOST, _OF_A_MESSAGE = 64_000_000, 4_000
#: Bytes of one thread's: a longer one is known as far as that goes.
_LARGEST = 16_000_000


@dataclass(frozen=True)
class Known:
    """The beginning of a thread: messages that were true, each call with its result behind it."""

    #: By how many turns of the thread they were found true.
    turns: int = 0
    #: What each of them was.
    messages: list[Noted] = field(default_factory=list)
    #: Where persons' words stand in it: what comes before, and what comes from there on, are true by themselves.
    starts: list[int] = field(default_factory=list)
    #: What the gate told in it, as it stands in the journal.
    notices: dict[str, str] = field(default_factory=dict)
    #: Bytes that it takes, about.
    size: int = 0
    #: As models read it, by what their providers are called. Filled by whoever arranges more of it.
    arranged: dict[str, Arranged] = field(default_factory=dict)


@dataclass(frozen=True)
class Beginning:
    """How many of the first messages of a thread are as they were when they were found true, and what is known so."""

    many: int
    known: Known


def true_beginning(messages: Sequence[AnyMessage], truth: Truth) -> Beginning:
    """Tell how much of a thread stands as it did when it was found true, by what is the truth now.

    Nothing in what follows has to do with it: no result of a call there, and no id.
    """
    known: Known | None = truth.settled.kept.beginning
    # Another may have noted it, who had read more turns than this.
    if known is None or known.turns > len(truth.settled.pasts):
        return Beginning(0, Known())
    many = first_same(messages, known.messages)
    if many < len(known.messages):
        # Up to where a person's words stand: whatever is called before them is answered there.
        many = max((one for one in known.starts if one <= many), default=0)
    ids = [message.id for message in messages]
    standing = set(ids[:many])
    is_told = all(truth.notices.get(one) == text for one, text in known.notices.items() if one in standing)
    return Beginning(many if is_told and standing.isdisjoint(ids[many:]) else 0, known)


def learn(before: Beginning, messages: Sequence[AnyMessage], true: Sequence[AnyMessage], truth: Truth) -> Beginning:
    """Note how far messages stand as they are true, in turns that change no more, and give that.

    `before` is what was known of them, and `true` is all of them as the journal has them.
    """
    since, known = before.many, before.known
    many = _settled(messages, true, truth, since)
    if many <= since or many < _FEWEST:
        return before
    is_longer = since == len(known.messages)
    size = (known.size if is_longer else sum(map(_size, messages[:since]))) + sum(map(_size, messages[since:many]))
    if size > _LARGEST:
        return before
    try:
        new = [noted(one) for one in messages[since:many]]
    except (OtherKindError, RecursionError):
        return before
    told = {one.id: truth.notices[one.id] for one in messages[since:many] if one.id and one.id in truth.notices}
    starts = [at for at in range(since, many) if isinstance(messages[at], HumanMessage)]
    noted_now = Known(
        len(truth.settled.pasts),
        [*known.messages[:since], *new],
        [*(at for at in known.starts if at < since), *starts],
        {**known.notices, **told},
        size,
        # Of a longer one that was known, it may be that it goes on in another way now.
        known.arranged if is_longer else {},
    )
    truth.settled.kept.beginning = noted_now
    _budget.note(truth.settled.kept, size)
    return Beginning(many, noted_now)


def _settled(messages: Sequence[AnyMessage], true: Sequence[AnyMessage], truth: Truth, since: int) -> int:
    settled, results = truth.settled, set[str]()
    at, last = since, min(len(messages), len(true))
    while at < last:
        message, message_id = messages[at], messages[at].id or ""
        plan = settled.plans.get(message_id)
        if plan is not None:
            results |= {f"{RESULT}{asked}" for asked in plan.by_request}
        is_notice = message_id in truth.notices
        if is_notice:
            is_true = type(message) is AIMessage and message.__dict__ == true[at].__dict__
        else:
            is_true = message is true[at] and (plan is not None or message_id in settled.heard or message_id in results)
        if not is_true:
            break
        at += 1
    while since < at < len(messages) and not isinstance(messages[at], HumanMessage):
        at -= 1
    return at


def _size(message: AnyMessage) -> int:
    return _OF_A_MESSAGE + (len(message.content) if isinstance(message.content, str) else len(repr(message.content)))


class _Budget:
    """What is kept of beginnings, in all threads: it goes with what they were found true by, or when it is too much."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[int, tuple[weakref.ref[Kept], int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def note(self, kept: Kept, size: int) -> None:
        """Count what is kept; what was noted longest ago goes for it."""
        with self._lock:
            self._take(id(kept))
            self._sizes[id(kept)] = weakref.ref(kept), size
            self._bytes += size
            if self._bytes <= _MOST:
                return
            for one in [one for one, (ref, _) in self._sizes.items() if ref() is None]:
                self._take(one)
            while self._bytes > _MOST:
                oldest = self._take(next(iter(self._sizes)))
                if oldest is not None:
                    oldest.beginning = None

    def _take(self, one: int) -> Kept | None:
        ref, size = self._sizes.pop(one, (None, 0))
        self._bytes -= size
        return ref() if ref else None


_budget = _Budget()
