"""What has an effect at the desk: money that goes back, and tickets that are closed with an answer."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field

from clearance import Action, ActionError, Change, Concern, Effect, Facts, Material, Reading, Review, Shown, Volatile
from clearance.actions import Id, Name
from support.tables import buyers, orders, refunds, tickets


def euros(cents: int) -> str:
    """Write cents for people: 1250 is 12.50 EUR."""
    return f"{cents // 100:,}.{cents % 100:02} EUR"


Cents = Annotated[int, Shown(euros)]


class RefundFacts(Facts):
    """What is true about a refund, and what the policy may test."""

    buyer: Material[str] = Field(title="Buyer")
    buyer_id: Material[str] = Field(title="Buyer's id")
    what: Material[str] = Field(title="Ordered")
    paid: Material[Cents] = Field(title="Paid")
    refunded: Volatile[Cents] = Field(title="Went back so far")
    buyer_refunds_24h: Volatile[Cents] = Field(
        title="Back to this buyer in 24 h", description="with what is asked or cleared before this and not done yet"
    )


class RefundOrder(Action[RefundFacts]):
    """Give a buyer money back for an order.

    Use it when somebody asks to refund an order whose id is known; find_order shows what was paid. Example: order_id
    "O-1001", amount 500, which is 5.00 EUR. It may wait until a lead has approved it; the result says what happened.
    """

    order_id: str = Field(max_length=40, description="for example O-1001")
    amount: Cents = Field(gt=0, le=10**9, description="in cents, for example 500")

    def facts(self, reading: Reading) -> RefundFacts:
        order = self._order(reading.connection)
        # What waits counts as if it were done: else two at once slip under a limit that each keeps.
        earlier = [RefundOrder.model_validate(one.arguments) for one in reading.earlier(RefundOrder)]
        theirs = sa.select(orders.c.order_id).where(orders.c.buyer_id == order.buyer_id)
        ids = set(reading.connection.execute(theirs).scalars())
        since = reading.now - timedelta(hours=24)
        done = sa.select(sa.func.coalesce(sa.func.sum(refunds.c.amount), 0)).where(
            refunds.c.order_id.in_(theirs), refunds.c.made_at > since
        )
        return RefundFacts(
            buyer=order.name or "(erased)",
            buyer_id=order.buyer_id,
            what=order.what,
            paid=order.paid,
            refunded=order.refunded,
            buyer_refunds_24h=int(reading.connection.execute(done).scalar_one())
            + sum(one.amount for one in earlier if one.order_id in ids),
        )

    def perform(self, effect: Effect) -> str:
        self._order(effect.connection)
        back = orders.update().where(orders.c.order_id == self.order_id)
        effect.connection.execute(back.values(refunded=orders.c.refunded + self.amount))
        row = {"order_id": self.order_id, "amount": self.amount, "made_at": effect.now}
        effect.connection.execute(refunds.insert().values(request_id=effect.request_id, **row))
        return f"{euros(self.amount)} went back for {self.order_id}."

    @classmethod
    def traces(cls, connection: sa.Connection, request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        found = connection.execute(sa.select(refunds).where(refunds.c.request_id.in_(request_ids)))
        return {one.request_id: [{"order_id": one.order_id, "amount": one.amount}] for one in found}

    def sentence(self, facts: RefundFacts) -> str:
        return f"Refund {euros(self.amount)} of {self.order_id} ({facts.what}) to {facts.buyer} ({facts.buyer_id})"

    def subjects(self, facts: RefundFacts) -> list[str]:
        return [f"buyer:{facts.buyer_id}"]

    def narrows(self, original: Action[Any]) -> bool:
        is_same = isinstance(original, RefundOrder) and self.order_id == original.order_id
        return is_same and self.amount < original.amount

    def review(self, facts: RefundFacts) -> Review:
        after = facts.refunded + self.amount
        concerns = []
        if after == facts.paid:
            concerns.append(Concern(("All of what was paid goes back.",)))
        if facts.buyer_refunds_24h:
            concerns.append(Concern((f"{euros(facts.buyer_refunds_24h)} went or goes back to this buyer in 24 h",)))
        return Review(
            verb="Refund",
            past="Refunded",
            what=(euros(self.amount),),
            who=("of", Id(self.order_id), "to", Name(facts.buyer)),
            line=("for", Id(self.order_id), Name(facts.what)),
            below=("to", Name(facts.buyer)),
            amount=euros(self.amount),
            changes=[
                Change(("Went back for", Id(self.order_id)), euros(facts.refunded), euros(after), fact="refunded")
            ],
            concerns=concerns,
            said=frozenset({"refunded"}),
            confirm=euros(self.amount),
            confirm_is="the amount",
        )

    def _order(self, connection: sa.Connection) -> Any:
        query = sa.select(orders, buyers.c.name).join(buyers).where(orders.c.order_id == self.order_id)
        order = connection.execute(query).one_or_none()
        if order is None:
            raise ActionError(f"There is no order {self.order_id}.")
        if order.refunded + self.amount > order.paid:
            raise ActionError(f"Of {self.order_id} {euros(order.paid - order.refunded)} are left to refund.")
        return order


class TicketFacts(Facts):
    """What is true about a ticket."""

    buyer: Material[str] = Field(title="Buyer")
    buyer_id: Material[str] = Field(title="Buyer's id")
    subject: Material[str] = Field(title="Subject")


class CloseTicket(Action[TicketFacts]):
    """Close a ticket, with an answer to its buyer or without one.

    Use it when a ticket is solved. Example: ticket_id "T-7", answer "A new lamp is on its way.". The answer is sent
    word for word, so it may wait until a lead has approved it.
    """

    ticket_id: str = Field(max_length=40, description="for example T-7")
    answer: str = Field(default="", max_length=2_000, description="what the buyer reads; empty for no answer")

    def facts(self, reading: Reading) -> TicketFacts:
        ticket = self._ticket(reading.connection)
        return TicketFacts(buyer=ticket.name or "(erased)", buyer_id=ticket.buyer_id, subject=ticket.subject)

    def perform(self, effect: Effect) -> str:
        self._ticket(effect.connection)
        closing = tickets.update().where(tickets.c.ticket_id == self.ticket_id)
        effect.connection.execute(closing.values(status="closed", answer=self.answer or None))
        return f"Closed {self.ticket_id}{' with an answer' if self.answer else ''}."

    def sentence(self, facts: TicketFacts) -> str:
        return f"Close {self.ticket_id} of {facts.buyer} ({facts.buyer_id})"

    def subjects(self, facts: TicketFacts) -> list[str]:
        return [f"buyer:{facts.buyer_id}"]

    def review(self, facts: TicketFacts) -> Review:
        return Review(
            verb="Close",
            past="Closed",
            what=(Id(self.ticket_id),),
            who=("of", Name(facts.buyer)),
            line=("ticket", Id(self.ticket_id)),
            below=("of", Name(facts.buyer)),
            changes=[Change(("Ticket", Id(self.ticket_id)), "open", "closed")],
            confirm=self.ticket_id,
            confirm_is="the ticket",
        )

    def _ticket(self, connection: sa.Connection) -> Any:
        query = sa.select(tickets, buyers.c.name).join(buyers).where(tickets.c.ticket_id == self.ticket_id)
        ticket = connection.execute(query).one_or_none()
        if ticket is None:
            raise ActionError(f"There is no ticket {self.ticket_id}.")
        if ticket.status == "closed":
            raise ActionError(f"{self.ticket_id} is closed already.")
        return ticket
