"""An index of what is cleared and not carried out: each effect counts it, and read all that is open for it."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    only = sa.text("state IN ('approved', 'allowed')")
    op.create_index("ix_requests_cleared", "requests", ["action", "number"], unique=False, sqlite_where=only,
                    postgresql_where=only)  # fmt: skip
