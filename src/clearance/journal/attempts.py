"""Attempts: each start of an external action, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import key
from clearance.db.tables import IN_FLIGHT_STATES, attempts, leases, requests, turns
from clearance.journal.requests import PLANS_OF, Request
from clearance.journal.statements import among, insert, param, read_all, read_one, update, write, written_out

#: Cause of an attempt of a local action, of which there is one only where it ended the transaction it ran in.
TRANSACTION_ENDED = "transaction ended"


@dataclass(frozen=True)
class Attempt:
    """One start of an external action; columns as in `db.tables.attempts`."""

    attempt_id: str
    request_id: str
    number: int
    revision: int
    idempotency_key: str
    cleared_as: str
    #: executing, unknown, executed, failed or released.
    state: str
    holder: str
    started_at: datetime
    late_at: datetime
    absent_at: datetime
    cause: str | None = None
    looks: int = 0
    last_look: str | None = None
    next_look_at: datetime | None = None
    ended_at: datetime | None = None
    settled_by: str | None = None
    reason: str | None = None
    told_at: datetime | None = None
    version: int | None = 1

    @property
    def is_in_flight(self) -> bool:
        """Tell whether what became of it is not known."""
        return self.state in IN_FLIGHT_STATES


def idempotency_key(request: Request) -> str:
    """Derive the key of everything that is sent for one clearance of a request."""
    return key("idempotency", request.request_id, str(request.revision))


_OF_REQUEST = sa.select(attempts).where(attempts.c.request_id == param("request_id")).order_by(attempts.c.number)
_OF_REQUESTS = sa.select(attempts).where(attempts.c.request_id.in_(among("request_ids"))).order_by(attempts.c.number)
_ONE = sa.select(attempts).where(attempts.c.attempt_id == param("attempt_id"))
_IN_FLIGHT = attempts.c.state.in_(written_out(IN_FLIGHT_STATES))
_ALL_IN_FLIGHT = sa.select(attempts).where(_IN_FLIGHT).order_by(attempts.c.started_at, attempts.c.attempt_id)
_WITH_KEYS = sa.select(requests).where(
    requests.c.business_key.in_(among("business_keys")),
    requests.c.state.in_(written_out(IN_FLIGHT_STATES)),
)
_DUE = (
    sa.select(attempts)
    .where(_IN_FLIGHT, attempts.c.next_look_at.is_not(None), attempts.c.next_look_at <= param("now"))
    .order_by(attempts.c.next_look_at)
    .limit(param("most"))
)
#: In flight in a process whose lease has ended, or later than its own deadline and what it takes to settle.
_LEFT = (
    sa.select(attempts)
    .outerjoin(leases, leases.c.name == sa.literal("performing:") + attempts.c.holder)
    .where(
        _IN_FLIGHT,
        attempts.c.state == "executing",
        leases.c.until.is_(None) | (leases.c.until <= param("clock")) | (attempts.c.late_at <= param("long_ago")),
    )
    .order_by(attempts.c.started_at)
    .limit(param("most"))
)
_WITH_KEY = sa.select(requests).where(
    requests.c.business_key == param("business_key"),
    requests.c.state.in_(written_out(IN_FLIGHT_STATES)),
)
_OF_TURN_IN_FLIGHT = (
    sa.select(requests)
    .where(requests.c.plan_id.in_(PLANS_OF), requests.c.state.in_(IN_FLIGHT_STATES))
    .order_by(requests.c.number)
)
_WITHDRAWN_IN_FLIGHT = (
    sa.select(requests.c.request_id)
    .join(turns, turns.c.turn_id == requests.c.turn_id)
    .where(
        requests.c.thread_id == param("thread_id"),
        requests.c.state.in_(IN_FLIGHT_STATES),
        turns.c.state == "withdrawn",
    )
)
_UNTOLD = (
    sa.select(attempts.c.attempt_id, attempts.c.request_id)
    .join(requests, requests.c.request_id == attempts.c.request_id)
    .join(turns, turns.c.turn_id == requests.c.turn_id)
    .where(
        attempts.c.state.in_(("executed", "failed")),
        attempts.c.told_at.is_(None),
        turns.c.is_durable,
        turns.c.place == "",
        turns.c.closed_at <= attempts.c.ended_at,
    )
    .order_by(attempts.c.ended_at)
    .limit(param("most"))
)
#: Of agents inside: their turn went on without it, and where they are nobody may ever be again.
_UNTOLD_INSIDE = (
    sa.select(attempts.c.attempt_id, attempts.c.request_id, turns.c.place)
    .join(requests, requests.c.request_id == attempts.c.request_id)
    .join(turns, turns.c.turn_id == requests.c.turn_id)
    .where(
        requests.c.thread_id == param("thread_id"),
        attempts.c.state.in_(("executed", "failed")),
        attempts.c.told_at.is_(None) | (attempts.c.told_at > param("since")),
        attempts.c.cause.is_not(None),
        turns.c.place != "",
        turns.c.state != "open",
    )
    .order_by(attempts.c.ended_at)
)
_ADD = insert(attempts)


def attempts_on(connection: Connection, request_id: str) -> list[Attempt]:
    """Read the attempts on a request, first one first."""
    return read_all(connection, _OF_REQUEST, Attempt, request_id=request_id)


def attempts_on_all(connection: Connection, request_ids: Sequence[str]) -> list[Attempt]:
    """Read the attempts on several requests, by number."""
    return read_all(connection, _OF_REQUESTS, Attempt, request_ids=request_ids) if request_ids else []


def read_attempt(connection: Connection, attempt_id: str) -> Attempt | None:
    """Read an attempt, or None."""
    return read_one(connection, _ONE, Attempt, attempt_id=attempt_id)


def all_in_flight(connection: Connection) -> list[Attempt]:
    """Read what is in flight anywhere, oldest first."""
    return read_all(connection, _ALL_IN_FLIGHT, Attempt)


def due_look_ups(connection: Connection, now: datetime, most: int) -> list[Attempt]:
    """Read what is to be looked up by now, the longest due first."""
    return read_all(connection, _DUE, Attempt, now=now, most=most)


def left_behind(connection: Connection, *, clock: datetime, long_ago: datetime, most: int) -> list[Attempt]:
    """Read what is executing in a process that is gone, or was to end before `long_ago`."""
    return read_all(connection, _LEFT, Attempt, clock=clock, long_ago=long_ago, most=most)


def in_flight_with(connection: Connection, business_key: str) -> Request | None:
    """Read the request in flight that has a business key; None while none has."""
    return read_one(connection, _WITH_KEY, Request, business_key=business_key)


def in_flight_with_any(connection: Connection, business_keys: Sequence[str]) -> list[Request]:
    """Read the requests in flight that have one of these business keys."""
    return read_all(connection, _WITH_KEYS, Request, business_keys=business_keys) if business_keys else []


def in_flight_of_thread(connection: Connection, thread_id: str) -> list[str]:
    """Read the requests in flight of a thread's turns that were withdrawn."""
    return list(connection.scalars(_WITHDRAWN_IN_FLIGHT, {"thread_id": thread_id}))


