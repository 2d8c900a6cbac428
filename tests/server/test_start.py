"""What a server loads to start: what it needs by then, and what reviewers reach when they come."""

import re
import time
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests.support.server import Server

#: Of others, by why a start does without: nobody came yet; or nobody may need it, ever.
LATE = {"fastapi", "jinja2", "markupsafe"}
NEVER = {
    "alembic",  # the database is of this version
    "clearance.cli", "typer", "textual",
    "langchain.agents", "langchain_openai", "openai",  # no model of others is set
    "langchain_mcp_adapters", "mcp",
    "mako", "numpy", "pandas", "svg",
    "psycopg", "sqlalchemy.dialects.postgresql",  # the database is SQLite
}  # fmt: skip


class _Anew(Server):
    """A server that is no fork of a process which has the libraries."""

    is_forked = False


def _loaded(log: str) -> set[str]:
    """Give what was imported, and what of; by `PYTHONPROFILEIMPORTTIME`."""
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", log, re.MULTILINE)
    return {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2, 3)}


@pytest.mark.parametrize("auth", ["on", "off"])
def test_a_start_loads_nothing_that_it_does_not_need(auth: Literal["on", "off"], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    first = Server(tmp_path, url, auth=auth).start()  # which migrates
    first.stop()
    (tmp_path / "server.log").unlink()
    server = _Anew(tmp_path, url, auth=auth, env={"PYTHONPROFILEIMPORTTIME": "1"})

    server.start()
    try:
        at_start = _loaded(server.log.partition("Application started up")[0])
        shown = httpx.get(f"{server.url}/inbox", follow_redirects=True, timeout=60)
        described = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
        later = _loaded(server.log)
    finally:
        server.stop()

    assert at_start & {"clearance.gate", "sqlalchemy"} == {"clearance.gate", "sqlalchemy"}
    assert at_start & (LATE | NEVER) == set()
    # Who has a token is told by PyJWT; where nobody signs in it is not needed.
    assert ("jwt" in at_start) is (auth == "on")
    assert shown.status_code == 200
    assert later >= LATE
    assert later & NEVER == set()
    assert {"/approvals/requests", "/threads"} <= described["paths"].keys()


def test_a_server_whose_inbox_does_not_load_says_so_by_itself_and_serves_the_rest(tmp_path: Path) -> None:
    """It answered `Internal Server Error`, and anybody filled its log."""
    (tmp_path / "jinja2.py").write_text("raise RuntimeError('half of it is there')\n")
    server = _Anew(tmp_path, f"sqlite:///{tmp_path / 'journal.db'}", env={"PYTHONPATH": str(tmp_path)})

    server.start()
    try:
        until = time.monotonic() + 30
        while "they do not load" not in server.log and time.monotonic() < until:
            time.sleep(0.1)
        told = server.log
        with httpx.Client(base_url=server.url, timeout=60) as client:
            paths = ["/approvals/requests", "/inbox", "/inbox/nowhere", "/openapi.json", "/docs"]
            answers = [client.get(path) for path in paths]
            thread = client.post("/threads", json={})
        log = server.log
    finally:
        server.stop()

    found = re.search(r"there is no approvals API and no inbox: they do not load, error id (\w+)", told)
    assert found, told[-2000:]
    said = f"The approvals API and the inbox do not load, error {found[1]}. Nothing was recorded."
    assert [(one.status_code, one.json(), one.headers.get("retry-after")) for one in answers] == [
        (503, {"detail": said}, "10")
    ] * len(paths)
    assert thread.status_code == 200
    assert log.count("half of it is there") == told.count("half of it is there")
