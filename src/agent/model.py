"""The chat model: which one answers, what it is given, and what of its answer we take.

presentable → trim → ainvoke, within one timeout → normalised      (any failure: `ModelUnavailable`)
"""

import asyncio
import hashlib
import json
import logging
import re
import traceback
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import openai
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    trim_messages,
)
from langchain_core.messages.tool import tool_call
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import BaseTool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agent.offline_model import OfflineModel
from agent.prompts import SYSTEM_PROMPT
from agent.settings import Settings

logger = logging.getLogger(__name__)

#: Name of the only argument of a call whose arguments could not be read: what the model wrote, cut to 500 characters.
UNPARSED = "__unparsed__"
#: Calls taken of one message. More is a model in a loop, and a plan of more is not something a reviewer reads.
MOST_CALLS = 20
#: Where a name of a tool stood that endpoints would refuse to read again. No tool is called this.
NO_NAME = "name_that_cannot_be"

_OPENAI = "https://api.openai.com/v1"
# Key of `response_metadata` in which `_Endpoint` hands calls over as text; normalising takes it out.
_AS_TEXT = "calls_as_text"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ModelUnavailable(Exception):
    """The model gave no answer that can be used. The text is one sentence for the person, with an error id.

    `error_id` stands in the log too, with the cause.
    """

    def __init__(self, sentence: str, *, error_id: str) -> None:
        self.error_id = error_id
        super().__init__(f"{sentence} (error {error_id})")


class _Nonsense(ValueError):
    """An answer that cannot be used; the text goes on after "The model"."""


def chat_model(settings: Settings) -> BaseChatModel:
    """Build the model these settings name, streaming; with no endpoint the offline one, which is logged.

    Does no network. An endpoint that fails later is never replaced by the offline model.
    """
    if settings.is_offline:
        logger.warning("offline model answers, no endpoint is configured (OPENAI_API_KEY, OPENAI_BASE_URL)")
        return OfflineModel()
    return _Endpoint(
        model=settings.model,
        # Explicit, so that neither OPENAI_API_BASE nor a LangSmith gateway in the environment sends it elsewhere.
        base_url=settings.openai_base_url or _OPENAI,
        # Local endpoints want no key; the client wants one.
        api_key=SecretStr(settings.openai_api_key.get_secret_value() or "none"),
        # `speak` bounds the whole call. These are longer, so that it is `speak` who tells how long that was.
        timeout=settings.model_timeout_s + 5,
        stream_chunk_timeout=settings.model_timeout_s + 5,
        max_retries=settings.model_retries,
        streaming=True,
        # Some compatible endpoints answer 400 when they are asked for it.
        stream_usage=not settings.openai_base_url,
        # Left open, it is chosen by the model's name and the message's shape; compatible endpoints have only this one.
        use_responses_api=False,
    )


async def speak(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    messages: Sequence[AnyMessage],
    *,
    context_tokens: int,
    timeout_s: float,
) -> AIMessage:
    """Get the model's next message: text, calls or both, whole and fit to be sent back to an endpoint.

    `messages` is the history without a system prompt; what is sent of it is at most `context_tokens`, by `trim`.
    Every call of the answer stands in `tool_calls` with an id of its own; `unparsed_call` tells which of them had
    arguments that cannot be read. Retries are within `timeout_s`. Its tokens stream under the id of the answer.

    Raises:
        ModelUnavailable: for whatever reason there is no whole answer. Cancellation passes as it is.
    """
    history = presentable(messages)
    if unanswered := open_calls(history):
        # An endpoint would refuse it, and an invented result could make the model pay twice.
        raise _unavailable(
            "This thread holds tool calls without a result and cannot go on; please start a new one.",
            f"open calls: {unanswered}",
        )
    try:
        async with asyncio.timeout(timeout_s):
            # Endpoints refuse an empty list of tools.
            able = model.bind_tools(tools) if tools else model
            answer = await able.ainvoke([SystemMessage(SYSTEM_PROMPT), *trim(history, context_tokens)])
        return normalised(answer)
    except Exception as exc:  # noqa: BLE001 - an endpoint's nonsense surfaces as anything, down to AttributeError
        # Not chained: an endpoint's own words may repeat the key, and a traceback would print them.
        raise _unavailable(_sentence(exc, timeout_s), _cause(exc, model)) from None


