"""A reviewer's desk: what the approvals API, the inbox and the terminal show and do, without any of their forms."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.engine import Connection

from clearance.canonical import clean, is_too_much
from clearance.db.engine import DatabaseBusy
from clearance.desk.detail import Detail, read_detail
from clearance.desk.entries import Listed, read_listed
from clearance.desk.lists import Page, Wanted, count, read_beginning, read_page, read_some
from clearance.desk.statistics import Statistics, read_statistics
from clearance.errors import NotOursError
from clearance.gate.answers import MAX_REASON, Answer, Approve, Edit, Reference, Reject
from clearance.gate.caller import Caller
from clearance.gate.decision import CLOSED, Checked, Refusal, check_edit
from clearance.gate.freeze import freeze_effects, unfreeze_effects
from clearance.gate.gate import Gate
from clearance.gate.taking import decide_now
from clearance.gate.testimony import take_testimony
from clearance.gate.transitions import withdraw_turn
from clearance.journal import audit
from clearance.journal.attempts import Attempt, attempts_on
from clearance.journal.decisions import decisions_on
from clearance.journal.questions import last_question
from clearance.journal.receipts import Receipt, read_receipt
from clearance.journal.requests import (
    Request,
    count_open,
    open_requests_of_turn,
    read_request,
    requests_of_plan,
)
from clearance.journal.switch import Switch, read_switch
from clearance.journal.tools import SeenTool, all_tools
from clearance.journal.turns import Turn, open_turns_of, read_turn
from clearance.journal.verification import FoundWhole, Verification
from clearance.loglines import logger_of
from clearance.principal import Principal

logger = logger_of(__name__)

#: Longer reasons for a freeze are refused: the reason stands in every receipt that it causes.
MAX_FREEZE_REASON = 500
#: So much of what is in flight is named beside the switch.
MOST_IN_FLIGHT = 200


class WrongInputError(Exception):
    """What was sent cannot be; the text names it."""


@dataclass(frozen=True)
class Seen:
    """What a decision is about, as the person who decides saw it."""

    digest: str
    revision: int


@dataclass(frozen=True)
class Standing:
    """How a request stands after a decision on it."""

    request: Request
    receipt: Receipt | None
    #: Requests of its plan that wait for a decision before anything of it is carried out.
    waits_for: list[Request]
    #: People who still have to approve this one.
    approvals_missing: int
    #: Who approved it, as far as it counts.
    approved_by: list[str]
    #: Its last start elsewhere; None before one, and of a local action.
    attempt: Attempt | None = None
    #: Whether its thread asks already what is to be decided next: to wake it would change nothing.
    is_asking: bool = False


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
        """Count a list, up to `lists.MOST_COUNTED`."""
        (number,) = await self.counts(viewer, [wanted])
        return number

    async def counts(self, viewer: Principal, wanted: Sequence[Wanted]) -> list[int]:
        """Count several lists at one moment."""
        sees_all = self.sees_all(viewer)
        return await self._gate.database.read(lambda c: [count(c, viewer, one, sees_all=sees_all) for one in wanted])

    async def some(self, viewer: Principal, request_ids: list[str]) -> list[Request]:
        """Read these requests; those that are not there, or not for this person to see, are left out."""
        found = await self._gate.database.read(lambda c: read_some(c, request_ids))
        return found if self.sees_all(viewer) else [one for one in found if one.requested_by == viewer.id]

    async def beginning(self, viewer: Principal, prefix: str, *, limit: int) -> list[Request]:
        """Read at most `limit` requests, open or not, whose id begins so, as far as this person may see them."""
        by = None if self.sees_all(viewer) else viewer.id
        return await self._gate.database.read(lambda c: read_beginning(c, prefix, requested_by=by, limit=limit))

    async def listed_page(
        self, viewer: Principal, wanted: Wanted, *, after: str | None, limit: int
    ) -> tuple[list[Listed], str | None]:
        """Read a page of a list with what it says of each request, and where the next page begins.

        Raises:
            CursorError: `after` is no cursor.
        """
        sees_all = self.sees_all(viewer)

        def work(connection: Connection) -> tuple[list[Listed], str | None]:
            page = read_page(connection, viewer, wanted, sees_all=sees_all, after=after, limit=limit)
            return self._listed(connection, page.requests), page.next

        return await self._gate.database.read(work)

    async def listed(self, requests: Sequence[Request]) -> list[Listed]:
        """Give what a list says of these requests, in their order."""
        if not requests:
            return []
        return await self._gate.database.read(lambda c: self._listed(c, requests))

    def _listed(self, connection: Connection, requests: Sequence[Request]) -> list[Listed]:
        records = self._gate.records
        alike = records.alike(connection, {one.requested_by: None for one in requests})
        return read_listed(connection, self._gate.judge.actions, requests, alike, records.clock())

    async def detail(self, viewer: Principal, request_id: str) -> Detail:
        """Read one request.

        Raises:
            NotOursError: there is none, or this person may not see it.
        """

        def work(connection: Connection) -> Detail:
            question = self._gate.records.question(connection, request_id)
            self._check_sees(viewer, question.request)
            return read_detail(connection, self._gate, viewer, question)

        return await self._gate.database.read(work)

    async def turn_of(self, viewer: Principal, request_id: str) -> tuple[Request, Turn]:
        """Read a request and its turn.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
        """

        def work(connection: Connection) -> tuple[Request, Turn]:
            request = self._found(connection, viewer, request_id)
            turn = read_turn(connection, request.turn_id)
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

    async def decide(self, viewer: Principal, request_id: str, answer: Answer, seen: Seen) -> Standing | Refusal:
        """Record a decision, and where it completes its plan, carry that out; give how the request stands then.

        Once it has begun it ends, whoever is cancelled meanwhile. Two at once both count. A receipt that is still
        missing where nothing is left to decide comes later: the server goes on with it.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
            DatabaseUnavailable: nothing was recorded, or it is found again.
        """
        caller = Caller(viewer)

        def record(log: audit.Log) -> Standing | Refusal:
            self._found(log.connection, viewer, request_id)
            refusal = decide_now(log, self._gate.judge, request_id, answer, seen.revision, caller)
            return refusal or _standing(log.connection, request_id)

        def work() -> Standing | Refusal:
            became = self._gate.write_now(record)
            if isinstance(became, Refusal):
                return became
            try:
                self._gate.carry_out_plan(became.request.plan_id)
                return self._gate.database.read_now(lambda connection: _standing(connection, request_id))
            except Exception:  # what was decided is recorded: no failure after that may say otherwise
                logger.exception("request %s is decided, and carried out later", request_id)
                return became

        return await self._gate.database.run(work, is_urgent=True)

    async def settle(self, viewer: Principal, request_id: str, *, happened: bool, reason: str) -> Standing | Refusal:
        """Record what somebody says became of a request of which nobody knows; the rest of its plan goes on then.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
        """

        def work(log: audit.Log) -> Standing | Refusal:
            request = self._found(log.connection, viewer, request_id)
            became = take_testimony(log, self._gate.judge, request, happened=happened, reason=reason, principal=viewer)
            return became if isinstance(became, Refusal) else _standing(log.connection, request_id)

        became = await self._gate.write(work, is_urgent=True)
        if isinstance(became, Standing):
            self._gate.flights.settled(became.request)
        return became

    async def in_flight(self, viewer: Principal) -> list[Listed]:
        """Read what is in flight elsewhere, oldest first and `MOST_IN_FLIGHT` at most, as this person may see it."""
        listed, _ = await self.listed_page(viewer, Wanted("in_flight"), after=None, limit=MOST_IN_FLIGHT)
        return listed

    async def standing(self, request_id: str) -> Standing:
        """Read how a request stands."""
        return await self._gate.database.read(lambda connection: _standing(connection, request_id))

    async def close_lost(self, viewer: Principal, request_id: str) -> None:
        """Withdraw what is open in the thread of a request, since it is gone; the caller has made sure that it is.

        Raises:
            NotOursError: there is no such request, or this person may not see it.
        """

        def work(log: audit.Log) -> None:
            request = self._found(log.connection, viewer, request_id)
            for turn in open_turns_of(log.connection, request.thread_id):
                withdraw_turn(
                    log,
                    turn,
                    actor=viewer.id,
                    because=f"{viewer.id} closed it, for its thread was not found",
                    cause="thread",
                )

        await self._gate.write(work)

    # The switch

    async def switch(self) -> Switch:
        """Read what stops effects."""
        return await self._gate.database.read(read_switch)

    async def open_counts(self) -> dict[str, int]:
        """Count what is open by state: all of it is looked at."""
        return await self._gate.database.read(count_open)

    async def freeze(self, by: str, reason: str, **details: Any) -> bool:
        """Stop every effect; when this returns no local one is in flight, and none starts. Tell whether it was frozen.

        Raises:
            WrongInputError: no reason, or one that is too long.
            DatabaseBusy: what is in flight did not end in time; nothing is frozen yet, see `not_frozen`.
        """
        said = read_freeze_reason(reason)

        def work(log: audit.Log) -> bool:
            freeze_effects(log, by=by, reason=said, **details)
            return log.frozen

        return await self._gate.write(work, is_urgent=True)

    async def unfreeze(self, by: str, **details: Any) -> bool:
        """Let effects run again; nothing runs by itself. Tell whether they were frozen."""

        def work(log: audit.Log) -> bool:
            unfreeze_effects(log, by=by, **details)
            return log.frozen

        return await self._gate.write(work, is_urgent=True)

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

    async def tools(self) -> list[SeenTool]:
        """Read the definitions of MCP servers' tools that were seen."""
        return await self._gate.database.read(all_tools)

    async def head(self) -> audit.Head:
        """Read where the audit log ends."""
        return await self._gate.database.read(audit.read_head)

    async def verify(self) -> Verification:
        """Check the whole audit log."""
        return await self._gate.verify()

    @property
    def checked(self) -> FoundWhole | None:
        """Where the log ended when this process last found it whole; None when it did not."""
        return self._gate.checked

    async def verify_on(self, checked: FoundWhole) -> Verification:
        """Check the audit log from there on."""
        return await self._gate.verify_on(checked)

    def _found(self, connection: Connection, viewer: Principal, request_id: str) -> Request:
        request = read_request(connection, request_id)
        if request is None:
            raise NotOursError(f"there is no request {request_id!r}")
        self._check_sees(viewer, request)
        return request

    def _check_sees(self, viewer: Principal, request: Request) -> None:
        if request.requested_by != viewer.id and not self.sees_all(viewer):
            raise NotOursError(f"there is no request {request.request_id!r}")


def _standing(connection: Connection, request_id: str) -> Standing:
    request = read_request(connection, request_id)
    assert request is not None
    plan = requests_of_plan(connection, request.plan_id)
    given = [made.decided_by for made in decisions_on(connection, [request_id]) if made.counts]
    attempts = attempts_on(connection, request_id)
    return Standing(
        request,
        read_receipt(connection, request_id),
        [one for one in plan if one.state == "asked" and one.request_id != request_id] if request.is_open else [],
        max(request.approvals - len(given), 0) if request.state == "asked" else 0,
        given,
        attempts[-1] if attempts else None,
        _is_asking(connection, request),
    )


def _is_asking(connection: Connection, of: Request) -> bool:
    undecided = (one for one in open_requests_of_turn(connection, of.turn_id) if one.state == "asked")
    following, put = next(undecided, None), last_question(connection, of.turn_id)
    if following is None or put is None:
        return False
    return (following.request_id, following.revision) == (put.request_id, put.revision)
