"""A payment provider over HTTP with books of its own, and moods: what tests of external actions have as their judge."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Payment:
    """An entry of the provider's books."""

    reference: str
    key: str
    account: str
    #: As it was given.
    amount: Any


#: What a provider does with a payment, by name: whether it pays, how long that takes and when, what it answers.
MOODS = ("works", "refuses", "pays, then hangs", "hangs, then pays", "breaks before", "breaks after", "slow")


@dataclass
class Provider:
    """One on a free port of loopback, until the block ends."""

    #: Does a key once.
    knows_keys: bool = False
    #: Does so for accounts of which the name has this in it.
    knows_keys_of: str | None = None
    #: Seconds that it takes where it is slow, and that it hangs.
    takes_s: float = 0.5
    mood: str = "works"
    #: Moods of the next payments; after them `mood`.
    next: list[str] = field(default_factory=list)
    books: list[Payment] = field(default_factory=list)
    #: Payments that were asked for, whatever became of them.
    asked: list[dict[str, Any]] = field(default_factory=list)
    #: Facts: whether an account is closed there.
    closed: set[str] = field(default_factory=set)
    #: Accounts that it does not know, and whose those are that it knows.
    unknown: set[str] = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)
    #: 0: any that is free.
    port: int = 0
    reads: int = 0
    lookups: int = 0
    #: While set, look-ups answer 503.
    is_blind: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def paid(self) -> list[tuple[str, Any]]:
        """What its books say, as (account, amount)."""
        with self._lock:
            return [(one.account, one.amount) for one in self.books]

    def pay(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Do what the mood says, and give status and body; None: the connection breaks."""
        with self._lock:
            self.asked.append(given)
            mood = self.next.pop(0) if self.next else self.mood
        match mood:
            case "refuses":
                return 422, {"error": "the account is closed"}
            case "breaks before":
                return None
            case "hangs, then pays":
                time.sleep(self.takes_s)
                self._book(given)
                return None
            case "pays, then hangs":
                self._book(given)
                time.sleep(self.takes_s)
                return None
            case "breaks after":
                self._book(given)
                return None
            case "slow":
                time.sleep(self.takes_s)
        return 200, {"reference": self._book(given)}

    def _book(self, given: dict[str, Any]) -> str:
        with self._lock:
            if self.knows_keys or (self.knows_keys_of is not None and self.knows_keys_of in given["account"]):
                for one in self.books:
                    if one.key == given["key"]:
                        return one.reference
            made = Payment(f"P-{len(self.books) + 1}", given["key"], given["account"], given["amount"])
            self.books.append(made)
            return made.reference

    def find(self, key: str) -> tuple[int, dict[str, Any]]:
        """Answer a look-up."""
        with self._lock:
            self.lookups += 1
            if self.is_blind:
                return 503, {}
            found = next((one for one in self.books if one.key == key), None)
        return (200, {"reference": found.reference}) if found else (404, {})


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._say(provider.pay({**given, "key": self.headers.get("Idempotency-Key", "")}))

        def do_GET(self) -> None:
            kind, _, name = self.path[1:].partition("/")
            if kind == "payments":
                self._say(provider.find(name))
                return
            provider.reads += 1
            if name in provider.unknown:
                self._say((404, {}))
                return
            owner = provider.owners.get(name, "Erika Mustermann")
            self._say((200, {"closed": name in provider.closed, "owner": owner, "bank": "Musterbank"}))

        def _say(self, answer: tuple[int, dict[str, Any]] | None) -> None:
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            body = json.dumps(answer[1]).encode()
            with suppress(OSError):  # whoever asked may be gone
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


Eventually = Callable[[], bool]


def eventually(holds: Eventually, *, within_s: float = 60) -> None:
    """Wait until something holds."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
