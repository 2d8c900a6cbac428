"""A small model without a network, to try a project's own tools with no key: its sentences come from the tools.

It never guesses: a request of which any part is not understood calls no tool at all.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

#: Begins its answers in the first turn of a thread, so that it never stands in silently.
INTRODUCTION = "[offline model]"
#: Longer sentences are not read: the patterns backtrack, and a pasted book would hold the server up.
_LONGEST = 2_000

#: The tools it may call, by name: the JSON schema of each one's arguments.
Schemas = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Wish:
    """One call that a sentence asks for."""

    tool: str
    arguments: dict[str, Any]


class OfflineModel(BaseChatModel):
    """A chat model without a network: it reads sentences that name a tool and its arguments, and says so when it can't.

    A person's message becomes calls of the bound tools in one AI message, in the order of the sentence; tool results
    are repeated word for word, in the order of the calls. The same input has the same answer, and it streams as a real
    model does. Calls are joined by "; " or "and then", and a value that holds commas stands in double quotes.

    Example:
        >>> from clearance import OfflineModel, lookup
        >>> @lookup
        ... def get_order(order_id: str) -> str:
        ...     '''Give one order.'''
        ...     return f"{order_id}: shipped"
        >>> said = OfflineModel().bind_tools([get_order]).invoke("get order: order_id O-1001")
        >>> [(call["name"], call["args"]) for call in said.tool_calls]
        [('get_order', {'order_id': 'O-1001'})]
    """

    @property
    def _llm_type(self) -> str:
        return "clearance-offline"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let it call these tools. `tool_choice` is not looked at."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def understands(self, tools: Schemas) -> list[str]:
        """List sentences that it understands, for who wrote another one."""
        return [example(name, schema) for name, schema in tools.items()]

    def wishes(self, sentence: str, tools: Schemas) -> list[Wish] | None:
        """Read what a sentence asks for, in its order; None when any part of it is not understood."""
        return read(sentence, tools)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages, kwargs.get("tools", [])))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._answer(messages, kwargs.get("tools", []))):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._answer(messages, kwargs.get("tools", []))):
            yield ChatGenerationChunk(message=chunk)
            await asyncio.sleep(0)  # without it nothing is sent to clients before the last chunk

    def _answer(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> AIMessage:
        schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in tools}
        text, wishes = self._reply(messages, schemas)
        if sum(isinstance(message, HumanMessage) for message in messages) < 2:
            text = f"{INTRODUCTION} {text}"
        calls = [
            tool_call(name=wish.tool, args=wish.arguments, id=_call_id(messages, position))
            for position, wish in enumerate(wishes)
        ]
        # Why it ended, streamed or not: calls of an answer that does not say it was finished are not carried out.
        ended = {"finish_reason": "tool_calls" if calls else "stop"}
        return AIMessage(content=text, tool_calls=calls, response_metadata=ended)

    def _reply(self, messages: Sequence[BaseMessage], tools: Schemas) -> tuple[str, list[Wish]]:
        match messages[-1] if messages else None:
            case ToolMessage():
                return "\n".join(_results(messages)), []
            case HumanMessage() as asked:
                wishes = self.wishes(asked.text, tools)
            case _:
                return "There is no question to answer.", []
        if wishes is None:
            examples = "\n".join(f"- {one}" for one in self.understands(tools))
            return f"I did not understand all of that, so I did nothing. I understand:\n{examples}", []
        missing = sorted({wish.tool for wish in wishes} - tools.keys())
        if missing:
            return f"I did nothing, since I have no tool called {' or '.join(missing)}.", []
        return f"Calling {', '.join(wish.tool for wish in wishes)}.", wishes


# Sentences


def read(sentence: str, tools: Schemas) -> list[Wish] | None:
    """Read calls of these tools, such as `refund order: order_id O-1001, amount 500; close ticket: ticket_id T-7`.

    None when any part is not understood. A value is read as its argument's type; one that is none of it is passed on
    as text, for the tool to refuse.
    """
    if not tools or len(sentence) > _LONGEST:
        return None
    quoted: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        quoted.append(found[1])
        return f"\x00{len(quoted) - 1}\x00"

    plain = re.sub(r'"([^"]*)"', put_away, " ".join(sentence.replace("\x00", " ").split()))
    names = "|".join(_in_words(name) for name in sorted(tools, key=len, reverse=True))
    clauses = re.split(rf"(?:;|,? and then|,? then|,? and) (?=(?:{names})\b)", plain.rstrip(" .;"), flags=re.IGNORECASE)
    found = [_read_clause(clause, tools, quoted) for clause in clauses]
    return None if None in found else [wish for wish in found if wish is not None]


def example(name: str, schema: Mapping[str, Any]) -> str:
    """Write a sentence that calls a tool with every argument that it needs."""
    fields = schema.get("properties", {})
    needed = [f"{field} {_sample(fields.get(field, {}))}" for field in schema.get("required", [])]
    return f"{name.replace('_', ' ')}{': ' if needed else ''}{', '.join(needed)}"


def _read_clause(clause: str, tools: Schemas, quoted: Sequence[str]) -> Wish | None:
    for name in sorted(tools, key=len, reverse=True):
        if found := re.fullmatch(rf"(?:please )?{_in_words(name)}(?:[: ] *(.*))?", clause.strip(), re.IGNORECASE):
            arguments = _read_arguments(found[1] or "", tools[name].get("properties", {}), quoted)
            return None if arguments is None else Wish(name, arguments)
    return None


def _read_arguments(text: str, fields: Mapping[str, Mapping[str, Any]], quoted: Sequence[str]) -> dict[str, Any] | None:
    if not text.strip():
        return {}
    by_words = {_plain(field): field for field in fields}
    names = "|".join(_in_words(field) for field in sorted(fields, key=len, reverse=True))
    begins = list(re.finditer(rf"(?:^|,? and |, ?)({names})(?: is | ?[=:] ?| )", text, re.IGNORECASE)) if fields else []
    if not begins or begins[0].start() != 0:
        return None
    ends = [*(found.start() for found in begins[1:]), len(text)]
    arguments: dict[str, Any] = {}
    for found, end in zip(begins, ends, strict=True):
        field = by_words[_plain(found[1])]
        value = text[found.end() : end].strip()
        # A comma of no list and in no quotes: it may begin an argument that the tool does not have.
        is_split = "," in value and _kind(fields[field]) not in ("array", "object")
        if field in arguments or not value or is_split:
            return None
        arguments[field] = _value(value, fields[field], quoted)
    return arguments


def _value(text: str, schema: Mapping[str, Any], quoted: Sequence[str]) -> Any:
    if alone := re.fullmatch(r"\x00(\d+)\x00", text):
        return quoted[int(alone[1])]
    text = re.sub(r"\x00(\d+)\x00", lambda found: f'"{quoted[int(found[1])]}"', text)
    kind = _kind(schema)
    if kind == "boolean" and text.lower() in ("yes", "true", "no", "false"):
        return text.lower() in ("yes", "true")
    if kind in ("integer", "number", "array", "object"):
        try:
            read = json.loads(text)
        except ValueError:
            return text
        is_whole = isinstance(read, int) and not isinstance(read, bool)
        fits = {
            "integer": is_whole,
            "number": is_whole or isinstance(read, float),
            "array": isinstance(read, list),
            "object": isinstance(read, dict),
        }
        return read if fits[kind] else text
    return text


def _kind(schema: Mapping[str, Any]) -> str:
    """Give the JSON type of an argument; of one that may be left out the type it has when it is not."""
    kinds = [schema, *schema.get("anyOf", [])]
    return next((str(one["type"]) for one in kinds if one.get("type") not in (None, "null")), "string")


def _sample(schema: Mapping[str, Any]) -> str:
    """Give a value for an example: the schema's own, else what its description names, else one of its type."""
    if schema.get("examples"):
        given = schema["examples"][0]
        return given if isinstance(given, str) else json.dumps(given)
    if named := re.search(r'for example "?([^",;]+)', str(schema.get("description", ""))):
        return named[1].strip().rstrip(".")
    if schema.get("enum"):
        return str(schema["enum"][0])
    return {"integer": "5", "number": "5", "boolean": "yes", "array": "[]", "object": "{}"}.get(_kind(schema), "text")


