"""A lock that is given to whoever has waited for it longest.

One of the standard library's is taken by whoever comes first once it is free: a thread that lets go of it and wants it
again has it before the one that waits has woken up, and on a busy machine some wait until they give up.
"""

import threading
from collections import deque


class FairLock:
    """A lock for the threads of a process, given in the order in which it was asked for."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._is_held = False
        #: Each is locked until its turn has come.
        self._waiting: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return len(self._waiting)

    def acquire(self, timeout: float) -> bool:
        """Take it; False when it was not to be had within `timeout` seconds."""
        with self._changing:
            if not self._is_held:
                self._is_held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._changing:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True  # it came just as the time was over

    def release(self) -> None:
        """Give it to who is next."""
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False