def in_flight_of_turn(connection: Connection, turn_id: str) -> list[Request]:
    """Read what of a turn is in flight, oldest first."""
    return read_all(connection, _OF_TURN_IN_FLIGHT, Request, turn_id=turn_id)


def untold(connection: Connection, most: int) -> list[tuple[str, str]]:
    """Read the (attempt, request) whose outcome came when their turn was over, and whose thread was not told of it."""
    return [(row.attempt_id, row.request_id) for row in connection.execute(_UNTOLD, {"most": most})]


def untold_inside(connection: Connection, thread_id: str, since: datetime) -> list[tuple[str, str, str]]:
    """Read the (attempt, request, place) of nested agents of a thread whose outcome came late, and was told nowhere.

    What was told after `since` may have been told to a run that ended before its thread kept it.
    """
    rows = connection.execute(_UNTOLD_INSIDE, {"thread_id": thread_id, "since": since})
    return [(row.attempt_id, row.request_id, row.place) for row in rows]


def add_attempt(connection: Connection, added: Attempt) -> None:
    """Insert an attempt; the database refuses a second one in flight of the same request."""
    write(connection, _ADD, **vars(added))


def change_attempt(connection: Connection, attempt_id: str, **values: Any) -> None:
    """Set columns of an attempt."""
    changed = {f"new_{name}": value for name, value in values.items()}
    write(connection, _changing(frozenset(values)), of_attempt=attempt_id, **changed)


@lru_cache(maxsize=100)
def _changing(names: frozenset[str]) -> sa.Update:
    changed = {name: sa.bindparam(f"new_{name}", type_=attempts.c[name].type) for name in sorted(names)}
    return update(attempts, **changed).where(attempts.c.attempt_id == param("of_attempt"))
