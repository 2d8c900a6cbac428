"""The conversation that led to a request: words from the journal, look-ups and the model's answers from the thread."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx
from langgraph_sdk.errors import APIError

from agent.clearance.approval import spoken
from agent.clearance.desk import Detail
from agent.clearance.journal import Turn
from agent.server.recovery import client_of

logger = logging.getLogger(__name__)

_TIMEOUT_S = 2
_MOST_LOOKUPS, _MOST_EARLIER = 8, 50


@dataclass(frozen=True)
class Said:
    """What stands in a conversation, as it came."""

    kind: Literal["person", "lookup", "model"]
    #: The person or the look-up; empty for the model.
    by: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True)
class Talk:
    """What was said in a thread, as far as it matters for a request."""

    #: In the turn of the request, up to its plan: the person, look-ups, the model, in order.
    led: Sequence[Said]
    #: Before that, newest first.
    earlier: Sequence[Said]


async def read_talk(detail: Detail, actions: set[str]) -> Talk:
    """Read the conversation around a request; what only the thread tells is left out where it does not tell."""
    turn = detail.question.turn
    messages = await _messages(turn)
    ids = [message.get("id") for message in messages]
    begin = ids.index(turn.message_id) if turn.message_id in ids else None
    led = [_of_person(turn)]
    if begin is not None:
        led += _lookups(messages[begin + 1 :], {one.tool_call_id for one in detail.question.plan}, actions)
    if detail.question.model_wrote.strip():
        led.append(Said("model", "", detail.question.model_wrote))
    before = [one for one in detail.turns if one.turn_id != turn.turn_id]
    return Talk(led, _earlier(before, messages[:begin])[:_MOST_EARLIER])


async def _messages(turn: Turn) -> list[dict[str, Any]]:
    try:
        state: Any = await asyncio.wait_for(client_of(turn).threads.get_state(turn.thread_id), _TIMEOUT_S)
        return [message for message in state["values"].get("messages", []) if isinstance(message, dict)]
    except (httpx.HTTPError, APIError, OSError, TimeoutError, LookupError, TypeError, AttributeError) as exc:
        logger.info("what was said in thread %s is not shown: %s", turn.thread_id, exc)
        return []


def _of_person(turn: Turn) -> Said:
    return Said("person", turn.requested_by, spoken(turn), turn.opened_at)


def _earlier(turns: Sequence[Turn], messages: Sequence[dict[str, Any]]) -> list[Said]:
    """List what was said before, newest first. What people said is the journal's: a thread's messages can be forged."""
    heard = {turn.message_id: turn for turn in turns}
    said: list[Said] = []
    for message in messages:
        text = _text(message.get("content"))
        if turn := heard.pop(str(message.get("id")), None):
            said.append(_of_person(turn))
        elif message.get("type") == "tool":
            said.append(Said("lookup", str(message.get("name") or "tool"), text))
        elif message.get("type") == "ai" and text.strip():
            said.append(Said("model", "", text))
    # What the thread does not hold any more comes before what it holds.
    return [*reversed(said), *[_of_person(turn) for turn in reversed(turns) if turn.message_id in heard]]


def _lookups(messages: Sequence[dict[str, Any]], calls: set[str], actions: set[str]) -> list[Said]:
    """List the results of look-ups that a plan rests on."""
    found, is_past = [], False
    for message in messages:
        if message.get("type") == "ai":
            if is_past:
                break
            # Look-ups that the model asked for beside its actions have run, too.
            is_past = any(call.get("id") in calls for call in message.get("tool_calls") or [])
        elif message.get("type") == "tool" and message.get("name") not in actions:
            found.append(Said("lookup", str(message.get("name") or "look-up"), _text(message.get("content"))))
    return found[-_MOST_LOOKUPS:]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
