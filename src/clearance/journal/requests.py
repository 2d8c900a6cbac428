"""Requests: the actions of a plan, and whom they concern."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.compiled import insert_all
from clearance.db.tables import (
    CLEARED_STATES,
    IN_FLIGHT_STATES,
    OPEN_STATES,
    plans,
    receipts,
    request_subjects,
    requests,
    turns,
)
from clearance.journal.statements import (
    among,
    insert,
    param,
    prefetch,
    read_all,
    read_once,
    read_one,
    update,
    write,
    written_out,
)
from clearance.journal.turns import Turn


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
    #: `approvers` as one text, names with spaces between; empty unless asked. Set by `add_request`, `change_request`.
    needs: str = ""
    finished_at: datetime | None = None
    version: int | None = 1
    #: Of an external action: what must not be in flight twice.
    business_key: str | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether it waits for something: it was not started and has no receipt."""
        return self.state in OPEN_STATES

    @property
    def is_in_flight(self) -> bool:
        """Tell whether it was started elsewhere, and what became of it is not known."""
        return self.state in IN_FLIGHT_STATES

    @property
    def is_over(self) -> bool:
        """Tell whether it has a receipt."""
        return not self.is_open and not self.is_in_flight


class SameCall(NamedTuple):
    """Another request for exactly a call: what is said of it. There may be many, so no more than that is read."""

    request_id: str
    number: int
    plan_id: str
    turn_id: str
    thread_id: str
    position: int
    digest: str | None
    state: str
    finished_at: datetime | None
    #: What its receipt says; None while it is open, and when it was erased.
    sentence: str | None
    #: How many that are over have its state and are for the same call; this one is the last of them.
    times: int

    @property
    def is_open(self) -> bool:
        """Tell whether it has no receipt yet."""
        return self.state in OPEN_STATES


class InPlan(NamedTuple):
    """A request as its place in a plan tells of it: a list has plans of many, and says no more of them."""

    request_id: str
    plan_id: str
    state: str


