"""An OpenAI-compatible endpoint on loopback that answers from a script and is as strict as a real one.

    with LlmServer([Say("hello"), Calls(Call("transfer_funds", {"amount": "5"}))]) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="any", …)

It speaks `POST /chat/completions`, streaming and not, and Anthropic's and Ollama's protocols (`other_llms`). A request
that the strictest provider would refuse (a call without its result, an orphan result, a person's message behind a
result …) is answered with 400 and stands in `server.refused`.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self, assert_never

from tests.support import other_llms

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PIECE = 7


@dataclass(frozen=True)
class Call:
    """A tool call. Arguments given as text are sent as they are, JSON or not."""

    name: str
    arguments: dict[str, Any] | str
    id: str | None = None

    @property
    def text(self) -> str:
        """Give the arguments as they go over the wire."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


class Calls:
    """An answer of calls, and perhaps words before them. Streams in fragments, the calls interleaved by index."""

    def __init__(
        self, *calls: Call, text: str = "", end: "End" = "done", finish_reason: str | None = "tool_calls"
    ) -> None:
        self.calls = calls
        self.text = text
        self.end: End = end
        self.finish_reason = finish_reason


@dataclass(frozen=True)
class Say:
    """An answer of words."""

    text: str
    finish_reason: str | None = "stop"
    end: "End" = "done"
    #: Seconds before each chunk of a stream.
    pause_s: float = 0


@dataclass(frozen=True)
class Chunks:
    """Deltas as they are, for what no healthy endpoint sends; each the `delta` of one chunk."""

    deltas: Sequence[dict[str, Any] | None]
    finish_reason: str | None = "stop"
    end: "End" = "done"


@dataclass(frozen=True)
class Status:
    """An HTTP answer as it is: errors, HTML, nonsense."""

    code: int
    body: str = '{"error": {"message": "scripted"}}'
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True)
class Hang:
    """No answer at all, until the server closes."""


#: How a stream ends: as it should; early, but politely (no finish reason, no `[DONE]`); the connection breaks; never.
End = Literal["done", "early", "broken", "hang"]
Reply = Calls | Say | Chunks | Status | Hang
#: A reply, or what makes one from the request.
Step = Reply | Callable[[dict[str, Any]], Reply]


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    body: dict[str, Any]
    #: By name in lower case.
    headers: dict[str, str]
    #: Monotonic seconds.
    at: float


