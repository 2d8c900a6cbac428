"""A few accounts with money, and the bank's actions run without a gate."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from agent.bank.customers import open_customer
from agent.bank.ledger import HOUSE, find_account, make_transfer, open_account
from clearance.actions.action import Action, Earlier, Effect, Reading
from clearance.db.engine import Database
from clearance.db.lent import read_only

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)


def open_bank(connection: Connection) -> None:
    """Open C-1 Ann with A-1 ($1,000.00) and A-2 (empty), C-2 Bob with A-3 ($500.00), C-3 Cleo without money in A-4."""
    for customer_id, name in (("C-1", "Ann Lee"), ("C-2", "Bob Roy"), ("C-3", "Cleo Fox")):
        open_customer(connection, customer_id, name, at=LONG_AGO, email=f"{customer_id}@example.com", phone="1")
    for account_id, customer_id in (("A-1", "C-1"), ("A-2", "C-1"), ("A-3", "C-2"), ("A-4", "C-3")):
        open_account(connection, account_id, customer_id, "checking", at=LONG_AGO)
    for account_id, amount_minor in (("A-1", 1_000_00), ("A-3", 500_00)):
        make_transfer(
            connection, from_account=HOUSE, to_account=account_id, amount_minor=amount_minor, made_at=LONG_AGO
        )


def pay(database: Database, source: str, target: str, amount_minor: int, **more: Any) -> str:
    """Make a transfer past the actions, and give its id."""
    more.setdefault("made_at", NOW)
    return database.write_now(
        lambda c: make_transfer(c, from_account=source, to_account=target, amount_minor=amount_minor, **more)
    )


def facts(database: Database, action: Action[Any], *, by: str = "maria", earlier: Sequence[Earlier] = ()) -> Any:
    """Read an action's facts as the gate would; what is `earlier` is a transfer where it does not say what it is."""

    def listed(names: Sequence[str]) -> Sequence[Earlier]:
        named = [replace(one, action=one.action or "transfer_funds") for one in earlier]
        return [one for one in named if one.action in names]

    def read(connection: Connection) -> Any:
        with read_only(connection):
            return action.facts(Reading(connection, NOW, by, listed))

    return database.read_now(read)


def perform(database: Database, action: Action[Any], *, request_id: str = "request-1", by: str = "maria") -> str:
    """Perform an action in a transaction of its own."""
    said: str = database.write_now(lambda c: action.perform(Effect(c, NOW, by, request_id, lambda subject: None)))
    return said


def balance(database: Database, account_id: str) -> int:
    """Give a balance in minor units."""
    account = database.read_now(lambda c: find_account(c, account_id))
    assert account is not None
    return account.balance_minor
