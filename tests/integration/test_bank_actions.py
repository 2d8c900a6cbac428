"""The bank's actions: what a reviewer is shown, what is done, what is refused in a sentence."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from agent.actions import DeleteUser, ReverseTransfer, TransferFacts, TransferFunds
from agent.bank.customers import find_customer
from agent.bank.ledger import check_ledger, find_account, find_transfer
from agent.bank.tables import customers, transfers
from clearance.actions.action import Action, ActionError, Earlier, Effect, Shown
from clearance.db.engine import Database
from tests.support.bank import NOW, balance, facts, open_bank, pay, perform


@pytest.fixture(autouse=True)
def bank(database: Database) -> None:
    database.write_now(open_bank)


def transfer(source: str = "A-1", target: str = "A-3", amount: Any = "250", **more: Any) -> TransferFunds:
    return TransferFunds.model_validate({"from_account": source, "to_account": target, "amount": amount, **more})


def earlier(action: TransferFunds, by: str = "maria") -> Earlier:
    return Earlier(action.model_dump(mode="json"), by)


def test_a_transfer_moves_the_money_and_says_so(database: Database) -> None:
    told = perform(database, transfer(memo="Invoice"), request_id="r-1", by="maria")

    made = database.read_now(lambda c: find_transfer(c, "T-3"))
    assert told == "Transferred $250.00 from A-1 to A-3 (T-3)."
    assert made is not None
    assert (made.memo, made.request_id, made.requested_by, made.made_at) == ("Invoice", "r-1", "maria", NOW)
    assert (balance(database, "A-1"), balance(database, "A-3")) == (750_00, 750_00)
    assert database.read_now(check_ledger) == []


def test_a_reviewer_sees_who_pays_whom_and_what_remains(database: Database) -> None:
    shown = facts(database, transfer())

    assert shown == TransferFacts(
        from_owner="Ann Lee",
        from_customer="C-1",
        from_status="open",
        to_owner="Bob Roy",
        to_customer="C-2",
        to_status="open",
        from_balance=1_000_00,
        from_balance_after=750_00,
        to_balance=500_00,
        to_balance_after=750_00,
        moving=250_00,
        is_new_payee=True,
        sent_24h=0,
        requester_sent_24h=0,
        waiting=0,
    )
    assert transfer().sentence(shown) == "Transfer $250.00 from A-1 (Ann Lee, C-1) to A-3 (Bob Roy, C-2)"
    assert transfer().subjects(shown) == ["customer:C-1", "customer:C-2"]


def test_sums_of_a_day_count_what_is_done_and_what_is_cleared_before(database: Database) -> None:
    pay(database, "A-1", "A-3", 100_00, made_at=NOW - timedelta(hours=23), requested_by="maria")
    pay(database, "A-1", "A-3", 30_00, made_at=NOW - timedelta(hours=25), requested_by="maria")
    pay(database, "A-3", "A-2", 7_00, made_at=NOW - timedelta(hours=1), requested_by="maria")
    pay(database, "A-1", "A-2", 2_00, made_at=NOW - timedelta(hours=1), requested_by="jonas")
    before = [
        earlier(transfer("A-1", "A-2", "40")),
        earlier(transfer("A-3", "A-2", "50")),
        earlier(transfer("A-1", "A-2", "60"), by="jonas"),
    ]

    shown = facts(database, transfer(), by="maria", earlier=before)

    assert shown.sent_24h == 100_00 + 2_00 + 40_00 + 60_00
    assert shown.requester_sent_24h == 100_00 + 7_00 + 40_00 + 50_00
    assert shown.waiting == 40_00 + 60_00


def test_a_payee_is_new_until_paid_or_about_to_be(database: Database) -> None:
    """Else the second of two transfers to a new payee would lose its approval as soon as the first one runs."""
    first, second = transfer(amount="10"), transfer(amount="20")

    planned = facts(database, second, earlier=[earlier(first)])
    perform(database, first)
    carried_out = facts(database, second)

    assert (planned.is_new_payee, carried_out.is_new_payee) == (False, False)
    assert facts(database, transfer("A-3", "A-1", "1")).is_new_payee
    assert facts(database, second, earlier=[earlier(transfer("A-1", "A-2"))]).is_new_payee is False
    assert facts(database, transfer("A-1", "A-4"), earlier=[earlier(transfer("A-1", "A-2"))]).is_new_payee


def test_only_what_moves_all_the_time_is_volatile() -> None:
    assert TransferFacts.material() == {
        "from_owner",
        "from_customer",
        "from_status",
        "to_owner",
        "to_customer",
        "to_status",
        "is_new_payee",
    }
    assert any(isinstance(item, Shown) for item in TransferFacts.model_fields["sent_24h"].metadata)
    assert any(isinstance(item, Shown) for item in TransferFunds.model_fields["amount"].metadata)


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (transfer("A-1", "a-1"), "A-1 cannot pay itself: name two different accounts."),
        (transfer("A-9", "A-1"), "There is no account A-9."),
        (transfer("A-1", "A-9"), "There is no account A-9."),
        (transfer("BANK", "A-1"), "BANK is the bank's own account, which is not moved by request."),
        (transfer("A-1", "A-4"), "A-4 is closed."),
        (transfer("A-4", "A-1"), "A-4 is closed."),
        (
            transfer(amount="1000.01"),
            "A-1 has $1,000.00, which is less than $1,000.01; nothing was moved.",
        ),
        (ReverseTransfer(transfer_id="T-99"), "There is no transfer T-99."),
        (ReverseTransfer(transfer_id="T-1"), "BANK is the bank's own account, which is not moved by request."),
        (DeleteUser(user_id="C-99"), "There is no customer C-99."),
        (DeleteUser(user_id="C-1"), "C-1 cannot be deleted while there is money: A-1 has $1,000.00."),
        (DeleteUser(user_id="C-3"), "C-3 is already deleted."),
    ],
)
def test_what_cannot_be_done_is_told_when_asked_and_when_done(
    database: Database, action: Action[Any], sentence: str
) -> None:
    perform(database, DeleteUser(user_id="C-3"))

    for attempt in (facts, perform):
        with pytest.raises(ActionError) as caught:
            attempt(database, action)
        assert str(caught.value) == sentence
    assert (balance(database, "A-1"), balance(database, "A-3")) == (1_000_00, 500_00)


@pytest.mark.parametrize(
    "arguments",
    [
        {"from_account": "A 1"},
        {"from_account": ""},
        {"from_account": "A-1'; --"},
        {"from_account": "А-1"},  # Cyrillic
        {"from_account": "A" * 41},
        {"memo": "x" * 501},
        {"memo": "nul\x00"},
        {"memo": "half \ud83d"},
        {"amount": "0"},
        {"currency": "EUR"},
    ],
)
def test_arguments_that_do_not_fit_make_no_action(arguments: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TransferFunds.model_validate({"from_account": "A-1", "to_account": "A-3", "amount": "1", **arguments})


def test_ids_and_memos_are_read_as_meant() -> None:
    action = transfer(" a-1 ", "A-3", memo="  two\n lines ")

    assert (action.from_account, action.memo) == ("A-1", "two lines")


def test_less_of_the_same_narrows_a_transfer_and_nothing_else_does() -> None:
    original = transfer(memo="Invoice")

    assert transfer(amount="249.99", memo="Invoice").narrows(original)
    for other in (
        transfer(memo="Invoice"),
        transfer(amount="250.01", memo="Invoice"),
        transfer(amount="10", memo="Gift"),
        transfer("A-1", "A-4", "10", memo="Invoice"),
        transfer("A-2", "A-3", "10", memo="Invoice"),
    ):
        assert not other.narrows(original)
    assert not transfer(amount="1").narrows(DeleteUser(user_id="C-3"))


def test_a_hostile_name_cannot_rewrite_the_sentence(database: Database) -> None:
    hostile = {"name": 'Ann, C-1) to A-2 ("Bob\u202e'}
    database.write_now(lambda c: c.execute(customers.update().where(customers.c.customer_id == "C-2").values(hostile)))

    shown = facts(database, transfer())

    assert transfer().sentence(shown) == (
        'Transfer $250.00 from A-1 (Ann Lee, C-1) to A-3 ("Ann, C-1) to A-2 (\\"Bob\\u202e", C-2)'
    )


def test_a_reversal_brings_all_of_it_back_once(database: Database) -> None:
    perform(database, transfer(memo="Twice"), request_id="r-1")
    action = ReverseTransfer(transfer_id="t-3", reason="Paid twice")

    shown = facts(database, action)
    told = perform(database, action, request_id="r-2")

    assert action.sentence(shown) == "Reverse T-3: $250.00 back from A-3 (Bob Roy, C-2) to A-1 (Ann Lee, C-1)"
    assert (shown.amount, shown.from_balance_after, shown.to_balance_after) == (250_00, 500_00, 1_000_00)
    assert (shown.memo, shown.made_at) == ('"Twice"', "2026-11-20 12:00 UTC")
    assert told == "Reversed T-3: $250.00 went back from A-3 to A-1 (T-4)."
    assert (balance(database, "A-1"), balance(database, "A-3")) == (1_000_00, 500_00)
    with pytest.raises(ActionError, match=r"^T-3 was already reversed, by T-4\.$"):
        perform(database, action, request_id="r-3")
    with pytest.raises(ActionError, match=r"^T-4 is itself the reversal of T-3 and stays\.$"):
        perform(database, ReverseTransfer(transfer_id="T-4"), request_id="r-4")


def test_a_reversal_does_not_overdraw_who_spent_the_money(database: Database) -> None:
    perform(database, transfer(), request_id="r-1")
    pay(database, "A-3", "A-2", 700_00)

    with pytest.raises(ActionError, match=r"^A-3 has \$50\.00, which is less than \$250\.00; nothing was moved\.$"):
        perform(database, ReverseTransfer(transfer_id="T-3"), request_id="r-2")


def test_deleting_a_customer_erases_the_person_and_keeps_the_ledger(database: Database) -> None:
    pay(database, "A-1", "A-4", 10_00, memo="from Ann")
    pay(database, "A-4", "A-1", 10_00, memo="from Cleo")
    erased: list[str] = []
    action = DeleteUser(user_id="C-3", reason="Asked for it")

    shown = facts(database, action, earlier=[earlier(transfer("A-1", "A-4", "1"))])
    told = database.write_now(lambda c: action.perform(Effect(c, NOW, "maria", "r", erased.append)))

    assert action.sentence(shown) == "Delete Cleo Fox (C-3) and close 1 account"
    assert (shown.accounts, shown.ledger_entries, shown.memos, shown.waiting) == ("A-4", 2, 1, 1)
    assert action.subjects(shown) == erased == ["customer:C-3"]
    assert told == "Deleted C-3 and closed A-4; the ledger entries stay."
    customer = database.read_now(lambda c: find_customer(c, "C-3"))
    account = database.read_now(lambda c: find_account(c, "A-4"))
    assert customer is not None
    assert account is not None
    assert (customer.status, customer.name, customer.email, customer.phone) == ("deleted", None, None, None)
    assert account.status == "closed"
    memos = database.read_now(
        lambda c: c.execute(sa.select(transfers.c.memo).order_by(transfers.c.number)).scalars().all()
    )
    assert memos == [None, None, "from Ann", None]
    assert database.read_now(check_ledger) == []


def test_an_action_that_fails_halfway_leaves_nothing(database: Database) -> None:
    def fail(subject: str) -> None:
        raise RuntimeError("the journal did not answer")

    with pytest.raises(RuntimeError):
        database.write_now(lambda c: DeleteUser(user_id="C-3").perform(Effect(c, NOW, "maria", "r", fail)))

    customer = database.read_now(lambda c: find_customer(c, "C-3"))
    assert customer is not None
    assert customer.name == "Cleo Fox"
