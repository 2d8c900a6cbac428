"""What stored parts of checkpoints mean, worked out once for those that are read often.

A checkpoint that keeps what is new of a thread's messages is made of the same parts, each time the thread goes on: all
messages as they were some turns ago, and each update since. One that keeps all messages is read once, so what is read
the first time is only noted. A part is known again by all its bytes and by nothing else: what another process wrote,
and what was deleted, copied or changed since, has other bytes or is not asked for. Whoever reads gets a copy, for a
node may write to the messages of its state.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from clearance.message_values import OtherKindError, copy_of_value, memory_of

#: Bytes of memory that a process takes for what it keeps, of all threads, and for one part.
_MOST, _LARGEST = 32_000_000, 8_000_000
#: Larger ones, as they are stored, are not looked at: pictures are read anew. A hundred messages are some 30,000.
_LONGEST = 1_000_000
#: Shorter ones are read as quickly as they are found, but for updates of messages, which are lists.
_SHORTEST = 4_000
#: Parts that are noted as read once.
_MOST_NOTED = 10_000


@dataclass
class _Part:
    value: Any
    #: Bytes of memory, with those by which it is known.
    size: int
    #: Ids of the threads that it was read in: a copy of a thread has the same parts.
    threads: set[str]


class Known:
    """Values by their bytes, those used last; for all threads of this process."""

    def __init__(self) -> None:
        self._parts: OrderedDict[bytes, _Part] = OrderedDict()
        self._of_threads: dict[str, set[bytes]] = {}
        #: By the hash of their bytes, what was read once, and whether it may be kept.
        self._noted: dict[int, bool] = {}
        self._size = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of memory that are taken, about."""
        return self._size

    def is_read_again(self, stored: bytes) -> bool:
        """Note that bytes are read, and tell whether they were before and may be kept."""
        noted = hash(stored)
        with self._lock:
            if noted in self._noted:
                return self._noted[noted]
            if len(self._noted) >= _MOST_NOTED:
                self._noted.clear()
            self._noted[noted] = True
            return False

    def find(self, stored: bytes, thread_id: str) -> Any:
        """Give a value that nobody may write to; None where it is not known."""
        with self._lock:
            part = self._parts.get(stored)
            if part is None:
                return None
            self._parts.move_to_end(stored)
            self._read_in(thread_id, stored, part)
            return part.value

    def add(self, stored: bytes, value: Any, thread_id: str) -> None:
        """Keep a copy of a value, unless it takes much, or nobody knows what a copy of it is.

        What was not used for longest goes for it.
        """
        size, copied = memory_of(value, _LARGEST) + len(stored), None
        if size <= _LARGEST:
            with suppress(OtherKindError, RecursionError):
                copied = copy_of_value(value)
        with self._lock:
            if copied is None:
                # To find that out again would take longer than to read it.
                self._noted[hash(stored)] = False
                return
            part = _Part(copied, size, set())
            if stored in self._parts:
                return
            self._parts[stored] = part
            self._size += size
            self._read_in(thread_id, stored, part)
            while self._size > _MOST:
                self._drop(next(iter(self._parts)))

    def forget(self, thread_ids: Iterable[str] | None = None) -> None:
        """Keep nothing of what was read in these threads, or in any: some of it was deleted."""
        with self._lock:
            for thread_id in list(self._of_threads if thread_ids is None else thread_ids):
                for stored in list(self._of_threads.get(thread_id, ())):
                    part = self._parts[stored]
                    part.threads.discard(thread_id)
                    if not part.threads:
                        self._drop(stored)
                self._of_threads.pop(thread_id, None)

    def _read_in(self, thread_id: str, stored: bytes, part: _Part) -> None:
        part.threads.add(thread_id)
        self._of_threads.setdefault(thread_id, set()).add(stored)

    def _drop(self, stored: bytes) -> None:
        part = self._parts.pop(stored)
        self._size -= part.size
        for thread_id in part.threads:
            of_thread = self._of_threads[thread_id]
            of_thread.discard(stored)
            if not of_thread:
                del self._of_threads[thread_id]


known = Known()


class Decoding(SerializerProtocol):
    """A checkpointer's serializer that reads again what it knows, in one thread."""

    def __init__(self, serde: SerializerProtocol, thread_id: str) -> None:
        self._serde = serde
        self._thread_id = thread_id

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Write a value."""
        return self._serde.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Read a value; it is the caller's own."""
        kind, stored = data
        if kind != "msgpack" or len(stored) > _LONGEST:
            return self._serde.loads_typed(data)
        if (found := known.find(stored, self._thread_id)) is not None:
            return copy_of_value(found)
        value = self._serde.loads_typed(data)
        if (isinstance(value, list) or len(stored) >= _SHORTEST) and known.is_read_again(stored):
            known.add(stored, value, self._thread_id)
        return value
