"""A part of a plan that will not happen: what was cleared before that was cleared as a part of another whole.

Once the whole plan is decided, every clearance that is older than the loss is asked once more, with the reason. And a
turn of which something was rejected has nothing more allowed by policy alone: the same could come in smaller parts.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from clearance.gate.policy import Policy, Verdict
from clearance.gate.transitions import SYSTEM_ACTOR, ask_again, finish
from clearance.journal import audit
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request, first_no, requests_of_plan
from clearance.journal.turns import Turn
from clearance.text.rendering import line

#: Outcomes of a request that did not happen. Withdrawn is none of them: it ends the whole turn.
_LOST = ("rejected", "failed", "refused", "expired")
#: Cause in the audit log of asking once more after a rejection, by which one knows that it was done.
_REJECTION = "rejection"


def fail(log: Log, policy: Policy, request: Request, outcome: str, sentence: str, **details: Any) -> Receipt:
    """End a request of which nothing is done, and ask about what of its plan was cleared with it in sight."""
    receipt = finish(log, request, outcome, sentence, actor="system", **details)
    reconsider(log, policy, request.plan_id)
    return receipt


def reconsider(log: Log, policy: Policy, plan_id: str) -> bool:
    """Ask once more what was cleared before a part of a wholly decided plan was lost; tell whether anything was.

    For the rejections of a plan each request is asked once more at most, however many there are and will be: else
    twenty unrelated calls would be asked about two hundred times. Each failure and expiry asks what is left of the
    clearances before it. Safe to run any number of times.
    """
    plan = requests_of_plan(log.connection, plan_id)
    cleared = [request for request in plan if request.is_open]
    lost = [request for request in plan if request.state in _LOST]
    if not lost or not cleared or any(request.state == "asked" for request in cleared):
        return False
    given = _cleared_at(log, cleared)
    asked_before = _asked_for_rejection(log, cleared) if any(one.state == "rejected" for one in lost) else set()
    is_any = False
    for request in cleared:
        since = [
            one
            for one in lost
            if _is_older(request, given[request.request_id], one)
            and not (one.state == "rejected" and request.request_id in asked_before)
        ]
        if since:
            # A rejection before the rest: it is asked about once, and has to be known as that.
            loss = min(since, key=lambda one: (one.state != "rejected", one.position))
            cause, why = _why(log, request, loss)
            ask_again(log, request, why, None, cause=cause, actor=SYSTEM_ACTOR,
                      asker=asked_after(policy, request.rule, loss))  # fmt: skip
            is_any = True
    return is_any


def _cleared_at(log: Log, cleared: list[Request]) -> dict[str, datetime]:
    """Give when each was cleared: by policy when it was opened, by people with the first approval that counts."""
    at = {request.request_id: request.opened_at for request in cleared}
    approved = [request.request_id for request in cleared if request.state == "approved"]
    for decision in reversed(decisions_on(log.connection, approved)):
        if decision.counts:
            at[decision.request_id] = decision.decided_at
    return at


def _is_older(request: Request, at: datetime, loss: Request) -> bool:
    """Tell whether a clearance given at this moment was given without the loss in sight.

    Equal times are one transaction. There an approval comes after what ran out meanwhile, which whoever approves was
    shown as open; what policy allowed was judged together with what it refused.
    """
    if loss.finished_at is None:
        return False
    return at < loss.finished_at or (at == loss.finished_at and request.state == "approved")


def _asked_for_rejection(log: Log, cleared: list[Request]) -> set[str]:
    ids = [request.request_id for request in cleared]
    rows = audit.details_of(log.connection, "asked_again", ids)
    return {request_id for request_id, details in rows if details.get("cause") == _REJECTION}


def _why(log: Log, request: Request, loss: Request) -> tuple[str, str]:
    """Give cause and reason. Not the words of who rejected: they may be personal, and are erased with their request."""
    call = f"call {loss.position + 1}"
    match loss.state:
        case "rejected":
            made = decisions_on(log.connection, [loss.request_id])
            by = next((line(one.decided_by) for one in reversed(made) if one.decision == "reject"), "somebody")
            return _REJECTION, f"After this was {request.state}, {by} rejected a part of its plan: {call}."
        case "expired":
            earlier = "An earlier" if loss.position < request.position else "A later"
            return "expiry", f"{earlier} call of this plan expired, so the plan is not what was {request.state}."
        case _:
            return "failure", "An earlier call of this plan was not carried out."


def after_no(log: Log, policy: Policy, verdict: Verdict, turn: Turn) -> Verdict:
    """Give the verdict on a request of `turn` that nobody has been asked about: `allow` holds while nobody said no.

    After a rejection the default approvers are asked instead; so they are after a request that nobody cleared in time.
    """
    if verdict.word != "allow":
        return verdict
    no = first_no(log.connection, turn)
    return verdict if no is None else asked_after(policy, verdict.rule, no)


def asked_after(policy: Policy, rule: str, loss: Request) -> Verdict:
    """Ask the default approvers about what `rule` allowed, since `loss` of its turn did not happen."""
    why = {
        "rejected": "a part of this turn was rejected",
        "expired": "a part of this turn was not cleared in time",
    }.get(loss.state, "a part of this plan was not carried out")
    return replace(policy.default, rule=f"{why}, so policy alone does not allow it; it would by: {rule}")
