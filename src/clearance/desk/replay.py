"""Another policy over the recorded requests: what it would have asked, let through and refused instead.

Each request is judged on the arguments and facts that stand in the journal. Nothing is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection

from clearance.actions.action import ActionError, Actions, read_action
from clearance.db.tables import decisions, requests
from clearance.gate.judging import requester_of
from clearance.gate.losses import asked_after
from clearance.gate.policy import Policy, Verdict
from clearance.journal.requests import Request, first_no
from clearance.journal.turns import read_turn

_CHUNK = 500


@dataclass(frozen=True)
class Replayed:
    """One recorded request under the other policy."""

    request: Request
    #: None when it cannot be judged: erased, or of an action or facts that the program has no more.
    verdict: Verdict | None
    #: What people answered: `changed` when anybody rejected or edited it, `approved`, or None when nobody decided.
    answered: Literal["approved", "changed"] | None

    @property
    def is_lost(self) -> bool:
        """Tell whether people stopped or changed what the other policy would have let through unasked."""
        return self.answered == "changed" and self.verdict is not None and self.verdict.word == "allow"

    @property
    def is_spared(self) -> bool:
        """Tell whether people only approved what the other policy would not have asked."""
        return self.answered == "approved" and self.verdict is not None and self.verdict.word == "allow"

    @property
    def is_other(self) -> bool:
        """Tell whether the other policy says something else: another verdict, other people, or more of them."""
        was = self.request
        if self.verdict is None:
            return False
        asks = [self.verdict.approvers] if self.verdict.approvers else None
        return (was.verdict, was.approvers, was.approvals) != (self.verdict.word, asks, self.verdict.approvals)


def replay(connection: Connection, policy: Policy, actions: Actions) -> Iterator[Replayed]:
    """Judge every recorded request under `policy`, oldest first, a chunk at a time."""
    last = 0
    while True:
        query = sa.select(requests).where(requests.c.number > last).order_by(requests.c.number).limit(_CHUNK)
        chunk = [Request(*row) for row in connection.execute(query)]
        if not chunk:
            return
        answers = _answers(connection, [request.request_id for request in chunk])
        for request in chunk:
            yield Replayed(request, _judged(connection, policy, actions, request), answers.get(request.request_id))
        last = chunk[-1].number


def _answers(connection: Connection, ids: list[str]) -> dict[str, Literal["approved", "changed"]]:
    query = sa.select(decisions.c.request_id, decisions.c.decision).where(decisions.c.request_id.in_(ids))
    answers: dict[str, Literal["approved", "changed"]] = {}
    for request_id, word in connection.execute(query):
        if word != "approve":
            answers[request_id] = "changed"
        else:
            answers.setdefault(request_id, "approved")
    return answers


def _judged(connection: Connection, policy: Policy, actions: Actions, request: Request) -> Verdict | None:
    cls = actions.get(request.action)
    turn = read_turn(connection, request.turn_id)
    if cls is None or turn is None or request.arguments is None or request.facts is None:
        return None
    try:
        action = read_action(cls, request.arguments)
        facts = cls.facts_type().model_validate(request.facts)
    except (ActionError, ValidationError):
        return None
    verdict = policy.judge(action, facts, requester_of(turn))
    no = first_no(connection, turn) if verdict.word == "allow" else None
    if no is None or request.request_id == no.request_id or _was_before(request, no):
        return verdict
    return asked_after(policy, verdict.rule, no)  # no policy allows alone what is left of a turn after a no


def _was_before(request: Request, no: Request) -> bool:
    return request.finished_at is not None and no.finished_at is not None and request.finished_at < no.finished_at
