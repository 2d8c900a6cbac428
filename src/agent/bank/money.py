"""Money: integer minor units (cents) of the bank's one currency, US dollars. No float is ever computed with.

`Amount` is for arguments of actions: dollars in, as people and models write them.
`Minor` is for facts: cents in and out.
"""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from agent.bank.tables import MAX_AMOUNT_MINOR as MAX_AMOUNT_MINOR
from clearance import Shown

_DOLLARS = re.compile(r"(-?)\s*\$?\s*(-?)((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)")
_LONGEST = 40


def usd(minor: int) -> str:
    """Write cents for people: `$48,250.00`, below zero with a true minus sign `−$12.50`."""
    sign = "−" if minor < 0 else ""
    return f"{sign}${abs(minor) // 100:,}.{abs(minor) % 100:02d}"


def to_decimal_text(minor: int) -> str:
    """Write cents for programs: `48250.00`, which `parse_amount` reads back."""
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02d}"


def parse_amount(value: Any) -> int:
    """Read dollars (`"4,825.00"`, `"$4825"`, `4825`, `4825.5`) as cents: above 0, at most `MAX_AMOUNT_MINOR`.

    Raises:
        ValueError: it is none; the text is one sentence for people.
    """
    dollars = _dollars(value)
    if dollars <= 0:
        raise _refusal("amount must be more than 0")
    if dollars > MAX_AMOUNT_MINOR // 100:
        raise _refusal(f"amount must be at most {usd(MAX_AMOUNT_MINOR)}")
    if int(dollars.as_tuple().exponent) < -2:
        raise _refusal("amount must have at most two decimals")
    return int(dollars * 100)  # exact: at most 13 digits by now


def _dollars(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise _refusal('amount must be dollars such as "4825.00"')
    if isinstance(value, str):
        match = _DOLLARS.fullmatch(value.strip()) if len(value) <= _LONGEST else None
        if match is None:
            raise _refusal('amount must be dollars such as "4825.00", with at most two decimals')
        before, after, digits = match.groups()
        return Decimal(digits.replace(",", "")) * (-1 if before or after else 1)
    # A float from JSON is what its shortest text says: 0.1 is ten cents, not 0.1000000000000000055.
    dollars = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not dollars.is_finite():
        raise _refusal("amount must be a finite number of dollars")
    return dollars


def _refusal(sentence: str) -> PydanticCustomError:
    # A plain ValueError would read "Value error, amount must …".
    return PydanticCustomError("amount", "{sentence}", {"sentence": sentence})


#: Dollars in, cents as the value, a decimal string in JSON: `"4,825"` is `482500` is `"4825.00"`.
#: An `int` is dollars too: a value of this type must not be read again, only its JSON.
Amount = Annotated[
    int,
    BeforeValidator(parse_amount),
    PlainSerializer(to_decimal_text, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "description": 'US dollars, more than 0, at most two decimals, for example "4825.00"',
            "examples": ["4825.00"],
        }
    ),
    Shown(usd),
]

#: Cents in facts: an integer in Python, in JSON and in policy conditions.
Minor = Annotated[int, Shown(usd)]
