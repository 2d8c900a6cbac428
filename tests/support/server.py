"""The real `langgraph dev`, in a folder of its own on a free loopback port, started and killed as tests want."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import httpx

from tests.support import nursery

ROOT = Path(__file__).parents[2]
#: What the tests of the gate are judged by; the sample has tests of its own.
GATE_POLICY = ROOT / "tests" / "support" / "policy.toml"
_READY_S = 60
_LANGGRAPH = str(Path(sys.executable).with_name("langgraph"))
AEGRA = ROOT / ".venv-aegra" / "bin" / "aegra"
AUTH_SECRET = "a secret for tests, not a secret at all"


@dataclass
class Server:
    """One development server. Its data survive `kill` and `start`."""

    folder: Path
    database_url: str
    config: str = "langgraph.dev.json"
    env: dict[str, str] = field(default_factory=dict)
    policy: Path = GATE_POLICY
    port: int = 0
    process: subprocess.Popen[bytes] | nursery.Born | None = None
    #: `on`: as deployed. `names`: people are told apart, and nothing is refused: the gate stands alone. `off`: no
    #: authentication, everybody is the local principal.
    auth: Literal["on", "names", "off"] = "off"
    #: Whether it is forked from a process that has the libraries. The demo and benchmarks start as anybody would.
    is_forked: ClassVar[bool] = False
    #: Answers 200 as soon as the server takes requests.
    ready: ClassVar[str] = "/ok"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        """Give what the server runs with; the command line and scripts of a test run with the same."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OPENAI", "LANGSMITH", "MODEL", "SYSTEM_PROMPT"))
        }
        paths = [folder for folder in (self.env.get("PYTHONPATH"), kept.get("PYTHONPATH")) if folder]
        return {
            **kept,
            "DATABASE_URL": self.database_url,
            "CHECKPOINT_FILE": str(self.folder / "checkpoints.db"),
            "AUDIT_KEY": "a key for tests, not a secret at all",
            "AUTH": "off" if self.auth == "off" else "on",
            "AUTH_SECRET": AUTH_SECRET,
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "LANGGRAPH_NO_VERSION_CHECK": "true",
            "LANGSMITH_TRACING": "false",
            "PYTHONUNBUFFERED": "1",
            **self.env,
            **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
        }

    def command(self, config: Path) -> list[str]:
        """Give the command line that starts it."""
        return [
            _LANGGRAPH, "dev", "--config", str(config),
            "--host", "127.0.0.1", "--port", str(self.port), "--no-browser", "--no-reload", "--n-jobs-per-worker", "10",
        ]  # fmt: skip

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended, or was not ready in a minute; with the end of its log.
        """
        self.port = free_port()
        command, environment = self.command(self._configuration()), self.environment()
        self.process = self._begin(command, environment, self.folder / "server.log")
        until = time.monotonic() + _READY_S
        with httpx.Client(base_url=self.url, timeout=2) as client:
            while time.monotonic() < until:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log[-4000:]}")
                try:
                    if client.get(self.ready).status_code == 200:
                        return self
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"the server was not ready in {_READY_S} s:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """Kill it and its children at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would, and wait."""
        self._end(signal.SIGTERM)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Let it do nothing for the length of the block: what is sent meanwhile it finds all at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def _begin(
        self, command: list[str], environment: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes] | nursery.Born:
        # As a process of its own from the first import on: those of examples and wheels, which have a Python of their
        # own; and all where a fork is not what it is on Linux.
        if self.is_forked and command[0] in (_LANGGRAPH, str(AEGRA)) and sys.platform == "linux":
            return nursery.begin(command, self.folder, environment, log)
        with log.open("ab") as out:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=out, stderr=out, start_new_session=True
            )

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, how)
            process.wait(30)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def _configuration(self) -> Path:
        """Link the project's own files into the folder: the server keeps its state where it runs."""
        for name in (self.config, "pyproject.toml", "README.md", "src"):
            link = self.folder / name
            if not link.exists():
                link.symlink_to(ROOT / name)
        if not (self.folder / "policy.toml").exists():
            (self.folder / "policy.toml").symlink_to(self.policy)
        if self.auth == "on":
            return self.folder / self.config
        configuration = json.loads((ROOT / self.config).read_text())
        del configuration["auth"]
        if self.auth == "names":
            configuration["auth"] = {"path": "tests.support.names_only:auth"}
        changed = self.folder / f"{self.auth}.{self.config}"
        changed.write_text(json.dumps(configuration))
        return changed


def with_graph(folder: Path, configuration: Path, file: Path) -> Path:
    """Write a server's configuration anew, with the `graph` of another file in place of the sample's."""
    link = folder / f"{file.stem}_graph.py"
    if not link.exists():
        link.symlink_to(file)
    changed = folder / f"{file.stem}.json"
    read = json.loads(configuration.read_text())
    changed.write_text(json.dumps({**read, "graphs": {"clearance": f"./{link.name}:graph"}}))
    return changed


def free_port() -> int:
    """Give a port of loopback that nobody listens on, and that no process of this run was given before.

    Seconds pass until a server listens there. Another one that began meanwhile was taken for it.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with suppress(FileExistsError):
            (nursery.share() / f"port-{port}").touch(exist_ok=False)
            return port
