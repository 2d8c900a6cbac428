"""Plans: the AI messages of a turn, and their calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import key, words_of
from clearance.db.tables import plans, turns
from clearance.journal.binding import read_since_written
from clearance.journal.statements import (
    among,
    filled,
    insert,
    param,
    prefetch,
    read_all,
    read_once,
    read_one,
    run,
    write,
)
from clearance.journal.turns import Turn


@dataclass(frozen=True)
class Plan:
    """One AI message of a turn and its calls."""

    plan_id: str
    turn_id: str
    position: int
    thread_id: str
    message_id: str
    #: The AI message as the model gave it, as JSON; None when erased.
    message: dict[str, Any] | None
    digest: str
    opened: bool
    stored_at: datetime
    version: int | None = 1

    # What follows from a message is worked out once: each step of a thread looks at all that was said in it.

    @cached_property
    def words(self) -> tuple[Any, str] | None:
        """What it says and calls, see `words_of`; None when it is erased."""
        return words_of(self.message.get("content", ""), self.message.get("tool_calls") or []) if self.message else None

    @cached_property
    def calls(self) -> list[Any]:
        """Its calls; none where nobody can read them: the thread goes on without that turn."""
        calls = (self.message or {}).get("tool_calls", [])
        return [call for call in calls if isinstance(call, dict) and "id" in call] if isinstance(calls, list) else []

    @cached_property
    def by_request(self) -> dict[str, Any]:
        """Its calls by the ids of the requests that they have, or would have."""
        return {request_id(self, call["id"]): call for call in self.calls}


def request_id(plan: Plan, tool_call_id: str) -> str:
    """Derive the id of a call's request from turn, AI message and tool call."""
    return _request_id(plan.turn_id, plan.message_id, tool_call_id)


# Every step asks for those of all calls of its thread.
@lru_cache(maxsize=20_000)
def _request_id(turn_id: str, message_id: str, tool_call_id: str) -> str:
    return key("request", turn_id, message_id, tool_call_id, size=24)


_PLANS_OF_TURN = sa.select(plans).where(plans.c.turn_id == param("turn_id")).order_by(plans.c.position)
_PLAN = sa.select(plans).where(plans.c.plan_id == param("plan_id"))
_PLANS_OF_TURNS = (
    sa.select(plans).where(plans.c.turn_id.in_(among("turn_ids"))).order_by(plans.c.turn_id, plans.c.position)
)
_PLANS_AROUND = (
    sa.select(plans)
    .where(
        plans.c.thread_id == param("thread_id"),
        plans.c.message_id.in_(among("message_ids")) | (plans.c.turn_id == param("turn_id")),
    )
    .order_by(plans.c.turn_id, plans.c.position)
)
_PLAN_AND_TURN = (
    sa.select(plans, turns)
    .join(turns, turns.c.turn_id == plans.c.turn_id)
    .where(plans.c.thread_id == param("thread_id"), plans.c.message_id == param("message_id"))
    .set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)
)
_ADD_PLAN = insert(plans)
_MARK_OPENED = sa.update(plans).where(plans.c.plan_id == param("of_plan")).values(opened=True)


def read_plan(connection: Connection, plan_id: str) -> Plan | None:
    """Read a plan, or None."""
    return read_once(connection, "plan", plan_id, read=partial(read_one, connection, _PLAN, Plan, plan_id=plan_id))


def plans_of_turns(connection: Connection, turn_ids: Sequence[str]) -> list[Plan]:
    """Read the plans of turns, those of one in order."""
    return read_all(connection, _PLANS_OF_TURNS, Plan, turn_ids=turn_ids) if turn_ids else []


def prefetch_plans_of_turns(connection: Connection, turn_ids: Sequence[str]) -> None:
    """Ask for what `plans_of_turns` is to read."""
    if turn_ids:
        prefetch(connection, _PLANS_OF_TURNS, turn_ids=turn_ids)


def plans_of_turn(connection: Connection, turn_id: str) -> list[Plan]:
    """Read the plans of a turn in order."""
    return read_all(connection, _PLANS_OF_TURN, Plan, turn_id=turn_id)


def read_plan_and_turn(connection: Connection, thread_id: str, message_id: str) -> tuple[Plan, Turn] | None:
    """Read the plan that an AI message of a thread is, and its turn; None when the journal knows no such message."""
    return read_one(connection, _PLAN_AND_TURN, _plan_and_turn, thread_id=thread_id, message_id=message_id)


def prefetch_plan_and_turn(connection: Connection, thread_id: str, message_id: str) -> None:
    """Ask for what `read_plan_and_turn` is to read."""
    prefetch(connection, _PLAN_AND_TURN, thread_id=thread_id, message_id=message_id)


def _plan_and_turn(*row: Any) -> tuple[Plan, Turn]:
    return filled(Plan, row[:_OF_PLAN]), filled(Turn, row[_OF_PLAN:])


_OF_PLAN = len(plans.c)


def plans_around(
    connection: Connection, thread_id: str, message_ids: Sequence[str], turn_id: str | None = None
) -> list[Plan]:
    """Read the plans that are among these messages of a thread, and those of one turn of it; those of one in order."""
    if not message_ids and turn_id is None:
        return []
    return read_all(connection, _PLANS_AROUND, Plan, thread_id=thread_id, message_ids=message_ids, turn_id=turn_id)


def prefetch_plans_around(
    connection: Connection, thread_id: str, message_ids: Sequence[str], turn_id: str | None = None
) -> None:
    """Ask for what `plans_around` is to read."""
    if message_ids or turn_id is not None:
        prefetch(connection, _PLANS_AROUND, thread_id=thread_id, message_ids=message_ids, turn_id=turn_id)


def add_plan(connection: Connection, added: Plan) -> None:
    """Insert a plan."""
    write(connection, _ADD_PLAN, **vars(added))


def mark_opened(connection: Connection, plan_id: str) -> None:
    """Note that the requests of a plan are there."""
    run(connection, _MARK_OPENED, of_plan=plan_id)
    read_since_written(connection).clear()
