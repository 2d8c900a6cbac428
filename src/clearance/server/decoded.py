"""What stored parts of checkpoints mean, worked out once for those that are read often.

A checkpoint that keeps what is new of a thread's messages is made of the same parts, each time the thread goes on: all
messages as they were some turns ago, and each update since. One that keeps all messages is read once, so what is read
the first time is only noted. A part is known again by all its bytes and by nothing else: what another process wrote,
and what was deleted, copied or changed since, has other bytes or is not asked for. Whoever reads gets a copy, for a
node may write to the messages of its state.
"""

import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from clearance.message_values import OtherKindError, copy_of_value

#: Bytes that a process keeps, of all threads, and of one part, as they are stored. In memory messages take some seven
#: times that, and many small values more. A hundred messages are some 30,000; pictures are read anew.
_MOST, _LARGEST = 4_000_000, 1_000_000
#: Shorter ones are read as quickly as they are found, but for updates of messages, which are lists.
_SHORTEST = 4_000
#: Parts that are noted as read once.
_MOST_NOTED = 10_000


class Known:
    """Values by their bytes, those used last; for all threads of this process."""

    def __init__(self) -> None:
        self._values: OrderedDict[bytes, Any] = OrderedDict()
        #: By the hash of their bytes, what was read once.
        self._noted: dict[int, None] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that are kept, as they are stored."""
        return self._bytes

    def is_read_again(self, stored: bytes) -> bool:
        """Note that bytes are read, and tell whether they were before."""
        noted = hash(stored)
        with self._lock:
            if noted in self._noted:
                return True
            if len(self._noted) >= _MOST_NOTED:
                self._noted.clear()
            self._noted[noted] = None
            return False

    def find(self, stored: bytes) -> Any:
        """Give a value that nobody may write to; None where it is not known."""
        with self._lock:
            value = self._values.get(stored)
            if value is not None:
                self._values.move_to_end(stored)
            return value

    def add(self, stored: bytes, value: Any) -> None:
        """Keep a value; what was not used for longest goes for it."""
        with self._lock:
            if stored in self._values:
                return
            self._values[stored] = value
            self._bytes += len(stored)
            while self._bytes > _MOST:
                self._bytes -= len(self._values.popitem(last=False)[0])

    def forget(self) -> None:
        """Keep nothing of what was read so far: some of it was deleted."""
        with self._lock:
            self._values.clear()
            self._bytes = 0


known = Known()


class Decoding(SerializerProtocol):
    """A checkpointer's serializer that reads again what it knows."""

    def __init__(self, serde: SerializerProtocol) -> None:
        self._serde = serde

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Write a value."""
        return self._serde.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Read a value; it is the caller's own."""
        kind, stored = data
        if kind != "msgpack" or len(stored) > _LARGEST:
            return self._serde.loads_typed(data)
        if (found := known.find(stored)) is not None:
            return copy_of_value(found)
        value = self._serde.loads_typed(data)
        if (isinstance(value, list) or len(stored) >= _SHORTEST) and known.is_read_again(stored):
            with suppress(OtherKindError):
                known.add(stored, copy_of_value(value))
        return value
