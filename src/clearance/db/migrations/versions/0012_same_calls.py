"""Other requests for exactly the same call are found without reading all of them."""

from alembic import op

revision = "0012"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_requests_digest", "requests", ["digest", "finished_at"], unique=False)
