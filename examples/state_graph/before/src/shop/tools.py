"""What the agent can do."""

from langchain_core.tools import tool

from shop import orders


@tool
def get_order(order_id: str) -> str:
    """Give one order by id, for example O-1001."""
    with orders.engine.connect() as connection:
        return orders.describe(connection, order_id)


@tool
def refund_order(order_id: str) -> str:
    """Refund an order by id, for example O-1001: all of it."""
    with orders.engine.begin() as connection:
        return orders.refund(connection, order_id)
