"""The shop's orders, in a database of its own. `python -m shop.orders` makes it."""

import sqlalchemy as sa

engine = sa.create_engine("sqlite:///shop.db")
orders = sa.Table(
    "orders",
    sa.MetaData(),
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("cents", sa.Integer, nullable=False),
    sa.Column("refunds", sa.Integer, nullable=False, server_default="0"),
)


def describe(connection: sa.Connection, order_id: str) -> str:
    """Say what was ordered, and how often it was refunded."""
    order = connection.execute(sa.select(orders).where(orders.c.order_id == order_id)).one_or_none()
    if order is None:
        return f"There is no order {order_id}."
    return f"{order_id}: {order.what}, {order.cents} cents, refunded {order.refunds} times"


def refund(connection: sa.Connection, order_id: str) -> str:
    """Refund an order, all of it."""
    refunding = orders.update().where(orders.c.order_id == order_id).values(refunds=orders.c.refunds + 1)
    if not connection.execute(refunding).rowcount:
        return f"There is no order {order_id}."
    return f"Refunded {order_id}."


def make() -> None:
    """Make the database, with two orders."""
    with engine.begin() as connection:
        orders.metadata.create_all(connection)
        rows = [("O-1001", "a lamp", 4900), ("O-1002", "a chair", 12900)]
        named = [dict(zip(("order_id", "what", "cents"), row, strict=True)) for row in rows]
        connection.execute(orders.insert().prefix_with("OR IGNORE"), named)


if __name__ == "__main__":
    make()
