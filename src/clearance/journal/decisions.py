"""Decisions: what persons decided on a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import audit, decisions
from clearance.journal.statements import among, insert, param, prefetch, read_all, read_once, update, write
from clearance.principal import SYSTEM


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
    version: int | None = 1


_DECISIONS_ON = (
    sa.select(decisions)
    .where(decisions.c.request_id.in_(among("request_ids")))
    .order_by(decisions.c.request_id, decisions.c.number)
)
_ADD_DECISION = insert(decisions)
_LAPSE = update(decisions, counts=False, lapsed=param("why")).where(
    decisions.c.request_id == param("of_request"), decisions.c.counts
)


def decisions_on(connection: Connection, request_ids: Sequence[str]) -> list[Decision]:
    """Read decisions on requests, in the order they were made."""
    if not request_ids:
        return []
    read = partial(read_all, connection, _DECISIONS_ON, Decision, request_ids=request_ids)
    return list(read_once(connection, "decisions", *request_ids, read=read))


def prefetch_decisions_on(connection: Connection, request_ids: Sequence[str]) -> None:
    """Ask for what `decisions_on` is to read."""
    if request_ids:
        prefetch(connection, _DECISIONS_ON, request_ids=request_ids)


def add_decision(connection: Connection, added: Decision) -> None:
    """Insert a decision."""
    write(connection, _ADD_DECISION, **vars(added))


def lapse_approvals(connection: Connection, request_id: str, why: str) -> None:
    """Make the approvals of a request count no more."""
    write(connection, _LAPSE, of_request=request_id, why=why)


def read_people(connection: Connection) -> list[str]:
    """Give who ever asked or decided, by name: all whom the log names as having done something.

    By a step for each along an index of the log: turns and decisions have no index of theirs, and would be read whole.
    """
    return [row[0] for row in connection.execute(_PEOPLE) if row[0] != SYSTEM.id]


_first = sa.select(sa.func.min(audit.c.actor).label("name")).cte("people", recursive=True)
_next = sa.select(sa.func.min(audit.c.actor)).where(audit.c.actor > _first.c.name).scalar_subquery()
_all = _first.union_all(sa.select(_next).where(_first.c.name.is_not(None)))
_PEOPLE = sa.select(_all.c.name).where(_all.c.name.is_not(None)).order_by(_all.c.name)
