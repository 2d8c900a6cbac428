"""How rows are written and signed: the bytes are those of json.dumps and of HMAC-SHA256, however they are made."""

import hmac
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.canonical import dense
from clearance.journal.signing import checker, signer

_TEXT = st.text(st.characters(codec="utf-8"))
_VALUES = st.lists(_TEXT | st.none() | st.integers(-(2**70), 2**70))


@given(_VALUES)
def test_a_row_is_written_as_json_dumps_writes_it(values: list[Any]) -> None:
    assert dense(values) == json.dumps(values, separators=(",", ":")).encode()


@pytest.mark.parametrize("text", ["\x7f", '\x00\x1f\b\f\n\r\t"\\/', "é\u2028\U0001f600", "\ud800"])
def test_characters_that_json_escapes_are_escaped(text: str) -> None:
    assert dense((text,)) == json.dumps([text], separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "value", [1.5, 1e-7, 1e22, float("nan"), float("inf"), -float("inf"), ["a", 1e-7], {"a": float("inf")}, [None]]
)
def test_numbers_and_what_holds_them_are_written_as_json_dumps_writes_them(value: Any) -> None:
    """Infinity once was null: a cell that had been null was taken for whole."""
    for is_lenient in (False, True):
        assert dense((value, "a"), is_lenient=is_lenient) == json.dumps([value, "a"], separators=(",", ":")).encode()


@pytest.mark.parametrize("value", [UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_orjson_knows_and_json_does_not_is_no_json_either(value: Any) -> None:
    with pytest.raises(TypeError):
        dense((value,))
    assert dense((value,), is_lenient=True) == json.dumps([repr(value)], separators=(",", ":")).encode()


def test_what_json_has_not_is_refused_or_written_as_what_it_is() -> None:
    with pytest.raises(TypeError):
        dense((b"x",))

    assert dense((b"x",), is_lenient=True) == b"[\"b'x'\"]"
    assert dense(("é", b"x"), is_lenient=True) == b'["\\u00e9","b\'x\'"]'


@given(st.binary(min_size=1, max_size=200), _TEXT, _TEXT)
def test_a_row_is_signed_by_hmac_sha256(key: bytes, actor: str, details: str) -> None:
    row = (7, "2026-01-01T00:00:00.000000Z", "approved", actor, None, "turn", None, details)
    wanted = hmac.digest(key, json.dumps([*row, "before"], separators=(",", ":")).encode(), "sha256").hex()

    assert signer(key)(row, "before") == wanted
    assert checker(key)((*row, wanted), "before")
    assert not checker(key)((*row, wanted), "after")


def test_bytes_that_read_like_the_text_that_was_signed_are_not_it() -> None:
    row = (7, "at", "approved", "b'ana'", None, None, None, "{}")
    mac = signer(b"key")(row, "")

    assert checker(b"key")((*row, mac), "")
    assert not checker(b"key")((7, "at", "approved", b"ana", None, None, None, "{}", mac), "")
