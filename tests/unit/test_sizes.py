"""What may be sent: measured in any shape of a run, and read no further than that."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from clearance.server.entry import sizes
from clearance.server.entry.sizes import BoundBodies, TooMuchError, check_metadata, check_run, size
from clearance.settings import Settings

BOUNDS = Settings(max_text_bytes=1_000, max_image_bytes=2_000, max_body_bytes=100_000)
PICTURE = {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": "a" * 1_500}


def shapes(given: Any = None, **run: Any) -> Iterable[dict[str, Any]]:
    """Give the same run as LangGraph's server gives it, as Aegra does, and as a command."""
    yield {"thread_id": "t", "metadata": {}, "kwargs": {"input": given, "config": {"configurable": {}}, **run}}
    yield {"thread_id": "t", "input": given, **run}
    yield {"thread_id": "t", "method": "run.start", "params": {"input": given, **run}}


def words(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (words("a" * 2_000), 413),
        (words("a" * 600, "b" * 600), 413),
        (words("ä" * 600), 413),
        ({"messages": "a" * 2_000}, 413),
        (words(*[""] * 1_001), 422),
        (words([PICTURE, PICTURE]), 413),
        (words([{**PICTURE, "type": "file"}, {"type": "image_url", "image_url": {"url": "data:" + "a" * 900}}]), 413),
        (words([{"type": "text", "text": "a" * 2_000}]), 413),
        (words([{**PICTURE, "type": "new"}]), 413),
        ({"messages": [], "other": "a" * 2_000}, 413),
        (words([[0] * 9] * 1_200), 422),
    ],
)
def test_words_that_are_too_many_are_told_in_every_shape(given: Any, status: int) -> None:
    for value in shapes(given):
        with pytest.raises(TooMuchError) as caught:
            check_run(value, BOUNDS)

        assert caught.value.status == status
        assert "may" in str(caught.value)


def test_nested_input_is_told() -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]

    for value in shapes(words(deep)):
        with pytest.raises(TooMuchError, match="50 levels"):
            check_run(value, BOUNDS)


@pytest.mark.parametrize(
    "given", [None, {}, words(), words("a" * 800), words([{"type": "text", "text": "b"}, PICTURE])]
)
def test_what_is_meant_passes(given: Any) -> None:
    for value in shapes(given):
        check_run(value, BOUNDS)


def test_what_stands_beside_a_resume_is_ignored_as_the_platform_does() -> None:
    for value in shapes(words("a" * 2_000), command={"resume": {"approved": True}}):
        check_run(value, BOUNDS)


def test_an_answer_has_a_bound_in_every_shape() -> None:
    large = {"approved": False, "reason": "a" * 300_000}
    values = [*shapes(command={"resume": large})]
    values += [{"method": "input.respond", "params": {"interrupt_id": "i", "response": large}}]
    values += [{"method": "input.respond", "params": {"responses": [{"interrupt_id": "i", "response": large}]}}]
    for value in values:
        with pytest.raises(TooMuchError, match="answer"):
            check_run(value, BOUNDS)


@pytest.mark.parametrize("name", ["config", "context", "metadata"])
def test_what_stands_beside_the_words_has_a_bound(name: str) -> None:
    for value in shapes(words("hello"), **{name: {"configurable": {"note": "a" * 30_000}}}):
        with pytest.raises(TooMuchError, match="Config, context and metadata"):
            check_run(value, BOUNDS)
    with pytest.raises(TooMuchError, match="Metadata of a thread"):
        check_metadata({"note": "a" * 30_000}, BOUNDS)


def test_pictures_are_measured_apart_from_text() -> None:
    given = words([{"type": "text", "text": "abc"}, PICTURE])

    assert size(given, of_media=True) == len("".join(f"{name}{value}" for name, value in PICTURE.items()))
    assert size(given) < 100


# Bodies


class Client:
    """Sends a body chunk by chunk for as long as somebody reads."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.read = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        chunk = next(self._chunks, None)
        self.read += len(chunk or b"")
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        (start,) = [one for one in self.sent if one["type"] == "http.response.start"]
        return int(start["status"])


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"bytes": len(body)})(scope, receive, send)


async def takes_the_error_for_its_own(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await Request(scope, receive).body()
    except Exception:  # noqa: BLE001  as LangGraph's v2 routes do
        await JSONResponse({"detail": "Invalid JSON body"}, 400)(scope, receive, send)


async def reads_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it was let through")


CHUNKED = ((b"transfer-encoding", b"chunked"),)


def request(path: str = "/threads/t/runs", headers: Iterable[tuple[bytes, bytes]] = CHUNKED) -> Scope:
    return {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [*headers]}


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "settings", lambda: BOUNDS)
    monkeypatch.setattr(sizes, "_REST_S", 0)


def endless() -> Iterable[bytes]:
    while True:
        yield b"a" * 10_000


@pytest.mark.parametrize("app", [reads_all, takes_the_error_for_its_own])
async def test_a_body_without_end_is_refused_when_it_is_too_large(app: Any) -> None:
    client = Client(endless())

    async with asyncio.timeout(60):
        await BoundBodies(app)(request(), client.receive, client.send)

    assert client.status == 413
    assert client.read <= 130_000


async def test_a_body_whose_length_is_told_is_refused_unread() -> None:
    client = Client([])

    await BoundBodies(reads_nothing)(request(headers=[(b"content-length", b"150000000")]), client.receive, client.send)

    assert client.status == 413
    assert b"100,000 bytes" in client.sent[1]["body"]


async def test_a_body_of_ours_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(endless())
    monkeypatch.setattr(sizes, "settings", lambda: Settings(max_body_bytes=9_000_000))

    async with asyncio.timeout(60):
        await BoundBodies(reads_all)(request("//approvals/requests/x/decision"), client.receive, client.send)

    assert client.status == 413
    assert client.read <= 230_000


async def test_headers_and_address_have_a_bound() -> None:
    client = Client([])

    await BoundBodies(reads_nothing)(request(headers=[(b"x-a", b"a" * 70_000)]), client.receive, client.send)

    assert client.status == 431


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "_BODY_S", 0.05)
    client = Client([])

    async def never() -> Message:
        await asyncio.sleep(600)
        raise AssertionError

    async with asyncio.timeout(60):
        await BoundBodies(reads_all)(request(), never, client.send)

    assert client.status == 408


async def test_who_answers_before_the_body_has_come_hangs_up() -> None:
    """An answer to a body without end was followed by its reading for as long as it came."""
    client = Client(endless())

    async def answers_at_once(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"detail": "Sign in"}, 401)(scope, receive, send)

    async with asyncio.timeout(60):
        await BoundBodies(answers_at_once)(request(), client.receive, client.send)

    assert client.status == 401
    assert (b"connection", b"close") in client.sent[0]["headers"]
    assert [one.get("more_body") for one in client.sent[1:]] == [True, False]


async def test_a_body_of_the_right_size_passes_whole() -> None:
    client = Client([b"a" * 50_000, b"b" * 50_000])

    await BoundBodies(reads_all)(request(), client.receive, client.send)

    assert client.status == 200
    assert client.sent[-1]["body"] == b'{"bytes":100000}'


async def test_a_message_of_a_websocket_has_a_bound() -> None:
    client = Client([])
    seen: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.receive", "text": "a" * 100_001}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())

    await BoundBodies(app)({**request(), "type": "websocket"}, receive, client.send)

    assert seen == [{"type": "websocket.disconnect", "code": 1009}]
    assert client.sent[0]["code"] == 1009
