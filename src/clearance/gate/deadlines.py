"""What time does: requests past their deadline end, and turns that nobody goes on with are found."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import key
from clearance.db.among import among
from clearance.db.tables import IN_FLIGHT_STATES, OPEN_STATES, audit, requests, turns
from clearance.db.types import to_text
from clearance.gate.transitions import expire_due, finish
from clearance.journal.audit import Log
from clearance.journal.requests import read_request, requests_of_plan
from clearance.journal.statements import written_out
from clearance.journal.turns import Turn

_DUE = (
    sa.select(requests.c.plan_id, requests.c.turn_id)
    .where(requests.c.state.in_(written_out(OPEN_STATES)), requests.c.expires_at <= sa.bindparam("now"))
    .group_by(requests.c.plan_id, requests.c.turn_id)
    .order_by(sa.func.min(requests.c.expires_at))
    .limit(sa.bindparam("most"))
)


def expire(log: Log, most: int = 50) -> list[str]:
    """Expire what is past its deadline in up to `most` plans, and give the turns these are of."""
    due = log.connection.execute(_DUE, {"now": log.judged_at, "most": most}).all()
    for row in due:
        expire_due(log, requests_of_plan(log.connection, row.plan_id))
    return [row.turn_id for row in due]


@dataclass(frozen=True)
class Settled:
    """What settling the clock came to."""

    ahead: timedelta
    #: How many open requests expired, since nobody knows how long they were good for.
    expired: int


def settle_clock(log: Log, actor: str) -> Settled | None:
    """Say on the record that the clock is right and the log ahead of it; None when it is not.

    What is open and was asked, changed or approved in rows later than the clock ends as expired.
    """
    if log.ahead is None:
        return None
    ahead = log.ahead
    log.settle_clock(actor)
    doubtful = log.connection.scalars(_LATER_THAN, {"now": to_text(log.now)}).all()
    for request_id in doubtful:
        request = read_request(log.connection, request_id)
        assert request is not None
        finish(log, request, "expired", "Not done: it was asked or cleared while the clock was wrong.", actor=actor,
               cause="clock")  # fmt: skip
    return Settled(ahead, len(doubtful))


_LATER_THAN = (
    sa.select(requests.c.request_id)
    .where(
        requests.c.state.in_(written_out(OPEN_STATES)),
        sa.exists().where(
            audit.c.request_id == requests.c.request_id,
            audit.c.event.in_(("requested", "edited", "approved", "asked_again")),
            audit.c.at > sa.bindparam("now"),
        ),
    )
    .order_by(requests.c.number)
)

_OF_TURN = requests.alias("of_turn")
_PUT = requests.alias("put")
_BEFORE = requests.alias("before")
_FLYING = requests.alias("flying")


def _of(table: sa.FromClause, other: sa.FromClause = turns) -> sa.ColumnElement[bool]:
    # By thread, too: that is what there is an index of.
    return (table.c.thread_id == other.c.thread_id) & (table.c.turn_id == other.c.turn_id)


_STALLED = (
    sa.select(turns)
    .where(
        among(turns.c.turn_id, "turn_ids"),
        turns.c.state == sa.literal_column("'open'"),
        turns.c.is_durable,
        sa.exists().where(_of(_OF_TURN)),
        # What is in flight elsewhere is waited for, and nobody can go on before it is known what became of it.
        ~sa.exists().where(_of(_FLYING), _FLYING.c.state.in_(written_out(IN_FLIGHT_STATES))),
        # Its next question has been put: then it is a person's turn.
        ~sa.exists().where(
            _of(_PUT),
            _PUT.c.state == "asked",
            _PUT.c.asked_ms.is_not(None),
            ~sa.exists().where(_of(_BEFORE, _PUT), _BEFORE.c.state == "asked", _BEFORE.c.number < _PUT.c.number),
        ),
    )
    .order_by(turns.c.opened_at)
)
_NESTED = (
    sa.select(turns)
    .where(
        turns.c.state == sa.literal_column("'open'"),
        turns.c.is_durable,
        turns.c.place != sa.literal_column("''"),
        sa.exists().where(_of(_PUT), _PUT.c.state == "asked", _PUT.c.asked_ms.is_not(None)),
    )
    .order_by(turns.c.opened_at)
)
_STATES = (
    sa.select(requests.c.request_id, requests.c.state, requests.c.revision)
    .where(requests.c.thread_id == sa.bindparam("thread_id"), requests.c.turn_id == sa.bindparam("turn_id"))
    .order_by(requests.c.number)
)


_TOUCHED = (
    sa.select(audit.c.seq, audit.c.turn_id)
    .where(audit.c.seq > sa.bindparam("after"))
    .order_by(audit.c.seq)
    .limit(sa.bindparam("most"))
)


def touched(connection: Connection, after: int, most: int) -> tuple[int, set[str], bool]:
    """Name the turns that up to `most` rows of the log after a row are about; before them the last of the rows.

    After them, whether there may be more.
    """
    found = connection.execute(_TOUCHED, {"after": after, "most": most}).all()
    last = found[-1].seq if found else after
    return last, {row.turn_id for row in found if row.turn_id}, len(found) == most


def stalled(connection: Connection, turn_ids: Collection[str]) -> list[tuple[Turn, str]]:
    """Read those of some turns that are open and wait for no person: a run goes on with each, or ought to.

    With each stands a mark that changes when any of its requests does.
    """
    found = [Turn(*row) for row in connection.execute(_STALLED, {"turn_ids": list(turn_ids)})]
    return [(turn, mark_of(connection, turn)) for turn in found]


def nested_and_asking(connection: Connection) -> list[Turn]:
    """Read the open turns of nested agents of which a question was put: a person's turn, if their thread waits."""
    return [Turn(*row) for row in connection.execute(_NESTED)]


def mark_of(connection: Connection, turn: Turn) -> str:
    """Give a mark that changes when any request of a turn does."""
    states = connection.execute(_STATES, {"thread_id": turn.thread_id, "turn_id": turn.turn_id})
    return key(*(str(part) for row in states for part in row))
