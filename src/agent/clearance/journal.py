"""The journal in SQL: turns, plans, requests, decisions, receipts. Statements only; what they mean stands in `gate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.db.tables import (
    OPEN_STATES,
    audit_head,
    decisions,
    erasures,
    leases,
    plans,
    receipts,
    request_subjects,
    requests,
    turns,
)


@dataclass(frozen=True)
class Turn:
    """What one message of a person set off."""

    turn_id: str
    thread_id: str
    number: int
    run_id: str | None
    requested_by: str
    requester_kind: str
    requester_roles: list[str]
    message_id: str
    #: What the person wrote, `[{"id", "content"}]`; None when erased.
    messages: list[dict[str, Any]] | None
    #: Whether its run keeps the thread; one that does not can have no requests.
    is_durable: bool
    #: `open`, `answered` or `withdrawn`.
    state: str
    opened_at: datetime
    closed_at: datetime | None


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


@dataclass(frozen=True)
class Request:
    """One action of a plan; columns as in `db.tables.requests`."""

    request_id: str
    number: int
    plan_id: str
    turn_id: str
    thread_id: str
    tool_call_id: str
    position: int
    requested_by: str
    action: str
    arguments: dict[str, Any] | None
    digest: str | None
    salt: str | None
    facts: dict[str, Any] | None
    sentence: str | None
    verdict: str
    rule: str
    risk: str
    approvers: list[str] | None
    approvals: int
    state: str
    revision: int
    notice: str | None
    opened_at: datetime
    expires_at: datetime
    asked_ms: int | None
    refused_answers: int

    @property
    def is_open(self) -> bool:
        """Tell whether it has no receipt yet."""
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class Decision:
    """What one person decided on one revision of a request."""

    decision_id: str
    number: int
    request_id: str
    revision: int
    digest: str | None
    decision: str
    decided_by: str
    decider_kind: str
    decider_roles: list[str]
    reason: str | None
    edited: dict[str, Any] | None
    counts: bool
    lapsed: str | None
    decided_at: datetime


@dataclass(frozen=True)
class Receipt:
    """How a request ended."""

    request_id: str
    #: executed, failed, refused, rejected, withdrawn or expired.
    outcome: str
    revision: int
    #: What the model and people are told; None when erased.
    sentence: str | None
    finished_at: datetime


# Turns


def turn(connection: Connection, turn_id: str) -> Turn | None:
    """Read a turn, or None."""
    row = connection.execute(sa.select(turns).where(turns.c.turn_id == turn_id)).one_or_none()
    return Turn(**row._mapping) if row else None


def open_turn_of(connection: Connection, thread_id: str) -> Turn | None:
    """Read the open turn of a thread; there is at most one."""
    query = sa.select(turns).where(turns.c.thread_id == thread_id, turns.c.state == "open")
    row = connection.execute(query).one_or_none()
    return Turn(**row._mapping) if row else None


def open_turns(connection: Connection) -> list[Turn]:
    """Read all open turns of threads that are kept, oldest first."""
    query = sa.select(turns).where(turns.c.state == "open", turns.c.is_durable).order_by(turns.c.opened_at)
    return [Turn(**row._mapping) for row in connection.execute(query)]


def turns_of(connection: Connection, thread_id: str) -> list[Turn]:
    """Read the turns of a thread in order."""
    query = sa.select(turns).where(turns.c.thread_id == thread_id).order_by(turns.c.number)
    return [Turn(**row._mapping) for row in connection.execute(query)]


def last_turn_number(connection: Connection, thread_id: str) -> int:
    """Give the number of the thread's newest turn, 0 when it has none."""
    return connection.scalar(sa.select(sa.func.max(turns.c.number)).where(turns.c.thread_id == thread_id)) or 0


def add_turn(connection: Connection, added: Turn) -> None:
    """Insert a turn."""
    connection.execute(sa.insert(turns), vars(added))


def close_turn(connection: Connection, turn_id: str, state: str, now: datetime) -> None:
    """Close an open turn as `answered` or `withdrawn`."""
    connection.execute(
        sa.update(turns).where(turns.c.turn_id == turn_id, turns.c.state == "open").values(state=state, closed_at=now)
    )


# Plans


def plans_of_turn(connection: Connection, turn_id: str) -> list[Plan]:
    """Read the plans of a turn in order."""
    query = sa.select(plans).where(plans.c.turn_id == turn_id).order_by(plans.c.position)
    return [Plan(**row._mapping) for row in connection.execute(query)]


