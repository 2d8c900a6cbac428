"""May this person decide this, now, with this answer? Then it is recorded; otherwise it is refused with a reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from clearance.actions.action import Action, ActionError, read_action
from clearance.actions.stored import stored
from clearance.canonical import key
from clearance.gate.answers import Answer, Approve, Edit, Reject, Unclear
from clearance.gate.judging import Judge, Judged, requester_of
from clearance.gate.looking import read_action_once
from clearance.gate.losses import reconsider
from clearance.gate.transitions import asked, finish, note, salted
from clearance.journal.audit import Log, ahead_in_words
from clearance.journal.decisions import Decision, add_decision, decisions_on, lapse_approvals
from clearance.journal.requests import Request, add_subjects, change_request
from clearance.journal.turns import prefetch_turn, read_turn
from clearance.loglines import logger_of
from clearance.principal import STUDIO_ID, Principal
from clearance.text.namesakes import namesake
from clearance.text.rendering import line, unshown

logger = logger_of(__name__)

#: The cause of a refusal whose request is not asked any more.
CLOSED = "closed"


@dataclass(frozen=True)
class Refusal:
    """Why an answer was not taken."""

    #: One word or two for the audit log.
    cause: str
    #: For the person who answered.
    sentence: str


def decide(
    log: Log,
    judge: Judge,
    request: Request,
    answer: Answer | Unclear,
    revision: int,
    principal: Principal,
    *,
    run_id: str | None,
    started_ms: int | None,
) -> Refusal | None:
    """Record the answer to an asked request, or give the reason why not. Recorded once per run and person.

    `revision` is the one the question showed; `started_ms` when the answering run was asked for, None where the answer
    itself proves that it saw the question.
    """
    if isinstance(answer, Unclear):
        return Refusal("unclear", answer.why)
    made = decisions_on(log.connection, [request.request_id])
    if is_recorded(made, request, principal, run_id):
        return None  # the same run again, after a crash
    refusal = _not_this_question(request, answer, revision, started_ms) or not_this_person(
        request.approvers or [], principal
    )
    if refusal:
        return refusal
    decision = Decision(
        decision_id=_decision_id(request, principal, run_id or f"#{len(made)}"),
        number=len(made) + 1,
        request_id=request.request_id,
        revision=request.revision,
        digest=request.digest,
        decision=type(answer).__name__.lower(),
        decided_by=principal.id,
        decider_kind=principal.kind,
        # What a recorded approval is worth is asked again before the effect, by these.
        decider_roles=sorted(judge.policy.roles if principal.has_all_roles else principal.roles),
        reason=None,
        edited=None,
        counts=False,
        lapsed=None,
        decided_at=log.now,
    )
    refusal = _decided(log, judge, request, made, decision, answer, principal)
    if refusal is None:
        prefetch_turn(log.connection, request.turn_id)  # for who carries it out next
        reconsider(log, judge.policy, request.plan_id)
    return refusal


def _decided(
    log: Log,
    judge: Judge,
    request: Request,
    made: list[Decision],
    decision: Decision,
    answer: Answer,
    principal: Principal,
) -> Refusal | None:
    match answer:
        case Reject():
            _reject(log, request, decision, answer)
            return None
        case Approve():
            return _approve(log, request, made, decision, principal)
        case Edit():
            return _edit(log, judge, request, made, decision, answer, principal)
        case _:
            assert_never(answer)


def is_recorded(made: list[Decision], request: Request, principal: Principal, run_id: str | None) -> bool:
    """Tell whether this run's answer is among the decisions `made` on a request: a run answers a request once."""
    return run_id is not None and any(
        decision.decision_id == _decision_id(request, principal, run_id) for decision in made
    )


def _decision_id(request: Request, principal: Principal, run: str) -> str:
    return key("decision", request.request_id, principal.id, run)


def _not_this_question(request: Request, answer: Answer, revision: int, started_ms: int | None) -> Refusal | None:
    about = answer.about
    if about.request_id is not None and about.request_id != request.request_id:
        return Refusal(
            "other request", f"it is about request {about.request_id[:40]!r}, which is not the one asked here."
        )
    if about.digest is not None:
        if about.digest != request.digest:
            return Refusal("other digest", "it is about other arguments than the ones asked for now.")
        if request.revision == 1:
            return None  # nothing else was ever shown under this digest; later the facts may have been others
    if revision != request.revision:
        return Refusal("changed", "the request changed after this question was put.")
    if started_ms is not None and request.asked_ms is not None and started_ms < request.asked_ms:
        return Refusal("older", "it was sent before this question was put.")
    return None


def not_this_person(roles: Sequence[str], principal: Principal) -> Refusal | None:
    """Say why somebody is none of those who hold all these roles; None where they are."""
    if principal.kind == "system":
        return Refusal("system", "the server itself cannot decide; it takes a person.")
    missing = [role for role in roles if not principal.has_role(role)]
    if missing:
        return Refusal("role", f"{principal.id} does not have the role {' and '.join(missing)}.")
    return None


