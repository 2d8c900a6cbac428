"""What the gate tells in a thread is kept, so that nobody else can say it in its name."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "message_id", name="pk_notices"),
    )
