"""The gate: every effect passes `Gate.clear`, or `Gate.carry_out_plan` where a decision came outside a run.

    decided?    no → interrupt(payload) → parse → may this person decide? → record, or refuse and be asked again
    carry out   one transaction: lock · frozen? · deadline? · facts again · policy again · perform · receipt · audit

Recording the decision and carrying it out share that transaction when nothing else of the plan is left to decide.
What each of these does stands in a file of its own: see the map of this folder.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from clearance.canonical import clean
from clearance.db.engine import Database
from clearance.errors import NotOursError
from clearance.gate import intake, opening
from clearance.gate.answers import Answer, NewMessage, Unclear, parse
from clearance.gate.caller import Caller
from clearance.gate.decision import CLOSED, is_recorded
from clearance.gate.door import AMBIGUOUS, Arrived, Arriving, NotAllTakenError, arrive_all, note_none_taken
from clearance.gate.elsewhere import Elsewhere, Started
from clearance.gate.ended import surviving, surviving_now
from clearance.gate.execution import InFlight, carry_out
from clearance.gate.flights import Flights
from clearance.gate.intake import Outset
from clearance.gate.judging import Judge
from clearance.gate.notices import tell_outcomes_inside, tell_unheard
from clearance.gate.plan_execution import carry_out_next, may_try
from clearance.gate.question import Question, answers_by_id, ask, forget_answer, is_answered
from clearance.gate.records import Call, Ended, Records, Truth, read_truth
from clearance.gate.standing import PlanStanding, is_asked_now, is_due, standing_of
from clearance.gate.taking import take
from clearance.gate.transitions import SYSTEM_ACTOR, note
from clearance.gate.writing import under_lock
from clearance.journal import audit
from clearance.journal.attempts import untold_inside
from clearance.journal.audit import Log
from clearance.journal.history import prefetch_history
from clearance.journal.leases import drop_lease, take_lease
from clearance.journal.plans import Plan, prefetch_plan_and_turn, prefetch_plans_around
from clearance.journal.questions import PutQuestion, asking_in, has_question, prefetch_question, put_question
from clearance.journal.receipts import Receipt, read_receipt
from clearance.journal.requests import Request, open_requests_of_turn, prefetch_unfinished
from clearance.journal.signing import Keys
from clearance.journal.turns import Turn, prefetch_turn, read_turn
from clearance.journal.verification import FoundWhole, Verification, verify
from clearance.loglines import logger_of
from clearance.principal import Principal

T = TypeVar("T")
H = TypeVar("H")
logger = logger_of(__name__)


@dataclass(frozen=True)
class Outcome:
    """What `clear` gives of a call."""

    of: Receipt | NewMessage | InFlight | None


@dataclass(frozen=True)
class Reached:
    """A call that the graph sent a task for."""

    plan: Plan
    #: As the model made it, `{"name", "args", "id", …}`.
    stored: dict[str, Any]
    #: What to ask; None for a look-up.
    question: Question | None
    #: What came of it; None where it has to be asked, or something else be done before.
    outcome: Outcome | None = None
    #: Whether its question was put, so that it is to be asked now.
    is_put: bool = False


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
        max_performing: int = 16,
    ) -> None:
        self.database = database
        self.judge = judge
        self.elsewhere = Elsewhere(database, self._write, most=max_performing)
        self.flights = Flights(database, judge, self.elsewhere, self.write)
        self.records = Records(database, judge, clock)
        self.keys = audit_key if isinstance(audit_key, Keys) else Keys(audit_key)
        #: Where the log ended when it was last found whole here; None when it was not.
        self.checked: FoundWhole | None = None
        self._clock = clock
        self._began = clock()
        #: Further reasons by which an answer of the model is finished: see `finished`.
        self._finish_reasons = finish_reasons

    async def reach(self, call: Call, caller: Caller, *, takes: Collection[str]) -> Reached:
        """Read a call for which the graph sent a task; an action is brought on in the same transaction.

        What `clear` would do in others is done there: an answer that names the call is taken, what is cleared is
        carried out, and a question that is to be asked is put. `takes` are the actions that this run may carry out.

        Raises:
            NotOursError: the journal has no such call in this thread.
            DatabaseUnavailable: see `clear`.
        """
        if not call.revision:
            # A look-up is sent without one, and may ask something itself, and again: to look at its answers would be to
            # forget those that it was given before.
            return await self.database.read(lambda connection: self._reached(connection, call, is_shown=False))
        given = answers_by_id()
        answer = parse(given[-1]) if given else None
        # One that names no question may be another task's: `clear` finds out.
        is_unaddressed = answer is None and is_answered()

        def work(log: Log) -> Reached:
            reached = self._reached(log.connection, call, is_shown=answer is None)
            question = reached.question
            if question is None or reached.stored["name"] not in takes or self._is_tried_first(question.request):
                return reached
            if is_unaddressed:
                return reached
            if is_asked_now(question, call.revision):
                if answer is None:
                    return self._asked(log, reached, question, call.revision, caller)
                said = _of_requester(answer, question, caller)
                if isinstance(said, NewMessage):
                    return replace(reached, outcome=Outcome(said))
                outcome = self._take(log, question.request, said, call.revision, caller)
            else:
                unasked = Unclear("it is not asked for now.") if answer else None
                outcome = self._take(log, question.request, unasked, call.revision, caller)
            return replace(reached, outcome=Outcome(outcome))

        def prefetch(connection: Connection) -> None:
            prefetch_plan_and_turn(connection, call.thread_id, call.message_id)
            if answer is None and caller.interrupt_id is not None:
                prefetch_question(connection, call.thread_id, caller.interrupt_id)

        return await self.write(work, prefetch=prefetch)

    def _asked(self, log: Log, reached: Reached, question: Question, revision: int, caller: Caller) -> Reached:
        """Put the question that this task asks, or tell why it does not; see `clear`."""
        if revision < question.request.revision:
            return replace(reached, outcome=Outcome(None))
        if caller.interrupt_id is None:
            return reached
        if self._is_half_answered(log.connection, question, caller.interrupt_id, caller):
            return replace(reached, outcome=Outcome(None))
        self._put(log, question.request, caller.interrupt_id, caller.checkpoint_id)
        return replace(reached, is_put=True)

    def _reached(self, connection: Connection, call: Call, *, is_shown: bool) -> Reached:
        try:
            return Reached(*self.records.call(connection, call, is_shown=is_shown))
        except (KeyError, TypeError, ValueError) as exc:  # a stored message that nobody can read
            raise NotOursError(f"call {call.tool_call_id!r} of message {call.message_id!r} cannot be read") from exc

    async def clear(
        self, question: Question, revision: int, caller: Caller, *, is_put: bool = False
    ) -> Receipt | NewMessage | InFlight | None:
        """Bring one call of a plan as far as it goes: its receipt, a message that came instead of an answer, or None.

        `question` is from `reach`, which may have put it (`is_put`); `revision` is the one the graph sent this task
        for: answers to others are refused.

        None means: something of the plan has to be decided first; come back through dispatch. What has its effect
        elsewhere is given as in flight, to be followed, see `flights`. Pauses the run when the
        call has to be asked. Safe to run any number of times: one effect, and the same receipt for every caller.

        Raises:
            DatabaseUnavailable: the database did not answer; nothing was done, or its receipt is found next time.
        """
        request = question.request
        answer: Answer | Unclear | None = None
        is_asked = is_asked_now(question, revision)
        if is_asked and revision < request.revision and not is_answered():
            return None  # changed since it was sent: asked under an id of its own, by a task of its own
        if is_asked:
            interrupt_id = caller.interrupt_id
            if interrupt_id is not None and not is_put and not is_answered():
                put = partial(self._put, request=request, interrupt_id=interrupt_id, checkpoint_id=caller.checkpoint_id)
                if await self.database.read(lambda c: self._is_half_answered(c, question, interrupt_id, caller)):
                    return None  # by this run, at the door: the thread is told, and asked under another id
                await self.write(put)
            parsed = _of_requester(parse(ask(question)), question, caller)
            if isinstance(parsed, NewMessage):
                return parsed
            answer = parsed
        elif is_answered():
            forget_answer()
            answer = Unclear("it is not asked for now.")

        if self._is_tried_first(request):
            await self.write(lambda log: may_try(log, self.judge.policy, request.plan_id))
        return await self.write(lambda log: self._take(log, request, answer, revision, caller))

    def _is_tried_first(self, request: Request) -> bool:
        """Tell whether a try is counted before it: cleared before this process was there, it may be what ended that."""
        return request.is_open and request.state != "asked" and request.opened_at < self._began

    def _take(
        self, log: Log, request: Request, answer: Answer | Unclear | None, revision: int, caller: Caller
    ) -> Receipt | InFlight | None:
        """Record an answer, if there is one, and carry out what may be."""
        if answer and not caller.is_addressed and len(asking_in(log.connection, request.thread_id)) > 1:
            answer = Unclear(AMBIGUOUS)
        if answer:
            refusal = take(log, self.judge, request.plan_id, request.request_id, answer, revision, caller)
            if refusal and refusal.cause != CLOSED:
                return read_receipt(log.connection, request.request_id)
        came = carry_out(log, self.judge, self.database, request.plan_id, request.request_id)
        assert not isinstance(came, Started)
        return came

    def _is_half_answered(self, connection: Connection, question: Question, interrupt_id: str, caller: Caller) -> bool:
        """Tell whether the question under this id got an approval from this very run, and needs more."""
        if not is_recorded(list(question.decisions), question.request, caller.principal, caller.run_id):
            return False
        return has_question(connection, question.request.thread_id, interrupt_id)

    def _put(self, log: Log, request: Request, interrupt_id: str, checkpoint_id: str | None) -> None:
        if has_question(log.connection, request.thread_id, interrupt_id):
            return
        # Wall clock, not the gate's: it is compared with the server's stamp on the answering run.
        asked_ms = int(self._clock().timestamp() * 1000)
        put = PutQuestion(
            request.thread_id, interrupt_id, request.request_id, request.revision, checkpoint_id, asked_ms
        )
        put_question(log.connection, put)
        note(log, "question_put", request, SYSTEM_ACTOR, revision=put.revision, asked_ms=put.asked_ms)

    async def arrive(self, arriving: Sequence[Arriving], principal: Principal) -> Arrived:
        """Take the answers of one run before it starts, all or none, see `door.arrive`."""
        try:
            return await self.write(lambda log: arrive_all(log, self.judge, arriving, principal), is_urgent=True)
        except NotAllTakenError as exc:
            arrived = exc.arrived
        await self.write(lambda log: note_none_taken(log, arriving, principal, arrived), is_urgent=True)
        return replace(arrived, sentence=f"None of these answers is recorded. {arrived.sentence}")

    async def write(
        self,
        work: Callable[[Log], T],
        *,
        prefetch: Callable[[Connection], None] | None = None,
        is_urgent: bool = False,
    ) -> T:
        """Run `work` in one transaction that holds the lock of the audit head.

        Where it has to know what is true elsewhere it is undone, that is read, and it is run again. `prefetch` asks for
        what it reads first, see `audit.locked`. With `is_urgent` it goes before what is not, see `Database.write`.
        """
        run = under_lock(work, self.keys.now, self._clock, prefetch)
        return await surviving(lambda: self.elsewhere.seeing(lambda: self.database.write(run, is_urgent=is_urgent)))

    async def _write(self, work: Callable[[Log], T]) -> T:
        run = under_lock(work, self.keys.now, self._clock)
        return await surviving(lambda: self.database.write(run))

    def write_now(self, work: Callable[[Log], T]) -> T:
        """`write`, blocking: for the command line."""
        run = under_lock(work, self.keys.now, self._clock)
        return surviving_now(lambda: self.elsewhere.seeing_now(lambda: self.database.write_now(run)))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction; what it has to know of elsewhere is read as for `write`."""
        return await surviving(lambda: self.elsewhere.seeing(lambda: self.database.read(work)))

    # A turn and its plans

    async def open_turn(
        self,
        *,
        thread_id: str,
        outset: Outset,
        messages: list[dict[str, Any]],
        is_durable: bool,
        message_ids: list[str],
        is_in_state: bool = False,
        graph_id: str | None = None,
    ) -> tuple[Turn, Truth] | None:
        """Open a turn, see `intake.begin_turn`."""
        return await self.write(
            lambda log: intake.begin_turn(
                log,
                thread_id=thread_id,
                outset=outset,
                messages=messages,
                is_durable=is_durable,
                message_ids=message_ids,
                is_in_state=is_in_state,
                graph_id=graph_id,
            )
        )

    async def enter(
        self,
        hear: Callable[[Truth], tuple[H, list[dict[str, Any]] | None]],
        *,
        thread_id: str,
        outset: Outset,
        is_durable: bool,
        message_ids: list[str],
        graph_id: str | None,
    ) -> tuple[H, bool, tuple[Turn, Truth] | None]:
        """Read the `truth` of a place, let it be heard, and open the turn of the words that are given then, at once.

        Gives what was heard, whether words were given, and what `open_turn` gives for them.
        """

        def work(log: Log) -> tuple[H, bool, tuple[Turn, Truth] | None]:
            heard, words = hear(read_truth(log.connection, thread_id, message_ids, outset.place))
            if not words:
                return heard, False, None
            begun = intake.begin_turn(log, thread_id=thread_id, outset=outset, messages=words, is_durable=is_durable,
                                      message_ids=message_ids, is_in_state=True, graph_id=graph_id)  # fmt: skip
            return heard, True, begun

        return await self.write(work, prefetch=lambda connection: prefetch_history(connection, thread_id))

    async def store_message(
        self, turn: Turn, *, position: int, message_id: str, message: dict[str, Any], is_durable: bool
    ) -> intake.Stored | None:
        """Store what the model said, or None when it may not speak now: its turn is over, or a request is open.

        Where the run keeps its thread (`is_durable`) a request is opened for every action of it.
        """

        def work(log: Log) -> intake.Stored | None:
            now = read_turn(log.connection, turn.turn_id)
            if now is None:
                return None
            return intake.store_message(log, now, position=position, message_id=message_id, message=message,
                                        finish_reasons=self._finish_reasons,
                                        judge=self.judge if is_durable else None)  # fmt: skip

        def prefetch(connection: Connection) -> None:
            prefetch_turn(connection, turn.turn_id)
            prefetch_plans_around(connection, turn.thread_id, [message_id], turn.turn_id)
            if position:
                prefetch_unfinished(connection, turn.turn_id)

        return await self.write(work, prefetch=prefetch)

    async def advance(self, turn: Turn, plan: Plan, ended: Sequence[Ended]) -> PlanStanding:
        """Open what a plan asks for, expire what is late, and tell what comes next.

        `ended` are the requests of its turn, as they were just read with it.

        Raises:
            NotOursError: the plan is gone.
        """
        standing = standing_of(turn, plan, [one for one in ended if one[0].plan_id == plan.plan_id])
        if not is_due(standing, self.judge.actions, self._clock()):
            return standing
        return await self.write(lambda log: opening.advance(log, self.judge, plan))

    async def tell_unheard(
        self,
        thread_id: str,
        message_ids: list[str],
        standing: list[str],
        caller: Caller,
        *,
        own: int = 0,
        place: str = "",
    ) -> list[tuple[str, str]] | None:
        """Note words that no run brought as somebody's own, and give what the thread is told, see `notices`."""
        return await self.write(
            lambda log: tell_unheard(log, thread_id=thread_id, message_ids=clean(message_ids),
                                     standing=frozenset(standing), by=caller.principal, own=own, place=place)
        )  # fmt: skip

    async def tell_outcomes_inside(self, turn: Turn, seen: Collection[str]) -> list[tuple[str, str]]:
        """Tell where a turn begins what became of effects that agents inside it went on without, see `notices`."""
        if not await self.database.read(lambda c: untold_inside(c, turn.thread_id, turn.opened_at)):
            return []
        return await self.write(lambda log: tell_outcomes_inside(log, turn, frozenset(seen)))

    # Carry out

    def carry_out_plan(self, plan_id: str) -> None:
        """Carry out what of a plan may be: in its order, each local effect in a transaction of its own. Blocks.

        From the first external effect on it goes on beside this, and nobody waits for it here.

        The way of `clear` for a decision that was recorded outside a run. Does nothing while something of the plan is
        to be decided first, and nothing twice, whoever else does the same at the same moment.

        Raises:
            DatabaseUnavailable: the database did not answer; what was not carried out is found next time.
        """
        while (more := self.write_now(lambda log: carry_out_next(log, self.judge, self.database, plan_id))) is True:
            pass
        if isinstance(more, InFlight):
            self.flights.go_on(more)

    async def carry_out_turn(self, turn_id: str) -> None:
        """Carry out what of a turn's open plan may be, see `carry_out_plan`. Ends in its thread whoever is cancelled.

        Raises:
            DatabaseUnavailable: see `carry_out_plan`.
        """

        def work() -> None:
            waiting = self.database.read_now(lambda connection: open_requests_of_turn(connection, turn_id))
            if not waiting or any(request.state == "asked" for request in waiting):
                return
            # A plan is opened once the one before it has all its receipts, so these are of one.
            plan_id = waiting[0].plan_id
            if self.flights.is_going(plan_id):
                return  # it is being tried; to count this as another try would end it
            while self.write_now(lambda log: may_try(log, self.judge.policy, plan_id)):
                more = self.write_now(lambda log: carry_out_next(log, self.judge, self.database, plan_id))
                if isinstance(more, InFlight):
                    self.flights.go_on(more)
                if more is not True:
                    break

        await self.database.run(work)

    # The log, and who may do what one process at a time does

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

    async def verify(self) -> Verification:
        """Check the whole audit log under this gate's key."""
        found = await self._verified(None)
        self.checked = FoundWhole(found.head, self._clock()) if found.is_whole else None
        return found

    async def verify_on(self, checked: FoundWhole) -> Verification:
        """Check the log and what it tells of from where it was checked before."""
        found = await self._verified(checked.head)
        if found.is_whole:
            self.checked = FoundWhole(found.head, checked.at)
        return found

    async def _verified(self, since: audit.Head | None) -> Verification:
        actions, keys = self.judge.actions, self.keys
        return await self.database.read(lambda c: verify(c, keys, actions=actions, now=self._clock(), since=since))

    async def take_lease(self, name: str, holder: str, time: timedelta) -> bool:
        """Take or renew a lease for `time`; False while somebody else has it."""
        # By the clock itself: one that jumped must not keep others out.
        return await self.write(lambda log: take_lease(log.connection, name, holder, log.clock, log.clock + time))

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back, if `holder` has it."""
        await self.write(lambda log: drop_lease(log.connection, name, holder))


def _of_requester(
    answer: Answer | NewMessage | Unclear, question: Question, caller: Caller
) -> Answer | NewMessage | Unclear:
    """Give an answer; words in its place are a nested agent's to hear only from who asks there."""
    is_strangers = bool(question.turn.place) and caller.principal.id != question.turn.requested_by
    return Unclear("It is a message and no decision.") if isinstance(answer, NewMessage) and is_strangers else answer
