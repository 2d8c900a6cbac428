"""What of a model's answer we take: text, calls that can be read, and what its provider wants back with them."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import tool_call

from clearance.canonical import clean
from clearance.gate.finished import FINISHED, SETTING, reasons
from clearance.gate.unread import KEPT, UNPARSED
from clearance.models.failure import Nonsense

#: Calls taken of one message. More is a model in a loop, and a plan of more is not something a reviewer reads.
MOST_CALLS = 20
#: Where a name of a tool stood that endpoints would refuse to read again. No tool is called this.
NO_NAME = "name_that_cannot_be"
#: Key of `additional_kwargs` for what came with a message and is not ours:
#: `{"of": provider, "content": blocks, "kwargs": …, "calls": {call id: fields}}`, each part only when there is some.
PROVIDER = "provider_fields"
#: Keys of `additional_kwargs` between us and `Endpoint`: fields of a message, and of its calls (in their order when
#: they come, by their ids when they go back).
FIELDS, CALL_FIELDS = "fields", "call_fields"
#: Key of `additional_kwargs` for the words in which a model refused.
REFUSAL = "refusal"

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
#: Blocks of content that carry a call, and the parts of them that are the call.
_CALL_BLOCKS = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "input_json_delta")
_OF_A_CALL = ("name", "input", "args", "arguments", "partial_json", "index", "error", "call_id")
#: Not given back: what carries calls, and what endpoints send and do not take.
_NOT_BACK = ("tool_calls", "function_call", REFUSAL, "parsed", "audio", CALL_FIELDS)


@dataclass(frozen=True)
class RawCall:
    """A call as it came: its arguments are the text of the wire."""

    name: str | None
    call_id: str | None
    arguments: str


@dataclass
class Incoming:
    """An answer on its way, filled by `Whole`: langchain's own reading closes what is cut off, and joins reasons."""

    #: Time of the event loop when it has to be here; None: whenever.
    deadline_s: float | None = None
    #: The calls in their order; None when nothing has filled this.
    calls: list[RawCall] | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    #: All of it as its provider's client gives it. langchain's newer way of streaming writes content anew.
    message: AIMessage | None = None
    #: Whether this deployment takes an answer that ended without a reason.
    may_lack_reason: bool = False


incoming: ContextVar[Incoming | None] = ContextVar("incoming", default=None)


def normalised(answer: AIMessage, arrived: Incoming | None = None, of: str = "") -> AIMessage:
    """Bring an answer into the one shape the graph works with; the id and the usage stay.

    Text is a plain string; all calls are in `tool_calls`, in the model's order, with unique ids, names an endpoint
    reads again, and arguments that are finite JSON, or `{UNPARSED: text}`. At most `MOST_CALLS`; that some were left
    out stands in the text. What its provider (`of`) wants back stands under `PROVIDER`.

    Raises:
        Nonsense: it says nothing and calls nothing, or broke off in a way that is known.
    """
    has_arrived = arrived is not None and arrived.calls is not None
    calls = [_read(call) for call in arrived.calls or []] if arrived and has_arrived else _calls(answer)
    ended = arrived.reasons if arrived and has_arrived else reasons(answer.response_metadata)
    if arrived and has_arrived and not ended and not arrived.may_lack_reason:
        raise Nonsense(f"stopped in the middle of its answer, without a finish_reason ({SETTING} can allow none)")
    _check(ended, has_calls=bool(calls))
    came = arrived.message if arrived and arrived.message else answer
    text = _storable(answer.text)
    refusal = came.additional_kwargs.get(REFUSAL)
    if isinstance(refusal, str) and refusal.strip():
        text = _with_refusal(text, refusal, len(calls))
        calls = []
    if not calls and not text.strip():
        raise Nonsense("answered with neither words nor calls")
    renamed = _with_unique_ids(calls, answer.id or "")
    fields = _provider_fields(came, [call["id"] or "" for call in renamed], of)
    if len(calls) > MOST_CALLS:
        left_out = f"[Only the first {MOST_CALLS} of {len(calls)} calls were taken; the others are left out.]"
        text = f"{text}\n{left_out}".strip()
        del renamed[MOST_CALLS:]
    metadata = {key: answer.response_metadata.get(key) for key in ("model_name", "model_provider")}
    return AIMessage(
        id=answer.id,
        content=text,
        tool_calls=renamed,
        usage_metadata=answer.usage_metadata,
        additional_kwargs={PROVIDER: fields} if fields else {},
        response_metadata=clean({key: value for key, value in (metadata | ended).items() if isinstance(value, str)}),
    )


