"""The bank: customers, accounts, transfers, entries, and the triggers that make a ledger of them."""

import sqlalchemy as sa
from alembic import op

from clearance.db.types import UtcTime

revision = "bank_0001"
down_revision = None


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("transfers"):
        return  # a database from when the bank's tables were made by the journal's migrations: they are the same
    op.create_table(
        "customers",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'deleted')", name=op.f("ck_customers_status")),
        sa.CheckConstraint("(status = 'active') = (name IS NOT NULL)", name=op.f("ck_customers_name")),
        sa.CheckConstraint("status = 'active' OR (email IS NULL AND phone IS NULL)", name=op.f("ck_customers_erased")),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customers")),
    )
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.CheckConstraint("kind IN ('checking', 'savings', 'house')", name=op.f("ck_accounts_kind")),
        sa.CheckConstraint("status IN ('open', 'closed')", name=op.f("ck_accounts_status")),
        sa.CheckConstraint("(kind = 'house') = (customer_id IS NULL)", name=op.f("ck_accounts_owner")),
        sa.CheckConstraint("balance_minor >= 0 OR kind = 'house'", name=op.f("ck_accounts_no_overdraft")),
        sa.CheckConstraint("status = 'open' OR balance_minor = 0", name=op.f("ck_accounts_closed_is_empty")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.customer_id"], name=op.f("fk_accounts_customer_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
    )
    op.create_index("ix_accounts_customer", "accounts", ["customer_id"])
    op.create_table(
        "transfers",
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("from_account", sa.Text(), nullable=False),
        sa.Column("to_account", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=True),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("reverses", sa.Text(), nullable=True),
        sa.CheckConstraint("transfer_id = 'T-' || number", name=op.f("ck_transfers_transfer_id")),
        sa.CheckConstraint("amount_minor BETWEEN 1 AND 1000000000000", name=op.f("ck_transfers_amount")),
        sa.CheckConstraint("from_account <> to_account", name=op.f("ck_transfers_two_accounts")),
        sa.ForeignKeyConstraint(["from_account"], ["accounts.account_id"], name=op.f("fk_transfers_from_account")),
        sa.ForeignKeyConstraint(["to_account"], ["accounts.account_id"], name=op.f("fk_transfers_to_account")),
        sa.ForeignKeyConstraint(["reverses"], ["transfers.transfer_id"], name=op.f("fk_transfers_reverses")),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("number", name=op.f("uq_transfers_number")),
        sa.UniqueConstraint("request_id", name=op.f("uq_transfers_request_id")),
        sa.UniqueConstraint("reverses", name=op.f("uq_transfers_reverses")),
    )
    op.create_index("ix_transfers_from", "transfers", ["from_account", "number"])
    op.create_index("ix_transfers_to", "transfers", ["to_account", "number"])
    op.create_index("ix_transfers_payee", "transfers", ["from_account", "to_account"])
    op.create_index("ix_transfers_sent", "transfers", ["from_account", "made_at"])
    op.create_index(
        "ix_transfers_requested",
        "transfers",
        ["requested_by", "made_at"],
        sqlite_where=sa.text("requested_by IS NOT NULL"),
        postgresql_where=sa.text("requested_by IS NOT NULL"),
    )
    op.create_table(
        "entries",
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.transfer_id"], name=op.f("fk_entries_transfer_id")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_entries_account_id")),
        sa.PrimaryKeyConstraint("transfer_id", "account_id", name=op.f("pk_entries")),
    )
    op.create_index("ix_entries_account", "entries", ["account_id"])
    op.execute(
        "INSERT INTO accounts (account_id, kind, opened_at) VALUES ('BANK', 'house', '1970-01-01T00:00:00.000000Z')"
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRES:
        op.execute(statement)


# What each trigger holds, in both dialects (conditions that are the same in both are written once):
#   transfers, before insert   no gap in the numbers, which keeps INSERT OR REPLACE out; a reversal mirrors its transfer
#   transfers, after insert    writes the two entries
#   entries, before insert     an entry is one side of its transfer: so the sum of a transfer's entries is 0
#   entries, after insert      moves the balance
#   accounts, before insert    begins empty
#   accounts, before update    a balance moves by exactly one entry that it has not yet moved by
#   transfers, entries         nothing is updated or deleted, but for a memo that is erased
_NEXT = "NEW.number = (SELECT coalesce(max(number), 0) + 1 FROM transfers)"
_MIRRORS = """(NEW.reverses IS NULL OR EXISTS (
    SELECT 1 FROM transfers t WHERE t.transfer_id = NEW.reverses AND t.reverses IS NULL
    AND t.from_account = NEW.to_account AND t.to_account = NEW.from_account AND t.amount_minor = NEW.amount_minor))"""
_WRITE_ENTRIES = """INSERT INTO entries (transfer_id, account_id, amount_minor) VALUES
    (NEW.transfer_id, NEW.from_account, -NEW.amount_minor), (NEW.transfer_id, NEW.to_account, NEW.amount_minor)"""
_IS_ONE_SIDE = """EXISTS (SELECT 1 FROM transfers t WHERE t.transfer_id = NEW.transfer_id AND (
    (NEW.account_id = t.from_account AND NEW.amount_minor = -t.amount_minor)
    OR (NEW.account_id = t.to_account AND NEW.amount_minor = t.amount_minor)))"""
_MOVE_BALANCE = """UPDATE accounts SET balance_minor = balance_minor + NEW.amount_minor,
    last_number = CAST(substr(NEW.transfer_id, 3) AS BIGINT)
    WHERE account_id = NEW.account_id"""
_IS_EMPTY = "NEW.balance_minor = 0 AND NEW.last_number = 0"
_MOVED_BY_AN_ENTRY = """(NEW.last_number > OLD.last_number AND EXISTS (
    SELECT 1 FROM entries e WHERE e.transfer_id = 'T-' || NEW.last_number AND e.account_id = NEW.account_id
    AND NEW.balance_minor = OLD.balance_minor + e.amount_minor))"""
_UNMOVED = "(NEW.balance_minor = OLD.balance_minor AND NEW.last_number = OLD.last_number)"
_KEPT = (
    "transfer_id",
    "number",
    "from_account",
    "to_account",
    "amount_minor",
    "made_at",
    "request_id",
    "requested_by",
    "reverses",
)
_ONLY_MEMO_ERASED = "NEW.memo IS NULL AND " + " AND ".join(f"NEW.{c} IS NOT DISTINCT FROM OLD.{c}" for c in _KEPT)

_GAPLESS = "transfers are numbered without a gap"
_REVERSAL = "a reversal is the exact opposite of an ordinary transfer"
_SIDE = "an entry is one side of its transfer"
_EMPTY = "an account begins empty"
_MOVED = "a balance moves by an entry and by nothing else"
_APPEND_ONLY = "the ledger is append-only"


def _refuse(name: str, when: str, unless: str, why: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {when} WHEN NOT ({unless.replace('IS NOT DISTINCT FROM', 'IS')})"
        f" BEGIN SELECT RAISE(ABORT, '{why}'); END"
    )


_SQLITE = [
    _refuse("transfers_numbered", "INSERT ON transfers", _NEXT, _GAPLESS),
    _refuse("transfers_reversal", "INSERT ON transfers", _MIRRORS, _REVERSAL),
    f"CREATE TRIGGER transfers_write AFTER INSERT ON transfers BEGIN {_WRITE_ENTRIES}; END",
    _refuse("entries_side", "INSERT ON entries", _IS_ONE_SIDE, _SIDE),
    f"CREATE TRIGGER entries_move AFTER INSERT ON entries BEGIN {_MOVE_BALANCE}; END",
    _refuse("accounts_empty", "INSERT ON accounts", _IS_EMPTY, _EMPTY),
    _refuse("accounts_moved", "UPDATE ON accounts", f"{_UNMOVED} OR {_MOVED_BY_AN_ENTRY}", _MOVED),
    _refuse("transfers_no_update", "UPDATE ON transfers", _ONLY_MEMO_ERASED, _APPEND_ONLY),
    _refuse("transfers_no_delete", "DELETE ON transfers", "FALSE", _APPEND_ONLY),
    _refuse("entries_no_update", "UPDATE ON entries", "FALSE", _APPEND_ONLY),
    _refuse("entries_no_delete", "DELETE ON entries", "FALSE", _APPEND_ONLY),
]


def _function(name: str, body: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"


def _unless(condition: str, why: str) -> str:
    return f"IF NOT ({condition}) THEN RAISE EXCEPTION '{why}' USING ERRCODE = 'check_violation'; END IF;"


def _trigger(name: str, when: str, function: str, per: str = "ROW") -> str:
    return f"CREATE TRIGGER {name} {when} FOR EACH {per} EXECUTE FUNCTION {function}()"


_POSTGRES = [
    _function("transfers_fit", f"{_unless(_NEXT, _GAPLESS)} {_unless(_MIRRORS, _REVERSAL)} RETURN NEW;"),
    _trigger("transfers_fit", "BEFORE INSERT ON transfers", "transfers_fit"),
    _function("transfers_write", f"{_WRITE_ENTRIES}; RETURN NULL;"),
    _trigger("transfers_write", "AFTER INSERT ON transfers", "transfers_write"),
    _function("entries_side", f"{_unless(_IS_ONE_SIDE, _SIDE)} RETURN NEW;"),
    _trigger("entries_side", "BEFORE INSERT ON entries", "entries_side"),
    _function("entries_move", f"{_MOVE_BALANCE}; RETURN NULL;"),
    _trigger("entries_move", "AFTER INSERT ON entries", "entries_move"),
    _function("accounts_empty", f"{_unless(_IS_EMPTY, _EMPTY)} RETURN NEW;"),
    _trigger("accounts_empty", "BEFORE INSERT ON accounts", "accounts_empty"),
    _function("accounts_moved", f"{_unless(f'{_UNMOVED} OR {_MOVED_BY_AN_ENTRY}', _MOVED)} RETURN NEW;"),
    _trigger("accounts_moved", "BEFORE UPDATE ON accounts", "accounts_moved"),
    _function("transfers_kept", f"{_unless(_ONLY_MEMO_ERASED, _APPEND_ONLY)} RETURN NEW;"),
    _trigger("transfers_no_update", "BEFORE UPDATE ON transfers", "transfers_kept"),
    _function("ledger_append_only", _unless("FALSE", _APPEND_ONLY)),
    _trigger("transfers_no_delete", "BEFORE DELETE ON transfers", "ledger_append_only"),
    _trigger("transfers_no_truncate", "BEFORE TRUNCATE ON transfers", "ledger_append_only", "STATEMENT"),
    _trigger("entries_append_only", "BEFORE UPDATE OR DELETE ON entries", "ledger_append_only"),
    _trigger("entries_no_truncate", "BEFORE TRUNCATE ON entries", "ledger_append_only", "STATEMENT"),
]
