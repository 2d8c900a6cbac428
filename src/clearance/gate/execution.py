"""Use up a clearance: the checks right before an effect, in the transaction that does a local one or starts another.

Whatever passed before, this is the last thing that stands before it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from clearance.actions.action import ActionError, read_action
from clearance.actions.external import ExternalAction
from clearance.db.engine import Database
from clearance.gate.elsewhere import LEASE_TIME, Started, lease_of
from clearance.gate.ended import effect_of, has_ended
from clearance.gate.judging import Judge, Judged, changed_material, requester_of
from clearance.gate.local_execution import perform
from clearance.gate.losses import after_no, fail, reconsider
from clearance.gate.policy import Verdict
from clearance.gate.settling import MOST_ATTEMPTS, become_doubtful, claim, was_frozen_since
from clearance.gate.standing import of_plan
from clearance.gate.transitions import ask_again, expire_due
from clearance.journal import audit
from clearance.journal.attempts import attempts_on, in_flight_with, read_attempt
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on, prefetch_decisions_on
from clearance.journal.leases import take_lease
from clearance.journal.receipts import Receipt, read_receipt
from clearance.journal.requests import Request, change_request, read_request, requests_of_plan
from clearance.journal.turns import read_turn
from clearance.text.namesakes import namesake
from clearance.text.rendering import line


@dataclass(frozen=True)
class InFlight:
    """A request that has no receipt yet: it is started, of an external action, or the next to be."""

    plan_id: str
    request_id: str
    is_started: bool


def carry_out(
    log: Log, judge: Judge, database: Database, plan_id: str, request_id: str, *, holder: str | None = None
) -> Receipt | Started | InFlight | None:
    """Use up a clearance: a local effect and its receipt in this transaction, or the reason why not.

    An external effect is only started here, by the process `holder` that has a place for it and performs it then;
    without one nothing is done. None: something of the plan comes first.
    """
    plan = requests_of_plan(log.connection, plan_id)
    request = of_plan(plan, request_id)
    if request.is_in_flight:
        return InFlight(plan_id, request_id, is_started=True)
    if has_ended(effect_of(request_id)) and request.is_open:
        become_doubtful(log, request)
        return InFlight(plan_id, request_id, is_started=True)
    if not request.is_open or expire_due(log, plan):
        return read_receipt(log.connection, request_id)
    # A plan is decided before it is done, and done in the order the model wrote it.
    if any(other.state == "asked" or (not other.is_over and other.position < request.position) for other in plan):
        return None
    if any(other.is_in_flight for other in plan):
        return None
    if reconsider(log, judge.policy, plan_id):
        return None
    kind = judge.actions.get(request.action)
    if holder is None and kind is not None and issubclass(kind, ExternalAction):
        return InFlight(plan_id, request_id, is_started=False)
    if log.ahead:
        return fail(
            log, judge.policy, request, "refused", f"Refused: {audit.ahead_in_words(log.ahead)}.", cause="clock"
        )
    if log.frozen:
        sentence = f"Refused: all effects are frozen since {log.frozen_by} stopped them ({log.frozen_reason})."
        return fail(log, judge.policy, request, "refused", sentence, cause="frozen")
    turn = read_turn(log.connection, request.turn_id)
    assert turn is not None
    if request.arguments is None:
        return fail(
            log, judge.policy, request, "refused", "Not done: what it was about has been erased.", cause="erased"
        )
    try:
        action = read_action(judge.action(request.action), request.arguments)
        prefetch_decisions_on(log.connection, [request_id])
        judged = judge.judge(log.connection, log.now, action, requester=requester_of(turn),
                             number=request.number, plan_id=request.plan_id)  # fmt: skip
    except ActionError as exc:
        return fail(log, judge.policy, request, "refused", f"Not done: {exc}", cause="impossible")
    if judged.digest != request.digest:
        sentence = "Refused: the stored arguments are not the ones that were cleared."
        return fail(log, judge.policy, request, "refused", sentence, cause="digest")
    if request.state == "allowed":
        judged = replace(judged, verdict=after_no(log, judge.policy, judged.verdict, turn))
    if judged.verdict.word == "deny":
        return fail(log, judge.policy, request, "refused", f"Refused by policy: {judged.verdict.rule}.", cause="policy")
    why = _asks_again(log, request, judged)
    if why:
        ask_again(log, request, why, judged, cause="changed", actor="system")
        return None
    if isinstance(judged.action, ExternalAction):
        assert holder is not None
        return _start(log, judge, request, judged, judged.action, holder)
    return perform(log, judge, database, request, judged)


def _start(
    log: Log, judge: Judge, request: Request, judged: Judged, action: ExternalAction[Any], holder: str
) -> Started | Receipt:
    other = in_flight_with(log.connection, judged.business_key or "")
    if other is not None:
        sentence = (
            f"Not done: request {other.request_id[:8]} for the same ({line(judged.business_key or '')}) is in flight,"
            " and nobody knows yet what becomes of it."
        )
        return fail(log, judge.policy, request, "refused", sentence, cause="in flight")
    change_request(log.connection, request.request_id, business_key=judged.business_key)
    take_lease(log.connection, lease_of(holder), holder, log.clock, log.clock + LEASE_TIME)
    return Started(claim(log, request, action, holder), action, request.requested_by)


def _asks_again(log: Log, request: Request, judged: Judged) -> str | None:
    """Say why a cleared request has to be asked anew, or None when its clearance still holds."""
    if request.state == "approved":
        changed = changed_material(request.facts or {}, judged.facts)
        if changed:
            return f"Since it was approved, this changed: {', '.join(name.replace('_', ' ') for name in changed)}."
    if judged.verdict.word == "ask" and not _satisfied(log, request, judged.verdict):
        return f"The policy now asks for it: {judged.verdict.rule}."
    return None


def _satisfied(log: Log, request: Request, verdict: Verdict) -> bool:
    role = verdict.approvers
    given = [
        decision
        for decision in decisions_on(log.connection, [request.request_id])
        if decision.counts and (decision.decider_kind == "local" or role in decision.decider_roles)
    ]
    people: list[str] = []
    for decision in given:
        if namesake(decision.decided_by, people) is None:
            people.append(decision.decided_by)
    return len(people) >= verdict.approvals


def send_again(log: Log, judge: Judge, attempt_id: str, *, holder: str) -> Started | str:
    """Start an unknown request once more under its own key, where the provider is declared to do a key once.

    Every check of a start is made again. Gives why not, where a person has to say what became of it.
    """
    attempt = read_attempt(log.connection, attempt_id)
    assert attempt is not None
    request = read_request(log.connection, attempt.request_id)
    assert request is not None
    made, turn = attempts_on(log.connection, request.request_id), read_turn(log.connection, request.turn_id)
    if attempt.state != "unknown" or made[-1].number != attempt.number:
        return "it is not unknown any more"
    if turn is None or turn.state != "open" or request.expires_at <= log.judged_at:
        return "its turn is over, or its deadline passed, so it is not sent again"
    if was_frozen_since(log, made[0].started_at) or log.ahead:
        return "effects were stopped meanwhile, so it is not sent again"
    if attempt.number >= MOST_ATTEMPTS:
        return f"it was sent {attempt.number} times"
    try:
        action = read_action(judge.action(request.action), request.arguments or {})
        judged = judge.judge(log.connection, log.now, action, requester=requester_of(turn),
                             number=request.number, plan_id=request.plan_id)  # fmt: skip
    except ActionError as exc:
        return f"it could not be sent again: {exc}"
    assert isinstance(action, ExternalAction)
    if made[0].started_at + timedelta(seconds=action.key_lasts_s - action.timeout_s) <= log.now:
        return "the provider does not remember its key any more"
    was = replace(request, state=attempt.cleared_as)
    if judged.digest != request.digest or judged.verdict.word == "deny" or _asks_again(log, was, judged):
        return "policy or facts changed, so it is not sent again"
    take_lease(log.connection, lease_of(holder), holder, log.clock, log.clock + LEASE_TIME)
    return Started(claim(log, request, action, holder), action, request.requested_by)
