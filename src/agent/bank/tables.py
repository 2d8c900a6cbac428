"""The bank's tables: customers, accounts, transfers, entries, payments to other banks, notes of long jobs.

Amounts are integer minor units (cents), one currency.

A transfer writes its two entries, and an entry moves its account's balance, by trigger (`migrations`). So nothing but a
transfer moves a balance, every transfer balances, and no ledger row is changed or deleted: only a memo can be erased.
"""

import sqlalchemy as sa

from clearance.db.partial import partial_index
from clearance.db.types import UtcTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: The bank's own account: where money enters and leaves, the only one that may be below zero. All balances sum to 0.
HOUSE = "BANK"
#: Largest single transfer, in minor units: ten billion dollars. An int64 holds the sum of nine million of them, so no
#: sum of a day's transfers overflows, in SQL or in a policy condition; and JSON readers hold it exactly (below 2**53).
MAX_AMOUNT_MINOR = 1_000_000_000_000

customers = sa.Table(
    "customers",
    metadata,
    sa.Column("customer_id", sa.Text, primary_key=True, doc="C-1001"),
    sa.Column("name", sa.Text, nullable=True, doc="None when erased, as are email and phone"),
    sa.Column("email", sa.Text, nullable=True),
    sa.Column("phone", sa.Text, nullable=True),
    sa.Column("status", sa.Text, nullable=False, server_default="active"),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.CheckConstraint("status IN ('active', 'deleted')", name="status"),
    sa.CheckConstraint("(status = 'active') = (name IS NOT NULL)", name="name"),
    sa.CheckConstraint("status = 'active' OR (email IS NULL AND phone IS NULL)", name="erased"),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account_id", sa.Text, primary_key=True, doc="A-2001"),
    sa.Column("customer_id", sa.ForeignKey("customers.customer_id"), nullable=True, doc="None for the house"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="open"),
    sa.Column("balance_minor", sa.BigInteger, nullable=False, server_default="0", doc="sum of its entries"),
    sa.Column("last_number", sa.BigInteger, nullable=False, server_default="0", doc="its newest transfer; 0: none yet"),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.CheckConstraint("kind IN ('checking', 'savings', 'house')", name="kind"),
    sa.CheckConstraint("status IN ('open', 'closed')", name="status"),
    sa.CheckConstraint("(kind = 'house') = (customer_id IS NULL)", name="owner"),
    sa.CheckConstraint("balance_minor >= 0 OR kind = 'house'", name="no_overdraft"),
    # A closed account is empty, and so it can neither send nor receive.
    sa.CheckConstraint("status = 'open' OR balance_minor = 0", name="closed_is_empty"),
    sa.Index("ix_accounts_customer", "customer_id"),
)

transfers = sa.Table(
    "transfers",
    metadata,
    sa.Column("transfer_id", sa.Text, primary_key=True, doc="T- and its number"),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True, doc="1, 2, 3 … without a gap"),
    sa.Column("from_account", sa.ForeignKey("accounts.account_id"), nullable=False),
    sa.Column("to_account", sa.ForeignKey("accounts.account_id"), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("memo", sa.Text, nullable=True, doc="None when there is none, or it was erased"),
    sa.Column("made_at", UtcTime, nullable=False),
    sa.Column("request_id", sa.Text, nullable=True, unique=True, doc="the gate's request; None for seeded ones"),
    sa.Column("requested_by", sa.Text, nullable=True, doc="who asked the gate for it; None for seeded ones"),
    sa.Column(
        "reverses",
        sa.ForeignKey("transfers.transfer_id"),
        nullable=True,
        unique=True,  # a transfer is reversed once
        doc="the transfer that this one undoes; None for an ordinary one",
    ),
    sa.CheckConstraint("transfer_id = 'T-' || number", name="transfer_id"),
    sa.CheckConstraint(f"amount_minor BETWEEN 1 AND {MAX_AMOUNT_MINOR}", name="amount"),
    sa.CheckConstraint("from_account <> to_account", name="two_accounts"),
    sa.Index("ix_transfers_from", "from_account", "number"),
    sa.Index("ix_transfers_to", "to_account", "number"),
    sa.Index("ix_transfers_payee", "from_account", "to_account"),
    sa.Index("ix_transfers_sent", "from_account", "made_at"),
)
partial_index(
    "ix_transfers_requested",
    transfers.c.requested_by,
    transfers.c.made_at,
    where=transfers.c.requested_by.is_not(None),
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfers.transfer_id"), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.account_id"), primary_key=True),
    sa.Column("amount_minor", sa.BigInteger, nullable=False, doc="below 0 leaves the account, above 0 arrives"),
    sa.Index("ix_entries_account", "account_id"),
)

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfers.transfer_id"), primary_key=True, doc="to the house"),
    sa.Column("to_iban", sa.Text, nullable=False, doc="the account at another bank"),
    sa.Index("ix_payments_to", "to_iban"),
)

job_notes = sa.Table(
    "job_notes",
    metadata,
    # Ours alone: what a job that broke off goes on from. No customer's words stand in it.
    sa.Column("job_id", sa.Text, primary_key=True, doc="derived from the thread and what is to be analysed in it"),
    sa.Column("note", sa.LargeBinary, nullable=False, doc="how far it is and what it found: JSON, packed by zlib"),
    sa.Column("noted_at", UtcTime, nullable=False),
)
