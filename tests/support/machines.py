"""Several Aegra servers on one PostgreSQL and one Redis, which hold their shared queue, as on several machines."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from alembic.script import ScriptDirectory

from tests.support.aegra import Aegra
from tests.support.environment import copy_files
from tests.support.server import ROOT, free_port

#: Aegra's own bounds, shorter: a run of a killed process is tried again after some seconds, not after 45.
QUICK = {
    "LEASE_DURATION_SECONDS": "5",
    "HEARTBEAT_INTERVAL_SECONDS": "2",
    "REAPER_INTERVAL_SECONDS": "1",
    "STUCK_PENDING_THRESHOLD_SECONDS": "5",
    "POSTGRES_POLL_INTERVAL_SECONDS": "1",
    "BLPOP_TIMEOUT_SECONDS": "1",
    "BLOCKING_SOCKET_TIMEOUT_SECONDS": "7",
    "WORKER_DRAIN_TIMEOUT": "2",
    # Each attempt that a kill ends counts.
    "BG_JOB_MAX_RETRIES": "20",
}
_READY_S = 10


@dataclass
class Redis:
    """Debian's `redis-server`, which keeps nothing, on a free loopback port."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it and wait until it takes connections.

        Raises:
            RuntimeError: it is not installed, or was not ready in time.
        """
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("there is no redis-server: Debian's package of that name has it")
        self.port = self.port or free_port()
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        nothing = ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        self.process = subprocess.Popen([program, *where, *nothing], stdout=subprocess.DEVNULL)
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        self.stop()
        raise RuntimeError(f"redis-server was not ready in {_READY_S} s")

    def stop(self) -> None:
        """End it at once; what stood in it is gone."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()


@dataclass
class Machine(Aegra):
    """One of the servers. `redis` is the URL of what they share beside the database."""

    redis: str = ""

    def environment(self) -> dict[str, str]:
        """Give what the server runs with: its runs stand in a queue that all of them take from."""
        given = super().environment()
        return {**given, "REDIS_BROKER_ENABLED": "true", "REDIS_URL": self.redis, **QUICK, **self.env}

    def upgrade(self, source: Path) -> None:
        """Give it another version's sources, for its next start."""
        self.env["PYTHONPATH"] = str(source)
        link = self.folder / "src"
        link.unlink()
        link.symlink_to(source)


def next_version(folder: Path, migration: str) -> Path:
    """Make sources of a version that differs from ours by a migration, and give their folder."""
    source = copy_files(ROOT / "src", folder / "src")
    versions = source / "clearance" / "db" / "migrations" / "versions"
    (last,) = ScriptDirectory(str(versions.parent)).get_heads()
    (versions / "9999_next.py").write_text(
        f'from alembic import op\nrevision, down_revision = "9999", "{last}"\n\ndef upgrade():\n{migration}\n'
    )
    return source


def machines(folder: Path, url: str, redis: str, count: int, **env: str) -> list[Machine]:
    """Make servers, not started, each in a folder of its own."""
    made = []
    for number in range(1, count + 1):
        own = folder / f"machine-{number}"
        own.mkdir()
        made.append(Machine(own, url, env=dict(env), auth="on", redis=redis))
    return made
