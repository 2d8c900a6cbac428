"""The audit log can be narrowed to an event, to who did it, and to a request, without reading all of it."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("ix_audit_request", "audit")
    op.create_index("ix_audit_request", "audit", ["request_id", "seq"], unique=False)
    op.create_index("ix_audit_event", "audit", ["event", "seq"], unique=False)
    op.create_index("ix_audit_actor", "audit", ["actor", "seq"], unique=False)
    op.create_index("ix_audit_actor_event", "audit", ["actor", "event", "seq"], unique=False)
