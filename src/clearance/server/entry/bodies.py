"""The body of a request, read by a middleware and given again to who reads it next."""

import json
from typing import Any

from starlette.types import Message, Receive

#: A body is read up to here: what a middleware looks for is shorter.
_MOST_BYTES = 1_000_000


async def read_body(receive: Receive) -> tuple[Any, Receive]:
    """Read a body as JSON, None where it is none; and give what reads it again."""
    read: list[Message] = []
    text = b""
    while True:
        message = await receive()
        read.append(message)
        text += message.get("body", b"")
        if not message.get("more_body") or len(text) > _MOST_BYTES:
            break

    async def again() -> Message:
        return read.pop(0) if read else await receive()

    try:
        return json.loads(text), again
    except ValueError:
        return None, again
