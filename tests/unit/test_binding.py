"""A row that SQLite writes out itself has the digest of its values, and no other row has it."""

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.journal.binding import digest_as_written, digest_of

TEXT = st.text(st.characters(codec="utf-8")) | st.sampled_from(["", "\x7f", "é", "\0", '"\\/', "\b\f\n\r\t\x01", "[1]"])
VALUE = TEXT | st.none() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, "1", "null"])
VALUES = st.lists(VALUE, max_size=6)


def _as_written(values: list[Any], salt: str | None) -> str:
    places = ", ".join("?" * (len(values) + 3))
    ((text,),) = sqlite3.connect(":memory:").execute(
        f"SELECT CAST(json_array({places}) AS BLOB)", ("requests", "r", 1, *values)
    )
    return digest_as_written(salt, text)


@given(VALUES, st.none() | st.just("5a17"))
def test_what_sqlite_writes_has_the_digest_of_the_values(values: list[Any], salt: str | None) -> None:
    assert _as_written(values, salt) == digest_of("requests", "r", 1, salt, values)


@given(VALUES, VALUES)
def test_other_values_have_another_digest(one: list[Any], other: list[Any]) -> None:
    typed = [[(type(value), value) for value in values] for values in (one, other)]

    assert (_as_written(one, "5a17") == digest_of("requests", "r", 1, "5a17", other)) == (typed[0] == typed[1])


@pytest.mark.parametrize("value", [1.0, 0.0, 1e300, float("inf"), -1.5])
@given(other=VALUE | st.sampled_from(["1.0", "Inf"]))
def test_a_number_that_nobody_wrote_has_the_digest_of_no_text_number_or_nothing(value: float, other: Any) -> None:
    assert _as_written([value], None) != digest_of("requests", "r", 1, None, [other])
