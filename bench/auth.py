"""What authentication costs a request: one token read, each kind, with its keys cached. Prints medians."""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from clearance.server.entry.tokens import TokenReader, make_token
from clearance.settings import Settings

ROUNDS = 2_000
ISSUER = "https://id.example"


def provider(keys: list[dict[str, Any]]) -> ThreadingHTTPServer:
    """Serve a JWKS on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": keys}).encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


async def median_ms(read: Callable[[], Awaitable[object]]) -> float:
    """Give the median of many reads, in ms."""
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await read()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


async def measure() -> None:
    """Measure HS256, ES256 and RS256, and print."""
    secret = b"a secret of 32 characters or more"
    own = Settings(_env_file=None)  # type: ignore[call-arg]  # no .env of whoever measures
    token = make_token(own, secret, "ana", ["approver"], timedelta(hours=1))
    reader = TokenReader(own, secret)
    print(f"HS256 {await median_ms(lambda: reader.read(token)):.3f} ms")
    private: dict[str, Any] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(65537, 2048),
    }
    as_jwk: dict[str, Any] = {"ES256": ECAlgorithm.to_jwk, "RS256": RSAAlgorithm.to_jwk}
    keys = [{**json.loads(as_jwk[name](key.public_key())), "kid": name, "alg": name} for name, key in private.items()]
    server = provider(keys)
    url = f"http://127.0.0.1:{server.server_port}/keys"
    theirs = Settings(_env_file=None, auth_jwks_url=url, auth_issuer=ISSUER)  # type: ignore[call-arg]  # as above
    of_provider = TokenReader(theirs, None)
    for name, key in private.items():
        claims = {"sub": "ana", "iss": ISSUER, "aud": "clearance", "roles": ["approver"],
                  "exp": datetime.now(UTC) + timedelta(hours=1)}  # fmt: skip
        signed = jwt.encode(claims, key, algorithm=name, headers={"kid": name})
        print(f"{name} {await median_ms(partial(of_provider.read, signed)):.3f} ms")
    server.shutdown()


if __name__ == "__main__":
    asyncio.run(measure())
