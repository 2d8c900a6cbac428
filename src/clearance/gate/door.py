"""An answer as it reaches the server, before its run: decided here, no queue and no stale id can lose it.

What is no decision, or none that this person may make now, is refused here and recorded as that; the question stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clearance.gate.answers import Answer, NewMessage, Unclear, parse
from clearance.gate.decision import CLOSED, Refusal, decide, is_recorded
from clearance.gate.judging import Judge
from clearance.gate.transitions import expire_due
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on
from clearance.journal.questions import PutQuestion, asking_in, questions_of
from clearance.journal.refusals import note_attempt
from clearance.journal.requests import Request, change_request, read_request, requests_of_plan
from clearance.principal import Principal


@dataclass(frozen=True)
class Arriving:
    """An answer and what it says of the question it is for."""

    thread_id: str
    value: Any
    #: None when it names none: then it is for the question that is open.
    interrupt_id: str | None
    #: The checkpoint that the run is pinned to; None for the latest.
    checkpoint_id: str | None
    run_id: str | None
    #: When it was asked for, ms since 1970; None where nobody tells.
    started_ms: int | None


@dataclass(frozen=True)
class Arrived:
    """What became of it."""

    #: `taken`: recorded, the run finds it. `refused`: the question stands. `closed`: it is for nothing open.
    outcome: Literal["taken", "refused", "closed"]
    #: For whom answered, when it is not taken.
    sentence: str = ""
    #: The HTTP status that says it.
    status: int = 409


#: Said of an answer that names no question where several places of a thread ask at once.
AMBIGUOUS = (
    "several questions are open in this thread, and it does not say which it answers: send it under the question's id."
)
#: By the cause of a refusal; what is not here is 409.
STATUS = {"unclear": 422, "edit": 422, "other action": 422, "role": 403, "own": 403, "policy": 403, "system": 403}


class NotAllTakenError(Exception):
    """One of several answers is not taken, so that none is; `arrived` tells what became of it."""

    def __init__(self, arrived: Arrived) -> None:
        super().__init__(arrived.sentence)
        self.arrived = arrived


def arrive_all(log: Log, judge: Judge, arriving: Sequence[Arriving], principal: Principal) -> Arrived:
    """Take the answers of one run, all or none.

    Raises:
        NotAllTakenError: one of several is not taken; the transaction has to end without anything of it.
    """
    for one in arriving:
        arrived = arrive(log, judge, one, principal)
        if arrived.outcome != "taken":
            if len(arriving) > 1:
                raise NotAllTakenError(arrived)
            return arrived
    return Arrived("taken")


def arrive(log: Log, judge: Judge, arriving: Arriving, principal: Principal) -> Arrived:
    """Record an answer that decides; refuse one for a question that is no longer open, and record what it said."""
    put = questions_of(log.connection, arriving.thread_id)
    if arriving.interrupt_id is None and len(asking_in(log.connection, arriving.thread_id)) > 1:
        # Before anything of it is recorded: the server would refuse the run afterwards.
        return Arrived("refused", f"Not recorded: {AMBIGUOUS}")
    question = _question(log, put, arriving)
    if question is None:
        return _unknown(log, arriving, principal)
    plan = _plan(log, question.request_id)
    if expire_due(log, plan):
        plan = _plan(log, question.request_id)
    request = next(one for one in plan if one.request_id == question.request_id)
    answer = parse(arriving.value)
    if isinstance(answer, NewMessage):
        answer = Unclear("It is a message and no decision.")
    made = decisions_on(log.connection, [request.request_id])
    if is_recorded(made, request, principal, arriving.run_id):
        return Arrived("taken")
    if request.state != "asked":
        return _late(log, request, principal, answer, f"it is {request.state} already.")
    if question.revision != request.revision:
        return _late(log, request, principal, answer, "it changed after this question was put, and is asked anew.")
    is_pinned = arriving.interrupt_id is not None or arriving.checkpoint_id is not None
    refusal: Refusal | None
    if isinstance(answer, Unclear):
        refusal = Refusal("unclear", answer.why)
    else:
        refusal = decide(log, judge, request, answer, question.revision, principal, run_id=arriving.run_id,
                         started_ms=None if is_pinned else arriving.started_ms)  # fmt: skip
    if refusal is None:
        return Arrived("taken")
    return _refused(log, request, principal, refusal)


def note_none_taken(log: Log, arriving: Sequence[Arriving], principal: Principal, arrived: Arrived) -> None:
    """Note that several answers of one run were refused together."""
    note_attempt(log, "answer_refused", principal.id, thread_id=arriving[0].thread_id,
                 cause=f"{arrived.outcome}, with others")  # fmt: skip


def _refused(log: Log, request: Request, principal: Principal, refusal: Refusal) -> Arrived:
    change_request(log.connection, request.request_id, refused_answers=request.refused_answers + 1)
    note_attempt(log, "answer_refused", principal.id, thread_id=request.thread_id, turn_id=request.turn_id,
                 request_id=request.request_id, cause=refusal.cause)  # fmt: skip
    return Arrived("refused", f"Not recorded: {refusal.sentence}", STATUS.get(refusal.cause, 409))


def _question(log: Log, put: list[PutQuestion], arriving: Arriving) -> PutQuestion | None:
    if arriving.interrupt_id is not None:
        put = [one for one in put if one.interrupt_id == arriving.interrupt_id]
    elif arriving.checkpoint_id is not None:
        put = [one for one in put if one.checkpoint_id == arriving.checkpoint_id]
    if arriving.interrupt_id is None and len({one.request_id for one in put}) > 1:
        # The last one that was put may be another agent's that has its answer.
        asking = asking_in(log.connection, arriving.thread_id)
        of_asking = (one for one in reversed(put) if _plan(log, one.request_id)[0].turn_id in asking)
        return next(of_asking, put[-1])
    return put[-1] if put else None


def _plan(log: Log, request_id: str) -> list[Request]:
    request = read_request(log.connection, request_id)
    assert request is not None
    return requests_of_plan(log.connection, request.plan_id)


def _unknown(log: Log, arriving: Arriving, principal: Principal) -> Arrived:
    said = _word(parse(arriving.value))
    note_attempt(log, "answer_unknown", principal.id, thread_id=arriving.thread_id, said=said)
    return Arrived("closed", "No question of this thread is open under that id: it was never asked, or not here.")


def _late(log: Log, request: Request, principal: Principal, answer: Answer | Unclear, why: str) -> Arrived:
    note_attempt(log, "answer_late", principal.id, thread_id=request.thread_id, turn_id=request.turn_id,
                 request_id=request.request_id, state=request.state, said=_word(answer), cause=CLOSED)  # fmt: skip
    return Arrived("closed", f"This answer decides nothing: {why}")


def _word(answer: Answer | NewMessage | Unclear) -> str:
    return type(answer).__name__.lower()
