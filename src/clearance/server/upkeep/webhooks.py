"""Sends the outbox to a webhook, signed as Standard Webhooks says. docs/notifications.md is for whoever receives it.

Delivery is at least once: what was delivered just before a crash is sent again, under the same id.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import base64
import binascii
import hmac
import json
import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy.engine import Connection

from clearance.db.types import to_text
from clearance.gate.gate import Gate
from clearance.journal import notifications
from clearance.journal.notifications import Notification
from clearance.loglines import logger_of
from clearance.server.upkeep.duties import Duty
from clearance.settings import Settings, SettingsError

logger = logger_of(__name__)

LEASE = "notifications"
#: Seconds between two looks for something to send, and for one delivery from connecting to the answer.
_EVERY_S, _TIMEOUT_S = 1, 10
#: Deliveries at a time, and rows looked at for them.
_AT_ONCE, _LOOKED_AT = 8, 64
_PRUNE = timedelta(hours=1)


class Sender:
    """Collects what is to be told and posts it to one address."""

    def __init__(
        self,
        gate: Gate,
        url: str,
        key: bytes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._gate = gate
        self._url = url
        self._key = key
        #: As the gate's.
        self._clock = clock
        self._timeout_s = timeout_s
        self._pruned_at: datetime | None = None
        self._client: httpx.AsyncClient | None = None

    async def begin(self) -> None:
        """Note where the audit log ends, the first time: what happens from now on is told."""
        await self.collect()

    async def run(self) -> None:
        """Send until cancelled. One server at a time, by a lease in the database."""
        hidden = _HiddenUrl(self._url)
        async with AsyncExitStack() as stack:
            # In a thread, since it reads certificates from disk.
            client = await asyncio.to_thread(httpx.AsyncClient, follow_redirects=False, timeout=None)
            self._client = await stack.enter_async_context(client)
            logging.getLogger("httpx").addFilter(hidden)
            stack.callback(logging.getLogger("httpx").removeFilter, hidden)
            await Duty(self._gate, LEASE, _EVERY_S, [self.collect, self.send, self.prune]).run()

    async def collect(self) -> bool:
        """Collect what the audit log tells since the last time; tell whether there may be more."""
        if await self._gate.database.read(notifications.is_behind):
            return await self._gate.write(notifications.collect)
        return False

    async def send(self) -> bool:
        """Post some of what is due, each request's earliest first; tell whether more is due."""
        now = self._clock()
        due = await self._gate.database.read(lambda connection: notifications.due(connection, now, _LOOKED_AT))
        # One of each request at a time: they arrive in order as long as none fails.
        first = {notification.request_id: notification for notification in reversed(due)}
        chosen = [notification for notification in due if first[notification.request_id] is notification][:_AT_ONCE]
        await asyncio.gather(*(self._deliver(notification) for notification in chosen))
        return len(chosen) < len(due)

    async def prune(self) -> bool:
        """Take out of the outbox what has been over for long, now and then."""
        now = self._clock()
        if self._pruned_at is None or now - self._pruned_at >= _PRUNE:
            await self._gate.database.write(lambda connection: notifications.prune(connection, now))
            self._pruned_at = now
        return False

    async def _deliver(self, notification: Notification) -> None:
        """Post one notification and note what came of it. No transaction is open meanwhile."""
        database, told_id = self._gate.database, notification.notification_id
        content = await database.read(lambda connection: notifications.content(connection, notification))
        if content is None:
            await database.write(lambda connection: notifications.drop(connection, told_id))
            return
        error = await self._post(told_id, {**content, "sent_at": to_text(datetime.now(UTC))})
        now = self._clock()
        if error is None:
            await database.write(lambda connection: notifications.mark_delivered(connection, told_id, now))
            return

        def fail(connection: Connection) -> bool:
            stretch = random.uniform(0.8, 1.2)  # so that many do not come back at the same moment
            return notifications.mark_failed(connection, notification, now, error, stretch)

        if await database.write(fail):
            logger.error("notification %s (%s) is given up: %s", told_id, notification.event, error)
        elif notification.attempts == 0:
            logger.warning("notification %s (%s) is tried again: %s", told_id, notification.event, error)

    async def _post(self, told_id: str, content: dict[str, object]) -> str | None:
        """Post it, and say why the receiver does not have it, or None when it does."""
        body = json.dumps(content).encode()
        timestamp = int(datetime.now(UTC).timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "Clearance",
            "webhook-id": told_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, told_id, timestamp, body),
        }
        assert self._client is not None
        try:
            # As a whole: a receiver that sends its answer byte by byte holds nobody up. And the answer is not read.
            async with asyncio.timeout(self._timeout_s):
                async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                    return None if answer.is_success else f"answered {answer.status_code}"
        except TimeoutError:
            return f"no answer in {self._timeout_s:g} s"
        except (httpx.HTTPError, OSError) as exc:
            # Its name only: the text may hold the address, and that may hold a password.
            return type(exc).__name__


def signature(key: bytes, told_id: str, timestamp: int, body: bytes) -> str:
    """Sign a delivery: id, time in seconds since 1970 and body, as Standard Webhooks joins them."""
    signed = f"{told_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def sender_of(settings: Settings, gate: Gate) -> Sender | None:
    """Give the sender that the settings ask for, or None.

    Raises:
        SettingsError: WEBHOOK_URL or WEBHOOK_SECRET cannot be.
    """
    if not settings.webhook_url:
        return None
    try:
        url = httpx.URL(settings.webhook_url)
    except httpx.InvalidURL as exc:
        raise SettingsError("WEBHOOK_URL: cannot be read") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError("WEBHOOK_URL: must begin with http:// or https:// and a host")
    return Sender(gate, settings.webhook_url, key_of(settings.webhook_secret.get_secret_value()))


def key_of(secret: str) -> bytes:
    """Give the key that a secret stands for: after `whsec_` in base64, else its own bytes.

    Raises:
        SettingsError: what stands after `whsec_` is not 24 bytes or more in base64.
    """
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) < 24:
        raise SettingsError("WEBHOOK_SECRET: after whsec_ must stand at least 24 bytes in base64")
    return key


class _HiddenUrl(logging.Filter):
    """Drops httpx's own line about a request to the receiver, whose address may hold a token."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = str(httpx.URL(url))

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return self._url not in [str(argument) for argument in arguments]
