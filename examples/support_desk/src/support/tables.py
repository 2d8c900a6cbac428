"""The desk's tables. Amounts are integer cents; the schema holds that nobody gets back more than was paid."""

import sqlalchemy as sa

metadata = sa.MetaData()

buyers = sa.Table(
    "buyers",
    metadata,
    sa.Column("buyer_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, doc="None when erased"),
)
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("buyer_id", sa.ForeignKey("buyers.buyer_id"), nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("paid", sa.BigInteger, nullable=False),
    sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("refunded BETWEEN 0 AND paid", name="ck_orders_refunded"),
)
tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("ticket_id", sa.Text, primary_key=True),
    sa.Column("buyer_id", sa.ForeignKey("buyers.buyer_id"), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="open"),
    sa.Column("answer", sa.Text),
    sa.CheckConstraint("status IN ('open', 'closed')", name="ck_tickets_status"),
)
refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True, doc="the way back to who asked and who approved"),
    sa.Column("order_id", sa.ForeignKey("orders.order_id"), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("amount > 0", name="ck_refunds_amount"),
)


def fill(connection: sa.Connection) -> None:
    """Put some orders and tickets into empty tables."""
    if connection.execute(sa.select(buyers)).first():
        return
    connection.execute(
        buyers.insert(), [{"buyer_id": "B-1", "name": "Ada Quist"}, {"buyer_id": "B-2", "name": "Bo Lind"}]
    )
    connection.execute(
        orders.insert(),
        [
            {"order_id": "O-1001", "buyer_id": "B-1", "what": "desk lamp", "paid": 4_900},
            {"order_id": "O-1002", "buyer_id": "B-2", "what": "armchair", "paid": 48_000},
            {"order_id": "O-1003", "buyer_id": "B-2", "what": "cushion", "paid": 1_500},
        ],
    )
    connection.execute(
        tickets.insert(),
        [
            {"ticket_id": "T-7", "buyer_id": "B-1", "subject": "The lamp came broken"},
            {"ticket_id": "T-8", "buyer_id": "B-2", "subject": "When does the armchair come?"},
        ],
    )
