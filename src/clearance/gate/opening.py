"""Open a request for every action of a plan, and keep what is open true: expired when late, ended when unknown."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from clearance.actions.action import ActionError
from clearance.actions.external import ExternalAction
from clearance.actions.stored import stored
from clearance.gate.judging import Judge, Judged, requester_of
from clearance.gate.looking import ToLook, need, read_action_once
from clearance.gate.losses import after_no, fail
from clearance.gate.records import plan_and_turn
from clearance.gate.standing import PlanStanding, standing_of
from clearance.gate.transitions import SYSTEM_ACTOR, asked, expire_due, finish, new_salt, note, salted
from clearance.gate.unread import unparsed_call
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on
from clearance.journal.plans import Plan, mark_opened, request_id
from clearance.journal.receipts import ended_of_plans
from clearance.journal.requests import Request, add_request, change_request, rejected_before, requests_of_plan
from clearance.journal.turns import Turn
from clearance.text.rendering import line


def advance(log: Log, judge: Judge, plan: Plan) -> PlanStanding:
    """Open what a plan asks for, expire what is late, and tell how it stands.

    Raises:
        NotOursError: the plan is gone.
    """
    now, of = plan_and_turn(log.connection, plan.thread_id, plan.message_id)
    if of.state == "open" and not now.opened:
        open_plan(log, judge, of, now)
        now = replace(now, opened=True)
    requests = requests_of_plan(log.connection, now.plan_id)
    is_any = _end_unknown(log, judge, requests) or expire_due(log, requests)
    if is_any or not all(request.is_open for request in requests):
        return standing_of(of, now, ended_of_plans(log.connection, [now.plan_id]))
    return standing_of(of, now, [(request, None) for request in requests])


def open_plan(log: Log, judge: Judge, turn: Turn, plan: Plan) -> list[Request]:
    """Open a request for every action among the calls of a plan that has none yet; give them, in order.

    Arguments that do not fit, and actions that cannot be, are refused at once, with a receipt.
    """
    calls = (plan.message or {}).get("tool_calls", [])
    need(_to_look(log, judge, turn, plan, calls))
    opened: list[tuple[Request, _Refusal | None]] = []
    for position, call in enumerate(calls):
        if call["name"] not in judge.actions:
            continue
        opened.append(_open_request(log, judge, turn, plan, position, call))
    # The plan is due at its earliest deadline: what one of its requests may wait, all may.
    held = [request for request, refusal in opened if refusal is None]
    due = min((request.expires_at for request in held), default=None)
    for request in held:
        if due and request.expires_at != due:
            change_request(log.connection, request.request_id, expires_at=due)
    given: list[Request] = []
    for request, refusal in opened:
        asked_until = replace(request, expires_at=due) if due and request.is_open else request
        note(log, "requested", request, turn.requested_by, **_noted(asked_until))
        if refusal:
            finish(log, request, "refused", refusal.sentence, actor=refusal.actor, cause=refusal.cause)
        given.append(replace(asked_until, state="refused") if refusal else asked_until)
    if not plan.opened:
        mark_opened(log.connection, plan.plan_id)
    return given


def _to_look(log: Log, judge: Judge, turn: Turn, plan: Plan, calls: Sequence[dict[str, Any]]) -> Iterator[ToLook]:
    """Give what has to be read elsewhere before these calls can be opened."""
    for call in calls:
        kind = judge.actions.get(call["name"])
        if kind is None or not issubclass(kind, ExternalAction) or unparsed_call(call) is not None:
            continue
        with suppress(ActionError):  # refused when it is opened
            action = read_action_once(kind, call["args"], plan.plan_id, call["id"])
            assert isinstance(action, ExternalAction)
            yield ToLook(action, turn.requested_by, log.now)


@dataclass(frozen=True)
class _Refusal:
    """Why a call is refused at once."""

    sentence: str
    actor: str
    cause: str


def _open_request(
    log: Log, judge: Judge, turn: Turn, plan: Plan, position: int, call: dict[str, Any]
) -> tuple[Request, _Refusal | None]:
    log.requests += 1
    blank = Request(
        request_id=request_id(plan, call["id"]),
        number=log.requests,
        plan_id=plan.plan_id,
        turn_id=turn.turn_id,
        thread_id=turn.thread_id,
        tool_call_id=call["id"],
        position=position,
        requested_by=turn.requested_by,
        action=call["name"],
        arguments=None,
        digest=None,
        salt=new_salt(),
        facts=None,
        sentence=None,
        verdict="deny",
        rule="the call cannot be carried out",
        risk="low",
        approvers=None,
        approvals=0,
        state="refused",
        revision=1,
        notice=None,
        opened_at=log.judged_at,
        expires_at=log.judged_at,
        asked_ms=None,
        refused_answers=0,
    )  # fmt: skip
    if (unread := unparsed_call(call)) is not None:
        add_request(log.connection, blank, [])
        return blank, _Refusal(unread, SYSTEM_ACTOR, "impossible")
    try:
        action = read_action_once(judge.actions[call["name"]], call["args"], plan.plan_id, call["id"])
        judged = judge.judge(log.connection, log.now, action, requester=requester_of(turn),
                             number=blank.number, plan_id=plan.plan_id)  # fmt: skip
    except ActionError as exc:
        add_request(log.connection, blank, [])
        return blank, _Refusal(f"Not done: {exc}", SYSTEM_ACTOR, "impossible")
    judged = replace(judged, verdict=after_no(log, judge.policy, judged.verdict, turn))
    request = replace(blank, **_judged_columns(judged, log.judged_at))
    add_request(log.connection, request, judged.subjects)
    # Before the first plan of a turn there is none.
    before = rejected_before(log.connection, turn, plan.plan_id, judged.digest) if plan.position else None
    if before is not None:
        made = decisions_on(log.connection, [before.request_id])
        by = next((line(one.decided_by) for one in reversed(made) if one.decision == "reject"), "somebody")
        sentence = (
            f"Not done: {by} rejected exactly this in this turn, so nobody is asked for it again. "
            "Tell the person; they can ask for it in a new message."
        )
        return request, _Refusal(sentence, SYSTEM_ACTOR, "rejected before")
    if judged.verdict.word == "deny":
        return request, _Refusal(f"Refused by policy: {judged.verdict.rule}.", "policy", "policy")
    return request, None


def _judged_columns(judged: Judged, now: datetime) -> dict[str, Any]:
    verdict = judged.verdict
    state = {"allow": "allowed", "ask": "asked", "deny": "refused"}[verdict.word]
    return {
        "arguments": judged.arguments,
        "digest": judged.digest,
        "facts": stored(judged.facts),
        "sentence": judged.sentence,
        "verdict": verdict.word,
        "rule": verdict.rule,
        "risk": verdict.risk,
        "approvers": [verdict.approvers] if verdict.approvers else None,
        "approvals": verdict.approvals,
        "state": state,
        "business_key": judged.business_key,
        "expires_at": now + max(verdict.expires, timedelta(seconds=1)),
    }


def _noted(request: Request) -> dict[str, Any]:
    return {
        "action": request.action,
        "arguments": salted(request, request.arguments),
        "verdict": request.verdict,
        "rule": request.rule,
        **asked(request),
    }


def _end_unknown(log: Log, judge: Judge, requests: list[Request]) -> bool:
    """Refuse what is open and of an action that the program has no more; tell whether there was any."""
    unknown = [request for request in requests if request.is_open and request.action not in judge.actions]
    for request in unknown:
        sentence = f"Not done: there is no action {request.action} any more."
        fail(log, judge.policy, request, "refused", sentence, cause="unknown action")
    return bool(unknown)
