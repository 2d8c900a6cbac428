"""Requests as lines of a list: what the approvals API and the pages say of each is read here once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from clearance.actions.action import Actions, Argument
from clearance.actions.review import Concern, Review, Words
from clearance.desk import comparison
from clearance.gate import twins
from clearance.gate.records import taken_away
from clearance.journal.attempts import Attempt, attempts_on_all
from clearance.journal.decisions import Decision, decisions_on
from clearance.journal.receipts import Receipt, receipts_of
from clearance.journal.requests import InPlan, Request, places_of_plans
from clearance.text.rendering import line

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
    plan: Sequence[InPlan | Request]
    made: Sequence[Decision]
    receipt: Receipt | None
    #: The worst of what is out of the ordinary with it.
    remark: Concern | None
    #: Somebody else, whose name looks like that of whoever asked.
    namesake: str | None
    #: Its last start, while it is in flight elsewhere; None otherwise.
    attempt: Attempt | None = None

    @property
    def given(self) -> list[str]:
        """Who approved it, as far as it counts."""
        return [one.decided_by for one in self.made if one.counts]

    def unsaid(self, said: Words) -> str:
        """Give what of the arguments these words do not say: "Memo: gift for the CFO", each cut."""
        left = comparison.unsaid(self.called, said)
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
    plans: dict[str, list[InPlan]] = {}
    for place in places_of_plans(connection, sorted({one.plan_id for one in requests})):
        plans.setdefault(place.plan_id, []).append(place)
    made: dict[str, list[Decision]] = {}
    for decision in decisions_on(connection, ids):
        made.setdefault(decision.request_id, []).append(decision)
    receipts, same = receipts_of(connection, ids), twins.read_twins(connection, requests, now)
    flying = twins.read_flying(connection, requests)
    flights = [one.request_id for one in requests if one.is_in_flight]
    attempts = {one.request_id: one for one in attempts_on_all(connection, flights)}  # the last of each stays
    listed = []
    for one in requests:
        asked = comparison.as_asked(actions, one)
        review = asked.review
        known = twins.concerns(one, same.get(one.request_id, []), now, flying.get(one.request_id))
        # What could be read once is read once: that is most of what a list takes.
        gone = taken_away(actions, one) if one.is_open and asked.action is None else None
        found = sorted([*([gone] if gone else []), *known, *review.concerns], key=lambda concern: not concern.is_bad)
        listed.append(
            Listed(
                request=one,
                review=review,
                called=comparison.arguments(actions, one, asked.action),
                plan=plans.get(one.plan_id, [one]),
                made=made.get(one.request_id, []),
                receipt=receipts.get(one.request_id),
                remark=next(iter(found), None),
                namesake=alike.get(one.requested_by),
                attempt=attempts.get(one.request_id),
            )
        )
    return listed
