"""Who has waited longest for the lock has it next, and who gives up has never had it."""

import threading
import time
from collections.abc import Callable

from clearance.db.fair_lock import FairLock


def _until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_who_lets_go_and_wants_it_again_is_last() -> None:
    lock, order = FairLock(), list[str]()

    def take(name: str) -> None:
        assert lock.acquire(60)
        order.append(name)
        lock.release()

    assert lock.acquire(1)
    threads = []
    for number, name in enumerate(["first", "second", "third"]):
        threads.append(threading.Thread(target=take, args=[name]))
        threads[-1].start()
        _until(lambda: lock.waiting == number + 1)  # noqa: B023  at once
    lock.release()
    take("again")
    for thread in threads:
        thread.join()

    assert order == ["first", "second", "third", "again"]


def test_what_is_urgent_comes_first_and_keeps_nobody_away() -> None:
    lock, order = FairLock(), list[str]()

    def take(name: str, is_urgent: bool) -> None:
        assert lock.acquire(60, is_urgent=is_urgent)
        order.append(name)
        lock.release()

    assert lock.acquire(1)
    wanted = [("first", False), ("second", False), *((f"urgent {number}", True) for number in range(6))]
    threads = []
    for number, one in enumerate(wanted):
        threads.append(threading.Thread(target=take, args=one))
        threads[-1].start()
        _until(lambda: lock.waiting == number + 1)  # noqa: B023  at once
    lock.release()
    for thread in threads:
        thread.join()

    urgent = [f"urgent {number}" for number in range(6)]
    assert order == [*urgent[:4], "first", *urgent[4:], "second"]


def test_who_gives_up_is_passed_over() -> None:
    lock, had = FairLock(), threading.Event()

    def wait_long() -> None:
        assert lock.acquire(60)
        had.set()
        lock.release()

    assert lock.acquire(1)
    gave_up: list[bool] = []
    short = threading.Thread(target=lambda: gave_up.append(lock.acquire(0.05)))
    short.start()
    _until(lambda: lock.waiting == 1)
    long = threading.Thread(target=wait_long)
    long.start()
    short.join()
    _until(lambda: lock.waiting == 1)
    lock.release()
    long.join()

    assert gave_up == [False]
    assert had.is_set()
    assert lock.acquire(0)


def test_many_threads_hold_it_one_at_a_time_and_none_is_forgotten() -> None:
    lock = FairLock()
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for number in range(200):
            if not lock.acquire(60 if number % 3 else 0.0005):
                continue
            inside += 1
            most = max(most, inside)
            inside -= 1
            done += 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1
    assert done >= 12 * 133
    assert (lock.waiting, lock.acquire(0)) == (0, True)