def with_provider_fields(message: AIMessage, of: str) -> AIMessage:
    """Give a message of ours as its provider wants it back; as any other takes it, when it came from elsewhere.

    Whatever carries a call is made anew from `tool_calls`: a call that we did not take does not come back.
    """
    fields = message.additional_kwargs.get(PROVIDER)
    if not isinstance(fields, dict) or not of or fields.get("of") != of:
        return bare(message) or AIMessage(message.text, id=message.id, tool_calls=message.tool_calls)
    by_id = {call["id"]: call for call in message.tool_calls}
    kept = {call_id: one for call_id, one in fields.get("calls", {}).items() if call_id in by_id}
    content: Any = message.text
    if blocks := fields.get("content"):
        content = list(_blocks(blocks, message.text, by_id))
    return AIMessage(
        content,
        id=message.id,
        tool_calls=message.tool_calls,
        additional_kwargs={**fields.get("kwargs", {}), **({CALL_FIELDS: kept} if kept else {})},
        response_metadata={
            key: value for key, value in message.response_metadata.items() if key in ("model_name", "model_provider")
        },
    )


_Message = TypeVar("_Message", AIMessage, ToolMessage)


def bare(message: _Message) -> _Message | None:
    """Give a message with its text and what calls and results need, without what else anybody put there.

    None where it has to be made anew: a copy keeps its type, and what its type does not know. That takes four times as
    long, and a thread has many.
    """
    kind = type(message)
    if kind not in (AIMessage, ToolMessage) or message.model_extra:
        return None
    content = message.content if isinstance(message.content, str) else str(message.text)
    update: dict[str, Any] = {"content": content, "name": None, "additional_kwargs": {}, "response_metadata": {}}
    if kind is AIMessage:
        update |= {"usage_metadata": None, "invalid_tool_calls": []}
    else:
        update["artifact"] = None
    # What `model_copy` does, in a third of its time.
    copied = kind.__new__(kind)
    copied.__setstate__(
        {
            "__dict__": {**message.__dict__, **update},
            "__pydantic_fields_set__": {*message.__pydantic_fields_set__, *update},
            "__pydantic_extra__": None,
            "__pydantic_private__": None,
        }
    )
    return copied


def _blocks(blocks: list[Any], text: str, calls: dict[str | None, ToolCall]) -> Iterator[Any]:
    said = "".join(block.get("text", "") for block in blocks if _kind(block) == "text")
    is_ours = text != _storable(said)
    for block in blocks:
        kind = _kind(block)
        if kind in _CALL_BLOCKS:
            if call := calls.get(block.get("id")):
                yield {**block, "name": call["name"], **_arguments_in(kind, call["args"])}
        elif kind != "text" or not is_ours:
            yield block
    if is_ours and text.strip():
        # We added to it, or cut it: then our text stands in the place of the pieces, with what was signed before it.
        yield {"type": "text", "text": text}


