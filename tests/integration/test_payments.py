"""The sample's payment to another bank: the provider's books and ours agree, and no money is spent twice."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from agent.actions import ACTIONS, SendPayment
from agent.settings import agent_settings
from clearance.journal.verification import verify
from tests.integration.test_external import woken
from tests.integration.test_testimony import person, settled
from tests.support.payments import Provider
from tests.support.scripted_model import calls
from tests.support.server import ROOT
from tests.support.waiting import until
from tests.support.world import AUDIT_KEY, BEN, World, question, results

IBAN, OTHER = "DE89370400440532013000", "GB29NWBK60161331926819"
PAY = ("send_payment", {"from_account": "A-2001", "to_iban": IBAN, "amount": "900"})
PAID = f"Paid $900.00 from A-2001 to {IBAN} (reference P-1)."


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with Provider() as made:
        monkeypatch.setenv("PAYMENT_PROVIDER_URL", made.url)
        agent_settings.cache_clear()
        yield made
    agent_settings.cache_clear()


@pytest.fixture
def bank(world: World, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(SendPayment, "timeout_s", 2)
    monkeypatch.setattr(SendPayment, "arrives_within_s", 1)
    world.use_policy((ROOT / "policy.toml").read_text())
    return world


async def pay(bank: World, *wanted: Any, answer: Any = True) -> list[str]:
    """Let olga ask for it, and ana approve all of it; give what the tools said."""
    bank.model.will_say(calls(*(wanted or (PAY,))), AIMessage("Done."))
    state = await bank.say("pay")
    while "__interrupt__" in state:
        state = await bank.answer(answer)
    return results(state)


async def test_a_payment_is_asked_paid_once_and_booked_with_its_receipt(bank: World, provider: Provider) -> None:
    before = bank.balance("A-2001")
    bank.model.will_say(calls(PAY), AIMessage("Done."))

    asked = question(await bank.say("pay"))
    held_back = bank.balance("A-2001")
    said = results(await bank.answer(True))

    assert (asked["facts"]["to_owner"], asked["facts"]["to_bank"]) == ("Erika Mustermann", "Musterbank")
    assert (asked["facts"]["from_balance"], asked["facts"]["is_new_payee"]) == (before, True)
    assert held_back == before
    assert said == [PAID]
    assert provider.paid() == [(IBAN, "900.00")]
    assert bank.transfers() == [("A-2001", "BANK", 900_00)]
    assert bank.balance("A-2001") == before - 900_00
    assert bank.ledger_is_whole()


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_payment_is_listed_with_where_it_went(bank: World, provider: Provider) -> None:
    await pay(bank)
    bank.model.will_say(calls(("list_transactions", {"account_id": "A-2001", "limit": 1})), AIMessage("There."))

    said = results(await bank.say("list"))[-1]

    assert f"UTC: −$900.00 to {IBAN}" in said


async def test_what_the_provider_refuses_moves_nothing_here(bank: World, provider: Provider) -> None:
    provider.mood = "refuses"

    said = await pay(bank)

    assert said == ['Not done: The payment provider refused it: "the account is closed".']
    assert (provider.paid(), bank.transfers()) == ([], [])


@pytest.mark.parametrize("mood", ["breaks after", "pays, then hangs"])
async def test_a_lost_answer_is_looked_up_and_booked_once(bank: World, provider: Provider, mood: str) -> None:
    provider.next, provider.takes_s = [mood], 4

    first = await pay(bank)
    await until(lambda: bank.states() == ["executed"])
    then = results(await woken(bank))

    assert first in ([], [PAID])  # that nobody knows yet is a notice, and no result
    assert then == [PAID]
    assert provider.paid() == [(IBAN, "900.00")]
    assert bank.transfers() == [("A-2001", "BANK", 900_00)]
    assert bank.audit_is_whole()


async def test_what_is_on_its_way_cannot_be_spent_by_another_payment_or_transfer(
    bank: World, provider: Provider
) -> None:
    has = bank.balance("A-2004")
    some = f"{(has - 100_00) // 100}"
    provider.mood, provider.is_blind = "breaks after", True
    first = ("send_payment", {"from_account": "A-2004", "to_iban": IBAN, "amount": some})
    bank.model.will_say(calls(first))
    await bank.say("pay", thread="first")
    await bank.answer(True, thread="first", by=BEN)
    await until(lambda: bank.states() == ["unknown"])

    for call in (
        ("send_payment", {"from_account": "A-2004", "to_iban": OTHER, "amount": "101"}),
        ("transfer_funds", {"from_account": "A-2004", "to_account": "A-2003", "amount": "101"}),
    ):
        bank.model.will_say(calls(call), AIMessage("No."))
        said = results(await bank.say("and", thread=str(call)))
        assert len(said) == 1
        assert "is on its way to other banks, which is less than $101.00; nothing was moved." in said[0]

    provider.is_blind, provider.mood = False, "works"
    await until(lambda: bank.states()[0] == "executed")
    assert provider.paid() == [(IBAN, f"{some}.00")]
    assert bank.balance("A-2004") == 100_00 + (has - 100_00) % 100


async def test_a_split_into_transfer_and_payment_counts_as_one_sum(bank: World, provider: Provider) -> None:
    """25,000 by a transfer and 5,000 by a payment of the same message are 30,000: two treasurers."""
    bank.model.will_say(
        calls(
            ("send_payment", {"from_account": "A-2001", "to_iban": IBAN, "amount": "5000"}),
            ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "25000"}),
        )
    )

    await bank.say("pay")

    assert [one.approvers for one in bank.requests()] == [["treasurer"], ["treasurer"]]


async def test_a_person_who_says_that_it_happened_has_it_booked_too(bank: World, provider: Provider) -> None:
    provider.mood, provider.is_blind = "breaks after", True
    bank.model.will_say(calls(PAY))
    await bank.say("pay")
    await bank.answer(True)
    await until(lambda: bank.states() == ["unknown"])

    await settled(bank, person(BEN), happened=True)

    assert bank.states() == ["executed"]
    assert bank.transfers() == [("A-2001", "BANK", 900_00)]
    provider.is_blind = False


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_booking_that_is_changed_behind_the_log_is_found(bank: World, provider: Provider) -> None:
    await pay(bank)

    def verified() -> Any:
        from clearance.actions.action import Actions

        return bank.read(lambda c: verify(c, AUDIT_KEY, actions=Actions(ACTIONS)))

    before = verified()
    bank.execute("DROP TRIGGER payments_no_update")
    bank.execute(f"UPDATE payments SET to_iban = '{OTHER}'")

    assert before.is_whole
    assert "left behind is not what was done" in str(verified().reason)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_books_that_cannot_be_written_are_told_and_the_payment_stays_done(
    bank: World, provider: Provider
) -> None:
    """It happened: that our own table refused changes nothing about that, and somebody has to see it."""
    bank.execute("DROP TABLE payments")
    bank.execute("CREATE TABLE payments (transfer_id TEXT, to_iban TEXT CHECK (to_iban = ''))")

    said = await pay(bank)

    assert said[0].startswith(f"{PAID} It is not recorded here (error id ")
    assert (bank.states(), bank.transfers()) == (["executed"], [])
    assert provider.paid() == [(IBAN, "900.00")]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_traces_that_cannot_be_read_back_keep_no_receipt_waiting(
    bank: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SendPayment, "traces", classmethod(lambda cls, connection, ids: {}[ids[0]]))

    said = await pay(bank)

    assert said[0].startswith(f"{PAID} It is not recorded here (error id ")
    assert (bank.states(), bank.transfers()) == (["executed"], [])


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_without_a_provider_a_payment_says_so_and_nobody_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAYMENT_PROVIDER_URL", raising=False)
    agent_settings.cache_clear()

    said = await pay(world)

    assert said == [
        "Not done: No payment provider is configured (PAYMENT_PROVIDER_URL), so nothing can be paid to other banks."
    ]
    assert world.states() == ["refused"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda provider: provider.unknown.add(IBAN), f"There is no account {IBAN} at another bank."),
        (lambda provider: provider.closed.add(IBAN), f"{IBAN} is closed, says its bank."),
        (lambda provider: provider.__exit__(None, None, None), "The payment provider does not answer"),
    ],
)
@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_payee_that_cannot_be_paid_is_told_before_anybody_is_asked(
    bank: World, provider: Provider, prepare: Any, message: str
) -> None:
    prepare(provider)

    said = await pay(bank)

    assert message in said[0]
    assert bank.states() == ["refused"]


@pytest.mark.parametrize("iban", ["DE89370400440532013001", "A-2003", "DE8937040044053201300Ä", "DE", ""])
async def test_an_iban_with_a_mistake_is_none(iban: str) -> None:
    with pytest.raises(ValueError, match="iban"):
        SendPayment.model_validate({"from_account": "A-2001", "to_iban": iban, "amount": "5"})


def test_an_iban_is_read_as_people_write_it() -> None:
    said = SendPayment.model_validate({"from_account": "a-2001", "to_iban": "de89 3704 0044 0532 0130 00", "amount": 5})

    assert (said.to_iban, said.business_key()) == (IBAN, f"payment:A-2001:{IBAN}:5.00")
