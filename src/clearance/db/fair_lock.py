"""A lock that is given to whoever has waited for it longest, what is urgent first.

One of the standard library's is taken by whoever comes first once it is free: a thread that lets go of it and wants it
again has it before the one that waits has woken up, and on a busy machine some wait until they give up.
"""

import threading
from collections import deque

#: After so many in a row that are urgent one that is not has its turn: else a crowd of them would keep it away.
_IN_A_ROW = 4


class FairLock:
    """A lock for the threads of a process, given in the order in which it was asked for: first to what is urgent."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._is_held = False
        #: Each is locked until its turn has come.
        self._waiting: deque[threading.Lock] = deque()
        self._urgent: deque[threading.Lock] = deque()
        #: How many that are urgent had it since one had that is not, and waited.
        self._in_a_row = 0

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return len(self._waiting) + len(self._urgent)

    def acquire(self, timeout: float, *, is_urgent: bool = False) -> bool:
        """Take it; False when it was not to be had within `timeout` seconds."""
        lane = self._urgent if is_urgent else self._waiting
        with self._changing:
            if not self._is_held:
                self._is_held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            lane.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._changing:
            if turn in lane:
                lane.remove(turn)
                return False
        return True  # it came just as the time was over

    def release(self) -> None:
        """Give it to who is next."""
        with self._changing:
            if self._urgent and (self._in_a_row < _IN_A_ROW or not self._waiting):
                self._in_a_row += 1
                self._urgent.popleft().release()
            elif self._waiting:
                self._in_a_row = 0
                self._waiting.popleft().release()
            else:
                self._is_held = False
