"""The same package on Aegra: `aegra serve` of `.venv-aegra`, in a folder of its own on a free loopback port."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa

from tests.support.server import AEGRA, ROOT, Server


@dataclass
class Aegra(Server):
    """One Aegra server and its PostgreSQL database, which holds Aegra's tables and ours."""

    config: str = "langgraph.json"
    ready: ClassVar[str] = "/ready"

    def command(self, config: Path) -> list[str]:
        """Give the command line that starts it.

        Raises:
            RuntimeError: `.venv-aegra` is not there; says how to make it.
        """
        if not AEGRA.exists():
            raise RuntimeError(f"there is no {AEGRA.relative_to(ROOT)}: `make aegra` makes it")
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [str(AEGRA), "serve", *where, "--config", str(config)]

    def environment(self) -> dict[str, str]:
        """Give what the server runs with. Its database driver wants a host and a port beside the socket's folder."""
        url = sa.make_url(self.database_url).set(host="127.0.0.1", port=5432)
        return {**super().environment(), "DATABASE_URL": url.render_as_string(hide_password=False)}
