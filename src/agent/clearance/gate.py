"""The gate: every effect passes `Gate.clear`, or `Gate.carry_out_plan` where a decision came outside a run.

    decided?    no → interrupt(payload) → parse → may this person decide? → record, or refuse and be asked again
    carry out   one transaction: lock · frozen? · deadline? · facts again · policy again · perform · receipt · audit

Recording the decision and carrying it out share that transaction when nothing else of the plan is left to decide.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance import approval, audit, deadlines, intake, journal
from agent.clearance.action import ActionError, Effect, read_action
from agent.clearance.answering import CLOSED, Refusal, decide, is_recorded
from agent.clearance.answers import Answer, NewMessage, Unclear, parse
from agent.clearance.approval import Question
from agent.clearance.arrival import Arrived, Arriving, NotAllTakenError, arrive_all, note_none_taken
from agent.clearance.audit import Log
from agent.clearance.bound_rows import traces_digest
from agent.clearance.canonical import clean, key
from agent.clearance.errors import NotOursError
from agent.clearance.journal import Plan, PutQuestion, Receipt, Request, Turn
from agent.clearance.judging import Judge, Judged, changed_material, requester_of
from agent.clearance.losses import after_no, reconsider
from agent.clearance.namesakes import namesake
from agent.clearance.notices import tell_given, tell_given_up, tell_put_right, tell_unheard, were_told
from agent.clearance.policy import Verdict
from agent.clearance.principal import Principal
from agent.clearance.records import Records, Truth, plan_and_turn, read_truth
from agent.clearance.refusals import note_attempt
from agent.clearance.signing import Keys
from agent.clearance.soundness import a_sentence
from agent.clearance.transitions import (
    SYSTEM_ACTOR,
    ask_again,
    expire_due,
    finish,
    note,
    note_erased,
    salted,
    withdraw_turn,
)
from agent.clearance.tries import MOST_TRIES, count_try
from agent.db.engine import Database, is_lost, kept_open
from agent.loglines import logger_of

T = TypeVar("T")
logger = logger_of(__name__)


@dataclass(frozen=True)
class Caller:
    """Who runs this, and since when."""

    principal: Principal
    run_id: str | None = None
    #: When the run was asked for, ms since 1970, by the server; None where no server tells.
    started_ms: int | None = None
    #: Whether the answer named the interrupt it is for, which it can only have from the question itself.
    is_addressed: bool = False
    #: The id and the checkpoint of the question that this task puts; None outside a task, and where nobody tells.
    interrupt_id: str | None = None
    checkpoint_id: str | None = None


@dataclass(frozen=True)
class Standing:
    """How a plan stands: what is left to do with it, in order."""

    plan: Plan
    turn: Turn
    requests: list[Request]
    #: By tool call.
    receipts: dict[str, Receipt]
    #: The next call to send to the tools; None when nothing is open.
    next: Request | None


class Gate:
    """Ask, record and carry out. One per process."""

    def __init__(
        self,
        database: Database,
        judge: Judge,
        audit_key: bytes | Keys,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        finish_reasons: frozenset[str] = frozenset(),
    ) -> None:
        self.database = database
        self.judge = judge
        self.records = Records(database, judge, clock)
        self.keys = audit_key if isinstance(audit_key, Keys) else Keys(audit_key)
        self._clock = clock
        self._began = clock()
        #: Further reasons by which an answer of the model is finished: see `finished`.
        self._finish_reasons = finish_reasons

    async def clear(self, question: Question, revision: int, caller: Caller) -> Receipt | NewMessage | None:
        """Bring one call of a plan as far as it goes: its receipt, a message that came instead of an answer, or None.

        `question` is from `call`; `revision` is the one the graph sent this task for: answers to others are refused.

        None means: something of the plan has to be decided first; come back through dispatch. Pauses the run when the
        call has to be asked. Safe to run any number of times: one effect, and the same receipt for every caller.

        Raises:
            DatabaseUnavailable: the database did not answer; nothing was done, or its receipt is found next time.
        """
        request = question.request
        answer: Answer | Unclear | None = None
        # Out of its turn it is not asked: two open questions would make an answer without an id ambiguous. Nor by a
        # pointer to a revision that is still to come: the answer would count for what nobody was shown.
        is_asked = request.state == "asked" and _next(list(question.plan)) == request
        if is_asked and revision < request.revision and not approval.is_answered():
            return None  # changed since it was sent: asked under an id of its own, by a task of its own
        if is_asked and revision <= request.revision:
            if caller.interrupt_id is not None and not approval.is_answered():
                if await self._is_half_answered(question, caller.interrupt_id, caller):
                    return None  # by this run, at the door: the thread is told, and asked under another id
                await self._put(request, caller.interrupt_id, caller.checkpoint_id)
            parsed = parse(approval.ask(approval.payload(question)))
            if isinstance(parsed, NewMessage):
                return parsed
            answer = parsed
        elif approval.is_answered():
            answer = Unclear("it is not asked for now.")

        if request.is_open and request.state != "asked" and request.opened_at < self._began:
            # Cleared before this process was there: what ended the one before may be just this.
            await self.write(lambda log: self._may_try(log, request.plan_id))

        def work(log: Log) -> Receipt | None:
            if answer:
                refusal = self._record(log, request.plan_id, request.request_id, answer, revision, caller)
                if refusal and refusal.cause != CLOSED:
                    return journal.receipt(log.connection, request.request_id)
            return self._carry_out(log, request.plan_id, request.request_id)

        return await self.write(work)

    async def _is_half_answered(self, question: Question, interrupt_id: str, caller: Caller) -> bool:
        """Tell whether the question under this id got an approval from this very run, and needs more."""
        if not is_recorded(list(question.decisions), question.request, caller.principal, caller.run_id):
            return False
        thread_id = question.request.thread_id
        return await self.database.read(lambda connection: journal.has_question(connection, thread_id, interrupt_id))

    async def _put(self, request: Request, interrupt_id: str, checkpoint_id: str | None) -> None:
        # Wall clock, not the gate's: it is compared with the server's stamp on the answering run.
        asked_ms = int(self._clock().timestamp() * 1000)
        put = PutQuestion(
            request.thread_id, interrupt_id, request.request_id, request.revision, checkpoint_id, asked_ms
        )

        def work(log: Log) -> None:
            if not journal.has_question(log.connection, put.thread_id, put.interrupt_id):
                journal.put_question(log.connection, put)
                note(log, "question_put", request, SYSTEM_ACTOR, revision=put.revision, asked_ms=put.asked_ms)

        await self.write(work)

    async def arrive(self, arriving: Sequence[Arriving], principal: Principal) -> Arrived:
        """Take the answers of one run before it starts, all or none, see `arrival.arrive`."""
        try:
            return await self.write(lambda log: arrive_all(log, self.judge, arriving, principal))
        except NotAllTakenError as exc:
            arrived = exc.arrived
        await self.write(lambda log: note_none_taken(log, arriving, principal, arrived))
        return replace(arrived, sentence=f"None of these answers is recorded. {arrived.sentence}")

    async def write(self, work: Callable[[Log], T]) -> T:
        """Run `work` in one transaction that holds the lock of the audit head."""
        return await self.database.write(self._locked(work))

    def write_now(self, work: Callable[[Log], T]) -> T:
        """`write`, blocking: for the command line."""
        return self.database.write_now(self._locked(work))

    def _locked(self, work: Callable[[Log], T]) -> Callable[[Connection], T]:
        #: Where the log ended with the last try, and what it gave.
        tried: list[tuple[audit.Head, T]] = []

        def run(connection: Connection) -> T:
            # The answer to its COMMIT may be what was lost: it is not done again then, nor refused as done already.
            if tried and audit.is_committed(connection, tried[-1][0]):
                return tried[-1][1]
            with audit.locked(connection, self.keys.now, self._clock) as log:
                before = log.end
                result = work(log)
            if log.end != before:
                tried.append((log.end, result))
            return result

        return run

    # What enters

    async def open_turn(
        self,
        *,
        thread_id: str,
        run_id: str | None,
        messages: list[dict[str, Any]],
        requester: Principal,
        is_durable: bool,
        message_ids: list[str],
        is_in_state: bool = False,
    ) -> tuple[Turn, Truth] | None:
        """Open a turn, see `intake.open_turn`; and read the `truth` of a thread in which nothing else is open now.

        None for words that stand in the state (`is_in_state`) when another run found them there, and told them as
        unheard since the thread had the messages of `message_ids`.
        """
        words = clean([message["id"] for message in messages])

        def work(log: Log) -> tuple[Turn, Truth] | None:
            if is_in_state and were_told(log, thread_id=thread_id, message_ids=words, standing=frozenset(message_ids)):
                return None
            turn = intake.open_turn(
                log, thread_id=thread_id, run_id=run_id, messages=messages, requester=requester, is_durable=is_durable
            )
            return turn, read_truth(log.connection, thread_id, message_ids)

        return await self.write(work)

    async def store_message(
        self, turn: Turn, *, position: int, message_id: str, message: dict[str, Any]
    ) -> Plan | None:
        """Store what the model said, or None when it may not speak now: its turn is over, or a request is open."""

        def work(log: Log) -> Plan | None:
            now = journal.turn(log.connection, turn.turn_id)
            if now is None:
                return None
            return intake.store_message(log, now, position=position, message_id=message_id, message=message,
                                        finish_reasons=self._finish_reasons)  # fmt: skip

        return await self.write(work)

    async def advance(self, thread_id: str, message_id: str) -> Standing:
        """Open what a plan asks for, expire what is late, and tell what comes next.

        Raises:
            NotOursError: the thread has no such message.
        """

        standing = await self.database.read(lambda connection: _standing(connection, thread_id, message_id))
        if not self._is_due(standing):
            return standing

        def work(log: Log) -> Standing:
            plan, turn = plan_and_turn(log.connection, thread_id, message_id)
            if turn.state == "open" and not plan.opened:
                intake.open_plan(log, self.judge, turn, plan)
            requests = journal.requests_of_plan(log.connection, plan.plan_id)
            if not self._end_unknown(log, requests):
                expire_due(log, requests)
            return _standing(log.connection, thread_id, message_id)

        return await self.write(work)

    def _is_due(self, standing: Standing) -> bool:
        """Tell whether there is something to open, to expire, or to end since the program has no such action."""
        if not standing.plan.opened:
            return standing.turn.state == "open"
        now = self._clock()
        return any(
            request.is_open and (request.expires_at <= now or request.action not in self.judge.actions)
            for request in standing.requests
        )

    def _end_unknown(self, log: Log, requests: list[Request]) -> bool:
        """Refuse what is open and of an action that the program has no more; tell whether there was any."""
        unknown = [request for request in requests if request.is_open and request.action not in self.judge.actions]
        for request in unknown:
            sentence = f"Not done: there is no action {request.action} any more."
            self._fail(log, request, "refused", sentence, cause="unknown action")
        return bool(unknown)

    async def note_forged(self, thread_id: str, pointer: str, caller: Caller) -> None:
        """Note that somebody pointed at a turn or call that the model never made. It leads nowhere."""
        await self.write(
            lambda log: note_attempt(
                log, "forged_call", caller.principal.id, thread_id=thread_id, pointer=key("pointer", clean(pointer))
            )
        )

    async def tell_unheard(
        self, thread_id: str, message_ids: list[str], standing: list[str], caller: Caller, *, own: int = 0
    ) -> list[tuple[str, str]] | None:
        """Note words that no run brought as somebody's own, and give what the thread is told, see `notices`.

        None when the run that brought some of them opened its turn meanwhile: then nothing is noted.
        """
        words = clean(message_ids)

        def work(log: Log) -> list[tuple[str, str]] | None:
            said = {message["id"] for turn in journal.turns_of(log.connection, thread_id) for message in turn.messages}
            if said.intersection(words):
                return None
            return tell_unheard(log, thread_id=thread_id, message_ids=words, standing=frozenset(standing),
                                by=caller.principal, own=own)  # fmt: skip

        return await self.write(work)

    async def tell_put_right(self, thread_id: str, message_ids: list[str], caller: Caller) -> tuple[str, str]:
        """Note messages that were not as they were said and done, and give what the thread is told, see `notices`."""
        told = partial(tell_put_right, thread_id=thread_id, run_id=caller.run_id, message_ids=clean(message_ids),
                       by=caller.principal)  # fmt: skip
        return await self.write(told)

    async def tell_given(self, request: Request) -> tuple[str, str] | None:
        """Give what the thread is told of a request that has some of its approvals, see `notices`."""
        return await self.write(lambda log: tell_given(log, request))

    async def note_undurable(self, thread_id: str, turn_id: str, caller: Caller, actions: list[str]) -> None:
        """Note that actions were asked for in a run that keeps no thread; nothing of them is opened."""
        await self.write(
            lambda log: note_attempt(
                log,
                "refused_without_thread",
                caller.principal.id,
                thread_id=thread_id,
                turn_id=turn_id,
                actions=actions,
            )
        )

    async def withdraw_thread(self, thread_id: str) -> None:
        """Withdraw what is open in a thread that was deleted."""

        def work(log: Log) -> None:
            turn = journal.open_turn_of(log.connection, thread_id)
            if turn:
                withdraw_turn(log, turn, actor=SYSTEM_ACTOR, because="its thread was deleted")

        await self.write(work)

    async def cancel(self, thread_id: str, run_id: str, *, by: Principal, goes_on_with: str | None) -> bool:
        """Withdraw what is open in a thread since its owner cancelled a run; tell whether anything was.

        The run counts for the turn that it opened, and for the one that it goes on with, whoever opened it. One that
        somebody else cancelled counts for nothing: an approver must not void what others cleared.
        """

        def work(log: Log) -> bool:
            turns = journal.turns_of(log.connection, thread_id)
            turn = next((one for one in turns if one.state == "open"), None)
            if turn is None or turns[0].requested_by != by.id:
                return False
            if turn.run_id != run_id and turn.turn_id != goes_on_with:
                return False
            withdraw_turn(log, turn, actor=by.id, because=f"{by.id} cancelled the run", cause="cancelled")
            return True

        return await self.write(work)

    async def take_lease(self, name: str, holder: str, time: timedelta) -> bool:
        """Take or renew a lease for `time`; False while somebody else has it."""
        # By the clock itself: one that jumped must not keep others out.
        return await self.write(
            lambda log: journal.take_lease(log.connection, name, holder, log.clock, log.clock + time)
        )

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back, if `holder` has it."""
        await self.write(lambda log: journal.drop_lease(log.connection, name, holder))

    # Decide

    def decide_now(
        self, log: Log, request_id: str, answer: Answer | Unclear, revision: int, caller: Caller
    ) -> Refusal | None:
        """Record an answer in the caller's transaction, or say why not. The way of `clear`, without a run.

        Raises:
            NotOursError: there is no such request.
        """
        request = journal.request(log.connection, request_id)
        if request is None:
            raise NotOursError(f"there is no request {request_id!r}")
        return self._record(log, request.plan_id, request_id, answer, revision, caller)

    def _record(
        self, log: Log, plan_id: str, request_id: str, answer: Answer | Unclear, revision: int, caller: Caller
    ) -> Refusal | None:
        """Record a decision, or refuse the answer with a reason the reviewer sees; `CLOSED` for what is decided."""
        plan = journal.requests_of_plan(log.connection, plan_id)
        if expire_due(log, plan):
            plan = journal.requests_of_plan(log.connection, plan_id)
        request = _of(plan, request_id)
        if request.state != "asked":
            # Not the answer that made it so, sent again with its run after a crash.
            made = journal.decisions_on(log.connection, [request_id])
            if is_recorded(made, request, caller.principal, caller.run_id):
                return None
            _attempt(log, "answer_late", request, caller.principal.id, state=request.state)
            return Refusal(CLOSED, f"it is {request.state} already.")
        refusal = decide(log, self.judge, request, answer, revision, caller.principal, run_id=caller.run_id,
                         started_ms=None if caller.is_addressed else caller.started_ms)  # fmt: skip
        if refusal:
            self._refuse(log, request, refusal, caller.principal)
        return refusal

    def _refuse(self, log: Log, request: Request, refusal: Refusal, principal: Principal) -> None:
        notice = f"The last answer was refused: {refusal.sentence}"
        journal.change_request(
            log.connection, request.request_id, notice=notice, refused_answers=request.refused_answers + 1
        )
        _attempt(log, "answer_refused", request, principal.id, cause=refusal.cause)

    # Carry out

    def carry_out_plan(self, plan_id: str) -> None:
        """Carry out what of a plan may be: in its order, each effect in a transaction of its own. Blocks.

        The way of `clear` for a decision that was recorded outside a run. Does nothing while something of the plan is
        to be decided first, and nothing twice, whoever else does the same at the same moment.

        Raises:
            DatabaseUnavailable: the database did not answer; what was not carried out is found next time.
        """
        while self.write_now(lambda log: self._carry_out_next(log, plan_id)):
            pass

    def _carry_out_next(self, log: Log, plan_id: str) -> bool:
        """Bring the next cleared request of a plan to its receipt; tell whether there may be another."""
        plan = journal.requests_of_plan(log.connection, plan_id)
        if expire_due(log, plan):
            plan = journal.requests_of_plan(log.connection, plan_id)
        following = _next(plan)
        if following is None or following.state == "asked":
            return False
        is_done = self._carry_out(log, plan_id, following.request_id) is not None
        return is_done and any(other.is_open and other is not following for other in plan)

    async def carry_out_turn(self, turn_id: str) -> None:
        """Carry out what of a turn's open plan may be, see `carry_out_plan`. Ends in its thread whoever is cancelled.

        Raises:
            DatabaseUnavailable: see `carry_out_plan`.
        """

        def work() -> None:
            waiting = self.database.read_now(lambda connection: journal.open_requests_of_turn(connection, turn_id))
            if not waiting or any(request.state == "asked" for request in waiting):
                return
            # A plan is opened once the one before it has all its receipts, so these are of one.
            plan_id = waiting[0].plan_id
            while self.write_now(lambda log: self._may_try(log, plan_id)):
                if not self.write_now(lambda log: self._carry_out_next(log, plan_id)):
                    break

        await self.database.run(work)

    def _may_try(self, log: Log, plan_id: str) -> bool:
        """Count a try of what of a plan is carried out next, before it begins; tell whether anything is left to try.

        After too many it ends as failed: all of them broke off before they committed, by an error that leaves no
        receipt or with the process.
        """
        following = _next(journal.requests_of_plan(log.connection, plan_id))
        if following is None or following.state == "asked":
            return False
        if count_try(log.connection, following.request_id, str(following.revision)) > MOST_TRIES:
            sentence = f"Not done: it was tried {MOST_TRIES} times and broke off each time; nothing of it was done."
            self._fail(log, following, "failed", sentence, cause="tries")
        return True

    async def begin_run(self, turn_id: str) -> tuple[str, str] | None:
        """Count a run that is to carry on a turn of which nothing is to be decided; None while it may.

        After too many that changed nothing of it the turn ends, and what its thread is told is given: (id, text).
        """

        def work(log: Log) -> tuple[str, str] | None:
            turn = journal.turn(log.connection, turn_id)
            if turn is None or turn.state != "open":
                return None
            plans = journal.plans_of_turn(log.connection, turn_id)
            mark = key(deadlines.mark_of(log.connection, turn), str(len(plans)))
            if count_try(log.connection, turn_id, mark) <= MOST_TRIES:
                return None
            withdraw_turn(log, turn, actor=SYSTEM_ACTOR, because="it could not be carried on", cause="tries")
            return tell_given_up(log, turn)

        return await self.write(work)

    def _carry_out(self, log: Log, plan_id: str, request_id: str) -> Receipt | None:
        """Use up a clearance: effect, receipt and audit event in this transaction, or the reason why not."""
        plan = journal.requests_of_plan(log.connection, plan_id)
        request = _of(plan, request_id)
        if not request.is_open or expire_due(log, plan):
            return journal.receipt(log.connection, request_id)
        # A plan is decided before it is done, and done in the order the model wrote it.
        if any(other.state == "asked" or (other.is_open and other.position < request.position) for other in plan):
            return None
        if reconsider(log, self.judge.policy, plan_id):
            return None
        if log.ahead:
            return self._fail(log, request, "refused", f"Refused: {audit.ahead_in_words(log.ahead)}.", cause="clock")
        if log.frozen:
            sentence = f"Refused: all effects are frozen since {log.frozen_by} stopped them ({log.frozen_reason})."
            return self._fail(log, request, "refused", sentence, cause="frozen")
        turn = journal.turn(log.connection, request.turn_id)
        assert turn is not None
        if request.arguments is None:
            return self._fail(log, request, "refused", "Not done: what it was about has been erased.", cause="erased")
        try:
            action = read_action(self.judge.action(request.action), request.arguments)
            judged = self.judge.judge(log.connection, log.now, action, requester=requester_of(turn),
                                      number=request.number, plan_id=request.plan_id)  # fmt: skip
        except ActionError as exc:
            return self._fail(log, request, "refused", f"Not done: {exc}", cause="impossible")
        if judged.digest != request.digest:
            sentence = "Refused: the stored arguments are not the ones that were cleared."
            return self._fail(log, request, "refused", sentence, cause="digest")
        if request.state == "allowed":
            judged = replace(judged, verdict=after_no(log, self.judge.policy, judged.verdict, turn))
        if judged.verdict.word == "deny":
            return self._fail(log, request, "refused", f"Refused by policy: {judged.verdict.rule}.", cause="policy")
        why = self._asks_again(log, request, judged)
        if why:
            ask_again(log, request, why, judged, cause="changed", actor="system")
            return None
        return self._perform(log, request, judged)

    def _asks_again(self, log: Log, request: Request, judged: Judged) -> str | None:
        """Say why a cleared request has to be asked anew, or None when its clearance still holds."""
        if request.state == "approved":
            changed = changed_material(request.facts or {}, judged.facts)
            if changed:
                return f"Since it was approved, this changed: {', '.join(name.replace('_', ' ') for name in changed)}."
        if judged.verdict.word == "ask" and not self._satisfied(log, request, judged.verdict):
            return f"The policy now asks for it: {judged.verdict.rule}."
        return None

    def _satisfied(self, log: Log, request: Request, verdict: Verdict) -> bool:
        role = verdict.approvers
        given = [
            decision
            for decision in journal.decisions_on(log.connection, [request.request_id])
            if decision.counts and (decision.decider_kind == "local" or role in decision.decider_roles)
        ]
        people: list[str] = []
        for decision in given:
            if namesake(decision.decided_by, people) is None:
                people.append(decision.decided_by)
        return len(people) >= verdict.approvals

    def _perform(self, log: Log, request: Request, judged: Judged) -> Receipt:
        connection = log.connection

        def erase(subject: str) -> None:
            note_erased(log, journal.erase_subject(connection, subject, request.request_id, log.now))

        effect = Effect(connection, log.now, request.requested_by, request.request_id, erase)
        try:
            what = f"{request.action} of request {request.request_id}"
            with log.savepoint(), self.database.doing(what), kept_open(connection):
                sentence = a_sentence(judged.action.perform(effect), f"{request.action}.perform")
        except ActionError as exc:
            return self._fail(log, request, "failed", f"Not done: {exc}", cause="action")
        except Exception as exc:  # whatever an action raises is its failure, with a receipt
            if isinstance(exc, sa.exc.DBAPIError) and is_lost(exc):
                raise  # the transaction is gone: nothing happened, and it is tried again as a whole
            error_id = secrets.token_hex(4)
            logger.exception("action %s failed, error id %s", request.action, error_id)
            sentence = f"Not done: {request.action} failed unexpectedly (error id {error_id})."
            return self._fail(log, request, "failed", sentence, cause="error", error_id=error_id)
        traces = type(judged.action).traces(connection, [request.request_id])
        left = {} if traces is None else {"traces": traces_digest(traces.get(request.request_id, []))}
        return finish(log, request, "executed", sentence, actor="system", arguments=salted(request, judged.arguments),
                      subjects=judged.subjects, **left)  # fmt: skip

    def _fail(self, log: Log, request: Request, outcome: str, sentence: str, **details: Any) -> Receipt:
        receipt = finish(log, request, outcome, sentence, actor="system", **details)
        reconsider(log, self.judge.policy, request.plan_id)
        return receipt

    def check_log(self) -> None:
        """Check, at start, that the log is under this gate's key, and say when it is ahead of the clock. Blocks.

        Raises:
            AuditKeyError: it is under another.
        """

        def work(connection: Connection) -> timedelta | None:
            audit.check_key(connection, self.keys.now)
            return audit.read_ahead(connection, self._clock())

        ahead = self.database.read_now(work)
        if ahead:
            logger.error("THE CLOCK JUMPED: %s", audit.ahead_in_words(ahead))

    async def verify(self) -> audit.Verification:
        """Check the whole audit log under this gate's key."""
        return await self.database.read(
            lambda c: audit.verify(c, self.keys, actions=self.judge.actions, now=self._clock())
        )

    # Freeze

    def freeze(self, log: Log, *, by: str, reason: str, **details: Any) -> None:
        """Stop every effect. The lock this holds is the one effects run under, so none is in flight when it commits."""
        if not log.frozen:
            journal.set_freeze(log.connection, by=by, reason=reason, at=log.now)
            log.append("frozen", by, sealed_reason=log.sealed(reason), **details)

    def unfreeze(self, log: Log, *, by: str, **details: Any) -> None:
        """Let effects run again. Nothing runs by itself."""
        if log.frozen:
            journal.set_freeze(log.connection, by=None, reason=None, at=None)
            log.append("unfrozen", by, **details)


def _standing(connection: Connection, thread_id: str, message_id: str) -> Standing:
    plan, turn = plan_and_turn(connection, thread_id, message_id)
    requests = journal.requests_of_plan(connection, plan.plan_id)
    receipts = journal.receipts_of(connection, [request.request_id for request in requests if not request.is_open])
    by_call = {
        request.tool_call_id: receipts[request.request_id] for request in requests if request.request_id in receipts
    }
    return Standing(plan, turn, requests, by_call, _next(requests))


def _attempt(log: Log, event: str, request: Request, actor: str, **details: Any) -> None:
    note_attempt(log, event, actor, thread_id=request.thread_id, turn_id=request.turn_id,
                 request_id=request.request_id, **details)  # fmt: skip


def _of(plan: list[Request], request_id: str) -> Request:
    return next(request for request in plan if request.request_id == request_id)


def _next(requests: list[Request]) -> Request | None:
    """Give the next undecided request of a plan; else the next cleared one in order; None when nothing is open."""
    undecided = (request for request in requests if request.state == "asked")
    cleared = (request for request in requests if request.is_open)
    return next(undecided, None) or next(cleared, None)
