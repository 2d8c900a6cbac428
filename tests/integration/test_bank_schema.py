"""The ledger's invariants are held by the schema itself, on both databases."""

from typing import Any

import pytest
import sqlalchemy as sa

from agent.bank.ledger import HOUSE, check_ledger, make_transfer
from agent.bank.tables import accounts, customers, entries, transfers
from clearance.db.engine import Database
from tests.support.bank import NOW, balance, open_bank, pay


@pytest.fixture(autouse=True)
def bank(database: Database) -> None:
    database.write_now(open_bank)


def refused(database: Database, statement: str, match: str) -> None:
    """Assert that a statement is refused for the reason given, and that the ledger is as before."""
    before = database.read_now(lambda c: [c.execute(sa.select(t)).all() for t in (accounts, transfers, entries)])
    with pytest.raises(sa.exc.DBAPIError, match=match):
        database.write_now(lambda c: c.execute(sa.text(statement)))
    after = database.read_now(lambda c: [c.execute(sa.select(t)).all() for t in (accounts, transfers, entries)])
    assert after == before


def test_a_transfer_writes_two_entries_and_moves_two_balances(database: Database) -> None:
    transfer_id = pay(database, "A-1", "A-3", 250_00)

    rows = database.read_now(lambda c: c.execute(sa.select(entries).where(entries.c.transfer_id == transfer_id)).all())
    assert sorted(tuple(row) for row in rows) == [(transfer_id, "A-1", -250_00), (transfer_id, "A-3", 250_00)]
    assert (balance(database, "A-1"), balance(database, "A-3")) == (750_00, 750_00)
    assert database.read_now(check_ledger) == []


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"from_account": "A-1", "to_account": "A-3", "amount_minor": 1_000_01}, "no_overdraft"),
        ({"from_account": "A-1", "to_account": "A-1", "amount_minor": 1}, "two_accounts"),
        ({"from_account": "A-1", "to_account": "A-3", "amount_minor": 0}, "amount"),
        ({"from_account": "A-1", "to_account": "A-3", "amount_minor": -5}, "amount"),
        ({"from_account": HOUSE, "to_account": "A-3", "amount_minor": 10**12 + 1}, "amount"),
        ({"from_account": "A-1", "to_account": "A-9", "amount_minor": 1}, "(?i)foreign key|side of its transfer"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(database: Database, more: dict[str, Any], match: str) -> None:
    with pytest.raises(sa.exc.IntegrityError, match=match):
        database.write_now(lambda c: make_transfer(c, made_at=NOW, **more))

    assert (balance(database, "A-1"), balance(database, "A-3")) == (1_000_00, 500_00)


def test_a_closed_account_neither_sends_nor_receives(database: Database) -> None:
    database.write_now(lambda c: c.execute(sa.text("UPDATE accounts SET status = 'closed' WHERE account_id = 'A-4'")))

    for source, target, match in (("A-1", "A-4", "closed_is_empty"), ("A-4", "A-1", "no_overdraft|closed_is_empty")):
        with pytest.raises(sa.exc.IntegrityError, match=match):
            pay(database, source, target, 1)


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("INSERT INTO entries VALUES ('T-1', 'A-3', 5)", "one side"),
        ("INSERT INTO entries VALUES ('T-1', 'A-1', 5)", "one side"),
        ("INSERT INTO entries VALUES ('T-9', 'A-1', 5)", "one side"),
        ("INSERT INTO entries VALUES ('T-1', 'A-1', 100000)", "(?i)unique"),
        ("UPDATE entries SET amount_minor = 1", "append-only"),
        ("DELETE FROM entries", "append-only"),
        ("DELETE FROM transfers", "append-only"),
        ("UPDATE transfers SET amount_minor = 1", "append-only"),
        ("UPDATE transfers SET made_at = '2020-01-01T00:00:00.000000Z'", "append-only"),
        ("UPDATE transfers SET requested_by = 'eve'", "append-only"),
        ("UPDATE transfers SET memo = 'other'", "append-only"),
        ("UPDATE accounts SET balance_minor = balance_minor + 1", "by an entry"),
        ("UPDATE accounts SET last_number = last_number + 1", "by an entry"),
        ("UPDATE accounts SET balance_minor = 2000, last_number = 3 WHERE account_id = 'A-1'", "by an entry"),
        (
            "INSERT INTO accounts (account_id, customer_id, kind, balance_minor, opened_at)"
            " VALUES ('A-5', 'C-1', 'savings', 100, '2026-01-01T00:00:00.000000Z')",
            "begins empty",
        ),
        (
            "INSERT INTO transfers (transfer_id, number, from_account, to_account, amount_minor, made_at)"
            " VALUES ('T-9', 9, 'A-1', 'A-3', 5, '2026-01-01T00:00:00.000000Z')",
            "without a gap",
        ),
        (
            "INSERT INTO transfers (transfer_id, number, from_account, to_account, amount_minor, made_at)"
            " VALUES ('T-4', 3, 'A-1', 'A-3', 5, '2026-01-01T00:00:00.000000Z')",
            "transfer_id",
        ),
        ("UPDATE accounts SET status = 'closed'", "closed_is_empty"),
        ("UPDATE accounts SET customer_id = NULL WHERE account_id = 'A-1'", "owner"),
        ("UPDATE accounts SET kind = 'house' WHERE account_id = 'A-1'", "owner"),
    ],
)
def test_the_ledger_cannot_be_changed_past_a_transfer(database: Database, statement: str, match: str) -> None:
    refused(database, statement, match)


