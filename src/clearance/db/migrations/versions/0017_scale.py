"""What is read at each look stays as quick when the journal grows: an index for each way it is read."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_OPEN = "state IN ('asked', 'approved', 'allowed')"


def upgrade() -> None:
    _of_open("ix_requests_open_opened", ["opened_at", "state"], _OPEN)
    _of_open("ix_requests_open_begun", ["expires_at", "request_id"], f"{_OPEN} AND (state <> 'asked' OR approvals > 1)")
    op.create_index("ix_requests_opened", "requests", ["opened_at", "action", "verdict"], unique=False)
    op.create_index("ix_decisions_decided", "decisions", ["decided_at"], unique=False)
    op.create_index("ix_erasures_request", "erasures", ["request_id"], unique=False)


def _of_open(name: str, columns: list[str], only: str) -> None:
    where = sa.text(only)
    op.create_index(name, "requests", columns, unique=False, sqlite_where=where, postgresql_where=where)
