"""Rows of the log that are checked many at once are found signed exactly when each one is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.journal.signing import are_signed, checker, signer

KEY, OTHER_KEY = b"a key for tests, not a secret at all", b"another key for tests, as little of one"
TEXT = st.text(st.characters(codec="utf-8")) | st.sampled_from(["", "a", "\x7f", "é", "\0", '"', "\U0001f600"])
#: What the log holds, and what somebody could put into a database in its place.
WRITTEN = TEXT | st.none() | st.integers(-(2**63), 2**63 - 1)
ANYTHING = WRITTEN | st.floats() | st.binary() | st.booleans() | st.integers() | st.text()


def _rows(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(st.lists(of, min_size=8, max_size=8), max_size=4)


def _signed(rows: list[list[Any]], before: str) -> list[tuple[Any, ...]]:
    found = []
    for row in rows:
        before = signer(KEY)(tuple(row), before)
        found.append((*row, before))
    return found


@given(_rows(WRITTEN), TEXT)
def test_rows_that_were_signed_one_after_another_are_found_so(rows: list[list[Any]], before: str) -> None:
    assert are_signed(KEY, _signed(rows, before), before)


@given(_rows(WRITTEN), st.data())
def test_rows_of_which_one_is_not_as_it_was_are_not_found_signed(rows: list[list[Any]], data: st.DataObject) -> None:
    signed = _signed(rows, "")
    if signed:
        at, column = data.draw(st.integers(0, len(signed) - 1)), data.draw(st.integers(0, 8))
        value = data.draw(ANYTHING)
        bent = (*signed[at][:column], value, *signed[at][column + 1 :])
        befores = ["", *(row[-1] for row in signed)]
        signed[at] = bent

        expected = checker(KEY)(bent, befores[at]) and befores[at + 1] == bent[-1]

        assert are_signed(KEY, signed, "") == expected
        assert not are_signed(OTHER_KEY, signed, "")
        assert not are_signed(KEY, signed, "x")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1.0, b"x"])
def test_what_is_no_text_is_not_found_signed_where_nothing_was(value: Any) -> None:
    """Some write infinity as null: many rows at once are as strict as one."""
    signed = _signed([[1, "at", "approved", "ana", None, None, None, "{}"]], "")

    assert are_signed(KEY, signed, "")
    assert not are_signed(KEY, [(*signed[0][:4], value, *signed[0][5:])], "")
