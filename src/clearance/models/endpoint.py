"""OpenAI's chat completions, as compatible endpoints really speak them.

What is beyond doubt is put right before langchain reads it; what nobody can tell apart is left as it is, so that it
does nothing and the model is told. Fields that are not ours go back with the message or the call they came with.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

from clearance.models.answer import CALL_FIELDS, FIELDS, REFUSAL, is_object
from clearance.models.failure import Nonsense

#: Fields of a message and of a call that are the protocol's own, or that endpoints send and do not take back.
_OF_MESSAGE = {
    *("role", "content", "tool_calls", "function_call", "refusal", "audio", "annotations", "name", "id", "parsed"),
    *("token_ids", "prompt_token_ids", "stop_reason", "logprobs", "usage"),
}
_OF_CALL = {"id", "type", "function", "index"}
_OF_FUNCTION = {"name", "arguments"}


class Endpoint(ChatOpenAI):
    """ChatOpenAI for endpoints that are not OpenAI's: always streaming, whatever the endpoint makes of that."""

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        for message, sent in zip(self._convert_input(input_).to_messages(), payload["messages"], strict=True):
            if not isinstance(message, AIMessage):
                continue
            for name, value in message.additional_kwargs.get(FIELDS, {}).items():
                sent.setdefault(name, value)
            fields = message.additional_kwargs.get(CALL_FIELDS, {})
            for call in sent.get("tool_calls", []):
                _put_back(call, fields.get(call["id"], {}))
        return payload

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        kwargs["stream"] = True
        if self._should_stream_usage(stream_usage, **kwargs):
            kwargs["stream_options"] = {"include_usage": True}
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        reading = _Reading()
        async for chunk in self._events(payload):
            generated = self._convert_chunk_to_generation_chunk(reading.read(chunk), AIMessageChunk, {})
            if generated is not None:
                yield generated
        yield ChatGenerationChunk(message=AIMessageChunk(content="", additional_kwargs=reading.left()))

    async def _events(self, payload: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Send the request and give what comes back, an event at a time, whether the endpoint streams or not."""
        raw = await self.async_client.with_raw_response.create(**payload)
        if "event-stream" in raw.headers.get("content-type", ""):
            async with raw.parse() as stream:
                async for event in stream:
                    yield event if isinstance(event, dict) else event.model_dump(warnings=False)
            return
        body = (await raw.http_response.aread()).decode(errors="replace").strip()
        if body.startswith(("data:", "event:", ":")):
            for line in body.splitlines():
                data = line.removeprefix("data:").strip()
                if line.startswith("data:") and data != "[DONE]":
                    yield _parsed(data)
            return
        if body.startswith("<"):
            raise Nonsense("endpoint sent a web page instead of an answer (is OPENAI_BASE_URL right?)")
        yield _streamed(_parsed(body))


def _parsed(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        raise Nonsense("endpoint sent something that is neither a stream nor JSON") from None
    if not isinstance(read, dict):
        raise Nonsense("endpoint sent JSON that is no answer")
    if read.get("error"):
        raise Nonsense("endpoint sent an error instead of an answer")
    return read


def _streamed(completion: dict[str, Any]) -> dict[str, Any]:
    """Write a whole answer as the one event of a stream: the endpoint ignored that it was asked for one."""
    choices = []
    for choice in completion.get("choices") or []:
        message = choice.get("message") or {}
        calls = [{**call, "index": at} for at, call in enumerate(message.get("tool_calls") or [])]
        choices.append({**choice, "delta": {**message, "tool_calls": calls}})
    if not choices:
        raise Nonsense("endpoint sent JSON that is no answer")
    return {**completion, "choices": choices}


@dataclass
class _Call:
    """A call as it has come so far."""

    #: What the endpoint counts it as; None when it does not count.
    number: int | None
    call_id: str | None = None
    name: str = ""
    text: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class _Reading:
    """One answer as it comes: which fragment belongs to which call, and what is not ours."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._fields: dict[str, Any] = {}
        self._refusal = ""

    def read(self, event: dict[str, Any]) -> dict[str, Any]:
        """Give an event as the protocol means it: every call with a number of its own, its name and its id once."""
        choices = event.get("choices")
        if not choices:
            return event
        choice = choices[0]
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message") or {}
        for name, value in delta.items():
            if name not in _OF_MESSAGE and value not in (None, "", [], {}):
                self._fields[name] = _grown(self._fields.get(name), value)
        self._refusal += delta.get("refusal") or ""
        calls = [fragment for given in delta.get("tool_calls") or [] for fragment in self._fragment(given)]
        # Without a role langchain would take its class from the chunk before.
        read = {"role": "assistant", "content": _text(delta.get("content")), "tool_calls": calls}
        return {**event, "choices": [{**choice, "delta": read}]}

    def left(self) -> dict[str, Any]:
        """Give what came beside words and calls, as `additional_kwargs`."""
        call_fields = [call.fields for call in self._calls]
        found = {FIELDS: self._fields, CALL_FIELDS: call_fields if any(call_fields) else [], REFUSAL: self._refusal}
        return {name: value for name, value in found.items() if value}

    def _fragment(self, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
        function = given.get("function") or {}
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        name, call_id = function.get("name") or "", given.get("id") or None
        call = self._of(given.get("index"), call_id, name, text)
        if call is None:
            call = _Call(given.get("index"))
            self._calls.append(call)
        elif call_id and call_id == call.call_id and text and text == call.text and is_object(text):
            return  # the whole call once more
        _merge(call.fields, {key: value for key, value in given.items() if key not in _OF_CALL and value is not None})
        own = {key: value for key, value in function.items() if key not in _OF_FUNCTION and value is not None}
        if own:
            _merge(call.fields, {"function": own})
        # Some say the name with every piece, some in pieces.
        piece = "" if name == call.name or call.text else name
        new_id = call_id if call.call_id is None else None
        call.name += piece
        call.text += text
        call.call_id = call.call_id or call_id
        number = self._calls.index(call)
        yield {"index": number, "id": new_id, "function": {"name": piece or None, "arguments": text}}

    def _of(self, number: int | None, call_id: str | None, name: str, text: str) -> _Call | None:
        """Find the call that a fragment goes on with; None when it begins one."""
        counted = [call for call in self._calls if call.number == number]
        if call_id and (same := [call for call in counted if call.call_id == call_id]):
            return same[0]
        if not counted:
            return None
        # With several under one number, a piece without an id is nobody's: it spoils the first, as it may be its.
        current = counted[0] if len({call.call_id for call in counted}) > 1 and number is not None else counted[-1]
        if call_id and current.call_id:
            return None if name else current  # an id made anew for every piece
        if not name or (name == current.name and not is_object(current.text)):
            return current
        if not current.text:
            return current if not is_object(text) or not current.name else None
        is_twin = (name, text) == (current.name, current.text)
        # Alike, under one number and without ids: once more, or twice? It goes on, and cannot be read then.
        return current if is_twin or (name == current.name and not text.strip()) else None


def _grown(before: Any, value: Any) -> Any:
    match before, value:
        case (str(), str()) | (list(), list()):
            return before + value
        case _:
            return value


def _merge(into: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _put_back(call: dict[str, Any], fields: dict[str, Any]) -> None:
    """Add what came with a call; what it calls is ours to say."""
    for name, value in fields.items():
        if isinstance(value, dict) and isinstance(call.get(name), dict):
            _put_back(call[name], value)
        else:
            call.setdefault(name, value)


def _text(content: Any) -> str:
    """Give the words of a content, which some endpoints send in blocks."""
    if isinstance(content, list):
        return "".join(str(block.get("text") or "") for block in content if isinstance(block, dict))
    return content or ""
