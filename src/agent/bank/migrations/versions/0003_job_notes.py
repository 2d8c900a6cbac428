"""How far long jobs are, so that they go on after a kill."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "bank_0003"
down_revision = "bank_0002"


def upgrade() -> None:
    op.create_table(
        "job_notes",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("noted_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_notes")),
    )
