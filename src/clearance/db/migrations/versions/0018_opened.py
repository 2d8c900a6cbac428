"""The index of statistics is used by statistics alone: SQLite took it for lists that are in the order of opening."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.drop_index("ix_requests_opened", "requests")
    every = sa.text("verdict IN ('allow', 'ask', 'deny')")
    op.create_index("ix_requests_opened", "requests", ["opened_at", "action", "verdict"], unique=False,
                    sqlite_where=every, postgresql_where=every)  # fmt: skip
