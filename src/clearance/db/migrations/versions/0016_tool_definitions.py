"""Definitions of tools that are not written here: an MCP server's, each that was seen."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "tool_definitions",
        sa.Column("tool_id", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("decided_at", UtcTime(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'accepted', 'replaced')", name=op.f("ck_tool_definitions_state")),
        sa.CheckConstraint("(state = 'waiting') = (decided_by IS NULL)", name=op.f("ck_tool_definitions_decided")),
        sa.PrimaryKeyConstraint("tool_id", name=op.f("pk_tool_definitions")),
        sa.UniqueConstraint("server", "name", "number", name=op.f("uq_tool_definitions_server_name_number")),
    )
    for state in ("accepted", "waiting"):
        only = sa.text(f"state = '{state}'")
        op.create_index(
            f"uq_tool_definitions_{state}",
            "tool_definitions",
            ["server", "name"],
            unique=True,
            sqlite_where=only,
            postgresql_where=only,
        )
