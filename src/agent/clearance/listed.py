"""Requests as lines of a list: what the approvals API and the pages say of each is read here once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from agent.clearance import journal, reviewing, twins
from agent.clearance.action import Actions, Argument
from agent.clearance.journal import Decision, Receipt, Request
from agent.clearance.rendering import line
from agent.clearance.review import Concern, Review, Words

#: Arguments that are said beside a line, and characters of each.
_ARGUMENTS, _ARGUMENT = 3, 60


@dataclass(frozen=True)
class Listed:
    """A request and what stands around it."""

    request: Request
    #: As it was asked.
    review: Review
    called: Sequence[Argument]
    #: All requests of its plan in order.
    plan: Sequence[Request]
    made: Sequence[Decision]
    receipt: Receipt | None
    #: The worst of what is out of the ordinary with it.
    remark: Concern | None
    #: Somebody else, whose name looks like that of whoever asked.
    namesake: str | None

    @property
    def given(self) -> list[str]:
        """Who approved it, as far as it counts."""
        return [one.decided_by for one in self.made if one.counts]

    def unsaid(self, said: Words) -> str:
        """Give what of the arguments these words do not say: "Memo: gift for the CFO", each cut."""
        left = reviewing.unsaid(self.called, said)
        said = [f"{one.label}: {line(one.text, _ARGUMENT)}" for one in left[:_ARGUMENTS]]
        more = len(left) - len(said)
        return "; ".join([*said, *([f"{more} more"] if more > 0 else [])])

    @property
    def not_done(self) -> str:
        """What its receipt says of one that ended without its effect; empty while it is open, and when it was done."""
        if self.receipt is None or self.receipt.outcome == "executed":
            return ""
        return self.receipt.sentence or ""


def read_listed(
    connection: Connection, actions: Actions, requests: Sequence[Request], alike: dict[str, str], now: datetime
) -> list[Listed]:
    """Read what stands around these requests; `alike` names who looks like whom."""
    ids = [one.request_id for one in requests]
    plans: dict[str, list[Request]] = {}
    for one in journal.requests_of_plans(connection, sorted({one.plan_id for one in requests})):
        plans.setdefault(one.plan_id, []).append(one)
    made: dict[str, list[Decision]] = {}
    for decision in journal.decisions_on(connection, ids):
        made.setdefault(decision.request_id, []).append(decision)
    receipts, same = journal.receipts_of(connection, ids), twins.read_twins(connection, requests, now)
    listed = []
    for one in requests:
        review = reviewing.as_asked(actions, one).review
        known = twins.concerns(one, same.get(one.request_id, []), now)
        gone = reviewing.taken_away(actions, one) if one.is_open else None
        found = sorted([*([gone] if gone else []), *known, *review.concerns], key=lambda concern: not concern.is_bad)
        listed.append(
            Listed(
                request=one,
                review=review,
                called=reviewing.arguments(actions, one),
                plan=plans.get(one.plan_id, [one]),
                made=made.get(one.request_id, []),
                receipt=receipts.get(one.request_id),
                remark=next(iter(found), None),
                namesake=alike.get(one.requested_by),
            )
        )
    return listed