def plan_by_message(connection: Connection, thread_id: str, message_id: str) -> Plan | None:
    """Read the plan that an AI message of a thread is, or None when the journal knows no such message."""
    query = sa.select(plans).where(plans.c.thread_id == thread_id, plans.c.message_id == message_id)
    row = connection.execute(query).one_or_none()
    return Plan(**row._mapping) if row else None


def plans_by_messages(connection: Connection, thread_id: str, message_ids: Sequence[str]) -> list[Plan]:
    """Read the plans that are among these messages of a thread."""
    query = sa.select(plans).where(plans.c.thread_id == thread_id, plans.c.message_id.in_(message_ids))
    return [Plan(**row._mapping) for row in connection.execute(query)]


def add_plan(connection: Connection, added: Plan) -> None:
    """Insert a plan."""
    connection.execute(sa.insert(plans), vars(added))


def mark_opened(connection: Connection, plan_id: str) -> None:
    """Note that the requests of a plan are there."""
    connection.execute(sa.update(plans).where(plans.c.plan_id == plan_id).values(opened=True))


# Requests


def request(connection: Connection, request_id: str) -> Request | None:
    """Read a request, or None."""
    row = connection.execute(sa.select(requests).where(requests.c.request_id == request_id)).one_or_none()
    return Request(**row._mapping) if row else None


def requests_of_plan(connection: Connection, plan_id: str) -> list[Request]:
    """Read the requests of a plan in the order the model wrote them."""
    query = sa.select(requests).where(requests.c.plan_id == plan_id).order_by(requests.c.position)
    return [Request(**row._mapping) for row in connection.execute(query)]


def requests_of_plans(connection: Connection, plan_ids: Sequence[str]) -> list[Request]:
    """Read the requests of several plans, oldest first."""
    query = sa.select(requests).where(requests.c.plan_id.in_(plan_ids)).order_by(requests.c.number)
    return [Request(**row._mapping) for row in connection.execute(query)]


def open_requests_of_turn(connection: Connection, turn_id: str) -> list[Request]:
    """Read what has no receipt yet, oldest first."""
    query = (
        sa.select(requests)
        .where(requests.c.turn_id == turn_id, requests.c.state.in_(OPEN_STATES))
        .order_by(requests.c.number)
    )
    return [Request(**row._mapping) for row in connection.execute(query)]


def earlier(connection: Connection, action: str, number: int, plan_id: str) -> list[tuple[dict[str, Any], str]]:
    """Read (arguments, requester) of open requests before `number`: what is cleared anywhere, and all of this plan."""
    query = (
        sa.select(requests.c.arguments, requests.c.requested_by)
        .where(
            requests.c.action == action,
            requests.c.number < number,
            requests.c.arguments.is_not(None),
            requests.c.state.in_(("approved", "allowed"))
            | ((requests.c.state == "asked") & (requests.c.plan_id == plan_id)),
        )
        .order_by(requests.c.number)
    )
    return [(row.arguments, row.requested_by) for row in connection.execute(query)]


def add_request(connection: Connection, added: Request, subjects: Sequence[str]) -> None:
    """Insert a request and whom it concerns."""
    connection.execute(sa.insert(requests), vars(added))
    add_subjects(connection, added.request_id, subjects)


def add_subjects(connection: Connection, request_id: str, subjects: Sequence[str]) -> None:
    """Note whom a request concerns; what is noted already stays."""
    known = set(
        connection.scalars(sa.select(request_subjects.c.subject).where(request_subjects.c.request_id == request_id))
    )
    if new := sorted(set(subjects) - known):
        connection.execute(
            sa.insert(request_subjects), [{"request_id": request_id, "subject": subject} for subject in new]
        )


def change_request(connection: Connection, request_id: str, **values: Any) -> None:
    """Set columns of a request."""
    connection.execute(sa.update(requests).where(requests.c.request_id == request_id).values(**values))


# Decisions and receipts


def decisions_on(connection: Connection, request_ids: Sequence[str]) -> list[Decision]:
    """Read decisions on requests, in the order they were made."""
    query = (
        sa.select(decisions)
        .where(decisions.c.request_id.in_(request_ids))
        .order_by(decisions.c.request_id, decisions.c.number)
    )
    return [Decision(**row._mapping) for row in connection.execute(query)]


