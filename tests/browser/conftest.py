"""A real browser on the real server: people at the inbox, each in a browser window of their own."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from clearance.db.types import to_text
from tests.browser.chromium import find
from tests.server.conftest import make_server as make_server
from tests.support.conversation import GRAPH
from tests.support.server import Server
from tests.support.tokens import bearer, token
from tests.support.world import OLGA, Person

#: Nothing of this goes anywhere but to our own server.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_WAIT_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window, with a profile of its own.

    Of a module, not of the session: while Playwright runs, no async test can run in the same process.
    """
    found = find()
    if found is None:
        pytest.fail("There is no Chromium for the browser tests: 'python -m tests.browser.chromium' brings one.")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        expect.set_options(timeout=_WAIT_MS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Server:
    """One server for all journeys, with sign-in: each asks for something of its own."""
    made = make_server()
    made.auth = "on"
    return made.start()


@dataclass
class Bank:
    """The bank and its agent behind the pages."""

    server: Server
    asked: list[str] = field(default_factory=list)

    def ask(self, text: str, *, by: Person = OLGA) -> str:
        """Say something to the agent in a thread of its own, and give the thread."""
        with httpx.Client(base_url=self.server.url, headers=bearer(by), timeout=60) as client:
            thread_id = str(client.post("/threads", json={}).raise_for_status().json()["thread_id"])
            run = {"assistant_id": GRAPH, "input": {"messages": [{"role": "user", "content": text}]}}
            client.post(f"/threads/{thread_id}/runs/wait", json=run).raise_for_status()
        return thread_id

    def transfer(self, amount: int, *, to: str = "A-2003", by: Person = OLGA) -> str:
        """Ask for a transfer that waits for somebody, and give its request."""
        return self.requests(self.ask(f"transfer {amount} from A-2001 to {to} for rent", by=by))[0]

    def requests(self, thread_id: str) -> list[str]:
        """Give the requests of a thread in order."""
        rows = self.rows("SELECT request_id FROM requests WHERE thread_id = ? ORDER BY number", thread_id)
        return [str(row[0]) for row in rows]

    def state(self, request_id: str) -> str:
        """Give the state of a request."""
        return str(self.rows("SELECT state FROM requests WHERE request_id = ?", request_id)[0][0])

    def effects(self, request_id: str) -> int:
        """Count the transfers that a request made."""
        return int(self.rows("SELECT count(*) FROM transfers WHERE request_id = ?", request_id)[0][0])

    def last_words(self, thread_id: str) -> str:
        """Give what the model said last in a thread, once nothing is to be done there any more.

        A decision is carried out there and then; its thread learns of it by the run that follows.
        """
        with httpx.Client(base_url=self.server.url, headers=bearer(OLGA), timeout=60) as client:
            for _ in range(600):
                state = client.get(f"/threads/{thread_id}/state").raise_for_status().json()
                if (
                    not state["tasks"] and state["values"]["messages"][-1]["type"] == "ai"
                ):  # "next" is empty between steps, too
                    return str(state["values"]["messages"][-1]["content"])
                time.sleep(0.1)
        raise AssertionError(f"the thread does not come to an end: {state}")

    def end_soon(self, request_id: str, seconds: float) -> None:
        """Move the deadline of a request, past the gate: it takes a day otherwise."""
        until = to_text(datetime.now(UTC) + timedelta(seconds=seconds))
        self.write("UPDATE requests SET expires_at = ? WHERE request_id = ?", until, request_id)

    def lose(self, thread_id: str) -> None:
        """Leave the journal with a thread that the server does not have, as a pruned or lost one does."""
        lost = str(uuid4())
        for table in ("turns", "plans", "requests"):
            self.write(f"UPDATE {table} SET thread_id = ? WHERE thread_id = ?", lost, thread_id)

    def name(self, customer_id: str, name: str) -> None:
        """Give a customer another name."""
        self.write("UPDATE customers SET name = ? WHERE customer_id = ?", name, customer_id)

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """Read the server's database."""
        with sqlite3.connect(self._file, timeout=60) as connection:
            return connection.execute(query, given).fetchall()

    def write(self, statement: str, *given: Any) -> None:
        """Write to the server's database, as another program would."""
        with sqlite3.connect(self._file, timeout=60) as connection:
            connection.execute(statement, given)

    @property
    def _file(self) -> Path:
        return Path(self.server.database_url.removeprefix("sqlite:///"))


@pytest.fixture(scope="module")
def bank(server: Server) -> Bank:
    """The bank behind the server that the journeys share."""
    return Bank(server)


Sits = Callable[..., Page]


@pytest.fixture
def sits(browser: Browser, server: Server) -> Iterator[Sits]:
    """Let people sit down at the inbox, signed in; at the end no page broke its own security policy or a script."""
    opened: list[BrowserContext] = []
    wrong: list[str] = []

    def sit(person: Person | None, *, width: int = 1440, at: Server | None = None, **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, base_url=(at or server).url, reduced_motion="reduce", **options
        )
        context.set_default_timeout(_WAIT_MS)
        opened.append(context)
        if person is not None:
            context.add_cookies(
                [{"name": "clearance_inbox", "value": token(person), "url": f"{(at or server).url}/inbox",
                  "httpOnly": True, "sameSite": "Strict"}]
            )  # fmt: skip
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
        return page

    yield sit
    for context in opened:
        context.close()
    assert wrong == []
