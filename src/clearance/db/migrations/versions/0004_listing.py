"""Requests can be listed: by what they need, and by when they ended."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "0004"
down_revision = "0003"

_NEEDS = {
    "sqlite": "(SELECT group_concat(value, ' ') FROM json_each(approvers))",
    "postgresql": "(SELECT string_agg(value, ' ') FROM json_array_elements_text(approvers))",
}


def upgrade() -> None:
    op.add_column("requests", sa.Column("needs", sa.Text(), server_default="", nullable=False))
    op.add_column("requests", sa.Column("finished_at", UtcTime(), nullable=True))
    needs = _NEEDS[op.get_bind().dialect.name]
    op.execute(f"UPDATE requests SET needs = {needs} WHERE approvers IS NOT NULL")
    op.execute(
        "UPDATE requests SET finished_at ="
        " (SELECT finished_at FROM receipts WHERE receipts.request_id = requests.request_id)"
    )
    op.create_index(
        "ix_requests_decided",
        "requests",
        ["finished_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_decided_action",
        "requests",
        ["action", "finished_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_decided_requested_by",
        "requests",
        ["requested_by", "finished_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_decided_risk",
        "requests",
        ["risk", "finished_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_open_action",
        "requests",
        ["action", "expires_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
        postgresql_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
    )
    op.create_index(
        "ix_requests_open_needs",
        "requests",
        ["needs", "expires_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
        postgresql_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
    )
    op.create_index(
        "ix_requests_open_requested_by",
        "requests",
        ["requested_by", "expires_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
        postgresql_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
    )
    op.create_index(
        "ix_requests_open_risk",
        "requests",
        ["risk", "expires_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
        postgresql_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
    )
