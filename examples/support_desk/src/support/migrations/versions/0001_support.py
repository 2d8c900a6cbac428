"""Buyers, orders, tickets, refunds."""

import sqlalchemy as sa
from alembic import op

revision = "support_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "buyers",
        sa.Column("buyer_id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text()),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), primary_key=True),
        sa.Column("buyer_id", sa.Text(), sa.ForeignKey("buyers.buyer_id"), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False, server_default="0"),
        sa.CheckConstraint("refunded BETWEEN 0 AND paid", name="ck_orders_refunded"),
    )
    op.create_table(
        "tickets",
        sa.Column("ticket_id", sa.Text(), primary_key=True),
        sa.Column("buyer_id", sa.Text(), sa.ForeignKey("buyers.buyer_id"), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="open"),
        sa.Column("answer", sa.Text()),
        sa.CheckConstraint("status IN ('open', 'closed')", name="ck_tickets_status"),
    )
    op.create_table(
        "refunds",
        sa.Column("request_id", sa.Text(), primary_key=True),
        sa.Column("order_id", sa.Text(), sa.ForeignKey("orders.order_id"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name="ck_refunds_amount"),
    )
