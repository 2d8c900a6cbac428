"""Keys and digests: the same input always gives the same text, on every machine."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import orjson
import rfc8785


def canonical(value: Any) -> bytes:
    """Write JSON in its one canonical form (RFC 8785).

    Raises:
        ValueError: something JSON or a double cannot hold exactly, such as NaN or an integer above 2**53.
    """
    if not _is_plain(value):
        return rfc8785.dumps(value)
    try:
        # The same bytes in a twentieth of the time.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # deeper than it goes, or half of a surrogate pair, which is none in UTF-8
        return _plain(value).encode()


_plain = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_dense = json.JSONEncoder(separators=(",", ":")).encode
_dense_or = json.JSONEncoder(separators=(",", ":"), default=repr).encode


#: Of these json and orjson write the same.
_WRITTEN_ALIKE = frozenset({str, int, bool, type(None)})


def are_written_alike(values: Iterable[Any]) -> bool:
    """Tell whether of all these values json and orjson write the same, but for what `is_dense` tells."""
    # orjson writes other kinds in its own way: infinity as null, so that a cell that was null would pass for one.
    return _WRITTEN_ALIKE.issuperset(map(type, values))


def is_dense(text: bytes) -> bool:
    """Tell whether what orjson wrote of such values is what `dense` gives: what is not ASCII, and DEL, are escaped."""
    return text.isascii() and b"\x7f" not in text


def dense(values: Sequence[Any], *, is_lenient: bool = False) -> bytes:
    """Write a row as JSON in ASCII, without spaces: the bytes of `json.dumps`, mostly in a fifth of its time.

    Raises:
        TypeError: a value is none of JSON; `is_lenient` writes its `repr`.
    """
    if are_written_alike(values):
        try:
            text = orjson.dumps(values)
            if is_dense(text):
                return text
        except TypeError:  # an integer of more than 64 bits, or half of a surrogate pair
            pass
    return (_dense_or if is_lenient else _dense)(values).encode()


#: Larger integers are not canonical JSON.
_MOST = 2**53 - 1


def _is_plain(value: Any) -> bool:
    """Tell whether `json` writes a value as RFC 8785 does: no float, names whose order is the same in any encoding."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_MOST <= value <= _MOST)
    if kind is list:
        return _are_plain(value)
    if kind is dict:
        return _NAMES.issuperset(map(type, value)) and all(map(str.isascii, value)) and _are_plain(value.values())
    return False


_NAMES = frozenset({str})
#: Whatever value of these is plain.
_ALWAYS_PLAIN = frozenset({str, bool, type(None)})


def _are_plain(values: Collection[Any]) -> bool:
    return _ALWAYS_PLAIN.issuperset(map(type, values)) or all(map(_is_plain, values))


def digest(action: str, arguments: dict[str, Any]) -> str:
    """Give the sha256 (hex) of an action and its arguments: what a reviewer clears is exactly this."""
    return hashlib.sha256(canonical({"action": action, "arguments": arguments})).hexdigest()


_sorted = json.JSONEncoder(sort_keys=True).encode


def words_of(content: Any, calls: Sequence[Any]) -> tuple[Any, str]:
    """Write out what an AI message says and calls: where two are the same, so are their digests.

    Its text stands for itself, and anything else is written out: equal numbers of other kinds are not the same there.
    """
    return content if type(content) is str else (repr(content),), repr(calls)


def _said(message: dict[str, Any]) -> list[Any]:
    calls = [[call["id"], call["name"], call["args"]] for call in message.get("tool_calls") or []]
    return [message.get("content", ""), calls]


def said_digest(message: dict[str, Any]) -> str:
    """Digest what an AI message, as JSON, says and calls."""
    # Not the canonical form, which refuses numbers that a model may well write.
    said = _sorted(_said(message))
    if "\\u0000" in said or "\\ud" in said:  # it may have what a database refuses
        said = _sorted(clean(_said(message)))
    return hashlib.sha256(said.encode()).hexdigest()


def key(*parts: str, size: int = 32) -> str:
    """Derive an id of `size` hex digits from `parts`; another split of the same text gives another id."""
    return hashlib.sha256(canonical(list(parts))).hexdigest()[:size]


def clean(value: Any) -> Any:
    """Give JSON with the characters replaced that a database refuses: NUL and lone surrogates."""
    match value:
        case str():
            if value.isascii() and "\0" not in value:
                return value
            return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        case dict():
            return {clean(name): clean(item) for name, item in value.items()}
        case list():
            return [clean(item) for item in value]
        case _:
            return value


#: Parts of a JSON value and levels of them that we read. What reads it recurses, and must not run out of stack.
_MOST_PARTS, _DEEPEST = 10_000, 50


def is_too_much(value: Any) -> bool:
    """Tell whether JSON from outside is larger or deeper than anything that is meant."""
    level, parts = [value], 0
    for _ in range(_DEEPEST):
        parts += len(level)
        if not level or parts > _MOST_PARTS:
            break
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