def normalised(answer: AIMessage) -> AIMessage:
    """Bring an answer into the one shape the graph works with; the id and the usage stay.

    Text is a plain string; all calls are in `tool_calls`, in the model's order, with unique ids, names an endpoint
    reads again, and arguments that are finite JSON, or `{UNPARSED: text}`. At most `MOST_CALLS`; that some were left
    out stands in the text.

    Raises:
        ValueError: it says nothing and calls nothing.
    """
    text = _storable(answer.text)
    calls = _calls(answer)
    if not calls and not text.strip():
        raise _Nonsense("answered with neither words nor calls")
    if len(calls) > MOST_CALLS:
        left_out = f"[Only the first {MOST_CALLS} of {len(calls)} calls were taken; the others are left out.]"
        text = f"{text}\n{left_out}".strip()
        del calls[MOST_CALLS:]
    return AIMessage(
        id=answer.id,
        content=text,
        tool_calls=_with_unique_ids(calls, answer.id or ""),
        usage_metadata=answer.usage_metadata,
        response_metadata={
            key: value
            for key, value in answer.response_metadata.items()
            if key in ("finish_reason", "model_name", "model_provider")
        },
    )


def unparsed_call(call: ToolCall) -> str | None:
    """Give the sentence that answers a call whose arguments could not be read; None for any other call."""
    if UNPARSED not in call["args"]:
        return None
    return f"Nothing was done: the arguments of {call['name']} were not a JSON object. Call it again with valid ones."


def open_calls(messages: Sequence[AnyMessage]) -> list[str]:
    """List the ids of calls that have no result directly after their message, in order."""
    missing: list[str] = []
    waiting: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage) and message.tool_call_id in waiting:
            waiting.remove(message.tool_call_id)
            continue
        missing += waiting
        waiting = [call["id"] or "" for call in message.tool_calls] if isinstance(message, AIMessage) else []
    return missing + waiting


