"""An answer to a request that is asked, of a run or of the desk: recorded as a decision, or refused."""

from typing import Any

from clearance.errors import NotOursError
from clearance.gate.answers import Answer, Unclear
from clearance.gate.caller import Caller
from clearance.gate.decision import CLOSED, Refusal, decide, is_recorded
from clearance.gate.judging import Judge
from clearance.gate.standing import of_plan
from clearance.gate.transitions import expire_due
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on
from clearance.journal.refusals import note_attempt
from clearance.journal.requests import Request, change_request, read_request, requests_of_plan
from clearance.principal import Principal


def decide_now(
    log: Log, judge: Judge, request_id: str, answer: Answer | Unclear, revision: int, caller: Caller
) -> Refusal | None:
    """Record an answer in the caller's transaction, or say why not. The way of `Gate.clear`, without a run.

    Raises:
        NotOursError: there is no such request.
    """
    request = read_request(log.connection, request_id)
    if request is None:
        raise NotOursError(f"there is no request {request_id!r}")
    return take(log, judge, request.plan_id, request_id, answer, revision, caller)


def take(
    log: Log, judge: Judge, plan_id: str, request_id: str, answer: Answer | Unclear, revision: int, caller: Caller
) -> Refusal | None:
    """Record a decision, or refuse the answer with a reason the reviewer sees; `CLOSED` for what is decided."""
    plan = requests_of_plan(log.connection, plan_id)
    if expire_due(log, plan):
        plan = requests_of_plan(log.connection, plan_id)
    request = of_plan(plan, request_id)
    if request.state != "asked":
        # Not the answer that made it so, sent again with its run after a crash.
        made = decisions_on(log.connection, [request_id])
        if is_recorded(made, request, caller.principal, caller.run_id):
            return None
        _attempt(log, "answer_late", request, caller.principal.id, state=request.state)
        return Refusal(CLOSED, f"it is {request.state} already.")
    refusal = decide(log, judge, request, answer, revision, caller.principal, run_id=caller.run_id,
                     started_ms=None if caller.is_addressed else caller.started_ms)  # fmt: skip
    if refusal:
        _refuse(log, request, refusal, caller.principal)
    return refusal


def _refuse(log: Log, request: Request, refusal: Refusal, principal: Principal) -> None:
    notice = f"The last answer was refused: {refusal.sentence}"
    change_request(log.connection, request.request_id, notice=notice, refused_answers=request.refused_answers + 1)
    _attempt(log, "answer_refused", request, principal.id, cause=refusal.cause)


def _attempt(log: Log, event: str, request: Request, actor: str, **details: Any) -> None:
    note_attempt(log, event, actor, thread_id=request.thread_id, turn_id=request.turn_id,
                 request_id=request.request_id, **details)  # fmt: skip
