"""What the agent can do."""

from clearance import Action, Clearance, Effect, Facts, lookup
from shop import orders


@lookup
def get_order(order_id: str) -> str:
    """Give one order by id, for example O-1001."""
    with orders.engine.connect() as connection:
        return orders.describe(connection, order_id)


class RefundOrder(Action[Facts]):
    """Refund an order by id, for example O-1001: all of it."""

    order_id: str

    def perform(self, effect: Effect) -> str:
        return orders.refund(effect.connection, self.order_id)


clearance = Clearance(actions=[RefundOrder])
