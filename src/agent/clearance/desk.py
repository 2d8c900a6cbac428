"""A reviewer's desk: what the approvals API, the inbox and the terminal show and do, without any of their forms."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.engine import Connection

from agent.clearance import audit, journal
from agent.clearance.answering import CLOSED, Checked, Refusal, check_edit
from agent.clearance.answers import MAX_REASON, Answer, Approve, Edit, Reference, Reject
from agent.clearance.approval import Question
from agent.clearance.canonical import clean, is_too_much
from agent.clearance.errors import NotOursError
from agent.clearance.gate import Caller, Gate
from agent.clearance.journal import Plan, Receipt, Request, Switch, Turn
from agent.clearance.listed import Listed
from agent.clearance.listing import Page, Wanted, count, read_beginning, read_page, read_some
from agent.clearance.principal import Principal
from agent.clearance.statistics import Statistics, read_statistics
from agent.clearance.transitions import withdraw_turn
from agent.clearance.witness import disagreements
from agent.db.engine import DatabaseBusy
from agent.loglines import logger_of

logger = logger_of(__name__)

#: Longer reasons for a freeze are refused: the reason stands in every receipt that it causes.
MAX_FREEZE_REASON = 500
#: So many turns of a thread are read with a request.
MOST_TURNS = 20


class WrongInputError(Exception):
    """What was sent cannot be; the text names it."""


@dataclass(frozen=True)
class Seen:
    """What a decision is about, as the person who decides saw it."""

    digest: str
    revision: int


@dataclass(frozen=True)
class Detail:
    """One request with all that the journal tells of it."""

    question: Question
    receipt: Receipt | None
    #: Receipts of all the requests of `turns`, by request.
    receipts: dict[str, Receipt]
    #: The requests of its turn, in order, its own plan's among them.
    of_turn: list[Request]
    #: Audit rows about it, oldest first, details as JSON text.
    events: list[dict[str, Any]]
    #: The last turns of its thread up to its own, oldest first.
    turns: list[Turn]
    #: What the model said in each of them, in order, by turn.
    plans: dict[str, list[Plan]]
    switch: Switch
    #: What of it, its turn and its decisions is not as the audit log tells; nothing when all is.
    disagreements: list[str]

    @property
    def request(self) -> Request:
        """The request itself."""
        return self.question.request


@dataclass(frozen=True)
class Decided:
    """How a request stands after a decision on it."""

    request: Request
    receipt: Receipt | None
    #: Requests of its plan that wait for a decision before anything of it is carried out.
    waits_for: list[Request]
    #: People who still have to approve this one.
    approvals_missing: int
    #: Who approved it, as far as it counts.
    approved_by: list[str]


Word = Literal["approve", "edit", "reject"]


def read_decision(word: Word, seen: Seen, reason: str = "", changes: dict[str, Any] | None = None) -> Answer:
    """Read what a form or a program sent as a decision.

    Raises:
        WrongInputError: a reason that is too long or no text, an edit without changes.
    """
    about = Reference(None, seen.digest)
    if clean(reason) != reason or len(reason) > MAX_REASON:
        raise WrongInputError(f"reason: must be text of at most {MAX_REASON} characters")
    match word:
        case "approve":
            return Approve(about)
        case "reject":
            return Reject(" ".join(reason.split()), about)
        case "edit":
            if not changes or is_too_much(changes):
                raise WrongInputError("arguments: an edit needs the arguments that change, and no more")
            return Edit(changes, is_whole=False, about=about)


def read_freeze_reason(reason: str) -> str:
    """Read why somebody stops everything, as one line.

    Raises:
        WrongInputError: no reason, or one that is too long.
    """
    said = str(clean(" ".join(reason.split())))
    if not said or len(said) > MAX_FREEZE_REASON:
        raise WrongInputError(f"reason: needs a sentence of at most {MAX_FREEZE_REASON} characters")
    return said


def not_frozen(exc: DatabaseBusy) -> str:
    """Say that the freeze could not be set yet, and what is in its way."""
    return f"Not frozen yet: what is in flight does not end. {exc} Try again; to stop the server undoes it."


class Desk:
    """Lists, one request, decisions, the freeze. Who sees and may do what is decided here and in the gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def sees_all(self, viewer: Principal) -> bool:
        """Tell whether somebody sees what others asked for: who holds a role of the policy."""
        return self._gate.judge.policy.has_part(viewer)

    async def page(self, viewer: Principal, wanted: Wanted, *, after: str | None, limit: int) -> Page:
        """Read a page of a list.

        Raises:
            CursorError: `after` is no cursor.
        """
        sees_all = self.sees_all(viewer)
        return await self._gate.database.read(
            lambda c: read_page(c, viewer, wanted, sees_all=sees_all, after=after, limit=limit)
        )

    async def count(self, viewer: Principal, wanted: Wanted) -> int:
        """Count a list, up to `listing.MOST_COUNTED`."""
        sees_all = self.sees_all(viewer)
        return await self._gate.database.read(lambda c: count(c, viewer, wanted, sees_all=sees_all))

    async def some(self, viewer: Principal, request_ids: list[str]) -> list[Request]:
        """Read these requests; those that are not there, or not for this person to see, are left out."""
        found = await self._gate.database.read(lambda c: read_some(c, request_ids))
        return found if self.sees_all(viewer) else [one for one in found if one.requested_by == viewer.id]

    async def beginning(self, viewer: Principal, prefix: str, *, limit: int) -> list[Request]:
        """Read at most `limit` requests, open or not, whose id begins so, as far as this person may see them."""
        by = None if self.sees_all(viewer) else viewer.id
        return await self._gate.database.read(lambda c: read_beginning(c, prefix, requested_by=by, limit=limit))

    async def listed(self, requests: Sequence[Request]) -> list[Listed]:
        """Give what a list says of these requests, in their order."""
        return await self._gate.records.listed(requests)

    async def detail(self, viewer: Principal, request_id: str) -> Detail:
        """Read one request.

        Raises:
            NotOursError: there is none, or this person may not see it.
        """

        def work(connection: Connection) -> Detail:
            question = self._gate.records.question(connection, request_id)
            self._check_sees(viewer, question.request)
            before = [turn for turn in journal.turns_of(connection, question.turn.thread_id)
                      if turn.number <= question.turn.number]  # fmt: skip
            turns = before[-MOST_TURNS:]
            plans: dict[str, list[Plan]] = {}
            for plan in journal.plans_of_turns(connection, [turn.turn_id for turn in turns]):
                plans.setdefault(plan.turn_id, []).append(plan)
            every = journal.requests_of_plans(connection, [one.plan_id for of in plans.values() for one in of])
            receipts = journal.receipts_of(connection, [one.request_id for one in every])
            of_turn = [one for one in every if one.turn_id == question.turn.turn_id]
            events = audit.rows_about(connection, request_id)
            differs = disagreements(connection, self._gate.keys, question.request, self._gate.judge.actions)
            return Detail(question, receipts.get(request_id), receipts, of_turn, events, turns, plans,
                          journal.read_switch(connection), differs)  # fmt: skip

        return await self._gate.database.read(work)

    async def turn_of(self, viewer: Principal, request_id: str) -> tuple[Request, Turn]:
        """Read a request and its turn.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
        """

        def work(connection: Connection) -> tuple[Request, Turn]:
            request = self._found(connection, viewer, request_id)
            turn = journal.turn(connection, request.turn_id)
            assert turn is not None
            return request, turn

        return await self._gate.database.read(work)

    async def check_edit(
        self, viewer: Principal, request_id: str, changes: dict[str, Any], seen: Seen
    ) -> Checked | Refusal:
        """Tell what an edit would come to; nothing is written.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
            WrongInputError: nothing changes.
        """
        answer = read_decision("edit", seen, changes=changes)
        assert isinstance(answer, Edit)

        def work(log: audit.Log) -> Checked | Refusal:
            request = self._found(log.connection, viewer, request_id)
            if request.state != "asked":
                return Refusal(CLOSED, f"it is {request.state} already.")
            if (request.digest, request.revision) != (seen.digest, seen.revision):
                return Refusal("changed", "the request changed after this page was made.")
            checked = check_edit(log, self._gate.judge, request, answer, viewer)
            if isinstance(checked, Checked) and checked.judged.digest == request.digest:
                # Sent as a decision it would be an approval of what is asked for.
                raise WrongInputError("arguments: nothing is changed by them; approve it as it is")
            return checked

        return await self._gate.write(work)

    async def decide(self, viewer: Principal, request_id: str, answer: Answer, seen: Seen) -> Decided | Refusal:
        """Record a decision, and where it completes its plan, carry that out; give how the request stands then.

        Once it has begun it ends, whoever is cancelled meanwhile. Two at once both count. A receipt that is still
        missing where nothing is left to decide comes later: the server goes on with it.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
            DatabaseUnavailable: nothing was recorded, or it is found again.
        """
        caller = Caller(viewer)

        def record(log: audit.Log) -> Decided | Refusal:
            self._found(log.connection, viewer, request_id)
            refusal = self._gate.decide_now(log, request_id, answer, seen.revision, caller)
            return refusal or _standing(log.connection, request_id)

        def work() -> Decided | Refusal:
            became = self._gate.write_now(record)
            if isinstance(became, Refusal):
                return became
            try:
                self._gate.carry_out_plan(became.request.plan_id)
                return self._gate.database.read_now(lambda connection: _standing(connection, request_id))
            except Exception:  # what was decided is recorded: no failure after that may say otherwise
                logger.exception("request %s is decided, and carried out later", request_id)
                return became

        return await self._gate.database.run(work)

    async def standing(self, request_id: str) -> Decided:
        """Read how a request stands."""
        return await self._gate.database.read(lambda connection: _standing(connection, request_id))

    async def close_lost(self, viewer: Principal, request_id: str) -> None:
        """Withdraw the turn of a request whose thread is gone; the caller has made sure that it is.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
        """

        def work(log: audit.Log) -> None:
            request = self._found(log.connection, viewer, request_id)
            turn = journal.turn(log.connection, request.turn_id)
            if turn is not None and turn.state == "open":
                withdraw_turn(log, turn, actor=viewer.id, because="its thread is gone")

        await self._gate.write(work)

    # The switch

    async def switch(self) -> tuple[Switch, dict[str, int]]:
        """Read what stops effects, and how many requests are open by state."""
        return await self._gate.database.read(lambda c: (journal.read_switch(c), journal.count_open(c)))

    async def freeze(self, by: str, reason: str, **details: Any) -> bool:
        """Stop every effect; when this returns none is in flight. Tell whether it was frozen already.

        Raises:
            WrongInputError: no reason, or one that is too long.
            DatabaseBusy: what is in flight did not end in time; nothing is frozen yet, see `not_frozen`.
        """
        said = read_freeze_reason(reason)

        def work(log: audit.Log) -> bool:
            self._gate.freeze(log, by=by, reason=said, **details)
            return log.frozen

        return await self._gate.write(work)

    async def unfreeze(self, by: str, **details: Any) -> bool:
        """Let effects run again; nothing runs by itself. Tell whether they were frozen."""

        def work(log: audit.Log) -> bool:
            self._gate.unfreeze(log, by=by, **details)
            return log.frozen

        return await self._gate.write(work)

    # What happened

    async def events(
        self,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
        only: dict[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Read audit rows: the newest first, those before one; or oldest first, those after one.

        `only` narrows them by columns: event, actor, request_id.
        """
        return await self._gate.database.read(
            lambda c: audit.some_rows(c, before=before, after=after, limit=limit, only=only or {})
        )

    async def statistics(self, since: datetime) -> Statistics:
        """Count decisions made and requests opened since a moment."""
        return await self._gate.database.read(lambda c: read_statistics(c, since))

    async def head(self) -> audit.Head:
        """Read where the audit log ends."""
        return await self._gate.database.read(audit.read_head)

    async def verify(self) -> audit.Verification:
        """Check the whole audit log."""
        return await self._gate.verify()

    def _found(self, connection: Connection, viewer: Principal, request_id: str) -> Request:
        request = journal.request(connection, request_id)
        if request is None:
            raise NotOursError(f"there is no request {request_id!r}")
        self._check_sees(viewer, request)
        return request

    def _check_sees(self, viewer: Principal, request: Request) -> None:
        if request.requested_by != viewer.id and not self.sees_all(viewer):
            raise NotOursError(f"there is no request {request.request_id!r}")


def _standing(connection: Connection, request_id: str) -> Decided:
    request = journal.request(connection, request_id)
    assert request is not None
    plan = journal.requests_of_plan(connection, request.plan_id)
    given = [made.decided_by for made in journal.decisions_on(connection, [request_id]) if made.counts]
    return Decided(
        request,
        journal.receipt(connection, request_id),
        [one for one in plan if one.state == "asked" and one.request_id != request_id] if request.is_open else [],
        max(request.approvals - len(given), 0) if request.state == "asked" else 0,
        given,
    )
