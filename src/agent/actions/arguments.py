"""Arguments of the bank's actions, as people and models write them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from agent.bank.wording import has_control_characters


def _parse_id(text: str) -> str:
    parsed = text.strip().upper()
    if not parsed.isascii() or not parsed.replace("-", "").isalnum():
        raise PydanticCustomError("id", "an id is letters, digits and hyphens, such as A-2001")
    return parsed


def _parse_note(text: str) -> str:
    note = " ".join(text.split())
    if has_control_characters(note):
        raise PydanticCustomError("note", "text must not contain control characters")
    return note


def _parse_iban(text: str) -> str:
    parsed = "".join(text.split()).upper()
    if not _IBAN.fullmatch(parsed) or int("".join(str(int(c, 36)) for c in parsed[4:] + parsed[:4])) % 97 != 1:
        raise PydanticCustomError("iban", "an IBAN is a country, two check digits and an account; this is none")
    return parsed


_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}")
#: An id as people write it; `a-2001` is `A-2001`.
Id = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_parse_id)]
#: An account at another bank, as ISO 13616 writes it; spaces and small letters are taken.
Iban = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_parse_iban)]
#: Free text on one line; empty when there is nothing to say.
Note = Annotated[str, Field(max_length=500), AfterValidator(_parse_note)]