def _makers(request: Request, made: Sequence[Decision]) -> set[str]:
    return {request.requested_by} | _editors(made)


def _editors(made: Iterable[Decision]) -> set[str]:
    return {decision.decided_by for decision in made if decision.decision == "edit"}


def _reject(log: Log, request: Request, decision: Decision, answer: Reject) -> None:
    add_decision(log.connection, replace(decision, reason=answer.reason or None))
    said = f": {answer.reason}" if answer.reason else ", without a reason"
    finish(log, request, "rejected", f"Not done: {decision.decided_by} rejected it{said}", actor=decision.decided_by,
           **_marks(decision, is_own=decision.decided_by == request.requested_by))  # fmt: skip


def _approve(
    log: Log, request: Request, made: list[Decision], decision: Decision, principal: Principal
) -> Refusal | None:
    is_own = principal.id in _makers(request, made)
    refusal = not_a_maker(request, made, principal, "approve it")
    if refusal:
        return refusal
    if log.frozen or log.ahead:
        return _stopped(log)
    given = [other for other in made if other.counts]
    if any(other.decided_by == principal.id for other in given):
        return Refusal(
            "twice", f"{principal.id} has approved it already; it needs {request.approvals} different people."
        )
    alike = approver_alike(made, principal)
    if alike:
        return Refusal("look-alike", alike)
    add_decision(log.connection, replace(decision, counts=True))
    _cleared_if_enough(log, request, len(given) + 1)
    _noted(log, "approved", request, decision, is_own)
    return None


def not_a_maker(request: Request, made: Sequence[Decision], principal: Principal, what: str) -> Refusal | None:
    """Say why it is not for somebody who asked for a request, or edited it, or is named alike, to do `what`."""
    if principal.id in _makers(request, made) and not principal.may_approve_own:
        return Refusal("own", f"{principal.id} asked for this or edited it; somebody else has to {what}.")
    alike = maker_alike(request, made, principal)
    return Refusal("look-alike", alike) if alike else None


def maker_alike(request: Request, made: Sequence[Decision], principal: Principal) -> str | None:
    """Say why somebody may not approve a request whose maker's name looks like theirs; None where none does."""
    if principal.may_approve_own:
        return None
    return requester_alike(request, principal) or _alike(principal, _editors(made), "changed it")


def requester_alike(request: Request, principal: Principal) -> str | None:
    """Say why somebody may not change a request whose requester's name looks like theirs; None where it does not."""
    return None if principal.may_approve_own else _alike(principal, [request.requested_by], "asked for this")


def approver_alike(made: Sequence[Decision], principal: Principal) -> str | None:
    """Say why somebody is no further approver, since a name looks like theirs; None where none does."""
    return _alike(principal, [one.decided_by for one in made if one.counts], "approved it already")


def _alike(principal: Principal, others: Iterable[str], did: str) -> str | None:
    other = namesake(principal.id, others)
    if other is None:
        return None
    return (
        f"the name {line(principal.id)} looks like {line(other)}, who {did}: who reads it cannot tell the two apart,"
        " so somebody else has to decide."
    )


@dataclass(frozen=True)
class Checked:
    """An edit that can be made, and what it would come to."""

    judged: Judged
    #: Whether it does strictly less than what it changes.
    narrows: bool
    #: Whether it counts as the editor's own approval, too.
    counts: bool
    #: What it asks for: rule, risk, approvers, approvals as in `db.tables.requests`.
    demand: dict[str, Any]


def check_edit(log: Log, judge: Judge, request: Request, answer: Edit, principal: Principal) -> Checked | Refusal:
    """Tell what an edit would come to, or why it cannot be made. Writes nothing."""
    if principal.id == request.requested_by and not principal.may_approve_own:
        return Refusal("own", f"{principal.id} asked for this; somebody else has to decide.")
    alike = requester_alike(request, principal)
    if alike:
        return Refusal("look-alike", alike)
    if log.frozen or log.ahead:
        return _stopped(log)
    if answer.action not in (None, request.action):
        return Refusal("other action", f"an edit cannot make {request.action} into {str(answer.action)[:40]!r}.")
    turn = read_turn(log.connection, request.turn_id)
    if turn is None or request.arguments is None:
        return Refusal("erased", "what it was about has been erased.")
    try:
        # Clients send back what they were shown of the arguments that nobody changed: those stay as they are.
        edited = {name: unshown(value, request.arguments.get(name)) for name, value in answer.changes.items()}
        changes = edited if answer.is_whole else {**request.arguments, **edited}
        cls = judge.action(request.action)
        action = read_action_once(cls, changes, request.request_id, repr(changes))
        judged = judge.judge(log.connection, log.now, action, requester=requester_of(turn),
                             number=request.number, plan_id=request.plan_id)  # fmt: skip
    except ActionError as exc:
        return Refusal("edit", str(exc))
    if judged.verdict.word == "deny":
        return Refusal("policy", f"the policy refuses the changed call: {judged.verdict.rule}.")
    narrows = _narrows(action, cls, request.arguments)
    demand = _demand(request, judged, narrows=narrows)
    is_enough = demand["approvals"] <= 1 and all(principal.has_role(role) for role in demand["approvers"])
    # Who raised it and then takes a cent off has narrowed what they made themselves, and nobody else has seen it.
    editors = _editors(decisions_on(log.connection, [request.request_id]))
    is_theirs = principal.id in editors or namesake(principal.id, editors) is not None
    counts = is_enough and ((narrows and not is_theirs) or principal.may_approve_own)
    return Checked(judged, narrows, counts, demand)