def add_decision(connection: Connection, added: Decision) -> None:
    """Insert a decision."""
    connection.execute(sa.insert(decisions), vars(added))


def lapse_approvals(connection: Connection, request_id: str, why: str) -> None:
    """Make the approvals of a request count no more."""
    connection.execute(
        sa.update(decisions)
        .where(decisions.c.request_id == request_id, decisions.c.counts)
        .values(counts=False, lapsed=why)
    )


def receipt(connection: Connection, request_id: str) -> Receipt | None:
    """Read how a request ended, or None while it is open."""
    row = connection.execute(sa.select(receipts).where(receipts.c.request_id == request_id)).one_or_none()
    return Receipt(**row._mapping) if row else None


def receipts_of(connection: Connection, request_ids: Sequence[str]) -> dict[str, Receipt]:
    """Read receipts by request."""
    query = sa.select(receipts).where(receipts.c.request_id.in_(request_ids))
    return {row.request_id: Receipt(**row._mapping) for row in connection.execute(query)}


def add_receipt(connection: Connection, added: Receipt) -> None:
    """Insert a receipt; the database refuses a second one of the same request."""
    connection.execute(sa.insert(receipts), vars(added))


# Freeze


def set_freeze(connection: Connection, *, by: str | None, reason: str | None, at: datetime | None) -> None:
    """Set the switch; `by` None lifts the freeze."""
    connection.execute(
        sa.update(audit_head).values(frozen=by is not None, frozen_by=by, frozen_reason=reason, frozen_at=at)
    )


# Leases


def take_lease(connection: Connection, name: str, holder: str, now: datetime, until: datetime) -> bool:
    """Take or renew a lease; False while somebody else holds it."""
    held = connection.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()
    if held is None:
        connection.execute(sa.insert(leases), {"name": name, "holder": holder, "until": until})
        return True
    if held.holder != holder and held.until > now:
        return False
    connection.execute(sa.update(leases).where(leases.c.name == name).values(holder=holder, until=until))
    return True


def drop_lease(connection: Connection, name: str, holder: str) -> None:
    """Give a lease back, if `holder` has it."""
    connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))


# Erasure


def erase_subject(connection: Connection, subject: str, request_id: str, now: datetime) -> None:
    """Erase what is personal in requests about `subject`: at once in closed turns, in open ones when they close.

    An open turn still needs its calls, to be carried out or refused.
    """
    connection.execute(sa.insert(erasures), {"subject": subject, "request_id": request_id, "erased_at": now})
    about = sa.select(request_subjects.c.request_id).where(request_subjects.c.subject == subject)
    closed = sa.select(turns.c.turn_id).where(turns.c.state != "open")
    _erase(connection, requests.c.request_id.in_(about) & requests.c.turn_id.in_(closed))


def erase_closed_turn(connection: Connection, turn_id: str) -> None:
    """Erase what the erasures made while this turn was open could not."""
    erased = sa.select(request_subjects.c.request_id).join(erasures, erasures.c.subject == request_subjects.c.subject)
    _erase(connection, requests.c.request_id.in_(erased) & (requests.c.turn_id == turn_id))


def _erase(connection: Connection, of_requests: sa.ColumnElement[bool]) -> None:
    rows = connection.execute(sa.select(requests.c.request_id, requests.c.turn_id).where(of_requests)).all()
    if not rows:
        return
    ids = [row.request_id for row in rows]
    turn_ids = {row.turn_id for row in rows}
    # The request that erased keeps its arguments and receipt: by contract they hold ids only.
    eraser = sa.select(erasures.c.request_id)
    connection.execute(
        sa.update(requests)
        .where(requests.c.request_id.in_(ids), requests.c.request_id.not_in(eraser))
        .values(arguments=None, digest=None, salt=None)
    )
    connection.execute(
        sa.update(receipts)
        .where(receipts.c.request_id.in_(ids), receipts.c.request_id.not_in(eraser))
        .values(sentence=None)
    )
    connection.execute(
        sa.update(requests).where(requests.c.request_id.in_(ids)).values(facts=None, sentence=None, notice=None)
    )
    connection.execute(
        sa.update(decisions).where(decisions.c.request_id.in_(ids)).values(reason=None, edited=None, digest=None)
    )
    connection.execute(sa.update(plans).where(plans.c.turn_id.in_(turn_ids)).values(message=None))
    connection.execute(sa.update(turns).where(turns.c.turn_id.in_(turn_ids)).values(messages=None))
