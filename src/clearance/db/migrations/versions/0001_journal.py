"""The journal: turns, plans, requests, decisions, receipts, audit."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("turn_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_request", "audit", ["request_id"], unique=False)
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("frozen_at", UtcTime(), nullable=True),
        sa.Column("frozen_by", sa.Text(), nullable=True),
        sa.Column("frozen_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("frozen = (frozen_by IS NOT NULL)", name=op.f("ck_audit_head_frozen")),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "turns",
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requester_kind", sa.Text(), nullable=False),
        sa.Column("requester_roles", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("messages", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("is_durable", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.Column("closed_at", UtcTime(), nullable=True),
        sa.CheckConstraint("(state = 'open') = (closed_at IS NULL)", name=op.f("ck_turns_closed")),
        sa.CheckConstraint("requester_kind IN ('person', 'local', 'system')", name=op.f("ck_turns_requester_kind")),
        sa.CheckConstraint("state IN ('open', 'answered', 'withdrawn')", name=op.f("ck_turns_state")),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_turns")),
        sa.UniqueConstraint("thread_id", "number", name=op.f("uq_turns_thread_id_number")),
    )
    op.create_index(
        "uq_turns_open",
        "turns",
        ["thread_id"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("message", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("opened", sa.Boolean(), nullable=False),
        sa.Column("stored_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.turn_id"], name=op.f("fk_plans_turn_id")),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plans")),
        sa.UniqueConstraint("thread_id", "message_id", name=op.f("uq_plans_thread_id_message_id")),
        sa.UniqueConstraint("turn_id", "position", name=op.f("uq_plans_turn_id_position")),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("tool_call_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("arguments", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("salt", sa.Text(), nullable=True),
        sa.Column("facts", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("risk", sa.Text(), nullable=False),
        sa.Column("approvers", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=True),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=True),
        sa.Column("refused_answers", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("risk IN ('low', 'medium', 'high', 'critical')", name=op.f("ck_requests_risk")),
        sa.CheckConstraint("state <> 'allowed' OR verdict = 'allow'", name=op.f("ck_requests_allowed_by_policy")),
        sa.CheckConstraint(
            "state IN ('asked', 'approved', 'allowed',"
            " 'executed', 'failed', 'refused', 'rejected', 'withdrawn', 'expired')",
            name=op.f("ck_requests_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('asked', 'approved') OR (approvals >= 1 AND approvers IS NOT NULL)",
            name=op.f("ck_requests_asked_of_whom"),
        ),
        sa.CheckConstraint("verdict IN ('allow', 'ask', 'deny')", name=op.f("ck_requests_verdict")),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_requests_revision")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.plan_id"], name=op.f("fk_requests_plan_id")),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.turn_id"], name=op.f("fk_requests_turn_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
        sa.UniqueConstraint("number", name=op.f("uq_requests_number")),
        sa.UniqueConstraint("plan_id", "position", name=op.f("uq_requests_plan_id_position")),
        sa.UniqueConstraint("plan_id", "tool_call_id", name=op.f("uq_requests_plan_id_tool_call_id")),
    )
    op.create_index(
        "ix_requests_due",
        "requests",
        ["expires_at", "request_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
        postgresql_where=sa.text("state IN ('asked', 'approved', 'allowed')"),
    )
    op.create_index("ix_requests_thread", "requests", ["thread_id", "number"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decider_kind", sa.Text(), nullable=False),
        sa.Column("decider_roles", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("edited", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("lapsed", sa.Text(), nullable=True),
        sa.Column("decided_at", UtcTime(), nullable=False),
        sa.CheckConstraint("NOT counts OR decision IN ('approve', 'edit')", name=op.f("ck_decisions_counts")),
        sa.CheckConstraint("decider_kind IN ('person', 'local')", name=op.f("ck_decisions_decider_kind")),
        sa.CheckConstraint("decision IN ('approve', 'edit', 'reject')", name=op.f("ck_decisions_decision")),
        sa.CheckConstraint("NOT (counts AND lapsed IS NOT NULL)", name=op.f("ck_decisions_lapsed")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_decisions_request_id")),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("request_id", "number", name=op.f("uq_decisions_request_id_number")),
    )
    op.create_index(
        "uq_decisions_one_approval_each",
        "decisions",
        ["request_id", "decided_by"],
        unique=True,
        sqlite_where=sa.text("counts"),
        postgresql_where=sa.text("counts"),
    )
    op.create_table(
        "erasures",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("erased_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_erasures_request_id")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_erasures")),
    )
    op.create_table(
        "receipts",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('executed', 'failed', 'refused', 'rejected', 'withdrawn', 'expired')",
            name=op.f("ck_receipts_outcome"),
        ),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_receipts_request_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_receipts")),
    )
    op.create_table(
        "request_subjects",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_request_subjects_request_id")),
        sa.PrimaryKeyConstraint("request_id", "subject", name=op.f("pk_request_subjects")),
    )
    op.create_index("ix_request_subjects_subject", "request_subjects", ["subject"], unique=False)
    op.execute(
        "INSERT INTO audit_head (id, seq, mac, at, requests, frozen)"
        " VALUES (1, 0, '', '1970-01-01T00:00:00.000000Z', 0, FALSE)"
    )
    _make_append_only("audit", "the audit log is append-only")
    _make_append_only("receipts", "a receipt is final", erasable="sentence")


def _make_append_only(table: str, why: str, erasable: str = "") -> None:
    """Refuse DELETE, and every UPDATE but one that only sets `erasable` to NULL."""
    columns = [row["name"] for row in sa.inspect(op.get_bind()).get_columns(table)]
    kept = [f"NEW.{column} IS NOT DISTINCT FROM OLD.{column}" for column in columns if column != erasable]
    allowed = " AND ".join([*kept, f"NEW.{erasable} IS NULL"]) if erasable else "FALSE"
    if op.get_bind().dialect.name == "sqlite":
        allowed = allowed.replace("IS NOT DISTINCT FROM", "IS")
        for event in ("UPDATE", "DELETE"):
            condition = f" WHEN NOT ({allowed})" if event == "UPDATE" else ""
            op.execute(
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table}{condition}"
                f" BEGIN SELECT RAISE(ABORT, '{why}'); END"
            )
    else:
        op.execute(
            f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$"
            f" BEGIN IF TG_OP = 'UPDATE' AND ({allowed}) THEN RETURN NEW; END IF;"
            f" RAISE EXCEPTION '{why}'; END $$"
            if erasable
            else f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$"
            f" BEGIN RAISE EXCEPTION '{why}'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION {table}_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
        )
