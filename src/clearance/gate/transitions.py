"""How a request changes state. Each function writes the row and its audit event in the caller's locked transaction."""

import hashlib
import secrets
from dataclasses import replace
from typing import Any

from clearance.actions.soundness import MOST_SENTENCE
from clearance.actions.stored import stored
from clearance.canonical import canonical, clean
from clearance.db.types import to_text
from clearance.gate.judging import Judged
from clearance.gate.policy import Verdict
from clearance.journal.audit import Log
from clearance.journal.decisions import lapse_approvals
from clearance.journal.erasure import Erased, erase_closed_turn
from clearance.journal.receipts import Receipt, add_receipt
from clearance.journal.requests import Request, change_request, open_requests_of_turn
from clearance.journal.turns import Turn, close_turn

SYSTEM_ACTOR = "system"


def new_salt() -> str:
    """Make the salt of a request's digests in the audit log."""
    return secrets.token_hex(16)


def salted(request: Request, value: Any) -> str | None:
    """Digest `value` for the audit log; without the salt, which erasure takes away, it matches nothing."""
    if request.salt is None:
        return None
    return hashlib.sha256(request.salt.encode() + canonical(value)).hexdigest()


def finish(log: Log, request: Request, outcome: str, sentence: str, *, actor: str, **details: Any) -> Receipt:
    """End a request: receipt, state and audit event of the same name."""
    # Words of an action's error may be anything; refused by the database, the request would end never.
    sentence = str(clean(sentence))
    if len(sentence) > MOST_SENTENCE:
        sentence = f"{sentence[:MOST_SENTENCE]} … [{len(sentence):,} characters]"
    receipt = Receipt(request.request_id, outcome, request.revision, sentence, log.now)
    add_receipt(log.connection, receipt)
    change_request(log.connection, request.request_id, state=outcome, finished_at=log.now)
    note(log, outcome, request, actor, receipt=salted(request, sentence), digest=salted(request, request.digest),
         revision=request.revision, **details)  # fmt: skip
    return receipt


def ask_again(
    log: Log,
    request: Request,
    why: str,
    judged: Judged | None,
    *,
    cause: str,
    actor: str,
    asker: Verdict | None = None,
) -> None:
    """Put a request back to asked under a new revision, with new facts if given; approvals lapse, time starts anew.

    The demand never becomes laxer: roles add up, and the larger number of people counts. `asker` says who is asked
    about one that nobody was asked about yet.
    """
    verdict = judged.verdict if judged else None
    if request.approvers is None and (verdict is None or verdict.word != "ask"):
        verdict = asker
    values: dict[str, Any] = {
        "state": "asked",
        "revision": request.revision + 1,
        "notice": why,
        "asked_ms": None,
        **_demand(request, verdict),
    }
    if judged:
        values |= {"facts": stored(judged.facts), "sentence": judged.sentence}
        values["expires_at"] = log.judged_at + judged.verdict.expires
    else:
        values["expires_at"] = log.judged_at + (request.expires_at - request.opened_at)
    change_request(log.connection, request.request_id, **values)
    lapse_approvals(log.connection, request.request_id, why)
    note(log, "asked_again", request, actor, cause=cause, **asked(replace(request, **values)))


def asked(request: Request) -> dict[str, Any]:
    """Give what the log tells of a request as it is asked, so that its export alone shows what was cleared."""
    return {
        "digest": salted(request, request.digest),
        "revision": request.revision,
        "deadline": to_text(request.expires_at),
        "approvers": request.approvers or [],
        "approvals": request.approvals,
    }


def _demand(request: Request, verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None or verdict.word != "ask":
        return {"verdict": "ask"}
    assert verdict.approvers is not None
    return {
        "verdict": "ask",
        "rule": verdict.rule,
        "risk": max(request.risk, verdict.risk, key=_RISKS.index),
        "approvers": sorted({*(request.approvers or []), verdict.approvers}),
        "approvals": max(request.approvals, verdict.approvals),
    }


_RISKS = ["low", "medium", "high", "critical"]


def expire_due(log: Log, requests: list[Request]) -> bool:
    """Expire what is past its deadline among the open ones of a plan; tell whether anything did."""
    due = [request for request in requests if request.is_open and request.expires_at <= log.judged_at]
    for request in due:
        deadline = f"{request.expires_at:%Y-%m-%d %H:%M} UTC"
        finish(log, request, "expired", f"Not done: it was not cleared in time; the deadline was {deadline}.",
               actor=SYSTEM_ACTOR)  # fmt: skip
    return bool(due)


def withdraw_turn(
    log: Log,
    turn: Turn,
    *,
    actor: str,
    because: str = "a new message came before it was carried out",
    cause: str | None = None,
) -> None:
    """Close a turn that something ended: whatever of it is not carried out is withdrawn, approved or not.

    `cause` is for the audit log, None for a new message.
    """
    details = {} if cause is None else {"cause": cause}
    for request in open_requests_of_turn(log.connection, turn.turn_id):
        finish(log, request, "withdrawn", f"Not done: withdrawn, because {because}.", actor=actor, **details)
    _close_turn(log, turn, "withdrawn", actor=actor)


def answer_turn(log: Log, turn: Turn, *, has_requests: bool) -> None:
    """Close a turn that the model answered. Nothing of it is open then: the model does not speak before."""
    _close_turn(log, turn, "answered", actor=SYSTEM_ACTOR, has_requests=has_requests)


def _close_turn(log: Log, turn: Turn, state: str, *, actor: str, has_requests: bool = True) -> None:
    close_turn(log.connection, turn.turn_id, state, log.now)
    if has_requests:  # the erasures that waited for it
        note_erased(log, erase_closed_turn(log.connection, turn))
    log.append("turn_ended", actor, thread_id=turn.thread_id, turn_id=turn.turn_id, state=state)


def note_erased(log: Log, erased: list[Erased]) -> None:
    """Append an audit event for each request, or turn without one, whose personal columns are gone."""
    for one in erased:
        log.append("erased", SYSTEM_ACTOR, thread_id=one.thread_id, turn_id=one.turn_id, request_id=one.request_id)


def note(log: Log, event: str, request: Request, actor: str, **details: Any) -> None:
    """Append an audit event about a request."""
    log.append(
        event,
        actor,
        thread_id=request.thread_id,
        turn_id=request.turn_id,
        request_id=request.request_id,
        **details,
    )