#: So many open requests for the same calls are read.
_MOST_SAME = 100
_REQUEST = sa.select(requests).where(requests.c.request_id == param("request_id"))
_REQUESTS_OF_PLAN = sa.select(requests).where(requests.c.plan_id == param("plan_id")).order_by(requests.c.position)
_REQUESTS_OF_PLANS = sa.select(requests).where(requests.c.plan_id.in_(among("plan_ids"))).order_by(requests.c.number)
_PLACES_OF_PLANS = (
    sa.select(*(requests.c[name] for name in InPlan._fields))
    .where(requests.c.plan_id.in_(among("plan_ids")))
    .order_by(requests.c.number)
)
# By their plans: there is no index of requests by turn, and each of the three is read in every cycle.
PLANS_OF = sa.select(plans.c.plan_id).where(plans.c.turn_id == param("turn_id")).scalar_subquery()
_OPEN_REQUESTS = (
    sa.select(requests)
    .where(requests.c.plan_id.in_(PLANS_OF), requests.c.state.in_(OPEN_STATES))
    .order_by(requests.c.number)
)
_UNFINISHED = (
    sa.select(requests.c.request_id)
    .where(requests.c.plan_id.in_(PLANS_OF), requests.c.state.in_(OPEN_STATES + IN_FLIGHT_STATES))
    .limit(1)
)
_IS_OPEN = requests.c.state.in_(written_out(OPEN_STATES))
#: The turns that one message of a person set off: its own, and those of agents that are nested in its graph.
SET_OFF = sa.select(turns.c.turn_id).where(
    turns.c.thread_id == param("thread_id"),
    (turns.c.turn_id == param("turn_id"))
    | ((turns.c.run_id == param("run_id")) & ((turns.c.place != "") | (param("place") != ""))),
)
#: A no to a whole turn: of a person, or of time, which is one, too.
_NOES = ("rejected", "expired")
_FIRST_NO = (
    sa.select(requests)
    # By thread, too: that is what there is an index of.
    .where(
        requests.c.thread_id == param("thread_id"),
        requests.c.turn_id.in_(SET_OFF),
        requests.c.state.in_(_NOES),
    )
    .order_by(requests.c.finished_at, requests.c.number)
    .limit(1)
)
_COUNTING = sa.select(requests.c.number, requests.c.arguments, requests.c.requested_by, requests.c.action)
#: What is cleared anywhere, and all of the plan: each along an index of its own. In one, all that is open of an action
#: would be looked through for the few of it that are cleared.
_BEFORE_IT = (
    _COUNTING.where(
        requests.c.action.in_(among("of_actions")),
        requests.c.state.in_(written_out(CLEARED_STATES)),
        requests.c.number < param("before"),
        requests.c.arguments.is_not(None),
    ),
    _COUNTING.where(
        requests.c.plan_id == param("of_plan"),
        requests.c.action.in_(among("of_actions")),
        requests.c.state == "asked",
        requests.c.number < param("before"),
        requests.c.arguments.is_not(None),
    ),
)
#: What is in flight counts as well: nobody knows that it did not happen.
_IN_FLIGHT_BESIDE_IT = _COUNTING.where(
    # Each has one, that is not empty: by its index the few in flight are found, and not all that ever were.
    requests.c.business_key > "",
    requests.c.action.in_(among("of_external")),
    requests.c.state.in_(written_out(IN_FLIGHT_STATES)),
    requests.c.number != param("before"),
    requests.c.arguments.is_not(None),
)
#: One statement each, for this is read at each call.
_EARLIER: Any = sa.union_all(*_BEFORE_IT)
_EARLIER_OR_IN_FLIGHT: Any = sa.union_all(*_BEFORE_IT, _IN_FLIGHT_BESIDE_IT)
_OF_SAME = tuple(requests.c[name] for name in SameCall._fields if name not in ("sentence", "times"))
_SAME_OPEN = (
    sa.select(*_OF_SAME, sa.null(), sa.literal(1))
    .where(
        requests.c.digest.in_(among("digests")),
        requests.c.state.in_(OPEN_STATES),
        # By the index: else all that ever were for the same call would be looked through.
        requests.c.finished_at.is_(None),
    )
    .order_by(requests.c.number.desc())
    .limit(_MOST_SAME)
)
# Of each kind the last one, and how many there are: more is said of none, and there may be thousands.
_LAST_OF_SAME = (
    sa.select(sa.func.max(requests.c.number).label("number"), sa.func.count().label("times"))
    .where(
        requests.c.digest.in_(among("digests")),
        requests.c.state.in_(("executed", "rejected")),
        requests.c.finished_at >= param("since"),
    )
    .group_by(requests.c.digest, requests.c.state)
    .subquery()
)
_SAME_OVER = sa.select(*_OF_SAME, receipts.c.sentence, _LAST_OF_SAME.c.times).select_from(
    _LAST_OF_SAME.join(requests, requests.c.number == _LAST_OF_SAME.c.number).outerjoin(
        receipts, receipts.c.request_id == requests.c.request_id
    )
)
_REJECTED_BEFORE = (
    sa.select(requests)
    .where(
        requests.c.thread_id == param("thread_id"),
        requests.c.turn_id.in_(SET_OFF),
        requests.c.plan_id != param("plan_id"),
        requests.c.digest == param("digest"),
        requests.c.state == "rejected",
    )
    .order_by(requests.c.number)
)
_ADD_REQUEST = insert(requests)
_SUBJECTS = sa.select(request_subjects.c.subject).where(request_subjects.c.request_id == param("request_id"))


def read_request(connection: Connection, request_id: str) -> Request | None:
    """Read a request, or None."""
    return read_one(connection, _REQUEST, Request, request_id=request_id)


def requests_of_plan(connection: Connection, plan_id: str) -> list[Request]:
    """Read the requests of a plan in the order the model wrote them."""
    read = partial(read_all, connection, _REQUESTS_OF_PLAN, Request, plan_id=plan_id)
    return list(read_once(connection, "requests", plan_id, read=read))


def requests_of_plans(connection: Connection, plan_ids: Sequence[str]) -> list[Request]:
    """Read the requests of several plans, oldest first."""
    return read_all(connection, _REQUESTS_OF_PLANS, Request, plan_ids=plan_ids) if plan_ids else []


def places_of_plans(connection: Connection, plan_ids: Sequence[str]) -> list[InPlan]:
    """Read where the requests of several plans stand, oldest first."""
    return read_all(connection, _PLACES_OF_PLANS, InPlan, plan_ids=plan_ids) if plan_ids else []


def open_requests_of_turn(connection: Connection, turn_id: str) -> list[Request]:
    """Read what has no receipt yet, oldest first."""
    return read_all(connection, _OPEN_REQUESTS, Request, turn_id=turn_id)


def is_any_unfinished(connection: Connection, turn_id: str) -> bool:
    """Tell whether a request of a turn has no receipt: it is open, or in flight."""
    return bool(read_all(connection, _UNFINISHED, str, turn_id=turn_id))


def prefetch_unfinished(connection: Connection, turn_id: str) -> None:
    """Ask for what `is_any_unfinished` is to read."""
    prefetch(connection, _UNFINISHED, turn_id=turn_id)


