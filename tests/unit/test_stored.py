"""What is stored of arguments and facts: the same each time, whatever process makes it, and read again as it was."""

import os
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr, field_serializer, field_validator, model_validator

from clearance.actions.action import Action, ActionError, Effect, Facts, Material, kept_arguments, read_action
from clearance.actions.stored import stored
from clearance.canonical import digest

MADE = """
from pydantic import BaseModel
from clearance.actions.stored import stored
from clearance.canonical import digest

class Inner(BaseModel):
    tags: frozenset[str]

class Wide(BaseModel):
    tags: set[str]
    pairs: frozenset[tuple[str, int]]
    sets: frozenset[frozenset[str]]
    inner: Inner
    named: dict[str, list[set[str]]]

many = {f"tag-{n}" for n in range(50)}
made = Wide(tags=many, pairs={(tag, 1) for tag in many}, sets={frozenset({tag, "x"}) for tag in many},
            inner=Inner(tags=many), named={"a": [many]})
print(digest("wide", stored(made)))
"""


def test_sets_are_stored_in_one_order_whatever_process_stores_them() -> None:
    """After a restart approved arguments were not the approved ones, and facts had changed."""
    told = {
        subprocess.run([sys.executable, "-c", MADE], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, text=True).stdout for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(told) == 1


class Colour(Enum):
    """Some."""

    RED = "red"


class Part(BaseModel):
    """A part of arguments."""

    name: str
    secret: SecretStr | None = None


class Everything(Action[Facts]):
    """Do something with many kinds of arguments."""

    colour: Colour = Colour.RED
    amount: Decimal = Decimal("1.50")
    on: date = date(2026, 1, 2)
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    within: timedelta = timedelta(hours=1)
    of: uuid.UUID = uuid.UUID(int=5)
    tags: frozenset[str] = frozenset({"b", "a", "c"})
    pair: tuple[int, str] = (1, "a")
    raw: bytes = b"ab"
    part: Part = Part(name="x")
    parts: dict[str, Part] = Field(default_factory=dict)
    reference: str = Field(default_factory=lambda: uuid.uuid4().hex)

    @field_validator("tags")
    @classmethod
    def lower(cls, tags: frozenset[str]) -> frozenset[str]:
        return frozenset(tag.lower().strip() for tag in tags)

    def perform(self, effect: Effect) -> str:
        return "Done."


def test_many_kinds_of_arguments_are_read_again_as_they_were() -> None:
    action = Everything(tags=frozenset({" A ", "b"}), parts={"one": Part(name="y")})
    kept = kept_arguments(action)

    assert kept["tags"] == ["a", "b"]
    assert read_action(Everything, kept) == action
    assert digest("x", kept) == digest("x", kept_arguments(read_action(Everything, kept)))


class Twice(Action[Facts]):
    """Take an amount of something."""

    amount: int
    note: str = ""

    @field_validator("amount")
    @classmethod
    def doubled(cls, amount: int) -> int:
        return amount * 2

    def perform(self, effect: Effect) -> str:
        return "Done."


class Masked(Action[Facts]):
    """Take a note."""

    note: str

    @field_serializer("note")
    def masked(self, note: str) -> str:
        return note[:1] + "…"

    def perform(self, effect: Effect) -> str:
        return "Done."


class Shifting(Action[Facts]):
    """Take one of two."""

    one: int = 0
    other: int = 0

    @model_validator(mode="before")
    @classmethod
    def exchanged(cls, given: Any) -> Any:
        return {"one": given.get("other", 0), "other": given.get("one", 0)}

    def perform(self, effect: Effect) -> str:
        return "Done."


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (Twice(amount=2), "amount"),
        (Masked(note="hello"), "note"),
        (Shifting(one=1, other=2), "one, other"),
        (Everything(part=Part(name="x", secret=SecretStr("s"))), "part"),
        (Everything(parts={"one": Part(name="x", secret=SecretStr("s"))}), "parts"),
    ],
    ids=["made again of its own", "masked", "exchanged", "hidden inside", "hidden deep inside"],
)
def test_what_would_not_be_carried_out_as_it_is_shown_is_refused(action: Action[Any], named: str) -> None:
    with pytest.raises(ActionError, match=f"cannot be asked for: {named} would not be carried out as it is shown"):
        kept_arguments(action)


def test_facts_are_stored_in_the_same_way() -> None:
    class Tags(Facts):
        tags: Material[frozenset[str]]

    assert stored(Tags(tags=frozenset({"b", "a"}))) == {"tags": ["a", "b"]}
