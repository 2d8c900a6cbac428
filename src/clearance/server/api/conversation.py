"""The conversation that led to a request: words from the journal, results of look-ups from the thread."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx
from langgraph_sdk.errors import APIError

from clearance.desk.detail import Detail
from clearance.gate.question import is_passed_on, spoken, written
from clearance.graph.transcript import result_id
from clearance.journal.erasure import ERASED
from clearance.journal.plans import Plan, request_id
from clearance.journal.receipts import Receipt
from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.server.upkeep.recovery import client_of

logger = logger_of(__name__)

_TIMEOUT_S = 2
_MOST_EARLIER = 50


@dataclass(frozen=True)
class Said:
    """What stands in a conversation, as it came."""

    kind: Literal["person", "lookup", "action", "model"]
    #: The person, the look-up or the action; empty for the model.
    by: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True)
class Talk:
    """What was said in a thread, as far as it matters for a request."""

    #: In the turn of the request, up to its plan, in order.
    led: Sequence[Said]
    #: Before that, newest first.
    earlier: Sequence[Said]


async def read_talk(detail: Detail, actions: set[str]) -> Talk:
    """Read the conversation around a request. Look-ups are left out where the thread does not tell them.

    What people and the model said is the journal's: the messages of a thread can be forged.
    """
    turn, plan_id = detail.question.turn, detail.request.plan_id
    found = await _results(turn)
    plans = detail.plans.get(turn.turn_id, [])
    here = next((at for at, plan in enumerate(plans) if plan.plan_id == plan_id), len(plans))
    led = [_of_person(turn)]
    for plan in plans[: here + 1]:
        words, looked_up = _of_model(plan), _looked_up(plan, actions, found)
        # What came of its own plan's calls stands beside them.
        looked_up += [] if plan.plan_id == plan_id else _acted(plan, actions, detail.receipts)
        # What it looked up beside its actions has run before they are asked: it belongs to what they rest on.
        led += [*looked_up, *words] if plan.plan_id == plan_id else [*words, *looked_up]
    earlier: list[Said] = []
    for before in detail.turns:
        if before.turn_id == turn.turn_id:
            continue
        earlier.append(_of_person(before))
        for plan in detail.plans.get(before.turn_id, []):
            earlier += [*_of_model(plan), *_looked_up(plan, actions, found), *_acted(plan, actions, detail.receipts)]
    return Talk(led, earlier[::-1][:_MOST_EARLIER])


def _of_person(turn: Turn) -> Said:
    if is_passed_on(turn):
        return Said("model", "", spoken(turn), turn.opened_at)
    return Said("person", turn.requested_by, spoken(turn), turn.opened_at)


def _of_model(plan: Plan) -> list[Said]:
    text = written(plan)
    return [Said("model", "", text, plan.stored_at)] if text.strip() else []


def _looked_up(plan: Plan, actions: set[str], found: dict[str, str]) -> list[Said]:
    calls = (plan.message or {}).get("tool_calls", [])
    looked = [(call["name"], found.get(result_id(plan, call["id"]))) for call in calls if call["name"] not in actions]
    return [Said("lookup", name, text) for name, text in looked if text is not None]


def _acted(plan: Plan, actions: set[str], receipts: dict[str, Receipt]) -> list[Said]:
    """List what came of a plan's actions."""
    calls = [call for call in (plan.message or {}).get("tool_calls", []) if call["name"] in actions]
    ended = [(call["name"], receipts.get(request_id(plan, call["id"]))) for call in calls]
    return [
        Said("action", f"{name}, {one.outcome}", one.sentence or ERASED, one.finished_at) for name, one in ended if one
    ]


async def _results(turn: Turn) -> dict[str, str]:
    """Read the results of calls in a thread, by id of their message; none when it does not tell."""
    try:
        state: Any = await asyncio.wait_for(client_of(turn).threads.get_state(turn.thread_id), _TIMEOUT_S)
        messages = [message for message in state["values"].get("messages", []) if message.get("type") == "tool"]
        return {str(message.get("id")): _text(message.get("content")) for message in messages}
    except (httpx.HTTPError, APIError, OSError, TimeoutError, LookupError, TypeError, AttributeError) as exc:
        logger.info("what was looked up in thread %s is not shown: %s", turn.thread_id, exc)
        return {}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
