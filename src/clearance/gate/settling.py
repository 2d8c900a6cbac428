"""How an external action's states change: claimed, done, not done, unknown, released. Each in the caller's transaction.

approved / allowed ─claim→ executing ─┬→ executed
        ▲                             ├→ failed
        └──────── release ────────────┴→ unknown ─→ executed / failed, by a look-up, a late answer or a person
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clearance.actions.external import Absent, Done, ExternalAction, LookUp, NotDone
from clearance.actions.soundness import a_sentence
from clearance.canonical import key
from clearance.db.tables import CLEARED_STATES
from clearance.gate.recording import record
from clearance.gate.transitions import SYSTEM_ACTOR, finish, note, note_erased, salted
from clearance.journal.attempts import (
    TRANSACTION_ENDED,
    Attempt,
    add_attempt,
    attempts_on,
    change_attempt,
    idempotency_key,
    read_attempt,
)
from clearance.journal.audit import Log, happened_since
from clearance.journal.erasure import erase_closed_turn
from clearance.journal.receipts import Receipt, read_receipt
from clearance.journal.requests import Request, change_request, read_request, subjects_of
from clearance.journal.turns import read_turn
from clearance.loglines import logger_of

logger = logger_of(__name__)

#: Starts of one request, at most.
MOST_ATTEMPTS = 3
#: Beside `timeout_s`: what it takes to hear of the end and to write it down.
_SETTLING = timedelta(seconds=5)
#: Seconds between two look-ups, at most.
_LONGEST_S = 600
#: The last look of a start after which it was sent again, under its key, while nobody knew what became of it.
_SENT_AGAIN = "sent again"


@dataclass(frozen=True)
class Unknown:
    """Nobody knows whether it happened; `cause` is a word or two for the log."""

    cause: str


#: What `perform` came to.
Outcome = Done | NotDone | Unknown


def claim(log: Log, request: Request, action: ExternalAction[Any], holder: str) -> Attempt:
    """Write down that a cleared request is started now by this process. All checks were made in this transaction."""
    made = attempts_on(log.connection, request.request_id)
    if made and made[-1].is_in_flight:  # sent again under its own key: what became of the last is what becomes of this
        change_attempt(log.connection, made[-1].attempt_id, state="released", ended_at=log.now,
                       last_look=_SENT_AGAIN, next_look_at=None)  # fmt: skip
    change_request(log.connection, request.request_id, state="executing")
    return _start(
        log,
        request,
        len(made) + 1,
        cleared_as=made[-1].cleared_as if request.is_in_flight else request.state,
        holder=holder,
        late_at=log.now + timedelta(seconds=action.timeout_s) + _SETTLING,
        absent_at=log.now + timedelta(seconds=action.timeout_s + action.arrives_within_s),
    )


def _start(
    log: Log, request: Request, number: int, *, cleared_as: str, holder: str, late_at: datetime, absent_at: datetime
) -> Attempt:
    attempt = Attempt(
        attempt_id=key("attempt", request.request_id, str(number)),
        request_id=request.request_id,
        number=number,
        revision=request.revision,
        idempotency_key=idempotency_key(request),
        cleared_as=cleared_as,
        state="executing",
        holder=holder,
        started_at=log.now,
        late_at=late_at,
        absent_at=absent_at,
    )
    add_attempt(log.connection, attempt)
    note(log, "started", request, SYSTEM_ACTOR, attempt=number, digest=salted(request, request.digest),
         revision=request.revision, key=attempt.idempotency_key)  # fmt: skip
    return attempt


def settle(log: Log, attempt_id: str, outcome: Outcome, *, kind: type[ExternalAction[Any]] | None) -> Receipt | None:
    """Write down what a start came to, as the process that made it tells; give the receipt, None while it is unknown.

    What comes late settles what was unknown; what contradicts a receipt changes nothing, and is told.
    """
    attempt, request = _read(log, attempt_id)
    receipt = read_receipt(log.connection, request.request_id)
    if receipt is not None:
        _compare(log, request, attempt, receipt, outcome)
        return receipt
    made = attempts_on(log.connection, request.request_id)
    is_last = made[-1].number == attempt.number
    if isinstance(outcome, NotDone) and is_last and _is_sent_again(made):
        # It says nothing of the start before it, which may have been done before it was refused.
        outcome = Unknown("refused")
    match outcome:
        case Done():
            via = "late" if attempt.state in ("unknown", "released") else "performed"
            return _ended(log, request, attempt, "executed", _words(outcome.sentence, request), {}, via=via, kind=kind)
        case NotDone() if is_last and attempt.is_in_flight:
            via = "late" if attempt.state == "unknown" else "performed"
            return _ended(log, request, attempt, "failed", f"Not done: {outcome}", {}, via=via)
        case Unknown() if attempt.state == "executing":
            become_unknown(log, request, attempt, outcome.cause, kind=kind)
    return None


def not_begun(log: Log, attempt_id: str, *, kind: type[ExternalAction[Any]] | None) -> None:
    """Write down that a start was never performed, as the process that made it knows: it is cleared as before.

    Its claim was committed, and the answer to that was lost.
    """
    attempt, request = _read(log, attempt_id)
    if attempt.state != "executing":
        return
    become_unknown(log, request, attempt, "not begun", kind=kind)
    if not _is_sent_again(attempts_on(log.connection, request.request_id)):
        _absent(log, request, attempt, attempt.looks)


def _is_sent_again(made: list[Attempt]) -> bool:
    return len(made) > 1 and made[-2].last_look == _SENT_AGAIN


def become_unknown(
    log: Log, request: Request, attempt: Attempt, cause: str, *, kind: type[ExternalAction[Any]] | None
) -> None:
    """Write down that nobody knows whether a start happened, and when it is looked into next."""
    at = None
    if kind is not None and kind.has_look_up():
        at = log.now
    elif kind is not None and kind.key_lasts_s > 0:  # sent again, at growing intervals
        at = log.now + _pause(attempt.number)
    change_attempt(log.connection, attempt.attempt_id, state="unknown", cause=cause, next_look_at=at)
    change_request(log.connection, request.request_id, state="unknown")
    note(log, "unknown", request, SYSTEM_ACTOR, attempt=attempt.number, cause=cause)


def become_doubtful(log: Log, request: Request) -> None:
    """Write down that a local effect ended the transaction it ran in, so that nobody knows whether it is kept.

    It is not carried out again. There is nothing to look it up by but the tables it writes: a person says.
    """
    cleared_as = request.state if request.state in CLEARED_STATES else "approved"
    number = len(attempts_on(log.connection, request.request_id)) + 1
    attempt = _start(log, request, number, cleared_as=cleared_as, holder="", late_at=log.now, absent_at=log.now)
    become_unknown(log, request, attempt, TRANSACTION_ENDED, kind=None)


def looked_up(
    log: Log, attempt_id: str, found: LookUp, *, kind: type[ExternalAction[Any]] | None = None
) -> Receipt | None:
    """Write down what a look-up gave; give the receipt, None while there is none: unknown still, or released."""
    attempt, request = _read(log, attempt_id)
    receipt = read_receipt(log.connection, request.request_id)
    if receipt is not None:
        if isinstance(found, Done):  # somebody said otherwise while it was looked up
            _compare(log, request, attempt, receipt, found)
        return receipt
    if attempt.state != "unknown":
        return None
    looks = attempt.looks + 1
    match found:
        case Done():
            said_so = _words(found.sentence, request)
            return _ended(log, request, attempt, "executed", said_so, {"looks": looks}, via="look-up", kind=kind)
        case Absent() if log.judged_at >= attempt.absent_at:
            return _absent(log, request, attempt, looks)
        case Absent():
            # Believed earlier, what is on its way yet would be sent twice.
            said, at = "not there yet", max(attempt.absent_at, log.now + _pause(looks))
        case _:
            said, at = found.why[:200] or "unclear", log.now + _pause(looks)
    change_attempt(log.connection, attempt_id, looks=looks, last_look=said, next_look_at=at)
    note(log, "reconciling", request, SYSTEM_ACTOR, attempt=attempt.number, looks=looks)
    return None


def _absent(log: Log, request: Request, attempt: Attempt, looks: int) -> Receipt | None:
    """It surely did not happen: clear as it was before, where it still may be done; else it failed."""
    turn = read_turn(log.connection, request.turn_id)
    may_again = (
        turn is not None
        and turn.state == "open"
        and request.expires_at > log.judged_at
        and attempt.number < MOST_ATTEMPTS
        and not was_frozen_since(log, attempt.started_at)
    )
    if not may_again:
        sentence = "Not done: it was started, and did not arrive."
        return _ended(log, request, attempt, "failed", sentence, {"looks": looks}, via="look-up")
    change_attempt(log.connection, attempt.attempt_id, state="released", ended_at=log.now, looks=looks,
                   last_look="absent", next_look_at=None)  # fmt: skip
    change_request(log.connection, request.request_id, state=attempt.cleared_as)
    note(log, "released", request, SYSTEM_ACTOR, attempt=attempt.number, looks=looks)
    return None


def settle_by_person(
    log: Log,
    request: Request,
    *,
    by: str,
    happened: bool,
    reason: str,
    kind: type[ExternalAction[Any]] | None = None,
    **marks: Any,
) -> Receipt:
    """Write down what a person says became of a request that is unknown. Whether they may was checked."""
    attempt = attempts_on(log.connection, request.request_id)[-1]
    change_attempt(log.connection, attempt.attempt_id, settled_by=by, reason=reason)
    note(
        log, "settled", request, by, attempt=attempt.number, happened=happened, reason=salted(request, reason), **marks
    )
    said = "it happened" if happened else "it did not happen"
    stop = "" if reason.endswith((".", "!", "?")) else "."
    sentence = f"{'' if happened else 'Not done: '}Nobody could look it up; {by} says that {said}: {reason}{stop}"
    outcome = "executed" if happened else "failed"
    return _ended(log, request, attempt, outcome, sentence, {}, via="person", by=by, kind=kind)


def was_frozen_since(log: Log, moment: datetime) -> bool:
    """Tell whether effects were stopped at any time since a moment."""
    if log.frozen:
        return True
    return happened_since(log.connection, "frozen", moment)


def _read(log: Log, attempt_id: str) -> tuple[Attempt, Request]:
    attempt = read_attempt(log.connection, attempt_id)
    assert attempt is not None
    request = read_request(log.connection, attempt.request_id)
    assert request is not None
    return attempt, request


def _ended(
    log: Log,
    request: Request,
    attempt: Attempt,
    outcome: str,
    sentence: str,
    values: dict[str, Any],
    *,
    via: str,
    by: str = SYSTEM_ACTOR,
    kind: type[ExternalAction[Any]] | None = None,
) -> Receipt:
    change_attempt(log.connection, attempt.attempt_id, state=outcome, ended_at=log.now, next_look_at=None, **values)
    others = attempts_on(log.connection, request.request_id)
    for other in others:
        if other.is_in_flight:  # of the same request, started again: the one that happened is the outcome of both
            change_attempt(log.connection, other.attempt_id, state="released", ended_at=log.now, next_look_at=None)
    if via == "look-up":
        note(log, "reconciled", request, SYSTEM_ACTOR, attempt=attempt.number, result=outcome)
    done: dict[str, Any] = {}
    if outcome == "executed":
        sentence, left = record(log, request, kind, sentence)
        subjects = subjects_of(log.connection, request.request_id)
        done = {"arguments": salted(request, request.arguments), "subjects": subjects, **left}
    receipt = finish(log, request, outcome, sentence, actor=by, attempt=attempt.number, via=via, **done)
    turn = read_turn(log.connection, request.turn_id)
    if turn is not None and turn.state != "open":  # an erasure may have waited for it
        note_erased(log, erase_closed_turn(log.connection, turn))
    return receipt


def _compare(log: Log, request: Request, attempt: Attempt, receipt: Receipt, outcome: Outcome) -> None:
    if isinstance(outcome, Unknown):
        return
    says = "executed" if isinstance(outcome, Done) else "failed"
    if attempt.is_in_flight:
        change_attempt(log.connection, attempt.attempt_id, state=says, ended_at=log.now, next_look_at=None)
    elif attempt.state == says or (attempt.state == "released" and says == "failed"):
        return
    is_otherwise = says != receipt.outcome and (says == "executed" or attempt.settled_by is not None)
    if is_otherwise or (says == receipt.outcome == "executed" and _is_twice(log, request, attempt)):
        logger.error("request %s is told as %s, and is known now as %s", request.request_id, receipt.outcome, says)
        note(log, "contradicted", request, SYSTEM_ACTOR, attempt=attempt.number, says=says, told=receipt.outcome)


def _is_twice(log: Log, request: Request, attempt: Attempt) -> bool:
    """Tell whether a start happened beside the one that the receipt is of: it had been taken as not arrived."""
    made = attempts_on(log.connection, request.request_id)
    done = next((one.number for one in made if one.state == "executed" and one.number != attempt.number), None)
    if done is None:
        return False
    between = made[min(done, attempt.number) - 1 : max(done, attempt.number) - 1]
    if all(one.last_look == _SENT_AGAIN for one in between):  # under one key, which is done once
        return False
    change_attempt(log.connection, attempt.attempt_id, state="executed")
    return True


def _words(sentence: str, request: Request) -> str:
    try:
        return a_sentence(sentence, f"{request.action}.perform")
    except (TypeError, ValueError) as exc:  # it happened, whatever is said of it
        logger.warning("what %s says of request %s cannot be used: %s", request.action, request.request_id, exc)
        return f"Done: {request.sentence or request.action}"


def _pause(looks: int) -> timedelta:
    return timedelta(seconds=min(2 ** (looks - 1), _LONGEST_S))
