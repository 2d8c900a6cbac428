"""Questions as they were put, refusals before the gate and their totals, the outbox of notifications."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "refusal_totals",
        sa.Column("minute", UtcTime(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("chained", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("chained <= count", name=op.f("ck_refusal_totals_chained")),
        sa.PrimaryKeyConstraint("minute", "person", "cause", name=op.f("pk_refusal_totals")),
    )
    op.create_index(
        "ix_refusal_totals_unchained",
        "refusal_totals",
        ["minute"],
        unique=False,
        sqlite_where=sa.text("chained < count"),
        postgresql_where=sa.text("chained < count"),
    )
    op.create_table(
        "refusals",
        sa.Column(
            "refusal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("refusal_id", name=op.f("pk_refusals")),
    )
    op.create_index("ix_refusals_person", "refusals", ["person", "refusal_id"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("next_at", UtcTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered_at", UtcTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("delivered_at IS NULL OR next_at IS NULL", name=op.f("ck_notifications_over")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_notifications_request_id")),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "ix_notifications_next",
        "notifications",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "questions",
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("interrupt_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=True),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_questions_request_id")),
        sa.PrimaryKeyConstraint("thread_id", "interrupt_id", name=op.f("pk_questions")),
    )
    op.create_index("ix_questions_request", "questions", ["request_id"], unique=False)
    op.create_index("ix_questions_thread", "questions", ["thread_id", "asked_ms"], unique=False)