def presentable(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Arrange a history as endpoints accept it: each call's result directly after its message, in the order of calls.

    What a client can put into messages and an endpoint would refuse is left out: results of no call, names, empty
    answers, provider fields, other roles. A call without a result stays, see `open_calls`.
    """
    results = _results(messages)
    arranged: list[AnyMessage] = []
    for at, message in enumerate(messages):
        match message:
            case HumanMessage():
                arranged.append(HumanMessage(message.content, id=message.id))
            case SystemMessage():
                arranged.append(SystemMessage(message.content, id=message.id))
            case AIMessage() if message.tool_calls or message.text.strip():
                arranged.append(AIMessage(message.text, id=message.id, tool_calls=message.tool_calls))
                keys = [(at, call["id"] or "") for call in message.tool_calls]
                arranged += [results[key] for key in keys if key in results]
            case _:
                pass
    return arranged


def trim(messages: Sequence[AnyMessage], tokens: int) -> list[AnyMessage]:
    """Keep what fits into `tokens` (estimated): the current turn, then older turns, whole, newest first.

    A turn begins at a person's message. When the current one alone is too long, its results are cut, telling their
    length; then its oldest messages are left out together with their results, telling how many. The person's
    message and the last group of calls and results always stay, even when they are too long.
    """
    start = max((at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=0)
    current = _trim_turn(list(messages[start:]), tokens)
    older: list[Any] = trim_messages(
        list(messages[:start]),
        max_tokens=max(tokens - count_tokens_approximately(current), 0),
        token_counter=count_tokens_approximately,
        strategy="last",
        start_on="human",
    )
    return [*older, *current]


def _trim_turn(turn: list[AnyMessage], tokens: int) -> list[AnyMessage]:
    # In characters, four to a token: one result may have a quarter of the room; then less.
    for most in (None, tokens, 1_000, 300):
        cut = turn if most is None else [_cut(message, most) for message in turn]
        if count_tokens_approximately(cut) <= tokens:
            return cut
    first = next((at for at, message in enumerate(cut) if isinstance(message, AIMessage)), len(cut))
    head, groups = cut[:first], _groups(cut[first:])
    room = tokens - count_tokens_approximately([*head, _left_out(len(groups))])
    stay = 0
    for group in reversed(groups):
        room -= count_tokens_approximately(group)
        if stay and room < 0:
            break
        stay += 1
    if stay == len(groups):
        return cut
    return [*head, _left_out(len(groups) - stay), *(message for group in groups[-stay:] for message in group)]


def _left_out(groups: int) -> AIMessage:
    # Said, because a model that forgot what it called calls it again.
    return AIMessage(f"[Earlier steps of this turn, left out here with what they called: {groups}.]")


def _groups(messages: list[AnyMessage]) -> list[list[AnyMessage]]:
    """Split at AI messages: each with the results that follow it."""
    groups: list[list[AnyMessage]] = []
    for message in messages:
        if isinstance(message, AIMessage) or not groups:
            groups.append([])
        groups[-1].append(message)
    return groups


def _cut(message: AnyMessage, most: int) -> AnyMessage:
    if not isinstance(message, ToolMessage) or len(message.text) <= most:
        return message
    text = f"{message.text[:most]} … [cut: {len(message.text):,} characters in all]"
    return message.model_copy(update={"content": text})


def _results(messages: Sequence[AnyMessage]) -> dict[tuple[int, str], ToolMessage]:
    """Find each call's result: by place of the AI message and id of the call; of several the last one."""
    asked_at: dict[str, int] = {}
    results: dict[tuple[int, str], ToolMessage] = {}
    for at, message in enumerate(messages):
        if isinstance(message, AIMessage):
            # Ids repeat in later turns: a result belongs to the last message before it that has its id.
            asked_at |= {call["id"] or "": at for call in message.tool_calls}
        elif isinstance(message, ToolMessage) and (call_id := message.tool_call_id) in asked_at:
            results[asked_at[call_id], call_id] = ToolMessage(
                message.text, tool_call_id=call_id, id=message.id, status=message.status
            )
    return results


def _calls(answer: AIMessage) -> list[ToolCall]:
    # As text when `_Endpoint` saw something odd; other models hand over what they parsed.
    as_text = answer.response_metadata.get(_AS_TEXT)
    if as_text is not None:
        return [_call(call["name"], call["id"], _arguments(call["args"])) for call in as_text]
    calls = [_call(call["name"], call["id"], call["args"]) for call in answer.tool_calls]
    return calls + [_call(call["name"], call["id"], _arguments(call["args"])) for call in answer.invalid_tool_calls]


def _call(name: str | None, call_id: str | None, arguments: dict[str, Any]) -> ToolCall:
    try:
        # NaN, infinity and half a character have no JSON and no place in a database; nor has a zero byte in PostgreSQL.
        text = json.dumps(arguments, allow_nan=False, ensure_ascii=False)
        text.encode()
        if "\\u0000" in text:
            raise ValueError("zero byte")
    except (ValueError, TypeError, RecursionError):
        arguments = {UNPARSED: _storable(repr(arguments)[:500])}
    name = name if name and _NAME.fullmatch(name) else NO_NAME
    return tool_call(name=name, args=arguments, id=_storable(call_id or ""))


def _arguments(text: str | None) -> dict[str, Any]:
    """Read arguments as strict JSON. langchain's own reading closes what is cut off: half an amount would pass."""
    if _is_object(text):
        arguments: dict[str, Any] = json.loads(text or "{}", strict=False)
        return arguments
    return {UNPARSED: _storable((text or "")[:500])}


def _is_object(text: str | None) -> bool:
    try:
        return isinstance(json.loads(text or "{}", strict=False), dict)
    except (ValueError, RecursionError):
        return False


def _with_unique_ids(calls: list[ToolCall], message_id: str) -> list[ToolCall]:
    seen: set[str] = set()
    for position, call in enumerate(calls):
        call_id = call["id"] or ""
        while not call_id or call_id in seen:
            digest = hashlib.sha256(f"{message_id}/{position}/{call_id}".encode()).hexdigest()
            call_id = f"call_{digest[:24]}"
        seen.add(call_id)
        call["id"] = call_id
    return calls


def _storable(text: str) -> str:
    """Replace what neither UTF-8 nor PostgreSQL can hold: half characters and zero bytes."""
    return text.encode(errors="replace").decode().replace("\x00", "�")


def _sentence(exc: BaseException, timeout_s: float) -> str:
    match exc:
        case _Nonsense():
            return f"The model {exc}; please try again."
        case TimeoutError() | openai.APITimeoutError():
            return f"The model did not answer within {timeout_s:g} s; please try again."
        # langchain-openai 1.7 looks for the code in the text, where openai 3 no longer puts it.
        case ContextOverflowError() | openai.APIError(code="context_length_exceeded"):
            return "This conversation is too long for the model; please start a new thread."
        case openai.AuthenticationError():
            return "The model endpoint refused the key it was given."
        case openai.PermissionDeniedError():
            return "The model endpoint does not let this key use the model."
        case openai.NotFoundError():
            return "The model endpoint does not know the model or the address it was asked for."
        case openai.RateLimitError():
            return "The model endpoint is over its limit (HTTP 429); please try again later."
        case openai.APIStatusError() if exc.status_code < 500:
            return f"The model endpoint refused the request (HTTP {exc.status_code})."
        case openai.APIStatusError():
            return f"The model endpoint failed (HTTP {exc.status_code}); please try again."
        case openai.APIConnectionError():
            return "The model endpoint cannot be reached; please try again."
        case openai.APIError():
            return "The model endpoint failed while it answered; please try again."
        case _:
            return "The model endpoint did not give a whole answer that can be read; please try again."


def _unavailable(sentence: str, cause: str) -> ModelUnavailable:
    error_id = uuid4().hex[:8]
    logger.error("model unavailable, error %s: %s", error_id, cause)
    return ModelUnavailable(sentence, error_id=error_id)


def _cause(exc: BaseException, model: BaseChatModel) -> str:
    """Write down an error with its traceback, and without the key if it repeats it."""
    key = getattr(model, "openai_api_key", None)
    secret = key.get_secret_value() if isinstance(key, SecretStr) else ""
    text = "".join(traceback.format_exception(exc))
    return text.replace(secret, "***") if secret else text


class _Endpoint(ChatOpenAI):
    """ChatOpenAI that does not pass half a stream off as an answer.

    langchain-openai 1.7 takes a stream that ends early for complete, and langchain-core closes JSON that is cut off:
    `{"amount": "90` of 9000 becomes a valid call.
    """

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        whole: AIMessageChunk | None = None
        reason: str | None = None
        async for chunk in super()._astream(*args, **kwargs):
            reason = (chunk.generation_info or {}).get("finish_reason") or reason
            if isinstance(chunk.message, AIMessageChunk) and chunk.message.tool_call_chunks:
                calls = AIMessageChunk(content="", tool_call_chunks=chunk.message.tool_call_chunks)
                whole = calls if whole is None else whole + calls
            yield chunk
        _check_finished(reason, has_calls=whole is not None)
        if whole is not None and not all(_is_object(call["args"]) for call in whole.tool_call_chunks):
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="", response_metadata={_AS_TEXT: whole.tool_call_chunks})
            )


def _check_finished(reason: str | None, *, has_calls: bool) -> None:
    match reason:
        case None:
            raise _Nonsense("stopped in the middle of its answer")
        case "length":
            raise _Nonsense("hit its length limit in the middle of its answer")
        case "content_filter":
            raise _Nonsense("was stopped by the endpoint's content filter")
        case "tool_calls" | "function_call" if not has_calls:
            raise _Nonsense("announced calls and made none that can be read")
        case _:
            pass
