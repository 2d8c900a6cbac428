"""What the tests ask of `quick/libraries.py`: a process that is `langgraph dev`, or Aegra, sooner."""

import atexit
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent / "quick"
_SHARED = "TESTS_NURSERY"


class Nursery:
    """The process that has the libraries of a server, by its command, and a line to it."""

    def __init__(self, command: Path) -> None:
        place = share() / command.name
        line = socket.socket(socket.AF_UNIX)
        with open(f"{place}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                line.connect(str(place))
            except (FileNotFoundError, ConnectionRefusedError):
                _start(command, place)
                line.connect(str(place))
        self._lines = line.makefile("rwb")
        line.close()
        atexit.register(self._lines.close)
        self._alone = threading.Lock()

    def ask(self, **order: object) -> dict[str, int | None]:
        """Ask, and give the answer.

        Raises:
            RuntimeError: the process is gone.
        """
        with self._alone:
            self._lines.write(json.dumps(order).encode() + b"\n")
            self._lines.flush()
            line = self._lines.readline()
        if not line:
            raise RuntimeError("what the servers are forked from is gone")
        answer: dict[str, int | None] = json.loads(line)
        return answer


def _start(command: Path, place: Path) -> None:
    """Start one. It ends when all who asked it for something have, and what was begun runs on."""
    place.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(_HERE), "PYTHONUNBUFFERED": "1", "LANGSMITH_TRACING": "false"}
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(place))
        door.listen()
        begun = [str(command.with_name("python")), str(_HERE / "libraries.py"), command.name, str(door.fileno())]
        subprocess.run(begun, env=env, pass_fds=[door.fileno()], stdin=subprocess.DEVNULL, check=True)


def share() -> Path:
    """Give the folder in which the processes of `-n` find what one of them started, as the first of them makes it."""
    if _SHARED not in os.environ:
        os.environ[_SHARED] = made = tempfile.mkdtemp(prefix="clearance-nursery-")
        atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(os.environ[_SHARED])


_nursery = cache(Nursery)


def begin(argv: list[str], cwd: Path, env: dict[str, str], log: Path) -> "Born":
    """Begin a server by its command line, in a group of its own, which writes to the end of its log."""
    nursery = _nursery(Path(argv[0]))
    pid = nursery.ask(argv=argv, cwd=str(cwd), env=env, log=str(log))["pid"]
    assert pid is not None
    return Born(nursery, pid)


class Born:
    """A process of the nursery, as far as `subprocess.Popen` would tell of it."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Give how it ended; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask(pid=self.pid)["code"]
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait until it has ended, and give how.

        Raises:
            subprocess.TimeoutExpired: it did not.
        """
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return code
