"""The journal in SQL: turns, plans, requests, decisions, receipts. Statements only; what they mean stands in `gate`."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance.audit import ahead_of
from agent.clearance.binding import BOUND, next_version, note_written
from agent.db.tables import (
    OPEN_STATES,
    audit_head,
    decisions,
    erasures,
    leases,
    plans,
    questions,
    receipts,
    request_subjects,
    requests,
    turns,
)
from agent.db.types import from_text

#: Stands where something personal was.
ERASED = "(erased)"


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
    #: What the person wrote, `[{"id", "content"}]`; each content is `ERASED` when it was erased.
    messages: list[dict[str, Any]]
    #: Whether its run keeps the thread; one that does not can have no requests.
    is_durable: bool
    #: `open`, `answered` or `withdrawn`.
    state: str
    opened_at: datetime
    closed_at: datetime | None
    #: Of the digests in the audit log; made when it is stored, None when its words are erased.
    salt: str | None = None
    version: int | None = 1


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
    version: int | None = 1


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
    version: int | None = 1

    @property
    def artifact(self) -> dict[str, Any]:
        """What clients get beside the sentence, so that no program has to read prose; the model never sees it."""
        return {"outcome": self.outcome, "revision": self.revision}


@dataclass(frozen=True)
class PutQuestion:
    """A question as it was put in a thread; columns as in `db.tables.questions`."""

    thread_id: str
    interrupt_id: str
    request_id: str
    revision: int
    checkpoint_id: str | None
    asked_ms: int
    version: int | None = 1


@dataclass(frozen=True)
class Switch:
    """The freeze: by whom, why and since when; all None while effects may run."""

    frozen_by: str | None
    frozen_reason: str | None
    frozen_at: datetime | None
    #: When the audit log's last row was written: a clock that is behind it stops effects as well.
    at: datetime | None = None

    def ahead(self, now: datetime) -> timedelta | None:
        """Tell how far the log is ahead of the clock, which stops effects as well; None while it is not."""
        return None if self.at is None else ahead_of(self.at, now)


# Statements are built once: building one costs more than running it.

T = TypeVar("T")


def _param(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name)


def _among(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, expanding=True)


def _all(connection: Connection, query: sa.Select[Any], into: Callable[..., T], **given: Any) -> list[T]:
    return [into(*row) for row in connection.execute(query, given)]


def _one(connection: Connection, query: sa.Select[Any], into: Callable[..., T], **given: Any) -> T | None:
    row = connection.execute(query, given).one_or_none()
    return into(*row) if row else None


def _insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table).returning(*BOUND[table.name].shown)


def _update(table: sa.Table, **values: Any) -> sa.Update:
    return sa.update(table).values(version=next_version(table), **values).returning(*BOUND[table.name].shown)


def _write(connection: Connection, statement: sa.Insert | sa.Update, **given: Any) -> None:
    """Write rows that the audit log binds, and note them for it as they are now."""
    table = statement.table
    assert isinstance(table, sa.Table)
    note_written(connection, table, connection.execute(statement, given), are_new=isinstance(statement, sa.Insert))


# Turns

_TURN = sa.select(turns).where(turns.c.turn_id == _param("turn_id"))
_TURNS_OF = sa.select(turns).where(turns.c.thread_id == _param("thread_id")).order_by(turns.c.number)
_OPEN_TURN_OF = sa.select(turns).where(turns.c.thread_id == _param("thread_id"), turns.c.state == "open")
_OPEN_TURNS = sa.select(turns).where(turns.c.state == "open", turns.c.is_durable).order_by(turns.c.opened_at)
_ADD_TURN = _insert(turns)
_CLOSE_TURN = _update(turns, state=_param("new_state"), closed_at=_param("now")).where(
    turns.c.turn_id == _param("of_turn"), turns.c.state == "open"
)


def turn(connection: Connection, turn_id: str) -> Turn | None:
    """Read a turn, or None."""
    return _one(connection, _TURN, Turn, turn_id=turn_id)


def open_turn_of(connection: Connection, thread_id: str) -> Turn | None:
    """Read the open turn of a thread; there is at most one."""
    return _one(connection, _OPEN_TURN_OF, Turn, thread_id=thread_id)


def open_turns(connection: Connection) -> list[Turn]:
    """Read all open turns of threads that are kept, oldest first."""
    return _all(connection, _OPEN_TURNS, Turn)


def size_of_words(connection: Connection, thread_id: str) -> int:
    """Give the characters of all that people said in a thread, as they are stored."""
    query = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(sa.cast(turns.c.messages, sa.Text))), 0))
    return int(connection.scalar(query.where(turns.c.thread_id == thread_id)) or 0)


def turns_of(connection: Connection, thread_id: str) -> list[Turn]:
    """Read the turns of a thread in order."""
    return _all(connection, _TURNS_OF, Turn, thread_id=thread_id)


def add_turn(connection: Connection, added: Turn) -> None:
    """Insert a turn."""
    _write(connection, _ADD_TURN, **{**vars(added), "salt": added.salt or secrets.token_hex(16)})


def close_turn(connection: Connection, turn_id: str, state: str, now: datetime) -> None:
    """Close an open turn as `answered` or `withdrawn`."""
    _write(connection, _CLOSE_TURN, of_turn=turn_id, new_state=state, now=now)


# Plans

_PLANS_OF_TURN = sa.select(plans).where(plans.c.turn_id == _param("turn_id")).order_by(plans.c.position)
_PLAN = sa.select(plans).where(plans.c.plan_id == _param("plan_id"))
_PLAN_BY_MESSAGE = sa.select(plans).where(
    plans.c.thread_id == _param("thread_id"), plans.c.message_id == _param("message_id")
)
_PLANS_OF_TURNS = (
    sa.select(plans).where(plans.c.turn_id.in_(_among("turn_ids"))).order_by(plans.c.turn_id, plans.c.position)
)
_PLANS_BY_MESSAGES = sa.select(plans).where(
    plans.c.thread_id == _param("thread_id"), plans.c.message_id.in_(_among("message_ids"))
)
_ADD_PLAN = _insert(plans)
_MARK_OPENED = sa.update(plans).where(plans.c.plan_id == _param("of_plan")).values(opened=True)


def plan(connection: Connection, plan_id: str) -> Plan | None:
    """Read a plan, or None."""
    return _one(connection, _PLAN, Plan, plan_id=plan_id)


def plans_of_turns(connection: Connection, turn_ids: Sequence[str]) -> list[Plan]:
    """Read the plans of turns, those of one in order."""
    return _all(connection, _PLANS_OF_TURNS, Plan, turn_ids=turn_ids) if turn_ids else []


def plans_of_turn(connection: Connection, turn_id: str) -> list[Plan]:
    """Read the plans of a turn in order."""
    return _all(connection, _PLANS_OF_TURN, Plan, turn_id=turn_id)


def plan_by_message(connection: Connection, thread_id: str, message_id: str) -> Plan | None:
    """Read the plan that an AI message of a thread is, or None when the journal knows no such message."""
    return _one(connection, _PLAN_BY_MESSAGE, Plan, thread_id=thread_id, message_id=message_id)


def plans_by_messages(connection: Connection, thread_id: str, message_ids: Sequence[str]) -> list[Plan]:
    """Read the plans that are among these messages of a thread."""
    if not message_ids:
        return []
    return _all(connection, _PLANS_BY_MESSAGES, Plan, thread_id=thread_id, message_ids=message_ids)


def add_plan(connection: Connection, added: Plan) -> None:
    """Insert a plan."""
    _write(connection, _ADD_PLAN, **vars(added))


def mark_opened(connection: Connection, plan_id: str) -> None:
    """Note that the requests of a plan are there."""
    connection.execute(_MARK_OPENED, {"of_plan": plan_id})


# Requests

#: So many requests for the same calls are read.
_MOST_SAME = 100
_RECEIPT_SENTENCE = receipts.c.sentence.label("receipt")

_REQUEST = sa.select(requests).where(requests.c.request_id == _param("request_id"))
_REQUESTS_OF_PLAN = sa.select(requests).where(requests.c.plan_id == _param("plan_id")).order_by(requests.c.position)
_REQUESTS_OF_PLANS = sa.select(requests).where(requests.c.plan_id.in_(_among("plan_ids"))).order_by(requests.c.number)
_OPEN_REQUESTS = (
    sa.select(requests)
    .where(requests.c.turn_id == _param("turn_id"), requests.c.state.in_(OPEN_STATES))
    .order_by(requests.c.number)
)
#: A no to a whole turn: of a person, or of time, which is one, too.
_NOES = ("rejected", "expired")
_FIRST_NO = (
    sa.select(requests)
    # By thread, too: that is what there is an index of.
    .where(
        requests.c.thread_id == _param("thread_id"),
        requests.c.turn_id == _param("turn_id"),
        requests.c.state.in_(_NOES),
    )
    .order_by(requests.c.finished_at, requests.c.number)
    .limit(1)
)
_EARLIER = (
    sa.select(requests.c.arguments, requests.c.requested_by)
    .where(
        requests.c.action == _param("of_action"),
        requests.c.number < _param("before"),
        requests.c.arguments.is_not(None),
        requests.c.state.in_(("approved", "allowed"))
        | ((requests.c.state == "asked") & (requests.c.plan_id == _param("of_plan"))),
    )
    .order_by(requests.c.number)
)
_SAME_CALLS = (
    sa.select(requests, _RECEIPT_SENTENCE)
    .outerjoin(receipts, receipts.c.request_id == requests.c.request_id)
    .where(
        requests.c.digest.in_(_among("digests")),
    )
    .limit(_MOST_SAME)
)
_SAME_OPEN = _SAME_CALLS.where(requests.c.state.in_(OPEN_STATES)).order_by(requests.c.number.desc())
# However many were rejected, one that was carried out is among them.
_SAME_OVER = _SAME_CALLS.where(
    requests.c.state.in_(("executed", "rejected")), requests.c.finished_at >= _param("since")
).order_by(sa.case((requests.c.state == "executed", 0), else_=1), requests.c.number.desc())
_REJECTED_BEFORE = (
    sa.select(requests)
    .where(
        requests.c.thread_id == _param("thread_id"),
        requests.c.turn_id == _param("turn_id"),
        requests.c.plan_id != _param("plan_id"),
        requests.c.digest == _param("digest"),
        requests.c.state == "rejected",
    )
    .order_by(requests.c.number)
)
_ADD_REQUEST = _insert(requests)
_SUBJECTS = sa.select(request_subjects.c.subject).where(request_subjects.c.request_id == _param("request_id"))
_ADD_SUBJECTS = sa.insert(request_subjects)


def request(connection: Connection, request_id: str) -> Request | None:
    """Read a request, or None."""
    return _one(connection, _REQUEST, Request, request_id=request_id)


def requests_of_plan(connection: Connection, plan_id: str) -> list[Request]:
    """Read the requests of a plan in the order the model wrote them."""
    return _all(connection, _REQUESTS_OF_PLAN, Request, plan_id=plan_id)


def requests_of_plans(connection: Connection, plan_ids: Sequence[str]) -> list[Request]:
    """Read the requests of several plans, oldest first."""
    return _all(connection, _REQUESTS_OF_PLANS, Request, plan_ids=plan_ids) if plan_ids else []


def open_requests_of_turn(connection: Connection, turn_id: str) -> list[Request]:
    """Read what has no receipt yet, oldest first."""
    return _all(connection, _OPEN_REQUESTS, Request, turn_id=turn_id)


def first_no(connection: Connection, of: Turn) -> Request | None:
    """Read what of a turn was rejected, or not cleared in time, first; None while nothing was."""
    return _one(connection, _FIRST_NO, Request, thread_id=of.thread_id, turn_id=of.turn_id)


def earlier(connection: Connection, action: str, number: int, plan_id: str) -> list[tuple[dict[str, Any], str]]:
    """Read (arguments, requester) of open requests before `number`: what is cleared anywhere, and all of this plan."""
    given = {"of_action": action, "before": number, "of_plan": plan_id}
    return [(row.arguments, row.requested_by) for row in connection.execute(_EARLIER, given)]


def same_calls(connection: Connection, digests: Sequence[str], since: datetime) -> list[tuple[Request, str | None]]:
    """Read the requests for exactly these calls that are open, or were carried out or rejected since a moment.

    With what their receipts say, oldest first. The last `_MOST_SAME` of either kind: who asks for the same ten thousand
    times slows nobody's page.
    """
    if not digests:
        return []
    rows = [
        *connection.execute(_SAME_OPEN, {"digests": digests}),
        *connection.execute(_SAME_OVER, {"digests": digests, "since": since}),
    ]
    return sorted(((Request(*row[:-1]), row[-1]) for row in rows), key=lambda found: found[0].number)


def rejected_before(connection: Connection, turn: Turn, plan_id: str, digest: str) -> Request | None:
    """Read the last request of a turn for exactly this call that was rejected, in another plan than this one."""
    given = {"thread_id": turn.thread_id, "turn_id": turn.turn_id, "plan_id": plan_id, "digest": digest}
    found = connection.execute(_REJECTED_BEFORE, given).all()
    return Request(*found[-1]) if found else None


def add_request(connection: Connection, added: Request, subjects: Sequence[str]) -> None:
    """Insert a request and whom it concerns."""
    _write(connection, _ADD_REQUEST, **{**vars(added), "needs": " ".join(added.approvers or [])})
    _add_subjects(connection, added.request_id, set(subjects))


def add_subjects(connection: Connection, request_id: str, subjects: Sequence[str]) -> None:
    """Note whom a request concerns; what is noted already stays."""
    known = set(connection.scalars(_SUBJECTS, {"request_id": request_id}))
    _add_subjects(connection, request_id, set(subjects) - known)


def _add_subjects(connection: Connection, request_id: str, subjects: set[str]) -> None:
    if subjects:
        connection.execute(
            _ADD_SUBJECTS, [{"request_id": request_id, "subject": subject} for subject in sorted(subjects)]
        )


def change_request(connection: Connection, request_id: str, **values: Any) -> None:
    """Set columns of a request."""
    if "approvers" in values:
        values["needs"] = " ".join(values["approvers"] or [])
    changed = {f"new_{name}": value for name, value in values.items()}
    _write(connection, _changing(frozenset(values)), of_request=request_id, **changed)


@lru_cache(maxsize=100)
def _changing(names: frozenset[str]) -> sa.Update:
    changed = {name: sa.bindparam(f"new_{name}", type_=requests.c[name].type) for name in sorted(names)}
    return _update(requests, **changed).where(requests.c.request_id == _param("of_request"))


# Questions

_QUESTION = sa.select(questions).where(
    questions.c.thread_id == _param("thread_id"), questions.c.interrupt_id == _param("interrupt_id")
)
_QUESTIONS_OF = (
    sa.select(questions)
    .where(questions.c.thread_id == _param("thread_id"))
    .order_by(questions.c.asked_ms, questions.c.interrupt_id)
)
_ADD_QUESTION = _insert(questions)


def questions_of(connection: Connection, thread_id: str) -> list[PutQuestion]:
    """Read the questions that were put in a thread, oldest first."""
    return _all(connection, _QUESTIONS_OF, PutQuestion, thread_id=thread_id)


def has_question(connection: Connection, thread_id: str, interrupt_id: str) -> bool:
    """Tell whether a question was put."""
    given = {"thread_id": thread_id, "interrupt_id": interrupt_id}
    return connection.execute(_QUESTION, given).one_or_none() is not None


def put_question(connection: Connection, put: PutQuestion) -> None:
    """Note that a question was put; its request is asked from then on."""
    _write(connection, _ADD_QUESTION, **vars(put))
    change_request(connection, put.request_id, asked_ms=put.asked_ms)


# Decisions and receipts

_DECISIONS_ON = (
    sa.select(decisions)
    .where(decisions.c.request_id.in_(_among("request_ids")))
    .order_by(decisions.c.request_id, decisions.c.number)
)
_ADD_DECISION = _insert(decisions)
_LAPSE = _update(decisions, counts=False, lapsed=_param("why")).where(
    decisions.c.request_id == _param("of_request"), decisions.c.counts
)
_RECEIPT = sa.select(receipts).where(receipts.c.request_id == _param("request_id"))
_RECEIPTS_OF = sa.select(receipts).where(receipts.c.request_id.in_(_among("request_ids")))
_OUTCOMES = (
    sa.select(requests.c.request_id.label("of"), receipts)
    .select_from(requests.outerjoin(receipts, receipts.c.request_id == requests.c.request_id))
    .where(requests.c.turn_id == _param("turn_id"))
)
_ADD_RECEIPT = _insert(receipts)


def decisions_on(connection: Connection, request_ids: Sequence[str]) -> list[Decision]:
    """Read decisions on requests, in the order they were made."""
    return _all(connection, _DECISIONS_ON, Decision, request_ids=request_ids) if request_ids else []


def add_decision(connection: Connection, added: Decision) -> None:
    """Insert a decision."""
    _write(connection, _ADD_DECISION, **vars(added))


def lapse_approvals(connection: Connection, request_id: str, why: str) -> None:
    """Make the approvals of a request count no more."""
    _write(connection, _LAPSE, of_request=request_id, why=why)


def receipt(connection: Connection, request_id: str) -> Receipt | None:
    """Read how a request ended, or None while it is open."""
    return _one(connection, _RECEIPT, Receipt, request_id=request_id)


def outcomes_of_turn(connection: Connection, turn_id: str) -> dict[str, Receipt | None]:
    """Read how each request of a turn ended; None while it is open."""
    rows = connection.execute(_OUTCOMES, {"turn_id": turn_id})
    return {row[0]: Receipt(*row[1:]) if row[1] is not None else None for row in rows}


def receipts_of_turn(connection: Connection, turn_id: str) -> list[Receipt]:
    """Read the receipts of a turn, in the order they were written."""
    ended = [receipt for receipt in outcomes_of_turn(connection, turn_id).values() if receipt]
    return sorted(ended, key=lambda receipt: receipt.finished_at)


def receipts_of(connection: Connection, request_ids: Sequence[str]) -> dict[str, Receipt]:
    """Read receipts by request."""
    found = _all(connection, _RECEIPTS_OF, Receipt, request_ids=request_ids) if request_ids else []
    return {one.request_id: one for one in found}


def add_receipt(connection: Connection, added: Receipt) -> None:
    """Insert a receipt; the database refuses a second one of the same request."""
    _write(connection, _ADD_RECEIPT, **vars(added))


# Freeze


def read_switch(connection: Connection) -> Switch:
    """Read the switch without locking it."""
    query = sa.select(audit_head.c.frozen_by, audit_head.c.frozen_reason, audit_head.c.frozen_at, audit_head.c.at)
    row = connection.execute(query).one()
    try:
        at = from_text(row.at)
    except (TypeError, ValueError):  # bent, which `verify` tells; nothing can be written then
        at = None
    return Switch(row.frozen_by, row.frozen_reason, row.frozen_at, at)


def count_open(connection: Connection) -> dict[str, int]:
    """Count the requests without a receipt by state; every open state is there."""
    query = sa.select(requests.c.state, sa.func.count()).where(requests.c.state.in_(OPEN_STATES))
    counted = {row[0]: row[1] for row in connection.execute(query.group_by(requests.c.state))}
    return {state: counted.get(state, 0) for state in OPEN_STATES}


def set_freeze(connection: Connection, *, by: str | None, reason: str | None, at: datetime | None) -> None:
    """Set the switch; `by` None lifts the freeze."""
    connection.execute(
        sa.update(audit_head).values(frozen=by is not None, frozen_by=by, frozen_reason=reason, frozen_at=at)
    )


# Leases

#: Nobody takes a lease for longer.
LONGEST_LEASE = timedelta(hours=1)


def take_lease(connection: Connection, name: str, holder: str, now: datetime, until: datetime) -> bool:
    """Take or renew a lease; False while somebody else holds it."""
    held = connection.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()
    if held is None:
        connection.execute(sa.insert(leases), {"name": name, "holder": holder, "until": until})
        return True
    # One that ends later than any is taken for was taken by a clock that had jumped.
    if held.holder != holder and now < held.until <= now + LONGEST_LEASE:
        return False
    connection.execute(sa.update(leases).where(leases.c.name == name).values(holder=holder, until=until))
    return True


def drop_lease(connection: Connection, name: str, holder: str) -> None:
    """Give a lease back, if `holder` has it."""
    connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))


# Erasure


@dataclass(frozen=True)
class Erased:
    """A request whose personal columns were erased, for the audit log."""

    request_id: str
    turn_id: str
    thread_id: str


def erase_subject(connection: Connection, subject: str, request_id: str, now: datetime) -> list[Erased]:
    """Erase what is personal in requests about `subject`: at once in closed turns, in open ones when they close.

    An open turn still needs its calls, to be carried out or refused. Gives the requests that were erased.
    """
    _write(connection, _ADD_ERASURE, subject=subject, request_id=request_id, erased_at=now, version=1)
    about = sa.select(request_subjects.c.request_id).where(request_subjects.c.subject == subject)
    closed = sa.select(turns.c.turn_id).where(turns.c.state != "open")
    return _erase(connection, requests.c.request_id.in_(about) & requests.c.turn_id.in_(closed))


def erase_closed_turn(connection: Connection, turn_id: str) -> list[Erased]:
    """Erase what the erasures made while this turn was open could not; give the requests that were erased."""
    erased = sa.select(request_subjects.c.request_id).join(erasures, erasures.c.subject == request_subjects.c.subject)
    return _erase(connection, requests.c.request_id.in_(erased) & (requests.c.turn_id == turn_id))


_ADD_ERASURE = _insert(erasures)


def _erase(connection: Connection, of_requests: sa.ColumnElement[bool]) -> list[Erased]:
    query = sa.select(requests.c.request_id, requests.c.turn_id, requests.c.thread_id).where(of_requests)
    erased = [Erased(*row) for row in connection.execute(query.order_by(requests.c.number))]
    if not erased:
        return []
    ids = [one.request_id for one in erased]
    turn_ids = {one.turn_id for one in erased}
    # Where the salt stands first: the log binds the other rows anew by what they read there.
    contents = dict.fromkeys(("arguments", "digest", "salt", "facts", "sentence", "notice"))
    _write(connection, _update(requests, **contents).where(requests.c.request_id.in_(ids)))
    # The request that erased keeps its receipt: by contract that says ids only.
    eraser = sa.select(erasures.c.request_id)
    _write(
        connection,
        _update(receipts, sentence=None).where(receipts.c.request_id.in_(ids), receipts.c.request_id.not_in(eraser)),
    )
    contents = dict.fromkeys(("reason", "edited", "digest"))
    _write(connection, _update(decisions, **contents).where(decisions.c.request_id.in_(ids)))
    of_turns = sa.select(turns.c.turn_id, turns.c.messages).where(turns.c.turn_id.in_(turn_ids))
    for row in connection.execute(of_turns).all():
        # The ids stay: a message that the journal does not know would be heard as a new one.
        messages = [{"id": message["id"], "content": ERASED} for message in row.messages]
        _write(connection, _update(turns, messages=messages, salt=None).where(turns.c.turn_id == row.turn_id))
    _write(connection, _update(plans, message=None).where(plans.c.turn_id.in_(turn_ids)))
    return erased


def people(connection: Connection) -> list[str]:
    """Give who ever asked or decided, in no order."""
    asked, decided = sa.select(turns.c.requested_by), sa.select(decisions.c.decided_by)
    return list(connection.scalars(sa.union(asked, decided)))
