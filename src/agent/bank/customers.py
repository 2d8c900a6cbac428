"""Customers: who owns accounts. A deleted one keeps its id and nothing personal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.tables import accounts, customers, transfers
from agent.bank.wording import named


@dataclass(frozen=True)
class Customer:
    """A row of `customers`; `name`, `email` and `phone` are None once erased."""

    customer_id: str
    name: str | None
    email: str | None
    phone: str | None
    status: str
    opened_at: datetime

    @property
    def is_deleted(self) -> bool:
        return self.status == "deleted"

    @property
    def title(self) -> str:
        """Name and id for people: `Priya Natarajan (C-1001)`."""
        return f"{named(self.name)} ({self.customer_id})"


def open_customer(
    connection: Connection,
    customer_id: str,
    name: str,
    *,
    at: datetime,
    email: str | None = None,
    phone: str | None = None,
) -> None:
    """Add a customer."""
    connection.execute(
        customers.insert().values(customer_id=customer_id, name=name, email=email, phone=phone, opened_at=at)
    )


def find_customer(connection: Connection, customer_id: str, *, lock: bool = False) -> Customer | None:
    """Give the customer with this id, or None. `lock` keeps the row as it is until the transaction ends."""
    query = sa.select(customers).where(customers.c.customer_id == customer_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return Customer(**row._mapping) if row else None


def search_customers(connection: Connection, text: str, limit: int) -> Sequence[Customer]:
    """List customers whose name, id or email contains `text`, whatever its case: by id, at most `limit`."""
    fields = (customers.c.name, customers.c.customer_id, customers.c.email)
    query = (
        sa.select(customers)
        .where(sa.or_(*(field.icontains(text, autoescape=True) for field in fields)))
        .order_by(sa.func.length(customers.c.customer_id), customers.c.customer_id)
        .limit(limit)
    )
    return [Customer(**row._mapping) for row in connection.execute(query)]


def erase_customer(connection: Connection, customer_id: str) -> None:
    """Close the customer's accounts, forget what is personal, and keep the ledger. Safe to run twice.

    Memos of transfers from these accounts go, for this customer wrote them; what others wrote stays theirs.

    Raises:
        sqlalchemy.exc.IntegrityError: an account still has a balance.
    """
    own = sa.select(accounts.c.account_id).where(accounts.c.customer_id == customer_id)
    connection.execute(accounts.update().where(accounts.c.customer_id == customer_id).values(status="closed"))
    connection.execute(
        transfers.update().where(transfers.c.from_account.in_(own), transfers.c.memo.is_not(None)).values(memo=None)
    )
    connection.execute(
        customers.update()
        .where(customers.c.customer_id == customer_id)
        .values(status="deleted", name=None, email=None, phone=None)
    )
