"""Look-ups: what the model may read by itself. They run at once, in parallel, and change nothing."""

import sqlalchemy as sa

from clearance import ActionError, lookup
from support.app import clearance
from support.tables import buyers, orders, tickets


@lookup
async def find_order(order_id: str) -> str:
    """Give one order by id: who ordered what, what was paid and what went back. Example: order_id "O-1001"."""

    def read(connection: sa.Connection) -> str:
        found = connection.execute(
            sa.select(orders, buyers.c.name).join(buyers).where(orders.c.order_id == order_id)
        ).one_or_none()
        if found is None:
            raise ActionError(f"There is no order {order_id}.")
        order = f"{order_id}: {found.what} for {found.name!r} ({found.buyer_id})"
        return f"{order}, {found.paid} cents paid, {found.refunded} back"

    return await clearance.read(read)


@lookup
async def list_tickets() -> str:
    """List the open tickets, with their ids and buyers."""

    def read(connection: sa.Connection) -> str:
        is_open = sa.select(tickets).where(tickets.c.status == "open").order_by(tickets.c.ticket_id).limit(50)
        lines = [f"- {one.ticket_id} of {one.buyer_id}: {one.subject!r}" for one in connection.execute(is_open)]
        return "\n".join([f"{len(lines)} open tickets:", *lines])

    return await clearance.read(read)
