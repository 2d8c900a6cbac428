"""Keys and digests: the same input gives the same text, another one another."""

import itertools
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from clearance.canonical import canonical, clean, digest, is_too_much, key, said_digest, words_of

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


def test_the_digest_does_not_depend_on_the_order_of_arguments() -> None:
    assert digest("pay", {"a": 1, "b": "x"}) == digest("pay", {"b": "x", "a": 1})
    assert digest("pay", {"a": 1}) != digest("pay", {"a": "1"})
    assert digest("pay", {"a": 1}) != digest("pays", {"a": 1})


@given(JSON, JSON)
def test_different_values_are_written_differently(one: Any, other: Any) -> None:
    if _typed(one) == _typed(other):
        assert canonical(one) == canonical(other)
    else:
        assert canonical(one) != canonical(other)


@given(JSON)
def test_what_is_written_is_the_form_of_the_standard(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        {"\U0001f600": 1, "\ufffd": 2, "z": 3},  # ordered by UTF-16, in which the last of them is not the largest
        "".join(map(chr, range(0xD800))),
        [1.0, 1e21, 1e-7, 0.1, -0.0, 2**53 - 1, 1 - 2**53],
        ({"b": (1, 2), "a": True}, None),
    ],
)
def test_what_json_itself_would_write_otherwise_is_the_form_of_the_standard(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.lists(TEXT), st.lists(TEXT))
def test_another_split_of_the_same_text_is_another_key(one: list[str], other: list[str]) -> None:
    assert (key(*one) == key(*other)) == (one == other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, 2**53, -(2**53), {1: 2}, object(), "\ud800"])
def test_what_json_cannot_hold_exactly_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical(value)


def test_clean_replaces_what_databases_refuse() -> None:
    assert clean({"a\0": ["\ud800x", 1, None]}) == {"a�": ["?x", 1, None]}
    assert clean("ordinary ünïcödé 🙂") == "ordinary ünïcödé 🙂"


def test_size_and_depth_are_measured_without_recursion() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    flat = [1] * 20_000

    assert is_too_much(deep)
    assert is_too_much(flat)
    assert is_too_much({"a": {"b": flat}})
    assert not is_too_much({"approved": True, "edited_args": {"amount": "5", "list": [1, 2, {"x": None}]}})
    while isinstance(deep, list):  # or its destruction recurses
        deep = deep[0]


def _typed(value: Any) -> Any:
    """Make True and 1 differ, as they do in JSON."""
    match value:
        case bool() | None:
            return repr(value)
        case list():
            return [_typed(item) for item in value]
        case dict():
            return {name: _typed(item) for name, item in value.items()}
        case _:
            return value


#: What a model may write, and pairs of it that Python calls equal.
WRITTEN = JSON | st.floats() | st.sampled_from([0, 0.0, -0.0, False, 1, 1.0, True, "1"])


@given(WRITTEN, WRITTEN)
def test_where_words_are_the_same_so_is_their_digest(one: Any, other: Any) -> None:
    for messages in (
        [
            {"content": "", "tool_calls": [{"id": "a", "name": "pay", "args": {"amount": value}}]}
            for value in (one, other)
        ],
        [{"content": value, "tool_calls": []} for value in (one, other, [one], str([one]), repr(other))],
    ):
        for left, right in itertools.combinations(messages, 2):
            if words_of(**_spoken(left)) == words_of(**_spoken(right)):
                assert said_digest(left) == said_digest(right)


def _spoken(message: dict[str, Any]) -> dict[str, Any]:
    return {"content": message["content"], "calls": message["tool_calls"]}
