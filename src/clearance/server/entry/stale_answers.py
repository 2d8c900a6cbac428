"""What the platform says of an answer to a question that is not put any more, in words that help.

On the v2 routes it looks for the interrupt before it asks anybody: "Unknown or already-consumed interrupt". The journal
knows what became of it: decided, withdrawn, or put anew under another id, as after the first of two approvals.
"""

import json
from typing import Any

from sqlalchemy.engine import Connection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.application import the_parts
from clearance.errors import DatabaseUnavailable
from clearance.journal.decisions import decisions_on
from clearance.journal.questions import questions_of
from clearance.journal.requests import read_request
from clearance.server.entry.paths import parts_of
from clearance.text.rendering import line

#: The platform's word for it, and how its sentence goes on with the id.
_ERROR, _SAID = "no_such_interrupt", "Unknown or already-consumed interrupt: "
#: Longer answers are none of these.
_MOST_BYTES = 2_000


class TellStale:
    """ASGI middleware around all routes: completes that sentence, over HTTP and WebSockets alike.

    Stands behind what ends a connection with its token, so that nobody else hears of a thread's questions.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = parts_of(scope) if scope["type"] in ("http", "websocket") else []
        if parts[:1] != ["threads"] or parts[2:] not in (["commands"], ["stream", "events"]):
            await self._app(scope, receive, send)
            return
        started: Message | None = None
        body = b""

        async def tell(message: Message) -> None:
            nonlocal started, body
            if message["type"] == "websocket.send" and message.get("text"):
                message = {**message, "text": await _completed(parts[1], message["text"])}
            elif message["type"] == "http.response.start" and _is_json(message):
                started = message  # its length is told before its body
                return
            elif message["type"] == "http.response.body" and started is not None:
                body += message.get("body", b"")
                is_whole = not message.get("more_body")
                if not is_whole and len(body) <= _MOST_BYTES:
                    return
                if is_whole:
                    said = (await _completed(parts[1], body.decode("utf-8", "replace"))).encode()
                    if said != body:
                        length = (b"content-length", b"%d" % len(said))
                        body, started = said, {**started, "headers": [*_without_length(started), length]}
                message, start, started = {**message, "body": body}, started, None
                await send(start)
            await send(message)

        await self._app(scope, receive, tell)


def _is_json(start: Message) -> bool:
    return any(name.lower() == b"content-type" and b"json" in value for name, value in start.get("headers", ()))


def _without_length(start: Message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]


async def _completed(thread_id: str, text: str) -> str:
    """Give an answer of the platform, completed if it is this one."""
    if _ERROR not in text or len(text) > _MOST_BYTES:
        return text
    try:
        told: Any = json.loads(text)
        said = str(told["message"])
        if told.get("error") != _ERROR or not said.startswith(_SAID):
            return text
        became = await (await the_parts()).database.read(lambda c: _became(c, thread_id, said.removeprefix(_SAID)))
    except (ValueError, KeyError, TypeError, AttributeError, DatabaseUnavailable):
        return text
    return json.dumps({**told, "message": f"{said}. Nothing was recorded: {became}"}) if became else text


def _became(connection: Connection, thread_id: str, interrupt_id: str) -> str | None:
    """Say what became of the request that a question of a thread was about; None where it was never put there."""
    put = [one for one in questions_of(connection, thread_id) if one.interrupt_id == interrupt_id]
    request = read_request(connection, put[-1].request_id) if put else None
    if request is None:
        return None
    if request.state != "asked":
        return f"it is {request.state} already."
    given = [one.decided_by for one in decisions_on(connection, [request.request_id]) if one.counts]
    by = f" with {len(given)} of {request.approvals} approvals, by {' and '.join(map(line, given))}" if given else ""
    return f"it is asked anew under another id{by}. Load the thread again and answer what it asks now."
