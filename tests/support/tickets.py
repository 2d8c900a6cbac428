"""The ticket server's folder as tests see it, and how a project connects to it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support.server import ROOT

#: Names in an environment the connection to the ticket server, as JSON.
CONNECTION = "TEST_TICKETS"


class Tickets:
    """A ticket server's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def cleared(self) -> Self:
        """Let it be as it was made."""
        for file in self.folder.iterdir():
            file.unlink()
        return self

    def becomes(self, mood: str) -> None:
        """Set what it does with the next calls."""
        (self.folder / "mood").write_text(mood)

    def lists(self, version: str) -> None:
        """Set which definitions it lists from now on: `changed`, or `changed after 7` lists in all."""
        (self.folder / "tools").write_text(version)

    @property
    def books(self) -> list[Any]:
        """What it did, as [tool, arguments]."""
        file = self.folder / "books"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def times_listed(self) -> int:
        """How often it was asked for its tools."""
        file = self.folder / "lists"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def on_stdio(self) -> dict[str, Any]:
        """Give the connection to it as a process of ours."""
        arguments = ["-m", "tests.support.ticket_server", str(self.folder)]
        return {"transport": "stdio", "command": sys.executable, "args": arguments, "cwd": str(ROOT)}

    @contextmanager
    def over_http(self) -> Iterator[dict[str, Any]]:
        """Run it over HTTP, and give the connection to it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "tests.support.ticket_server", str(self.folder), str(port)]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            until = time.monotonic() + 30
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            yield {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp/"}
        finally:
            process.kill()
            process.wait()
