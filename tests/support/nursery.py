"""What the tests ask of `quick/libraries.py`: a process that is `langgraph dev`, or Aegra, sooner."""

import atexit
import json
import os
import socket
import subprocess
import threading
import time
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent / "quick"


class Nursery:
    """The process that has the libraries of a server, by its command, and the line to it."""

    def __init__(self, command: Path) -> None:
        ours, its = socket.socketpair()
        python = str(command.with_name("python"))
        begun = [python, str(_HERE / "libraries.py"), command.name, str(its.fileno())]
        env = {**os.environ, "PYTHONPATH": str(_HERE), "PYTHONUNBUFFERED": "1", "LANGSMITH_TRACING": "false"}
        with its:
            self._process = subprocess.Popen(begun, env=env, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
        self._lines = ours.makefile("rwb")
        ours.close()
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
            raise RuntimeError(f"what the servers are forked from ended with {self._process.wait()}")
        answer: dict[str, int | None] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end; what was begun runs on."""
        self._lines.close()
        self._process.wait(30)


@cache
def _nursery(command: Path) -> Nursery:
    made = Nursery(command)
    atexit.register(made.close)
    return made


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
