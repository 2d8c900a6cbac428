"""Requests may be in flight: an action whose effect is elsewhere was started and has no outcome yet, see `attempts`."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "0015"
down_revision = "0013"

_BEFORE = (
    "state IN ('asked', 'approved', 'allowed', 'executed', 'failed', 'refused', 'rejected', 'withdrawn', 'expired')"
)
_AFTER = _BEFORE.replace("'allowed', ", "'allowed', 'executing', 'unknown', ")
_IN_FLIGHT = sa.text("state IN ('executing', 'unknown')")


def upgrade() -> None:
    _allow_in_flight()
    op.add_column("requests", sa.Column("business_key", sa.Text(), nullable=True))
    op.create_index(
        "uq_requests_in_flight",
        "requests",
        ["business_key"],
        unique=True,
        sqlite_where=_IN_FLIGHT,
        postgresql_where=_IN_FLIGHT,
    )
    op.create_table(
        "attempts",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("cleared_as", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("late_at", UtcTime(), nullable=False),
        sa.Column("absent_at", UtcTime(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("last_look", sa.Text(), nullable=True),
        sa.Column("next_look_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("told_at", UtcTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "state IN ('executing', 'unknown', 'executed', 'failed', 'released')", name=op.f("ck_attempts_state")
        ),
        sa.CheckConstraint("cleared_as IN ('approved', 'allowed')", name=op.f("ck_attempts_cleared_as")),
        sa.CheckConstraint("(state IN ('executing', 'unknown')) = (ended_at IS NULL)", name=op.f("ck_attempts_ended")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_attempts_request_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("request_id", "number", name=op.f("uq_attempts_request_id_number")),
    )
    op.create_index(
        "uq_attempts_in_flight",
        "attempts",
        ["request_id"],
        unique=True,
        sqlite_where=_IN_FLIGHT,
        postgresql_where=_IN_FLIGHT,
    )


def _allow_in_flight() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint("ck_requests_state", "requests")
        op.create_check_constraint(op.f("ck_requests_state"), "requests", _AFTER)
        return
    # SQLite changes no constraint of a table, and rebuilding this one would break what refers to it. Of a constraint
    # that only becomes wider its documentation (ALTER TABLE, "Making Other Kinds Of Table Schema Changes") allows this.
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?)"
        " WHERE type = 'table' AND name = 'requests' AND instr(sql, ?)",
        (_BEFORE, _AFTER, _BEFORE),
    )
    assert changed.rowcount == 1, "the table requests is not as migrations made it"
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
