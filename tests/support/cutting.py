"""A way to PostgreSQL that can be cut: before a COMMIT, or after it went out and before its answer came."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import sqlalchemy as sa


@dataclass
class Cutting:
    """Listens on a free loopback port, and hands on to the socket of a database's server."""

    #: Of the database itself.
    url: str
    _listener: socket.socket = field(init=False)
    _open: set[socket.socket] = field(default_factory=set)
    #: What a transaction has to have sent, all of it, for the way to be cut at its COMMIT.
    _marks: tuple[bytes, ...] = ()
    #: Whether that COMMIT still comes through.
    _is_committed: bool = True
    _is_gone: bool = False
    #: How often a client sent something first, or after it had an answer: each is a round trip.
    trips: int = 0
    _answered: set[socket.socket] = field(default_factory=set)
    #: Set when it was cut at a COMMIT.
    cut: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Self:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more, and close what is open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close_all()

    @property
    def url_through(self) -> str:
        """The URL of the database through this."""
        host, port = self._listener.getsockname()
        return sa.make_url(self.url).set(host=host, port=port, query={}).render_as_string(hide_password=False)

    @contextmanager
    def lose_answer(self, *marks: str) -> Iterator[None]:
        """Let the COMMIT of a transaction that sends `marks` through and nothing after it, for as long as this runs."""
        with self._cut_at(marks, is_committed=True):
            yield

    @contextmanager
    def gone_at(self, *marks: str) -> Iterator[None]:
        """Let nothing through from the COMMIT of a transaction that sends `marks` on, for as long as this runs."""
        with self._cut_at(marks, is_committed=False):
            yield

    @contextmanager
    def _cut_at(self, marks: tuple[str, ...], *, is_committed: bool) -> Iterator[None]:
        self._marks, self._is_committed = tuple(one.encode() for one in marks), is_committed
        self.cut.clear()
        try:
            yield
        finally:
            self._marks, self._is_gone = (), False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_gone:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            folder = sa.make_url(self.url).query["host"]
            server.connect(str(Path(str(folder)) / ".s.PGSQL.5432"))
            self._open |= {client, server}
            self._answered.add(server)
            threading.Thread(target=self._up, args=[client, server], daemon=True).start()
            threading.Thread(target=self._down, args=[client, server], daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what the client sends."""
        sent = b""
        with suppress(OSError):
            while part := client.recv(65536):
                sent += part
                if server in self._answered:
                    self._answered.remove(server)
                    self.trips += 1
                is_commit, marks = b"COMMIT" in sent, self._marks  # which may come in two parts
                if is_commit and marks and all(one in sent for one in marks):
                    self._cut(part, client, server)
                    return
                if is_commit or b"ROLLBACK" in part:
                    sent = b""
                server.sendall(part)
        for one in (client, server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _cut(self, commit: bytes, client: socket.socket, server: socket.socket) -> None:
        self._is_gone, self._marks = True, ()
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)  # first, so that no answer reaches it
        with suppress(OSError):
            if self._is_committed:
                # And then goodbye: the server closes once both are done.
                server.sendall(commit + b"X\x00\x00\x00\x04")
            server.shutdown(socket.SHUT_WR)
        self._close_all()
        self.cut.set()

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what the server answers."""
        with suppress(OSError):
            while part := server.recv(65536):
                self._answered.add(server)
                client.sendall(part)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _close_all(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()
