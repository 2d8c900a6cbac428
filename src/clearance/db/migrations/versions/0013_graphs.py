"""Each turn tells the graph of the server that it runs in: several graphs share one journal."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("turns", sa.Column("graph_id", sa.Text(), nullable=True))
