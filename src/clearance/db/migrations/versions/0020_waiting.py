"""What waits for somebody is counted along its index alone, without a look at the rows."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.drop_index("ix_requests_open_needs", "requests")
    only = sa.text("state IN ('asked', 'approved', 'allowed')")
    op.create_index("ix_requests_open_needs", "requests", ["needs", "expires_at", "request_id", "state",
                    "requested_by", "approvals", "revision"], unique=False, sqlite_where=only,
                    postgresql_where=only)  # fmt: skip
