"""What enters the journal: a person's turn, the model's messages, a request for every action of a plan."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from agent.clearance import journal
from agent.clearance.action import ActionError, read_action
from agent.clearance.audit import Log
from agent.clearance.canonical import key, said_digest
from agent.clearance.finished import reasons, unfinished, without_calls
from agent.clearance.journal import Plan, Request, Turn
from agent.clearance.judging import Judge, Judged, requester_of
from agent.clearance.losses import after_no
from agent.clearance.principal import Principal
from agent.clearance.rendering import line
from agent.clearance.transitions import SYSTEM_ACTOR, answer_turn, asked, finish, new_salt, note, salted, withdraw_turn
from agent.clearance.unread import unparsed_call


def open_turn(
    log: Log,
    *,
    thread_id: str,
    run_id: str | None,
    messages: list[dict[str, Any]],
    requester: Principal,
    is_durable: bool,
) -> Turn:
    """Open the turn that `messages` (`[{"id", "content"}]`, one at least) begin; withdraw what the thread left open.

    Run again for the same run, or in the library the same message, it returns the turn that is there; its messages
    may have other ids then, when the run was retried from nothing.
    """
    before = {turn.turn_id: turn for turn in journal.turns_of(log.connection, thread_id)}
    turn_id = key("turn", thread_id, run_id or messages[-1]["id"])
    if turn_id in before and not _says(before[turn_id], messages):
        # A program that gives its runs one id for all.
        turn_id = key("turn", thread_id, run_id or "", messages[-1]["id"])
    if turn_id in before:
        return before[turn_id]
    for turn in before.values():
        if turn.state == "open":
            withdraw_turn(log, turn, actor=requester.id)
    turn = Turn(
        turn_id=turn_id,
        thread_id=thread_id,
        number=len(before) + 1,
        run_id=run_id,
        requested_by=requester.id,
        requester_kind=requester.kind,
        requester_roles=sorted(requester.roles),
        message_id=messages[-1]["id"],
        messages=messages,
        is_durable=is_durable,
        state="open",
        opened_at=log.now,
        closed_at=None,
    )
    journal.add_turn(log.connection, turn)
    log.append("turn_opened", turn.requested_by, thread_id=thread_id, turn_id=turn_id, number=turn.number)
    return turn


def _says(turn: Turn, messages: list[dict[str, Any]]) -> bool:
    said = [message["content"] for message in turn.messages]
    return journal.ERASED in said or said == [message["content"] for message in messages]


def store_message(
    log: Log,
    turn: Turn,
    *,
    position: int,
    message_id: str,
    message: dict[str, Any],
    finish_reasons: frozenset[str] = frozenset(),
) -> Plan | None:
    """Store what the model said at `position` of a turn, and return what is stored there: the first one wins.

    A message without calls answers the turn and closes it. Calls of an answer that did not end for a reason that means
    "finished" (`finish_reasons` are more such reasons) are not stored: the message says so instead. None when the
    model may not speak now: the turn is over, or a request of it is open.
    """
    plans = journal.plans_of_turn(log.connection, turn.turn_id)
    if position < len(plans):
        return plans[position]
    if turn.state != "open" or (plans and journal.open_requests_of_turn(log.connection, turn.turn_id)):
        return None
    if journal.plan_by_message(log.connection, turn.thread_id, message_id):
        # A provider that repeats its ids would make one message replace another in the state.
        message_id = key("message", turn.turn_id, str(position))
        message = {**message, "id": message_id}
    if message.get("tool_calls"):
        broken = unfinished(reasons(message.get("response_metadata") or {}), finish_reasons)
        if broken:
            message = without_calls(message, broken, journal.receipts_of_turn(log.connection, turn.turn_id))
    plan = Plan(
        plan_id=key("plan", turn.turn_id, str(position)),
        turn_id=turn.turn_id,
        position=position,
        thread_id=turn.thread_id,
        message_id=message_id,
        message=message,
        digest=said_digest(message),
        opened=False,
        stored_at=log.now,
    )
    journal.add_plan(log.connection, plan)
    log.append("model_said", SYSTEM_ACTOR, thread_id=plan.thread_id, turn_id=plan.turn_id, position=position)
    if not message.get("tool_calls"):
        answer_turn(log, turn, has_requests=bool(plans))
    return plan


def request_id(plan: Plan, tool_call_id: str) -> str:
    """Derive the id of a call's request from turn, AI message and tool call."""
    return key("request", plan.turn_id, plan.message_id, tool_call_id, size=24)


def open_plan(log: Log, judge: Judge, turn: Turn, plan: Plan) -> None:
    """Open a request for every action among the calls of a plan that is not opened yet.

    Arguments that do not fit, and actions that cannot be, are refused at once, with a receipt.
    """
    opened: list[tuple[Request, _Refusal | None]] = []
    for position, call in enumerate((plan.message or {}).get("tool_calls", [])):
        if call["name"] not in judge.actions:
            continue
        opened.append(_open_request(log, judge, turn, plan, position, call))
    # The plan is due at its earliest deadline: what one of its requests may wait, all may.
    held = [request for request, refusal in opened if refusal is None]
    due = min((request.expires_at for request in held), default=None)
    for request in held:
        if due and request.expires_at != due:
            journal.change_request(log.connection, request.request_id, expires_at=due)
    for request, refusal in opened:
        asked_until = replace(request, expires_at=due) if due and request.is_open else request
        note(log, "requested", request, turn.requested_by, **_noted(asked_until))
        if refusal:
            finish(log, request, "refused", refusal.sentence, actor=refusal.actor, cause=refusal.cause)
    journal.mark_opened(log.connection, plan.plan_id)


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
        journal.add_request(log.connection, blank, [])
        return blank, _Refusal(unread, SYSTEM_ACTOR, "impossible")
    try:
        action = read_action(judge.actions[call["name"]], call["args"])
        judged = judge.judge(log.connection, log.now, action, requester=requester_of(turn),
                             number=blank.number, plan_id=plan.plan_id)  # fmt: skip
    except ActionError as exc:
        journal.add_request(log.connection, blank, [])
        return blank, _Refusal(f"Not done: {exc}", SYSTEM_ACTOR, "impossible")
    judged = replace(judged, verdict=after_no(log, judge.policy, judged.verdict, turn))
    request = replace(blank, **_judged_columns(judged, log.judged_at))
    journal.add_request(log.connection, request, judged.subjects)
    before = journal.rejected_before(log.connection, turn, plan.plan_id, judged.digest)
    if before is not None:
        made = journal.decisions_on(log.connection, [before.request_id])
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
        "facts": judged.facts.model_dump(mode="json"),
        "sentence": judged.sentence,
        "verdict": verdict.word,
        "rule": verdict.rule,
        "risk": verdict.risk,
        "approvers": [verdict.approvers] if verdict.approvers else None,
        "approvals": verdict.approvals,
        "state": state,
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
