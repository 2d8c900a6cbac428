"""Each turn tells the place in its thread where it runs, and an open one is the only one there."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("turns", sa.Column("place", sa.Text(), nullable=False, server_default=""))
    op.add_column("turns", sa.Column("checkpoint_id", sa.Text(), nullable=True))
    op.drop_index("uq_turns_open", "turns")
    op.create_index(
        "uq_turns_open",
        "turns",
        ["thread_id", "place"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
