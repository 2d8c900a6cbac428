"""How much anybody may send: bodies before they are read, words before they are stored.

What is said in a thread is kept in each of its checkpoints, so a large message is stored a dozen times in its turn and
as often in each turn after it.
"""

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.canonical import is_too_much
from clearance.server.entry.paths import is_inside, parts_of
from clearance.settings import Settings, settings

#: A decision, a form: no route of ours takes words.
_OURS, _OURS_BYTES = frozenset(["approvals", "inbox"]), 200_000
#: Path, query and headers together. The longest token has 16,000.
_HEAD_BYTES = 64_000
#: Seconds in which a body has to have come, and those that the rest of one too large is thrown away for: a client that
#: still sends reads no answer.
_BODY_S, _REST_S = 60, 2
#: Config, context and metadata of a run, metadata of a thread.
_BESIDE_BYTES = 20_000
_MOST_MESSAGES = 1_000
#: Types of content blocks that hold a file. Source: langchain_core.messages.content, and what providers' clients send.
MEDIA = frozenset(
    ["image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file", "document", "media"]
)


class TooMuchError(Exception):
    """More than may be sent; `status` is 413 for bytes, 422 for a shape."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _OverError(HTTPException):
    """Ends whoever reads a body that is too large; what they answer then is not sent."""


class BoundBodies:
    """ASGI middleware around all routes: nobody reads more than may be sent, signed in or not.

    Bodies are never unpacked here: a `Content-Encoding` of a request is read by no route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_inside(scope):
            await _Exchange(scope, receive, send).run(self._app)
        elif scope["type"] == "websocket":
            await self._app(scope, _bounded_messages(settings().max_body_bytes, receive, send), send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._limit = _OURS_BYTES if _OURS.intersection(parts_of(scope)[:1]) else settings().max_body_bytes
        self._came = 0
        self._until: float | None = None
        self._has_begun = False
        length = Headers(scope=scope).get("content-length")
        #: What the server has read already it throws away by itself.
        self._is_small = length is not None and length.isdecimal() and int(length[:20]) <= _HEAD_BYTES
        self._is_whole = length in (None, "0") and "transfer-encoding" not in Headers(scope=scope)
        self._refused: tuple[int, str] | None = _refusal(scope, self._limit)

    async def run(self, app: ASGIApp) -> None:
        if self._refused is None:
            try:
                await app(self._scope, self._read, self._answer)
            except Exception:
                if self._is_let_through():
                    raise
        if self._refused is not None and not self._has_begun:
            await self._refuse(*self._refused)

    def _is_let_through(self) -> bool:
        """Tell whether what is answered goes out."""
        return self._refused is None or self._has_begun

    async def _read(self) -> Message:
        if self._is_whole:
            return await self._receive()
        if self._refused:
            raise _OverError(*self._refused)
        loop = asyncio.get_running_loop()
        self._until = self._until or loop.time() + _BODY_S
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            self._refused = 408, f"The body of this request did not come within {_BODY_S} seconds."
            raise _OverError(*self._refused) from None
        if message["type"] != "http.request":
            return message
        self._came += len(message.get("body", b""))
        if self._came > self._limit:
            self._refused = _too_large(self._limit)
            raise _OverError(*self._refused)
        self._is_whole = not message.get("more_body", False)
        return message

    async def _answer(self, message: Message) -> None:
        # Whoever read too much may have taken the error for their own and answer 400 or 500: nobody hears that.
        if not self._is_let_through():
            return
        is_early = not self._is_whole and not self._is_small
        if message["type"] == "http.response.start":
            self._has_begun = True
            if is_early:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        elif is_early and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._throw_away()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _throw_away(self) -> None:
        """Read what still comes, for a moment: else the server would for ever, or hang up before it is answered."""
        try:
            async with asyncio.timeout(_REST_S):
                while not self._is_whole:
                    message = await self._receive()
                    self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            pass

    async def _refuse(self, status: int, sentence: str) -> None:
        self._refused = None
        await JSONResponse({"detail": sentence}, status)(self._scope, self._receive, self._answer)


def _refusal(scope: Scope, limit: int) -> tuple[int, str] | None:
    """Tell by its head alone why a request is not read."""
    head = len(scope["path"]) + len(scope["query_string"])
    head += sum(len(name) + len(value) for name, value in scope["headers"])
    if head > _HEAD_BYTES:
        return 431, f"Address and headers of a request may have {_HEAD_BYTES:,} bytes together."
    length = Headers(scope=scope).get("content-length", "0")
    return _too_large(limit) if not length.isdecimal() or int(length[:20]) > limit else None


def _too_large(limit: int) -> tuple[int, str]:
    return 413, f"The body of this request may have {limit:,} bytes; nothing of it was read."


def _bounded_messages(limit: int, receive: Receive, send: Send) -> Receive:
    async def bounded() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive" and len(message.get("text") or message.get("bytes") or "") > limit:
            await send({"type": "websocket.close", "code": 1009, "reason": f"A message may have {limit:,} bytes."})
            return {"type": "websocket.disconnect", "code": 1009}
        return message

    return bounded


# What a run brings


def check_run(value: dict[str, Any], bounds: Settings) -> None:
    """Check what a run brings, in any of the shapes that `run_options` reads.

    Raises:
        TooMuchError: words, pictures, an answer or what stands beside them.
    """
    run = value.get("kwargs", value.get("params") if "method" in value else value)
    if not isinstance(run, dict):
        return  # not understood, and refused for it
    answer = run.get("command"), run.get("responses"), run.get("response")
    if any(map(is_too_much, answer)) or size(answer) > _OURS_BYTES:
        raise TooMuchError(413, f"An answer may have {_OURS_BYTES:,} bytes, and 10,000 parts in 50 levels.")
    beside = [run.get(name) for name in ("config", "context", "metadata")] + [value.get("metadata")]
    if "kwargs" in value:
        beside = [_without_user(one) for one in beside]
    if size(beside) > _BESIDE_BYTES:
        raise TooMuchError(413, f"Config, context and metadata of a run may have {_BESIDE_BYTES:,} bytes together.")
    if not run.get("command"):  # else the server ignores it: some clients send all they know beside an answer
        _check_words(run.get("input"), bounds)


def check_metadata(metadata: Any, _: Settings) -> None:
    """Check the metadata of a thread.

    Raises:
        TooMuchError: more than a few names and numbers.
    """
    if is_too_much(metadata) or size(metadata) > _BESIDE_BYTES:
        raise TooMuchError(413, f"Metadata of a thread may have {_BESIDE_BYTES:,} bytes.")


def check_thread(kept: int, bounds: Settings) -> None:
    """Check whether more can be said in a thread that keeps so many characters of what people said.

    Raises:
        TooMuchError: it is full.
    """
    if kept > bounds.max_thread_bytes:
        said = f"This thread is full: {bounds.max_thread_bytes:,} bytes of messages. Go on in a new thread."
        raise TooMuchError(413, said)


def _check_words(given: Any, bounds: Settings) -> None:
    messages = given.get("messages") if isinstance(given, dict) else None
    if isinstance(messages, list) and len(messages) > _MOST_MESSAGES:
        raise TooMuchError(422, f"A run may bring {_MOST_MESSAGES:,} messages, not {len(messages):,}.")
    if is_too_much(given):
        raise TooMuchError(422, "What a run brings may have 10,000 parts in 50 levels.")
    pictures = size(given, of_media=True)
    if pictures > bounds.max_image_bytes:
        raise TooMuchError(413, f"Pictures and files of a message may have {bounds.max_image_bytes:,} bytes together.")
    if size(given) > bounds.max_text_bytes:
        raise TooMuchError(413, f"The text of a message may have {bounds.max_text_bytes:,} bytes.")


def size(value: Any, *, of_media: bool = False) -> int:
    """Give the bytes of all texts in a JSON value: of those outside content blocks that hold a file, or within them."""
    total, rest = 0, [(value, False)]
    while rest:
        one, is_media = rest.pop()
        if isinstance(one, str):
            total += len(one.encode("utf-8", "surrogatepass")) if is_media == of_media else 0
        elif isinstance(one, dict):
            within = is_media or (isinstance(one.get("type"), str) and one["type"] in MEDIA)
            rest += [(part, within) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple):
            rest += [(part, is_media) for part in one]
        else:
            total += 0 if of_media else 8
    return total


def _without_user(given: Any) -> Any:
    """Leave out what the server itself put into a config: who is signed in, and a copy of the headers of tracing."""
    if not isinstance(given, dict):
        return given
    return {
        name: _without_user(inner) if name == "configurable" else inner
        for name, inner in given.items()
        if not name.startswith(("langgraph_auth_", "__"))
    }
