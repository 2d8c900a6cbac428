"""An identity provider on loopback: keys that it publishes and signs with, rotates, and fails to answer with."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://id.example.com/"
Algorithm = Literal["RS256", "ES256"]


@dataclass
class Provider:
    """Publishes its keys at `url`; counts how often it was asked."""

    url: str = ""
    asked: int = 0
    #: What it answers: its keys, an error, nothing that can be read, or nothing for a while.
    mood: Literal["well", "error", "garbage", "slow", "list", "empty"] = "well"
    _keys: dict[str, tuple[Algorithm, Any]] = field(default_factory=dict)

    def add_key(self, kid: str, algorithm: Algorithm = "RS256") -> None:
        """Make a key and publish it."""
        made: Any = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if algorithm == "RS256"
            else ec.generate_private_key(ec.SECP256R1())
        )
        self._keys[kid] = (algorithm, made)

    def remove_key(self, kid: str) -> Any:
        """Publish a key no more, and give it."""
        return self._keys.pop(kid)[1]

    def sign(self, kid: str, subject: Any = "olga", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token as this provider; `header` and `claims` change what it says, None leaves a claim out."""
        algorithm, key = self._keys[kid]
        return jwt.encode(
            make_claims(subject, **claims), key, algorithm=algorithm, headers={"kid": kid, **(header or {})}
        )

    def public(self, kid: str) -> dict[str, Any]:
        """Give the public key as it is published."""
        algorithm, key = self._keys[kid]
        public: Any = key.public_key()
        kind: Any = RSAAlgorithm if algorithm == "RS256" else ECAlgorithm
        return {**kind.to_jwk(public, as_dict=True), "kid": kid, "use": "sig", "alg": algorithm}

    def answer(self) -> tuple[int, bytes]:
        """Give status and body of an answer."""
        self.asked += 1
        match self.mood:
            case "error":
                return 503, b"out of order"
            case "garbage":
                return 200, b"<html>Be right back</html>"
            case "list":
                return 200, b"[]"
            case "empty":
                return 200, b'{"keys": []}'
            case "slow":
                time.sleep(2)
        return 200, json.dumps({"keys": [self.public(kid) for kid in list(self._keys)]}).encode()


def make_claims(subject: Any = "olga", **claims: Any) -> dict[str, Any]:
    """Make the claims of a good token; given ones come over them, None leaves one out."""
    made = {
        "sub": subject,
        "iss": ISSUER,
        "aud": "clearance",
        "exp": datetime.now(UTC) + timedelta(hours=1),
        "roles": ["approver"],
        **claims,
    }
    return {name: value for name, value in made.items() if value is not None}


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider for as long as the block does."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = provider.answer()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # whoever asked has gone

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