def _in_words(name: str) -> str:
    return re.escape(name).replace("_", "[ _]")


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")


# Answers


def _results(messages: Sequence[BaseMessage]) -> list[str]:
    last = max(at for at, message in enumerate(messages) if isinstance(message, AIMessage) and message.tool_calls)
    asked = messages[last]
    assert isinstance(asked, AIMessage)
    order = [call["id"] for call in asked.tool_calls]
    results = {message.tool_call_id: message.text for message in messages[last:] if isinstance(message, ToolMessage)}
    return [results[call_id] for call_id in order if call_id in results]


def _call_id(messages: Sequence[BaseMessage], position: int) -> str:
    # From everything said so far: the same in a replay, never the same in a later turn.
    said = json.dumps([[message.type, message.id, message.text] for message in messages] + [[position]])
    return f"call_{hashlib.sha256(said.encode()).hexdigest()[:24]}"


def _chunks(answer: AIMessage) -> Iterator[AIMessageChunk]:
    """Cut an answer as an endpoint streams it: words, then each call's name, then its arguments in pieces."""
    for word in re.findall(r"\S+\s*", answer.text):
        yield AIMessageChunk(content=word)
    for index, call in enumerate(answer.tool_calls):
        yield _call_chunk(index, call["name"], call["id"], "")
        arguments = json.dumps(call["args"])
        for at in range(0, len(arguments), 16):
            yield _call_chunk(index, None, None, arguments[at : at + 16])
    yield AIMessageChunk(content="", response_metadata=answer.response_metadata, chunk_position="last")


def _call_chunk(index: int, name: str | None, call_id: str | None, arguments: str) -> AIMessageChunk:
    return AIMessageChunk(
        content="", tool_call_chunks=[tool_call_chunk(name=name, args=arguments, id=call_id, index=index)]
    )
