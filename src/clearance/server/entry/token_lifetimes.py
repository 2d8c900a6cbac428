"""A connection lives no longer than the token it was opened with: what arrives after that is nobody's.

The platform authenticates a connection once, when it is opened. A WebSocket would go on taking answers, a stream would
go on telling, and a body that trickles in would become a run, after the token has ended or its key was taken back.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.server.entry.tokens import NotSignedInError, TokenReader

#: What is told where a connection is ended.
ENDED = "Your token has ended. Sign in with a new one and connect again."
#: An open connection is judged anew this often: the provider may have taken its key back.
_JUDGE_EVERY_S = 60
#: What came in time gets its answer, if that is given within this long after the token's end.
_ANSWER_WITHIN_S = 60
#: A moment more, so that a token that is looked at when it ends has ended.
_MOMENT_S = 0.05


@dataclass(frozen=True)
class _Opened:
    """The token that a connection was opened with."""

    tokens: TokenReader
    token: str
    #: Seconds since 1970.
    ends_at: float

    @property
    def left_s(self) -> float:
        return self.ends_at - time.time()

    async def holds(self) -> bool:
        if self.left_s <= 0:
            return False
        try:
            await self.tokens.read(self.token)
        except NotSignedInError:
            return False
        return True


class EndWithToken:
    """ASGI middleware around all routes, the platform's own among them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = (_Socket if scope["type"] == "websocket" else _Exchange)(receive, send)
        before = _current.set(connection)
        try:
            await self._app(scope, connection.receive, connection.send)
        finally:
            _current.reset(before)
            await connection.close()


def opened_with(tokens: TokenReader, token: str, ends_at: float) -> None:
    """Note which token the connection of this task was opened with; `ends_at` in seconds since 1970."""
    connection = _current.get()
    if connection is not None:
        connection.opened = _Opened(tokens, token, ends_at)


class _Connection(ABC):
    """One connection: what its token lets arrive and be sent."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.opened: _Opened | None = None
        self._receive, self._send = receive, send
        self._ended = asyncio.Event()
        self._sending = asyncio.Lock()
        #: Whether all is sent that will be.
        self._is_done = False
        self._timer: asyncio.TimerHandle | None = None
        self._judging: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Send what the app gives, as long as this is open."""
        async with self._sending:
            if not self._ended.is_set():
                await self._send(message)

    async def receive(self) -> Message:
        """Give what arrives next and may, or a disconnect once this has ended."""
        message = await self._next()
        if message is not None and self._brings(message) and not await self._holds():
            await self._end()
        return self._disconnect() if message is None or self._ended.is_set() else message

    async def _next(self) -> Message | None:
        if self.opened is None:
            return await self._receive()
        getting, ending = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({getting, ending}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._ended.is_set() else getting.result()
        finally:
            getting.cancel()
            ending.cancel()

    async def _holds(self) -> bool:
        return self.opened is None or await self.opened.holds()

    def _watch(self) -> None:
        """Judge this again when its token ends, or soon."""
        if self.opened is not None:
            in_s = min(max(self.opened.left_s, 0) + _MOMENT_S, _JUDGE_EVERY_S)
            self._timer = asyncio.get_running_loop().call_later(in_s, self._begin_judging)

    def _begin_judging(self) -> None:
        self._judging = asyncio.create_task(self._judge())

    async def _judge(self) -> None:
        if self._is_owed() or await self._holds():
            self._watch()
        else:
            await self._end()

    async def _end(self) -> None:
        self._ended.set()
        # Behind what is being sent: a client that reads slowly gets that whole.
        async with self._sending:
            await self._say_goodbye()

    async def close(self) -> None:
        """Forget it, once what it says at its end is said."""
        if self._timer is not None:
            self._timer.cancel()
        if self._judging is not None:
            if not self._ended.is_set():
                self._judging.cancel()
            await asyncio.wait([self._judging])

    @abstractmethod
    def _brings(self, message: Message) -> bool:
        """Tell whether this is something that arrives."""

    def _is_owed(self) -> bool:
        """Tell whether something that came in time has still to be answered."""
        return False

    @abstractmethod
    def _disconnect(self) -> Message:
        """Give what the app reads from a connection that was ended."""

    @abstractmethod
    async def _say_goodbye(self) -> None:
        """Tell the client why, and close it, if that is not done yet."""


_current: ContextVar[_Connection | None] = ContextVar("connection", default=None)


class _Socket(_Connection):
    """A WebSocket."""

    async def send(self, message: Message) -> None:
        await super().send(message)
        self._is_done = message["type"] == "websocket.close"
        if message["type"] == "websocket.accept":
            self._watch()

    def _brings(self, message: Message) -> bool:
        return bool(message["type"] == "websocket.receive")

    def _disconnect(self) -> Message:
        return {"type": "websocket.disconnect", "code": 1008, "reason": ENDED}

    async def _say_goodbye(self) -> None:
        if not self._is_done:
            await self._send({"type": "websocket.close", "code": 1008, "reason": ENDED})


class _Exchange(_Connection):
    """A request and its answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        super().__init__(receive, send)
        self._media_type = ""
        self._is_started = self._began_late = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            late_s = -self.opened.left_s if self.opened is not None else 0
            if late_s > _ANSWER_WITHIN_S:
                await self._end()
            else:
                self._began_late = late_s > 0
                self._media_type = _media_type(message)
                self._watch()
        await super().send(message)
        if not self._ended.is_set():
            self._is_started = True
            self._is_done = message["type"] == "http.response.body" and not message.get("more_body", False)

    def _brings(self, message: Message) -> bool:
        # A body that trickles in; the rest of a request whose answer has begun changes nothing any more.
        return message["type"] == "http.request" and not self._is_started

    def _is_owed(self) -> bool:
        return self._began_late and self.opened is not None and -self.opened.left_s < _ANSWER_WITHIN_S

    def _disconnect(self) -> Message:
        return {"type": "http.disconnect"}

    async def _say_goodbye(self) -> None:
        if self._is_done:
            return
        if not self._is_started:
            body = json.dumps({"detail": ENDED}).encode()
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await self._send({"type": "http.response.start", "status": 401, "headers": headers})
        else:
            body = _last_words(self._media_type)
        self._is_done = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _media_type(start: Message) -> str:
    headers: Any = start.get("headers", ())
    return next((value.decode("latin-1") for name, value in headers if name.lower() == b"content-type"), "")


def _last_words(media_type: str) -> bytes:
    """Say why it ends in a way that clients of such a stream understand: SDKs raise an error then."""
    told = {"error": "TokenEnded", "message": ENDED}
    if media_type.startswith("text/event-stream"):
        return f"event: error\ndata: {json.dumps(told)}\n\n".encode()
    # Of a run that is waited for nothing but white space has been sent.
    return json.dumps({"__error__": told}).encode() if media_type.startswith("application/json") else b""