def first_no(connection: Connection, of: Turn) -> Request | None:
    """Read what of a turn was rejected, or not cleared in time, first; None while nothing was.

    Of the turns that the same message set off, too: a no to one agent is not got around by asking another.
    """
    return read_one(connection, _FIRST_NO, Request, **_set_off(of))


def read_earlier(
    connection: Connection, actions: Sequence[str], number: int, plan_id: str, *, external: Sequence[str]
) -> list[tuple[dict[str, Any], str, str]]:
    """Read (arguments, requester, action) of open requests before `number`: what is cleared anywhere, all of this plan.

    Of those `actions` whose effect is elsewhere (`external`) other requests in flight, too, wherever they stand.
    """
    given = {"of_actions": actions, "before": number, "of_plan": plan_id}
    if external:
        found = read_all(connection, _EARLIER_OR_IN_FLIGHT, _numbered, of_external=external, **given)
    else:
        found = read_all(connection, _EARLIER, _numbered, **given)
    return [row for _, row in sorted(found, key=lambda one: one[0])]


def _numbered(
    number: int, arguments: dict[str, Any], requested_by: str, action: str
) -> tuple[int, tuple[dict[str, Any], str, str]]:
    return number, (arguments, requested_by, action)


def same_calls(connection: Connection, digests: Sequence[str], since: datetime) -> list[SameCall]:
    """Read the requests for exactly these calls that are open, and the last carried out and rejected since a moment.

    Oldest first. Of those that are open the last `_MOST_SAME`: who asks for the same ten thousand times slows nobody's
    page.
    """
    if not digests:
        return []
    found = [
        *read_all(connection, _SAME_OPEN, SameCall, digests=digests),
        *read_all(connection, _SAME_OVER, SameCall, digests=digests, since=since),
    ]
    return sorted(found, key=lambda one: one.number)


def prefetch_same_calls(connection: Connection, digests: Sequence[str], since: datetime) -> None:
    """Ask for what `same_calls` is to read."""
    if digests:
        prefetch(connection, _SAME_OPEN, digests=digests)
        prefetch(connection, _SAME_OVER, digests=digests, since=since)


def rejected_before(connection: Connection, turn: Turn, plan_id: str, digest: str) -> Request | None:
    """Read the last request of a turn for exactly this call that was rejected, in another plan than this one.

    As in `first_no`, of the turns that the same message set off, too.
    """
    found = read_all(connection, _REJECTED_BEFORE, Request, **_set_off(turn), plan_id=plan_id, digest=digest)
    return found[-1] if found else None


def _set_off(of: Turn) -> dict[str, Any]:
    return {"thread_id": of.thread_id, "turn_id": of.turn_id, "run_id": of.run_id, "place": of.place}


def add_request(connection: Connection, added: Request, subjects: Sequence[str]) -> None:
    """Insert a request and whom it concerns."""
    write(connection, _ADD_REQUEST, **{**vars(added), "needs": " ".join(added.approvers or [])})
    _add_subjects(connection, added.request_id, set(subjects))


def add_subjects(connection: Connection, request_id: str, subjects: Sequence[str]) -> None:
    """Note whom a request concerns; what is noted already stays."""
    known = set(read_all(connection, _SUBJECTS, str, request_id=request_id))
    _add_subjects(connection, request_id, set(subjects) - known)


def subjects_of(connection: Connection, request_id: str) -> list[str]:
    """Read whom a request concerns."""
    return sorted(connection.scalars(_SUBJECTS, {"request_id": request_id}))


def _add_subjects(connection: Connection, request_id: str, subjects: set[str]) -> None:
    if subjects:
        rows = [{"request_id": request_id, "subject": subject} for subject in sorted(subjects)]
        insert_all(connection, request_subjects, rows)


def change_request(connection: Connection, request_id: str, **values: Any) -> None:
    """Set columns of a request."""
    if "approvers" in values:
        values["needs"] = " ".join(values["approvers"] or [])
    changed = {f"new_{name}": value for name, value in values.items()}
    write(connection, _changing(frozenset(values)), of_request=request_id, **changed)


@lru_cache(maxsize=100)
def _changing(names: frozenset[str]) -> sa.Update:
    changed = {name: sa.bindparam(f"new_{name}", type_=requests.c[name].type) for name in sorted(names)}
    return update(requests, **changed).where(requests.c.request_id == param("of_request"))


def count_open(connection: Connection) -> dict[str, int]:
    """Count the requests without a receipt by state; every open state is there."""
    query = sa.select(requests.c.state, sa.func.count()).where(_IS_OPEN)
    counted = {row[0]: row[1] for row in connection.execute(query.group_by(requests.c.state))}
    return {state: counted.get(state, 0) for state in OPEN_STATES}
