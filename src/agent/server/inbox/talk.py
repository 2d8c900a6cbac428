"""The conversation that led to a request: words from the journal, results of look-ups from the thread."""

import asyncio
import logging
from datetime import datetime
from typing import Any

import httpx
from langgraph_sdk.errors import APIError

from agent.clearance.approval import spoken
from agent.clearance.desk import Detail
from agent.server.inbox.view import Said, moment
from agent.server.recovery import client_of

logger = logging.getLogger(__name__)

_TIMEOUT_S = 2
_MOST_LOOKUPS, _MOST_EARLIER = 8, 20


async def talk(detail: Detail, actions: set[str], now: datetime) -> list[Said]:
    """List what was said in the turn of a request, up to its plan: the person, look-ups, the model, in order."""
    turn = detail.question.turn
    said = [Said("person", turn.requested_by, spoken(turn), moment(turn.opened_at, now, seconds=True))]
    said += await _lookups(detail, actions)
    if detail.question.model_wrote.strip():
        said.append(Said("model", "", detail.question.model_wrote))
    return said


def earlier(detail: Detail, now: datetime) -> list[Said]:
    """List what the person wrote in earlier turns of the thread, newest first."""
    before = [turn for turn in detail.turns if turn.turn_id != detail.question.turn.turn_id]
    return [
        Said("person", turn.requested_by, spoken(turn), moment(turn.opened_at, now, seconds=True))
        for turn in before[::-1][:_MOST_EARLIER]
    ]


async def _lookups(detail: Detail, actions: set[str]) -> list[Said]:
    """Read the results of look-ups that the plan rests on; none when the thread does not tell."""
    turn = detail.question.turn
    try:
        client = client_of(turn)
        state: Any = await asyncio.wait_for(client.threads.get_state(turn.thread_id), _TIMEOUT_S)
        messages = list((state["values"] or {}).get("messages", []))
    except (httpx.HTTPError, APIError, OSError, TimeoutError, LookupError, TypeError, AttributeError) as exc:
        logger.info("look-ups of thread %s are not shown: %s", turn.thread_id, exc)
        return []
    ids = [message.get("id") for message in messages]
    begin = ids.index(turn.message_id) if turn.message_id in ids else len(ids)
    calls = {one.tool_call_id for one in detail.question.plan}
    found, is_past = [], False
    for message in messages[begin + 1 :]:
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
