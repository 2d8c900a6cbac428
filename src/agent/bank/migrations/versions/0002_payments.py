"""Payments to other banks: which transfers to the house left for where."""

import sqlalchemy as sa
from alembic import op

revision = "bank_0002"
down_revision = "bank_0001"

_APPEND_ONLY = "the ledger is append-only"
#: It is of a transfer to the house, which is where money leaves.
_LEAVES = "EXISTS (SELECT 1 FROM transfers t WHERE t.transfer_id = NEW.transfer_id AND t.to_account = 'BANK')"
_WHY = "money leaves by the house"


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("to_iban", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.transfer_id"], name=op.f("fk_payments_transfer_id")),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_payments")),
    )
    op.create_index("ix_payments_to", "payments", ["to_iban"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRES:
        op.execute(statement)


_SQLITE = [
    f"CREATE TRIGGER payments_leave BEFORE INSERT ON payments WHEN NOT ({_LEAVES})"
    f" BEGIN SELECT RAISE(ABORT, '{_WHY}'); END",
    f"CREATE TRIGGER payments_no_update BEFORE UPDATE ON payments BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END",
    f"CREATE TRIGGER payments_no_delete BEFORE DELETE ON payments BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END",
]
_POSTGRES = [
    f"CREATE FUNCTION payments_leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NOT ({_LEAVES}) THEN"
    f" RAISE EXCEPTION '{_WHY}' USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER payments_leave BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION payments_leave()",
    "CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE ON payments"
    " FOR EACH ROW EXECUTE FUNCTION ledger_append_only()",
    "CREATE TRIGGER payments_no_truncate BEFORE TRUNCATE ON payments"
    " FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()",
]