@pytest.mark.parametrize("table", ["transfers", "entries"])
def test_rows_cannot_be_replaced_or_truncated(database: Database, table: str) -> None:
    if database.is_sqlite:
        refused(database, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}", "without a gap|by an entry")
    else:
        refused(database, f"TRUNCATE {table} CASCADE", "append-only")


def test_a_memo_can_be_erased_and_nothing_else(database: Database) -> None:
    transfer_id = pay(database, "A-1", "A-3", 5, memo="for Cleo")

    database.write_now(lambda c: c.execute(sa.text("UPDATE transfers SET memo = NULL")))

    query = sa.select(transfers.c.memo, transfers.c.amount_minor).where(transfers.c.transfer_id == transfer_id)
    assert database.read_now(lambda c: c.execute(query).one()) == (None, 5)


def test_a_transfer_is_reversed_once_and_exactly(database: Database) -> None:
    paid = pay(database, "A-1", "A-3", 100_00)

    for source, target, amount_minor in (("A-3", "A-1", 99_00), ("A-1", "A-3", 100_00), ("A-3", "A-2", 100_00)):
        with pytest.raises(sa.exc.IntegrityError, match="exact opposite"):
            pay(database, source, target, amount_minor, reverses=paid)
    reversal = pay(database, "A-3", "A-1", 100_00, reverses=paid)
    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)unique"):
        pay(database, "A-3", "A-1", 100_00, reverses=paid)
    with pytest.raises(sa.exc.IntegrityError, match="exact opposite"):
        pay(database, "A-1", "A-3", 100_00, reverses=reversal)

    assert (balance(database, "A-1"), balance(database, "A-3")) == (1_000_00, 500_00)


def test_a_request_moves_money_once(database: Database) -> None:
    pay(database, "A-1", "A-3", 100_00, request_id="r")

    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)unique"):
        pay(database, "A-1", "A-3", 100_00, request_id="r")

    assert balance(database, "A-1") == 900_00


def test_a_deleted_customer_keeps_nothing_personal(database: Database) -> None:
    for statement in (
        "UPDATE customers SET status = 'deleted' WHERE customer_id = 'C-3'",
        "UPDATE customers SET status = 'deleted', name = NULL WHERE customer_id = 'C-3'",
        "UPDATE customers SET name = NULL WHERE customer_id = 'C-3'",
    ):
        refused(database, statement, "ck_customers")
    assert database.read_now(lambda c: c.scalar(sa.select(customers.c.name).where(customers.c.customer_id == "C-3")))


def test_a_ledger_that_is_not_whole_is_told_in_sentences(database: Database) -> None:
    """The schema makes this impossible, so the triggers go first."""
    pay(database, "A-1", "A-3", 100_00)

    def tamper(connection: sa.Connection) -> list[str]:
        if database.is_sqlite:
            names = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            for name in names:
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        else:
            for table in ("accounts", "transfers", "entries"):
                connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        connection.execute(
            sa.text("UPDATE entries SET amount_minor = 1 WHERE transfer_id = 'T-3' AND account_id = 'A-3'")
        )
        connection.execute(sa.text("DELETE FROM entries WHERE transfer_id = 'T-2' AND account_id = 'A-3'"))
        connection.execute(sa.text("UPDATE accounts SET balance_minor = 7 WHERE account_id = 'A-4'"))
        return check_ledger(connection)

    told = database.write_now(tamper)

    assert "T-3 is of $100.00, but $100.00 left and $0.01 arrived." in told
    assert "T-2 is of $500.00, but $500.00 left and $0.00 arrived." in told
    assert "The balance of A-4 is $0.07, but its entries sum to $0.00." in told
    assert "All balances sum to $0.07, not to $0.00." in told
