"""The audit log binds the rows that people read: each row counts its versions, turns have salts, the head its key."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0012"

_BOUND = ("turns", "plans", "requests", "decisions", "receipts", "questions", "erasures", "refusal_totals")


def upgrade() -> None:
    for table in _BOUND:
        op.add_column(table, sa.Column("version", sa.Integer(), nullable=True))
    for table in ("turns", "refusal_totals"):
        op.add_column(table, sa.Column("salt", sa.Text(), nullable=True))
    op.add_column("audit_head", sa.Column("key_id", sa.Text(), nullable=True))
    op.add_column("audit_head", sa.Column("bound_from", sa.BigInteger(), nullable=True))
    # A log that is empty binds from its first row; another says, in its next row, that it begins there.
    op.execute("UPDATE audit_head SET bound_from = 1 WHERE seq = 0")
    op.create_index("ix_audit_turn", "audit", ["turn_id", "seq"], unique=False)
    op.create_index("ix_questions_interrupt", "questions", ["interrupt_id"], unique=False)
