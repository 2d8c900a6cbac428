"""The processes of `-n`, forked from one that has imported and collected the tests: half of what their start costs.

pytest-xdist starts each as a Python that is given its program line by line. In place of that Python it starts
`python workers.py join PLACE …`, which hands what it was started with to a fork, and ends when that has.
"""

import gc
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def prepare(arguments: Iterable[str], folder: Path, specs: list[Any]) -> None:
    """Collect what these arguments of pytest ask for in a process of its own, and let processes be forked from that.

    Those that execnet would start elsewhere than here stay as they are; and all where a fork is not what it is on
    Linux, or where nothing can be collected, of which they tell themselves.
    """
    if sys.platform != "linux":
        return
    # It ends with this process, which alone has the other end.
    place = str(folder / f"workers-{os.getpid()}")
    (told, tells), (ends, _) = os.pipe(), os.pipe()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        passed = (door.fileno(), tells, ends)
        command = [sys.executable, __file__, "collect", *map(str, passed), *arguments]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=passed, check=True)
    os.close(tells)
    os.close(ends)
    is_ready = os.read(told, 1)
    os.close(told)
    if is_ready:
        python = shlex.join([sys.executable, "-I", "-S", __file__, "join", place])
        for spec in specs:
            if spec.popen and not (spec.python or spec.via):
                spec.python = python


def collect(door: socket.socket, tells: int, ends: int, arguments: list[str]) -> None:
    """Collect, say so, and become whoever is asked for, until the process ends that asked for this."""
    import pytest

    paths = ["", *sys.path[1:]]  # as those of `python -c`
    sys.path[:] = paths
    done = pytest.main([*arguments, "--collect-only", "--quiet", "-n0", "--capture=no"])
    sys.path[:] = paths
    if done != pytest.ExitCode.OK or len(os.listdir("/proc/self/task")) != 1:
        return  # a fork would be without a thread
    gc.collect()
    gc.freeze()
    gc.disable()  # until each has collected, too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(tells, b".")
    os.close(tells)
    awaited: list[Any] = [door, ends]
    while ends not in (ready := select.select(awaited, [], [])[0]):
        if door in ready:
            line, _ = door.accept()
            if not os.fork():
                door.close()
                os.close(ends)
                _become(line)
                return
            line.close()


def _become(line: socket.socket) -> None:
    """Run the program that comes by the standard input of who stands at the other end, which ends with this."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, given, _, _ = socket.recv_fds(line, 1, 3)
    for own, fd in enumerate(given):
        os.dup2(fd, own)
        os.close(fd)
    sys.argv = ["-c"]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  for as long as the process lives
    exec(eval(sys.stdin.readline()), {"__name__": "__main__"})  # what execnet runs by `python -c`


def join(place: str) -> None:
    """Hand over what this process was started with, and wait for who took it."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        socket.send_fds(line, [b"."], [0, 1, 2])
        for own in (0, 1):
            os.close(own)  # or nobody would notice that the other one closed it
        line.recv(1)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "join":
        join(rest[0])
    elif not os.fork():  # who asked for it waits for this process, and not for its child
        door, tells, ends = map(int, rest[:3])
        collect(socket.socket(fileno=door), tells, ends, rest[3:])
