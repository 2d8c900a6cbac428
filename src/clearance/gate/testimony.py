"""What a person says became of a request of which nobody knows: may they say so, now? Its receipt says it for ever.

It is only a record, so it is taken while effects are frozen, too.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from clearance.actions.external import ExternalAction
from clearance.canonical import clean
from clearance.gate.answers import MAX_REASON
from clearance.gate.decision import CLOSED, Refusal, marks_of, not_a_maker, not_this_person
from clearance.gate.judging import Judge
from clearance.gate.policy import Policy
from clearance.gate.settling import settle_by_person
from clearance.journal.attempts import Attempt, attempts_on
from clearance.journal.audit import Log
from clearance.journal.decisions import Decision, decisions_on
from clearance.journal.receipts import Receipt
from clearance.journal.refusals import note_attempt
from clearance.journal.requests import Request, change_request
from clearance.principal import Principal

#: What kind of answer it is, for the log.
_SAID = "settle"


def take_testimony(
    log: Log, judge: Judge, request: Request, *, happened: bool, reason: str, principal: Principal
) -> Receipt | Refusal:
    """Write down what a person says became of an unknown request, or say why not; what is refused is counted."""
    made = decisions_on(log.connection, [request.request_id])
    refusal = (
        _not_unknown(request)
        or not_a_witness(judge.policy, request, made, principal)
        or _no_reason(reason)
        or (None if happened else too_early(attempts_on(log.connection, request.request_id)[-1], log.judged_at))
    )
    if refusal is None:
        is_own = not_a_maker(request, made, _strict(principal), "settle it") is not None
        kind = judge.actions.get(request.action)
        external = kind if kind is not None and issubclass(kind, ExternalAction) else None
        return settle_by_person(log, request, by=principal.id, happened=happened, reason=_in_a_line(reason),
                                kind=external, **marks_of(principal.id, principal.kind, is_own=is_own))  # fmt: skip
    of = {"thread_id": request.thread_id, "turn_id": request.turn_id, "request_id": request.request_id}
    if refusal.cause == CLOSED:
        note_attempt(log, "answer_late", principal.id, **of, state=request.state, said=_SAID, cause=refusal.cause)
    else:
        change_request(log.connection, request.request_id, refused_answers=request.refused_answers + 1)
        note_attempt(log, "answer_refused", principal.id, **of, said=_SAID, cause=refusal.cause)
    return refusal


def roles_of_witnesses(policy: Policy, request: Request) -> list[str]:
    """Give the roles of which somebody holds all who may say what became of a request: those of its approvers."""
    if request.approvers:
        return request.approvers
    assert policy.default.approvers is not None
    return [policy.default.approvers]  # policy allowed it


def not_a_witness(policy: Policy, request: Request, made: Sequence[Decision], principal: Principal) -> Refusal | None:
    """Say why it is not for somebody to say what became of a request; None where it is."""
    return not_this_person(roles_of_witnesses(policy, request), principal) or not_a_maker(
        request, made, principal, "say what became of it"
    )


def too_early(last: Attempt, now: datetime) -> Refusal | None:
    """Say from when on somebody may say that it did not happen; None where they may now.

    Believed earlier, what is on its way yet would be asked for and done twice.
    """
    if now >= last.absent_at:
        return None
    at = f"{last.absent_at + timedelta(seconds=1):%Y-%m-%d %H:%M:%S} UTC"  # whole seconds, none too early
    return Refusal("too early", f"it may still arrive there; that it did not happen can be said from {at} on.")


def _not_unknown(request: Request) -> Refusal | None:
    match request.state:
        case "unknown":
            return None
        case "executing":
            return Refusal(CLOSED, "it is being done right now, and its answer is waited for.")
        case _:
            return Refusal(CLOSED, f"it is {request.state}, so what became of it is no question.")


def _no_reason(reason: str) -> Refusal | None:
    if not _in_a_line(reason) or len(reason) > MAX_REASON or clean(reason) != reason:
        return Refusal("unclear", f"reason: needs a sentence of at most {MAX_REASON:,} characters, how one knows.")
    return None


def _in_a_line(reason: str) -> str:
    return " ".join(reason.split())


def _strict(principal: Principal) -> Principal:
    """Give somebody as one who may not approve what is their own."""
    return Principal(principal.id, principal.kind, principal.roles, has_all_roles=principal.has_all_roles)
