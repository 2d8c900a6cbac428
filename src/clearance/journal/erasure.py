"""Erasure: what is personal goes, from every row about somebody."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import (
    IN_FLIGHT_STATES,
    attempts,
    decisions,
    erasures,
    plans,
    receipts,
    request_subjects,
    requests,
    turns,
)
from clearance.journal.history import forget_erased
from clearance.journal.requests import SET_OFF
from clearance.journal.statements import among, insert, param, read_all, update, write
from clearance.journal.turns import Turn, turns_by_id, were_set_off_together

#: Stands where something personal was.
ERASED = "(erased)"


@dataclass(frozen=True)
class Erased:
    """What was erased, for the audit log: a request, or a turn that asked for nothing about that person itself."""

    request_id: str | None
    turn_id: str
    thread_id: str


def erase_subject(connection: Connection, subject: str, request_id: str, now: datetime) -> list[Erased]:
    """Erase what is personal in requests about `subject`: at once in closed turns, in open ones when they close.

    An open turn still needs its calls, to be carried out or refused. With a turn go the words of those that the same
    message set off, around it and inside. Gives what was erased.
    """
    write(connection, _ADD_ERASURE, subject=subject, request_id=request_id, erased_at=now, version=1)
    return _erase(connection, read_all(connection, _ERASED_ABOUT, _Found, subject=subject))


def erase_closed_turn(connection: Connection, turn: Turn) -> list[Erased]:
    """Erase what the erasures made while this turn was open could not; give what was erased."""
    given = {"turn_id": turn.turn_id, "thread_id": turn.thread_id, "run_id": turn.run_id, "place": turn.place}
    return _erase(connection, read_all(connection, _ERASED_OF_TURN, _Found, **given))


@dataclass(frozen=True)
class _Found:
    """A request about somebody who is erased, and a closed turn of those that the same message set off as its own."""

    request_id: str
    of_turn: str
    turn_id: str
    thread_id: str


_ADD_ERASURE = insert(erasures)
_OWN = turns.alias("own")
_FLYING = requests.alias("flying")
_FOUND = (
    sa.select(requests.c.request_id, requests.c.turn_id.label("of_turn"), turns.c.turn_id, turns.c.thread_id)
    .select_from(
        requests.join(_OWN, _OWN.c.turn_id == requests.c.turn_id).join(
            turns, (turns.c.thread_id == _OWN.c.thread_id) & were_set_off_together(turns, _OWN)
        )
    )
    .where(
        turns.c.state != "open",
        # A look-up needs the arguments of what is in flight: its turn is erased when the last of it has its receipt.
        ~sa.exists().where(
            _FLYING.c.thread_id == turns.c.thread_id,
            _FLYING.c.turn_id == turns.c.turn_id,
            _FLYING.c.state.in_(IN_FLIGHT_STATES),
        ),
    )
    .order_by(requests.c.number, turns.c.number)
)
_ERASED_ABOUT = _FOUND.where(
    requests.c.request_id.in_(
        sa.select(request_subjects.c.request_id).where(request_subjects.c.subject == param("subject"))
    )
)
_ERASED_OF_TURN = _FOUND.where(
    turns.c.turn_id == param("turn_id"),
    # By thread, too: that is what there is an index of.
    requests.c.thread_id == param("thread_id"),
    requests.c.turn_id.in_(SET_OFF),
    sa.exists()
    .where(request_subjects.c.request_id == requests.c.request_id, request_subjects.c.subject == erasures.c.subject)
    .correlate(requests),
)

_ERASE_REQUESTS = update(
    requests, **dict.fromkeys(("arguments", "digest", "salt", "facts", "sentence", "notice", "business_key"))
).where(requests.c.request_id.in_(among("request_ids")))
# The request that erased keeps its receipt: by contract that says ids only.
_ERASE_RECEIPTS = update(receipts, sentence=None).where(
    receipts.c.request_id.in_(among("request_ids")), receipts.c.request_id.not_in(sa.select(erasures.c.request_id))
)
_ERASE_DECISIONS = update(decisions, **dict.fromkeys(("reason", "edited", "digest"))).where(
    decisions.c.request_id.in_(among("request_ids"))
)
_ERASE_ATTEMPTS = update(attempts, reason=None).where(attempts.c.request_id.in_(among("request_ids")))
_ERASE_TURN = update(turns, messages=sa.bindparam("new_messages", type_=turns.c.messages.type), salt=None).where(
    turns.c.turn_id == param("of_turn")
)
_ERASE_PLANS = update(plans, message=None).where(plans.c.turn_id.in_(among("turn_ids")))


def _erase(connection: Connection, found: list[_Found]) -> list[Erased]:
    if not found:
        return []
    erased = [Erased(one.request_id, one.turn_id, one.thread_id) for one in found if one.of_turn == one.turn_id]
    ids = [one.request_id for one in erased]
    turn_ids = sorted({one.turn_id for one in found})
    # Where the salt stands first: the log binds the other rows anew by what they read there.
    write(connection, _ERASE_REQUESTS, request_ids=ids)
    write(connection, _ERASE_RECEIPTS, request_ids=ids)
    write(connection, _ERASE_DECISIONS, request_ids=ids)
    write(connection, _ERASE_ATTEMPTS, request_ids=ids)
    for turn in turns_by_id(connection, turn_ids):
        # The ids stay: a message that the journal does not know would be heard as a new one.
        messages = [{**message, "content": ERASED} for message in turn.messages]
        write(connection, _ERASE_TURN, of_turn=turn.turn_id, new_messages=messages)
    write(connection, _ERASE_PLANS, turn_ids=turn_ids)
    forget_erased({one.thread_id for one in found}, turn_ids)
    beside = {one.turn_id: one.thread_id for one in found if one.turn_id not in {other.turn_id for other in erased}}
    return [*erased, *(Erased(None, turn_id, thread_id) for turn_id, thread_id in beside.items())]
