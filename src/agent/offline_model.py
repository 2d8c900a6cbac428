"""A small model without a network: it understands the sentences in `UNDERSTANDS`, and says so when it doesn't.

It is there to try everything with nothing but this repository. It never guesses: a request of which any part is
not understood calls no tool at all.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

#: Sentences it understands. Clauses can be joined by "and", "then" or ";" and become calls of one message.
UNDERSTANDS = [
    "who is Priya Natarajan?",
    "find customer priya",
    "show customer C-1001",
    "show account A-2001",
    "what is the balance of A-2001?",
    "list transactions of A-2001",
    "transfer $900 from A-2001 to A-2002 for rent",
    "transfer 5,000 from A-2001 to A-2003 and 250.50 from A-2002 to A-2003",
    "transfer 100 from A-2001 to A-2002, then delete user C-1003",
    "delete customer C-1003 because the account was opened twice",
    "reverse T-20418 because it was sent twice",
    "analyze transactions",
    "analyze the transactions of A-2001",
]

#: Begins its answers in the first turn of a thread, so that it never stands in silently.
INTRODUCTION = "[offline model]"


@dataclass(frozen=True)
class Wish:
    """One call that a sentence asks for."""

    tool: str
    arguments: dict[str, str]


class OfflineModel(BaseChatModel):
    """Answer from `UNDERSTANDS`, the same input with the same answer, streaming like a real model.

    A person's message becomes calls of the bound tools in one AI message, in the order of the sentence; tool results
    are repeated word for word, in the order of the calls.
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

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_answer(messages, kwargs.get("tools", [])))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(_answer(messages, kwargs.get("tools", []))):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(_answer(messages, kwargs.get("tools", []))):
            yield ChatGenerationChunk(message=chunk)
            await asyncio.sleep(0)  # without it nothing is sent to clients before the last chunk


def read(sentence: str) -> list[Wish] | None:
    """Read what a sentence asks for, in its order; None when any part of it is not understood."""
    if len(sentence) > 2_000:  # the patterns backtrack: a pasted book would hold the server up
        return None
    rest = re.sub(r"\s+", " ", sentence).strip()
    rest = re.sub(r"^(?:please|could you|can you|now|ok|okay)\b,? ", "", rest, flags=re.IGNORECASE)
    wishes: list[Wish] = []
    while rest:
        before = wishes[-1].tool if wishes else None
        for clause in _CLAUSES:
            found = clause.pattern.match(rest) if not clause.goes_on or clause.tool == before else None
            if found:
                break
        else:
            return None
        arguments = {name: _value(name, text) for name, text in found.groupdict().items() if text}
        wishes.append(Wish(clause.tool, arguments))
        rest = rest[found.end() :]
    return wishes or None


def _answer(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> AIMessage:
    text, wishes = _reply(messages, {tool["function"]["name"] for tool in tools})
    if sum(isinstance(message, HumanMessage) for message in messages) < 2:
        text = f"{INTRODUCTION} {text}"
    calls = [
        tool_call(name=wish.tool, args=wish.arguments, id=_call_id(messages, position))
        for position, wish in enumerate(wishes)
    ]
    # Why it ended, streamed or not: calls of an answer that does not say it was finished are not carried out.
    ended = {"finish_reason": "tool_calls" if calls else "stop"}
    return AIMessage(content=text, tool_calls=calls, response_metadata=ended)


def _reply(messages: Sequence[BaseMessage], tools: set[str]) -> tuple[str, list[Wish]]:
    match messages[-1] if messages else None:
        case ToolMessage():
            return "\n".join(_results(messages)), []
        case HumanMessage() as asked:
            wishes = read(asked.text)
        case _:
            return "There is no question to answer.", []
    if wishes is None:
        examples = "\n".join(f"- {example}" for example in UNDERSTANDS)
        return f"I did not understand all of that, so I did nothing. I understand:\n{examples}", []
    missing = sorted({wish.tool for wish in wishes} - tools)
    if missing:
        return f"I did nothing, since I have no tool called {' or '.join(missing)}.", []
    return f"Calling {', '.join(wish.tool for wish in wishes)}.", wishes


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


def _value(name: str, text: str) -> str:
    if name == "amount":
        plain = text.replace("$", "")
        # "5,000" is five thousand. Any other comma stays, for the bank to refuse.
        return plain.replace(",", "") if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?", plain) else plain
    if name.endswith(("_id", "_account")):
        return text.upper()
    return text.strip(" \"'")


class _Clause(NamedTuple):
    tool: str
    pattern: re.Pattern[str]
    #: Whether it needs a clause of the same tool before it ("… and 250.50 from A-2002 to A-2003").
    goes_on: bool = False


_ID = r"[a-z]+-\w+"
_AMOUNT = r"[-+]?\$?[-+]?[\w.,]+(?:[-+]\w+)?"
#: What can begin a clause, so that "and" within a memo, a reason or a name stays there.
_BEGIN = (
    r"(?:transfer|send|move|pay|delete|remove|reverse|undo|show|list|find|look|who|what|analy[sz]e"
    rf"|{_AMOUNT}(?: dollars| usd)? from {_ID})\b"
)
#: The end of a clause: of the sentence too, or a joint before the next one.
_AND = r"(?:and then|and also|then|and|also) "
_END = rf"(?:[ ?.!,;]*$|(?: ?[?.!,;]+ (?:{_AND})?| {_AND})(?:please )?(?={_BEGIN}))"
_TRANSFER = (
    rf"(?P<amount>{_AMOUNT})(?: dollars| usd)? from (?:account )?(?P<from_account>{_ID}) to (?:account )?"
    rf"(?P<to_account>{_ID})(?: (?:for|because) (?P<memo>.+?))?"
)
_REASON = r"(?:,? (?:because|for|since) (?P<reason>.+?))?"
_OF_ACCOUNT = rf"(?:of|for|on) (?:account )?(?P<account_id>{_ID})"


def _clause(tool: str, pattern: str, *, goes_on: bool = False) -> _Clause:
    return _Clause(tool, re.compile(pattern + _END, re.IGNORECASE), goes_on)


#: Tried in this order at the beginning of what is left of the sentence.
_CLAUSES = [
    _clause("transfer_funds", rf"(?:transfer|send|move|pay) {_TRANSFER}"),
    _clause("transfer_funds", _TRANSFER, goes_on=True),
    _clause("delete_user", rf"(?:delete|remove) (?:the )?(?:user|customer) (?P<user_id>{_ID}){_REASON}"),
    _clause("reverse_transfer", rf"(?:reverse|undo) (?:the )?(?:transfer )?(?P<transfer_id>{_ID}){_REASON}"),
    _clause("list_transactions", rf"(?:show(?: me)?|list) (?:the |all )?transactions {_OF_ACCOUNT}"),
    _clause("analyze_transactions", rf"analy[sz]e (?:the |all )?transactions(?: {_OF_ACCOUNT})?"),
    _clause("get_account", rf"(?:show(?: me)?|find|look up) (?:the )?account (?P<account_id>{_ID})"),
    _clause("get_account", rf"(?:what is|what's|show(?: me)?) the balance {_OF_ACCOUNT}"),
    _clause(
        "get_customer", r"(?:show(?: me)?|find|look up|who is) (?:the )?(?:customer |user )?(?P<customer_id>c-\w+)"
    ),
    _clause("find_customers", r"(?:show(?: me)?|find|look up) (?:the )?customers? (?:named |called )?(?P<query>.+?)"),
    _clause("find_customers", r"who is (?P<query>.+?)"),
]
