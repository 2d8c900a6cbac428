"""Indexes of the few among what is open: what is cleared, which each effect counts, and turns of nested agents."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    only = sa.text("state IN ('approved', 'allowed')")
    op.create_index("ix_requests_cleared", "requests", ["action", "number"], unique=False, sqlite_where=only,
                    postgresql_where=only)  # fmt: skip
    nested = sa.text("state = 'open' AND place <> ''")
    op.create_index("ix_turns_nested", "turns", ["opened_at"], unique=False, sqlite_where=nested,
                    postgresql_where=nested)  # fmt: skip
