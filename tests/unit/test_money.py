"""Amounts: what is read as money, and what is refused in a sentence."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from agent.bank.money import MAX_AMOUNT_MINOR, Amount, Minor, parse_amount, to_decimal_text, usd

MINOR = st.integers(min_value=1, max_value=MAX_AMOUNT_MINOR)


class Payment(BaseModel):
    amount: Amount
    fee: Minor = 0


def refusal(value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Payment(amount=value)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize(
    ("written", "minor"),
    [
        ("10", 10_00),
        (10, 10_00),
        (10.5, 10_50),
        (0.1, 10),
        ("4,825.00", 4_825_00),
        ("$4825", 4_825_00),
        (" $ 4,825.5 ", 4_825_50),
        ("0.01", 1),
        (Decimal("12.30"), 12_30),
        (Decimal("1E+3"), 1_000_00),
        ("10000000000.00", MAX_AMOUNT_MINOR),
    ],
)
def test_dollars_as_people_write_them_become_cents(written: Any, minor: int) -> None:
    assert Payment(amount=written).amount == minor


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (0, "amount must be more than 0"),
        ("0.00", "amount must be more than 0"),
        (-5, "amount must be more than 0"),
        ("-$5", "amount must be more than 0"),
        ("$-5", "amount must be more than 0"),
        (-0.0, "amount must be more than 0"),
        (1e308, "amount must be at most $10,000,000,000.00"),
        (10**400, "amount must be at most $10,000,000,000.00"),
        (Decimal("1E+999999"), "amount must be at most $10,000,000,000.00"),
        ("10000000000.01", "amount must be at most $10,000,000,000.00"),
        (10.005, "amount must have at most two decimals"),
        ("10.000", "amount must have at most two decimals"),
        (0.1 + 0.2, "amount must have at most two decimals"),
        (1e-7, "amount must have at most two decimals"),
        (Decimal("1E-400"), "amount must have at most two decimals"),
        (float("nan"), "amount must be a finite number of dollars"),
        (float("inf"), "amount must be a finite number of dollars"),
        (Decimal("sNaN"), "amount must be a finite number of dollars"),
        (True, 'amount must be dollars such as "4825.00"'),
        (None, 'amount must be dollars such as "4825.00"'),
        ([5], 'amount must be dollars such as "4825.00"'),
        *(
            (text, 'amount must be dollars such as "4825.00", with at most two decimals')
            for text in (
                "",
                "NaN",
                "1e3",
                "4.825,00",
                "48,25",
                "1,0000",
                "5 EUR",
                "٤٢",
                "5\n5",
                "0x10",
                "{x}",
                "9" * 41,
            )
        ),
    ],
)
def test_what_is_no_amount_is_refused_in_a_sentence(written: Any, sentence: str) -> None:
    assert refusal(written) == sentence


@given(MINOR)
def test_an_amount_survives_its_json(minor: int) -> None:
    payment = Payment.model_validate({"amount": to_decimal_text(minor)})

    assert payment.amount == minor
    assert json.loads(payment.model_dump_json())["amount"] == to_decimal_text(minor)
    assert Payment.model_validate_json(payment.model_dump_json()) == payment


@given(MINOR)
def test_a_shown_amount_can_be_typed_back(minor: int) -> None:
    assert parse_amount(usd(minor)) == minor


@given(MINOR)
def test_a_float_from_json_means_what_it_shows(minor: int) -> None:
    assert parse_amount(json.loads(to_decimal_text(minor))) == minor


@given(st.one_of(st.text(), st.floats(), st.integers(), st.decimals(), st.booleans(), st.binary(), st.none()))
def test_whatever_is_read_is_an_amount_or_a_sentence(value: Any) -> None:
    try:
        amount = parse_amount(value)
    except ValueError as exc:
        told = str(exc)
    else:
        assert type(amount) is int
        assert 1 <= amount <= MAX_AMOUNT_MINOR
        return
    assert told.startswith("amount must ")


def test_facts_keep_cents_as_integers() -> None:
    payment = Payment.model_validate({"amount": "1", "fee": 48_250_00})

    assert json.loads(payment.model_dump_json())["fee"] == 48_250_00


def test_money_is_shown_with_separators_and_a_true_minus() -> None:
    assert usd(48_250_00) == "$48,250.00"
    assert usd(-12_05) == "−$12.05"
    assert usd(0) == "$0.00"


def test_the_model_is_told_to_write_amounts_as_text() -> None:
    schema = Payment.model_json_schema()["properties"]["amount"]

    assert schema["type"] == "string"
    assert schema["examples"] == ["4825.00"]