def _narrows(action: Action[Any], cls: type[Action[Any]], arguments: dict[str, Any]) -> bool:
    """Tell whether an edit surely does less: whatever is no plain yes of the action's own is a no."""
    try:
        return action.narrows(read_action(cls, arguments)) is True
    except ActionError:
        return False  # what was asked for fits the action no more, since the program changed
    except Exception:  # broken is no: somebody else decides
        logger.exception("%s cannot say whether it narrows", action.tool_name())
        return False


def _edit(
    log: Log,
    judge: Judge,
    request: Request,
    made: list[Decision],
    decision: Decision,
    answer: Edit,
    principal: Principal,
) -> Refusal | None:
    checked = check_edit(log, judge, request, answer, principal)
    if isinstance(checked, Refusal):
        return checked
    judged, counts = checked.judged, checked.counts
    if judged.digest == request.digest:
        return _approve(log, request, made, replace(decision, decision="approve"), principal)
    lapse_approvals(log.connection, request.request_id, "the request was edited")
    change_request(
        log.connection,
        request.request_id,
        arguments=judged.arguments,
        digest=judged.digest,
        facts=stored(judged.facts),
        sentence=judged.sentence,
        business_key=judged.business_key,
        revision=request.revision + 1,
        notice=None if counts else f"{principal.id} edited it.",
        asked_ms=None,
        state="approved" if counts else "asked",
        **checked.demand,
    )
    add_subjects(log.connection, request.request_id, judged.subjects)
    add_decision(
        log.connection, replace(decision, edited=judged.arguments, counts=counts, digest=judged.digest,
                              revision=request.revision + 1)
    )  # fmt: skip
    after = {"digest": judged.digest, "revision": request.revision + 1, **checked.demand}
    _noted(log, "edited", request, decision, principal.id in _makers(request, made),
           edited=salted(request, judged.arguments), narrows=checked.narrows, counts=counts,
           becomes=asked(replace(request, **after)))  # fmt: skip
    return None


def _demand(request: Request, judged: Judged, *, narrows: bool) -> dict[str, Any]:
    verdict = judged.verdict
    if verdict.word == "ask":
        return {
            "rule": verdict.rule,
            "risk": verdict.risk,
            "approvers": [verdict.approvers],
            "approvals": verdict.approvals,
        }
    # Policy would let the changed call through. It was asked for as something else, so one of those who were asked
    # clears it; as many as before, unless it does strictly less.
    return {"approvers": request.approvers, "approvals": 1 if narrows else request.approvals}


def _cleared_if_enough(log: Log, request: Request, given: int) -> None:
    if given >= request.approvals:
        change_request(log.connection, request.request_id, state="approved", notice=None)
    else:
        change_request(log.connection, request.request_id, notice=None)


def _stopped(log: Log) -> Refusal:
    if log.ahead:
        return Refusal("clock", f"{ahead_in_words(log.ahead)}; rejecting is possible.")
    return Refusal("frozen", f"all effects are frozen by {log.frozen_by} ({log.frozen_reason}); rejecting is possible.")


def _noted(log: Log, event: str, request: Request, decision: Decision, is_own: bool, **details: Any) -> None:
    note(log, event, request, decision.decided_by, digest=salted(request, decision.digest),
         revision=decision.revision, **details, **_marks(decision, is_own=is_own))  # fmt: skip


def _marks(decision: Decision, *, is_own: bool) -> dict[str, Any]:
    return marks_of(decision.decided_by, decision.decider_kind, is_own=is_own)


def marks_of(person: str, kind: str, *, is_own: bool) -> dict[str, Any]:
    """Mark in the audit log what one must be able to find: a decision without authentication, or on an own request."""
    unauthenticated = {}
    if kind == "local":
        unauthenticated = {"authentication": "none"}
    elif person == STUDIO_ID:
        unauthenticated = {"authentication": "studio without a key"}
    return {**unauthenticated, **({"own_request": True} if is_own else {})}
