"""What the model is given: messages as the strictest known endpoint takes them, and not too many."""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from clearance.models.answer import bare, with_provider_fields

#: Stands between a result and the person's next message, where the model had no word: some endpoints want one.
NO_WORD = "[The person wrote again before I said more.]"
_EMPTY = "(empty)"


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


def presentable(messages: Sequence[AnyMessage], of: str = "") -> list[AnyMessage]:
    """Arrange a history as endpoints accept it: each call's result directly after its message, in the order of calls.

    What a client can put into messages and an endpoint would refuse is left out: results of no call, names, empty
    answers, other roles. What a provider gave with its messages goes back to it, and to no other: `of` names it. A
    call without a result stays, see `open_calls`.
    """
    results = _results(messages)
    arranged: list[AnyMessage] = []
    # By `isinstance`, the kinds that are most first: patterns of classes take three times as long.
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            continue
        if isinstance(message, AIMessage):
            if message.tool_calls or _text(message).strip():
                arranged.append(with_provider_fields(message, of))
                keys = [(at, call["id"] or "") for call in message.tool_calls]
                arranged += [_bare_result(results[key]) for key in keys if key in results]
        elif isinstance(message, HumanMessage):
            is_bare = not (message.name or message.additional_kwargs or message.response_metadata)
            arranged.append(message if is_bare else HumanMessage(message.content, id=message.id))
        elif isinstance(message, SystemMessage):
            arranged.append(SystemMessage(message.content, id=message.id))
    return arranged


def _text(message: AnyMessage) -> str:
    return message.content if isinstance(message.content, str) else str(message.text)


def _bare_result(message: ToolMessage) -> ToolMessage:
    return bare(message) or ToolMessage(
        message.text, tool_call_id=message.tool_call_id, id=message.id, status=message.status
    )


def alternating(messages: Sequence[AnyMessage], *, since: int = 0) -> list[AnyMessage]:
    """Let persons and the model take turns, each with words, system messages first, as the strictest endpoints want it.

    The first ones, up to `since`, do already, and no system message is among the others.

    Mistral refuses a person's message behind a result; templates of local models refuse two messages of one role in a
    row, and a system message that is not the first; Anthropic refuses empty text.
    """
    system = [message for message in messages if isinstance(message, SystemMessage)] if not since else []
    turns: list[AnyMessage] = [SystemMessage("\n\n".join(one.text for one in system))] if system else []
    turns += messages[:since]
    for one in messages[since:]:
        message, last = _filled(one), turns[-1] if turns else None
        if isinstance(message, SystemMessage):
            continue
        if isinstance(message, HumanMessage) and isinstance(last, ToolMessage):
            turns += [AIMessage(NO_WORD), message]
        elif isinstance(message, HumanMessage) and isinstance(last, HumanMessage):
            turns[-1] = HumanMessage(_joined(last.content, message.content), id=message.id)
        elif isinstance(message, AIMessage) and isinstance(last, AIMessage) and not last.tool_calls:
            turns[-1] = message.model_copy(update={"content": _joined(last.content, message.content)})
        else:
            turns.append(message)
    return turns


def _filled(message: AnyMessage) -> AnyMessage:
    content = message.content
    if not isinstance(message, HumanMessage | ToolMessage) or (content and not isinstance(content, str)):
        return message
    is_blank = not content or str(content).isspace()
    return message.model_copy(update={"content": _EMPTY}) if is_blank else message


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(text for text in (first, second) if text)
    blocks: list[Any] = []
    for content in (first, second):
        if isinstance(content, list):
            blocks += content
        elif content:
            blocks.append({"type": "text", "text": content})
    return blocks


def recent(messages: Sequence[AnyMessage], tokens: int) -> Sequence[AnyMessage]:
    """Leave out the oldest turns that `trim` would surely leave out of so many tokens: cheaply, for a long thread."""
    first = start = start_of_turn(messages)
    left = 4 * tokens  # characters: `count` takes no more for a token, and three tokens more for each message
    while first and left >= 0:
        first -= 1
        content = messages[first].content
        left -= 12 + (len(content) if isinstance(content, str) else 0)
    # Whole turns.
    return messages[next(at for at in range(first, start + 1) if at == start or is_persons(messages[at])) :]


def start_of_turn(messages: Sequence[AnyMessage]) -> int:
    """Tell where the current turn begins."""
    return next((at for at in reversed(range(len(messages))) if is_persons(messages[at])), 0)


def is_persons(message: AnyMessage) -> bool:
    return isinstance(message, HumanMessage)


def trim(messages: Sequence[AnyMessage], tokens: int) -> list[AnyMessage]:
    """Keep what fits into `tokens` (estimated): the current turn, then older turns, whole, newest first.

    A turn begins at a person's message. When the current one alone is too long, its results are cut, telling their
    length; then its oldest messages are left out together with their results, telling how many. The person's
    message and the last group of calls and results always stay, even when they are too long.
    """
    start = start_of_turn(messages)
    current = trim_turn(list(messages[start:]), tokens)
    older = messages[fitting(messages[:start], tokens - count(current)) : start]
    first = next((at for at, message in enumerate(older) if is_persons(message)), len(older))
    return [*older[first:], *current]


def fitting(messages: Sequence[AnyMessage], tokens: int) -> int:
    """Tell from which on the last messages fit. Each is counted once or twice, and `count` of many is their sum."""
    first = len(messages)
    for many in (64, 8, 1):
        while first and (cost := count(messages[max(first - many, 0) : first])) <= tokens:
            first, tokens = max(first - many, 0), tokens - cost
    return first


def count(messages: Sequence[Any]) -> int:
    """Estimate tokens, those of what a provider wants back included."""
    fields = [message.additional_kwargs for message in messages if getattr(message, "additional_kwargs", None)]
    return count_tokens_approximately(messages) + sum(len(json.dumps(one, default=str)) // 4 for one in fields)


def trim_turn(turn: list[AnyMessage], tokens: int) -> list[AnyMessage]:
    # In characters, four to a token: one result may have a quarter of the room; then less.
    for most in (None, tokens, 1_000, 300):
        cut = turn if most is None else [_cut(message, most) for message in turn]
        if count(cut) <= tokens:
            return cut
    first = next((at for at, message in enumerate(cut) if isinstance(message, AIMessage)), len(cut))
    head, groups = cut[:first], _groups(cut[first:])
    room = tokens - count([*head, _left_out(len(groups))])
    stay = 0
    for group in reversed(groups):
        room -= count(group)
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
            results[asked_at[call_id], call_id] = message
    return results
