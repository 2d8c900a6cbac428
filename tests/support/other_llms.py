"""How Anthropic's messages and Ollama's chat look on the wire, for `LlmServer`: what they refuse, and their streams."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.llm_server import Calls, Say

#: What comes before the words of an answer of Anthropic's, and has to come back unchanged.
THOUGHT = {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmF0dXJl"}
#: Reasons of OpenAI's in the other protocols; what is not here goes as it is.
_ANTHROPIC = {"stop": "end_turn", "tool_calls": "tool_use"}
_OLLAMA = {"tool_calls": "stop"}


@dataclass(frozen=True)
class Wire:
    """One protocol."""

    media_type: str
    #: Tells why the provider would refuse a request, or None.
    problem: Callable[[dict[str, Any]], str | None]
    lines: Callable[["Say | Calls", dict[str, Any]], Iterator[str]]


def _anthropic_problem(body: dict[str, Any]) -> str | None:
    if not body.get("max_tokens") or not body.get("messages"):
        return "max_tokens and messages: field required"
    for tool in body.get("tools", []):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool.get("name", "")) or "input_schema" not in tool:
            return f"tools: {tool!r}"
    before, waiting = None, set[str]()
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        if role not in ("user", "assistant") or role == before or (before is None and role != "user"):
            return f"messages: roles must alternate between user and assistant, beginning with user: {role!r}"
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if waiting != results:
            return f"tool_use ids were found without tool_result blocks immediately after: {waiting ^ results}"
        kinds = [block["type"] for block in blocks]
        if not blocks or any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            return "messages: text content blocks must be non-empty"
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if any(not re.fullmatch(r"[a-zA-Z0-9_-]+", call_id) for call_id in waiting):
            return f"tool_use.id: string should match pattern: {waiting}"
        if waiting and kinds[0] != "thinking":
            return "expected `thinking` or `redacted_thinking`, but found `tool_use`"
        if any(block["type"] == "thinking" and block != THOUGHT for block in blocks):
            return "`thinking` blocks in the latest assistant message cannot be modified"
        before = role
    return f"tool_use ids without tool_result: {waiting}" if waiting else None


def _anthropic_lines(reply: "Say | Calls", body: dict[str, Any]) -> Iterator[str]:
    from tests.support.llm_server import Calls

    def event(kind: str, **data: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"

    usage = {"input_tokens": 11, "output_tokens": 1}
    yield event(
        "message_start",
        message={"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
                 "stop_reason": None, "stop_sequence": None, "usage": usage},
    )  # fmt: skip
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if isinstance(reply, Calls):
        thought, signed = THOUGHT["thinking"], THOUGHT["signature"]
        deltas = [{"type": "thinking_delta", "thinking": thought}, {"type": "signature_delta", "signature": signed}]
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if reply.text:
        pieces = [{"type": "text_delta", "text": reply.text[at : at + 7]} for at in range(0, len(reply.text), 7)]
        blocks.append(({"type": "text", "text": ""}, pieces))
    for at, call in enumerate(reply.calls if isinstance(reply, Calls) else ()):
        text = call.text
        pieces = [{"type": "input_json_delta", "partial_json": text[n : n + 7]} for n in range(0, len(text), 7)]
        blocks.append(({"type": "tool_use", "id": call.id or f"toolu_{at}", "name": call.name, "input": {}}, pieces))
    for index, (block, deltas) in enumerate(blocks):
        yield event("content_block_start", index=index, content_block=block)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        if index < len(blocks) - 1 or reply.end == "done":
            yield event("content_block_stop", index=index)
    if reply.end == "done":
        reason = _ANTHROPIC.get(reply.finish_reason or "", reply.finish_reason)
        yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 7})
        yield event("message_stop")


def _ollama_problem(body: dict[str, Any]) -> str | None:
    if not body.get("model") or not body.get("messages"):
        return "model and messages are required"
    before = None
    for message in body["messages"]:
        if message["role"] == "user" and before in ("tool", "user"):
            return f"unexpected role 'user' after role {before!r}"
        before = message["role"]
    return None


def _ollama_lines(reply: "Say | Calls", body: dict[str, Any]) -> Iterator[str]:
    from tests.support.llm_server import Calls

    def line(message: dict[str, Any], **more: Any) -> str:
        head = {"model": body["model"], "created_at": "2026-11-01T00:00:00Z"}
        return json.dumps({**head, "message": {"role": "assistant", **message}, "done": False, **more}) + "\n"

    for at in range(0, len(reply.text), 7):
        yield line({"content": reply.text[at : at + 7]})
    for call in reply.calls if isinstance(reply, Calls) else ():
        function = {"name": call.name, "arguments": json.loads(call.text)}
        yield line({"content": "", "tool_calls": [{"function": function}]})
    if reply.end == "done":
        reason = _OLLAMA.get(reply.finish_reason or "", reply.finish_reason)
        yield line({"content": ""}, done=True, done_reason=reason, prompt_eval_count=11, eval_count=7)


#: By path.
WIRES = {
    "/v1/messages": Wire("text/event-stream", _anthropic_problem, _anthropic_lines),
    "/api/chat": Wire("application/x-ndjson", _ollama_problem, _ollama_lines),
}