class LlmServer:
    """The endpoint, in threads of its own, while the `with` block lasts.

    A script is a list of steps, one for each request (500 when it is over), or one function that answers them all.
    """

    def __init__(self, script: Sequence[Step] | Callable[[dict[str, Any]], Reply]) -> None:
        self.requests: list[Request] = []
        #: Why requests were answered with 400, in their order.
        self.refused: list[str] = []
        self._script = script
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler, self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="llm-server")

    @property
    def base_url(self) -> str:
        """Give the address for `OPENAI_BASE_URL`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Break off what hangs, and stop listening. Safe to call twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()  # waits for the handlers' threads

    def next_reply(self, request: Request, why: str | None) -> Reply:
        """Record a request and choose its answer: 400 with the reason why it is refused, else what the script says."""
        with self._lock:
            at = len(self.requests)
            self.requests.append(request)
            if why:
                self.refused.append(why)
                return Status(400, json.dumps({"error": {"message": why, "type": "invalid_request_error"}}))
            if callable(self._script):
                return self._script(request.body)
            step: Step = self._script[at] if at < len(self._script) else Status(500, "the script is over")
        return step(request.body) if callable(step) else step

    def wait_for_close(self) -> None:
        """Block until the server closes."""
        self._closing.wait(60)


def problem(body: dict[str, Any]) -> str | None:
    """Tell why a provider would refuse a request; None when it would take it."""
    tools = body.get("tools")
    if tools is not None and not tools:
        return "[] is too short - 'tools'"
    for tool in tools or []:
        function = tool.get("function", {})
        if tool.get("type") != "function" or not _NAME.fullmatch(function.get("name", "")):
            return f"invalid tool: {tool!r}"
    if not body.get("model") or not body.get("messages"):
        return "you must provide a model and messages"
    waiting: list[str] = []
    before: str | None = None
    for message in body["messages"]:
        role = message.get("role")
        # The strictest known: Mistral, and the templates of local models.
        if role == "user" and before in ("tool", "user"):
            return f"unexpected role 'user' after role {before!r}"
        if role == "assistant" and before == "assistant":
            return "conversation roles must alternate"
        if role == "system" and before is not None:
            return "a system message must be the first"
        if role in ("user", "tool") and not str(message.get("content") or "").strip():
            return f"content of {role!r} must not be empty"
        before = role
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                return f"role 'tool' must follow a message with 'tool_calls': {message.get('tool_call_id')!r}"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"tool_call_ids did not have response messages: {waiting}"
        if why := _message_problem(role, message):
            return why
        if role == "assistant":
            waiting = [call["id"] for call in message.get("tool_calls", [])]
    return f"tool_call_ids did not have response messages: {waiting}" if waiting else None


def _message_problem(role: Any, message: dict[str, Any]) -> str | None:
    if role not in ("system", "developer", "user", "assistant", "tool"):
        return f"role {role!r} does not exist"
    if not re.fullmatch(r"[^\s<|\\/>]+", message.get("name", "x")):
        return f"name {message['name']!r} does not match the pattern"
    calls = message.get("tool_calls")
    if calls is None:
        if message.get("content") is None or (role == "assistant" and not message["content"]):
            return f"content of {role!r} is missing"
        return None
    if role != "assistant" or not calls:
        return f"'tool_calls' of {role!r} is not right: {calls!r}"
    ids = [call.get("id") for call in calls]
    if not all(ids) or len(set(ids)) < len(ids):
        return f"tool call ids are missing or repeat: {ids}"
    for call in calls:
        if not _NAME.fullmatch(call["function"]["name"]):
            return f"function name {call['function']['name']!r} does not match the pattern"
        if not _is_strict_object(call["function"]["arguments"]):
            return f"function arguments are not a JSON object: {call['function']['arguments']!r}"
    return None


def _is_strict_object(text: str) -> bool:
    def refuse(constant: str) -> float:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(text, parse_constant=refuse), dict)  # Python's NaN is nobody else's JSON
    except ValueError:
        return False


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # joined when it closes, so that no test leaves a thread or a socket behind

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], llm: LlmServer) -> None:
        self.llm = llm
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client hung up: tests make them do so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        wire = other_llms.WIRES.get(self.path)
        if self.path != "/v1/chat/completions" and wire is None:
            return self._plain(Status(404))
        why = wire.problem(body) if wire else problem(body)
        match reply := self.server.llm.next_reply(Request(body, headers, time.monotonic()), why):
            case Status():
                self._plain(reply)
            case Hang():
                self.close_connection = True
                self.server.llm.wait_for_close()
            case Say() | Calls() if wire:
                self._stream(reply, wire.media_type, wire.lines(reply, body))
            case Say() | Calls() | Chunks():
                if body.get("stream"):
                    self._stream(reply, "text/event-stream", _events(reply, body))
                else:
                    self._plain(Status(200, json.dumps(_completion(reply, body["model"]))))
            case _:
                assert_never(reply)
        return None

    def _plain(self, reply: Status) -> None:
        content = reply.body.encode()
        self.send_response(reply.code)
        headers = {"Content-Type": reply.content_type, "Content-Length": str(len(content)), "Connection": "close"}
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def _stream(self, reply: Say | Calls | Chunks, media_type: str, lines: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for line in lines:
            time.sleep(reply.pause_s if isinstance(reply, Say) else 0)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line.encode()), line.encode()))
            self.wfile.flush()
        if reply.end == "hang":
            return self.server.llm.wait_for_close()
        if reply.end == "broken":
            return None
        self.wfile.write(b"0\r\n\r\n")
        return None


_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def _chunks(reply: Say | Calls | Chunks, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    for delta in _deltas(reply):
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    if reply.end == "done":
        yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish_reason(reply)}]}
        if body.get("stream_options", {}).get("include_usage"):
            yield head | {"choices": [], "usage": _USAGE}


def _events(reply: Say | Calls | Chunks, body: dict[str, Any]) -> Iterator[str]:
    for chunk in _chunks(reply, body):
        yield f"data: {json.dumps(chunk)}\n\n"
    if reply.end == "done":
        yield "data: [DONE]\n\n"


def _deltas(reply: Say | Calls | Chunks) -> Iterator[dict[str, Any] | None]:
    if isinstance(reply, Chunks):
        yield from reply.deltas
        return
    yield {"role": "assistant", "content": ""}
    for piece in _pieces(reply.text):
        yield {"content": piece}
    if isinstance(reply, Say):
        return
    for index, call in enumerate(reply.calls):
        yield {
            "tool_calls": [{"index": index, "id": _id(call, index), "function": {"name": call.name, "arguments": ""}}]
        }
    texts = [_pieces(call.text) for call in reply.calls]
    for step in range(max(map(len, texts), default=0)):
        for index, pieces in enumerate(texts):
            if step < len(pieces):
                yield {"tool_calls": [{"index": index, "function": {"arguments": pieces[step]}}]}


def _completion(reply: Say | Calls | Chunks, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if isinstance(reply, Chunks) else reply.text}
    if isinstance(reply, Calls):
        message["tool_calls"] = [
            {"id": _id(call, index), "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for index, call in enumerate(reply.calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(reply)}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice], "usage": _USAGE}


def _finish_reason(reply: Say | Calls | Chunks) -> str | None:
    return reply.finish_reason


def _id(call: Call, index: int) -> str:
    # The same in every answer, as some endpoints do it: nothing may take a call's id for a key.
    return f"call_{index}" if call.id is None else call.id


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
