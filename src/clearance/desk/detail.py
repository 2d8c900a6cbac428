"""One request with all that the journal tells of it, as its page shows it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from clearance.db.types import from_text
from clearance.gate.decision import Refusal
from clearance.gate.gate import Gate
from clearance.gate.question import Question
from clearance.gate.testimony import not_a_witness, roles_of_witnesses, too_early
from clearance.journal import audit
from clearance.journal.attempts import Attempt, attempts_on
from clearance.journal.plans import Plan, plans_of_turns
from clearance.journal.receipts import Receipt, receipts_of
from clearance.journal.requests import Request, SameCall, requests_of_plans
from clearance.journal.switch import Switch, read_switch
from clearance.journal.turns import Turn, turns_of
from clearance.journal.witness import disagreements
from clearance.principal import Principal

#: So many turns of a thread are read with a request.
MOST_TURNS = 20


@dataclass(frozen=True)
class Witness:
    """Whether the viewer may say what became of an unknown request."""

    #: Why not; None where they may.
    refusal: Refusal | None
    #: Why they may not say yet that it did not happen; None where they may.
    too_early: Refusal | None
    #: Of which somebody holds all who may.
    roles: list[str]


@dataclass(frozen=True)
class Contradiction:
    """Something that came to be known after a receipt was written, and says otherwise."""

    at: datetime
    #: What is known now, executed or failed; and the outcome that the receipt tells. Executed both: it was done twice.
    says: str
    receipt: str


def _contradiction(row: dict[str, Any]) -> Contradiction:
    details = json.loads(row["details"])
    return Contradiction(from_text(row["at"]), details["says"], details["told"])


@dataclass(frozen=True)
class Detail:
    """One request with all that the journal tells of it."""

    question: Question
    receipt: Receipt | None
    #: Receipts of all the requests of `turns`, by request.
    receipts: dict[str, Receipt]
    #: The requests of its turn, in order, its own plan's among them.
    of_turn: list[Request]
    #: Audit rows about it, oldest first, details as JSON text.
    events: list[dict[str, Any]]
    #: The last turns of its place in its thread, and of the graphs around it, up to its own, oldest first.
    turns: list[Turn]
    #: What the model said in each of them, in order, by turn.
    plans: dict[str, list[Plan]]
    switch: Switch
    #: What of it, its turn, `turns` and its twins is not as the audit log tells, its own turn's first; nothing when
    #: all is.
    disagreements: list[str]
    #: Starts of it, first one first; none of a local action.
    attempts: list[Attempt]
    #: None unless nobody knows what became of it.
    witness: Witness | None

    @property
    def attempt(self) -> Attempt | None:
        """Its last start."""
        return self.attempts[-1] if self.attempts else None

    @property
    def contradictions(self) -> list[Contradiction]:
        """What its action said after its receipt was written, and otherwise; oldest first."""
        return [_contradiction(row) for row in self.events if row["event"] == "contradicted"]

    @property
    def request(self) -> Request:
        """The request itself."""
        return self.question.request


def read_detail(connection: Connection, gate: Gate, viewer: Principal, question: Question) -> Detail:
    """Read what stands around a question that `viewer` may see."""
    own = question.turn
    before = [
        turn
        for turn in turns_of(connection, own.thread_id)
        if turn.number <= own.number and (turn.place == own.place or own.is_within(turn))
    ]
    turns = before[-MOST_TURNS:]
    plans: dict[str, list[Plan]] = {}
    for plan in plans_of_turns(connection, [turn.turn_id for turn in turns]):
        plans.setdefault(plan.turn_id, []).append(plan)
    every = requests_of_plans(connection, [one.plan_id for of in plans.values() for one in of])
    receipts = receipts_of(connection, [one.request_id for one in every])
    request_id = question.request.request_id
    attempts = attempts_on(connection, request_id)
    return Detail(
        question=question,
        receipt=receipts.get(request_id),
        receipts=receipts,
        of_turn=[one for one in every if one.turn_id == own.turn_id],
        events=audit.rows_about(connection, request_id),
        turns=turns,
        plans=plans,
        switch=read_switch(connection),
        disagreements=_disagreements(connection, gate, question, turns),
        attempts=attempts,
        witness=_witness(gate, viewer, question, attempts),
    )


def _witness(gate: Gate, viewer: Principal, question: Question, attempts: Sequence[Attempt]) -> Witness | None:
    request, policy = question.request, gate.judge.policy
    if request.state != "unknown":
        return None
    refusal = not_a_witness(policy, request, question.decisions, viewer)
    early = too_early(attempts[-1], gate.records.clock())
    return Witness(refusal, early, roles_of_witnesses(policy, request))


def _disagreements(connection: Connection, gate: Gate, question: Question, turns: Sequence[Turn]) -> list[str]:
    """Say what of all that is shown with a request is not as the log tells, of its own turn first."""
    keys, actions = gate.keys, gate.judge.actions
    shown: list[Turn | Request | SameCall] = [*turns, *question.twins]
    beside = [one for one in shown if one.turn_id != question.turn.turn_id]
    return [
        *disagreements(connection, keys, [question.turn], actions),
        *(f"{text}, which is shown beside it" for text in disagreements(connection, keys, beside, actions)),
    ]