def _arguments_in(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case "function_call":
            return {"arguments": json.dumps(arguments)}
        case "tool_use":
            return {"input": arguments}
        case _:
            return {"args": arguments}


def _provider_fields(answer: AIMessage, ids: Sequence[str], of: str) -> dict[str, Any] | None:
    kwargs = {key: value for key, value in answer.additional_kwargs.items() if key not in _NOT_BACK and value}
    found: dict[str, Any] = {"kwargs": kwargs} if kwargs else {}
    given = answer.additional_kwargs.get(CALL_FIELDS)
    if isinstance(given, list) and len(given) == len(ids):
        found["calls"] = {call_id: one for call_id, one in zip(ids, given, strict=True) if one}
    if isinstance(answer.content, list) and any(not _is_plain(block) for block in answer.content):
        found["content"] = list(_marked(answer.content, ids))
    if not found:
        return None
    try:
        # What has no JSON can be neither stored nor sent.
        stored: dict[str, Any] = clean(json.loads(json.dumps({"of": of, **found}, allow_nan=False)))
    except (ValueError, TypeError, RecursionError):
        return None
    return stored


def _marked(blocks: Sequence[Any], ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Keep blocks of content; of one that carries a call only its place, its id and what is not the call."""
    carrying = sum(_kind(block) in _CALL_BLOCKS for block in blocks)
    following = iter(ids if carrying == len(ids) else ())
    for block in blocks:
        if isinstance(block, str):
            yield {"type": "text", "text": block}
        elif _kind(block) not in _CALL_BLOCKS:
            yield {key: value for key, value in block.items() if key != "index"}
        elif call_id := next(following, None):
            yield {**{key: value for key, value in block.items() if key not in _OF_A_CALL}, "id": call_id}


def _kind(block: Any) -> str:
    return str(block.get("type", "")) if isinstance(block, dict) else "text"


def _is_plain(block: Any) -> bool:
    """Tell whether text and calls hold all that a block says."""
    if isinstance(block, str):
        return True
    if _kind(block) in _CALL_BLOCKS:
        return set(block) <= {"type", "id", *_OF_A_CALL}
    return _kind(block) == "text" and set(block) <= {"type", "text", "index"}


def _with_refusal(text: str, refusal: str, calls: int) -> str:
    parts = [text, f"The model refused: {_storable(refusal.strip())}"]
    if calls:
        parts.append(f"[Its {calls} call{'s' if calls > 1 else ''} did nothing.]")
    return "\n".join(part for part in parts if part.strip())


#: Reasons by which an answer is known to have broken off, each by a provider that gives it.
_CUT = ("length", "max_tokens", "MAX_TOKENS", "model_context_window_exceeded", "model_length")
_FILTERED = ("content_filter", "refusal", "guardrail_intervened", "SAFETY", "PROHIBITED_CONTENT", "RECITATION")


def _check(ended: dict[str, str], *, has_calls: bool) -> None:
    """Refuse an answer that is known to have broken off. What else is not finished is judged where it is stored."""
    for reason in ended.values():
        if reason in _CUT:
            raise Nonsense("hit its length limit in the middle of its answer")
        if reason in _FILTERED:
            raise Nonsense("was stopped by the endpoint's content filter")
        if reason in ("tool_calls", "function_call", "tool_use") and not has_calls:
            raise Nonsense("announced calls and made none that can be read")


def reason_of(found: Sequence[str], name: str) -> str:
    """Choose among the reasons that one answer ended with: one that does not mean "finished", else the last."""
    return next((reason for reason in found if reason not in FINISHED[name]), found[-1])


def _calls(answer: AIMessage) -> list[ToolCall]:
    calls = [_call(call["name"], call["id"], call["args"]) for call in answer.tool_calls]
    return calls + [_call(call["name"], call["id"], _arguments(call["args"])) for call in answer.invalid_tool_calls]


def _read(call: RawCall) -> ToolCall:
    return _call(call.name, call.call_id, _arguments(call.arguments))


def _call(name: str | None, call_id: str | None, arguments: dict[str, Any]) -> ToolCall:
    try:
        # NaN, infinity and half a character have no JSON and no place in a database; nor has a zero byte in PostgreSQL.
        text = json.dumps(arguments, allow_nan=False, ensure_ascii=False)
        text.encode()
        if "\\u0000" in text:
            raise ValueError("zero byte")
    except (ValueError, TypeError, RecursionError):
        arguments = {UNPARSED: _storable(_shown(arguments)[:KEPT])}
    name = name if name and _NAME.fullmatch(name) else NO_NAME
    return tool_call(name=name, args=arguments, id=_storable(call_id or ""))


def _shown(arguments: dict[str, Any]) -> str:
    try:
        return json.dumps(arguments)
    except (ValueError, TypeError, RecursionError):
        return repr(arguments)


def _arguments(text: str | None) -> dict[str, Any]:
    """Read arguments as strict JSON. langchain's own reading closes what is cut off: half an amount would pass."""
    try:
        read = json.loads(text or "{}", strict=False)
        if isinstance(read, str):  # encoded twice, as some endpoints do
            read = json.loads(read, strict=False)
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {UNPARSED: _storable((text or "")[:KEPT])}


def is_object(text: str) -> bool:
    """Tell whether a text is one whole JSON object."""
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False


def _with_unique_ids(calls: Sequence[ToolCall], message_id: str) -> list[ToolCall]:
    seen: set[str] = set()
    for position, call in enumerate(calls):
        call_id = call["id"] or ""
        while not call_id or call_id in seen:
            # Nine letters and digits, which is what the strictest endpoint takes.
            call_id = hashlib.sha256(f"{message_id}/{position}/{call_id}".encode()).hexdigest()[:9]
        seen.add(call_id)
        call["id"] = call_id
    return list(calls)


def _storable(text: str) -> str:
    """Replace what neither UTF-8 nor PostgreSQL can hold: half characters and zero bytes."""
    return text.encode(errors="replace").decode().replace("\x00", "�")
