"""A webhook's receiver on loopback: a real HTTP server that answers, fails, hangs, or is not there, as a test wants."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

SECRET = "a secret for tests, long enough to be one"


@dataclass
class Delivery:
    """A request as it came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed(self, key: bytes = SECRET.encode()) -> bool:
        """Verify the signature by the text of the specification, with nothing of ours: HMAC by hand, RFC 2104."""
        signed = b".".join([self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body])
        block = key.ljust(64, b"\0") if len(key) <= 64 else hashlib.sha256(key).digest().ljust(64, b"\0")
        inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + signed).digest()
        mac = hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()
        version, _, said = self.headers["webhook-signature"].partition(",")
        return version == "v1" and hmac.compare_digest(base64.b64decode(said), mac)


class Receiver:
    """Listens from `start` to `stop`, on the same port each time."""

    def __init__(self) -> None:
        #: Everything that came in, whatever was answered.
        self.deliveries: list[Delivery] = []
        #: What is answered next: a status, "hang", "drip" or "redirect"; 200 when it is empty.
        self.script: list[int | str] = []
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        #: Holds the port while nothing listens.
        self._kept: socket.socket | None = None
        #: Set when those that hang may go home.
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=very-private"

    @property
    def events(self) -> list[str]:
        """What was told, in order of arrival."""
        return [delivery.content["event"] for delivery in self.deliveries]

    def start(self) -> "Receiver":
        """Begin to listen."""
        self._ended.clear()
        if self._kept is not None:
            self._kept.close()
        server = self._server = _Server(("127.0.0.1", self.port), _handler(self, self._ended))
        self.port = server.server_port
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on."""
        server, self._server = self._server, None
        self._ended.set()
        if server and self._thread:
            server.shutdown()
            server.server_close()
            self._thread.join()
            # Kept without listening: another server of the tests would take the port, and answer.
            self._kept = socket.socket()
            self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._kept.bind(("127.0.0.1", self.port))

    def close(self) -> None:
        """Stop, and give the port back."""
        self.stop()
        if self._kept is not None:
            self._kept.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_address = True


def _handler(receiver: Receiver, ended: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout: ClassVar[float] = 5

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            how = receiver.script.pop(0) if receiver.script else 200
            receiver.deliveries.append(Delivery(headers, body))
            self.close_connection = True
            if how == "hang":
                ended.wait(30)
                return
            if how == "drip":  # an answer that goes on and on, too slow to end and too fast to stand still
                with suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
                    while not ended.wait(0.1):
                        self.wfile.write(b"x")
                return
            self.send_response(307 if how == "redirect" else int(how))
            if how == "redirect":
                self.send_header("location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
