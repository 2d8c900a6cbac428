"""Arguments of a call that could not be read: how they are kept, and what the model is told about them."""

import json
from collections.abc import Mapping
from typing import Any

#: Name of the only argument of a call whose arguments could not be read: what the model wrote, cut to 500 characters.
UNPARSED = "__unparsed__"
#: Stands there instead, where the arguments were JSON and more of it than anything that is meant.
TOO_MUCH = "arguments that nest too deep, or are too many"
#: Characters kept.
KEPT = 500


def unparsed_call(call: Mapping[str, Any]) -> str | None:
    """Give the sentence that answers a call whose arguments could not be read; None for any other call."""
    if UNPARSED not in call["args"]:
        return None
    why = _what_is_wrong(str(call["args"][UNPARSED]))
    return (
        f"Not done: the arguments of {call['name']} were not a JSON object that can be taken: {why}."
        " Call it again with valid ones."
    )


def _what_is_wrong(text: str) -> str:
    if text == TOO_MUCH:
        return "they nest too deep, or are too many"
    stripped = text.strip()
    if not stripped:
        return "there were none"
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(stripped)
    except RecursionError:
        return "they nest too deep"
    except json.JSONDecodeError as exc:
        if len(text) >= KEPT:
            return "they are not JSON, or nest too deep"
        if stripped[0] in '{["' and (exc.pos >= len(stripped) or exc.msg.startswith("Unterminated")):
            return "they broke off before their end"
        return f"they are not JSON (character {exc.pos + 1})"
    if stripped[end:].strip():
        return "those of several calls, or of one call twice, ran together, so that nobody can tell them apart"
    if not isinstance(value, dict):
        return f"they are {_KINDS.get(type(value), 'a number')} where names and values belong"
    return "they hold a number or a character that cannot be kept, such as NaN or half a character"


_KINDS = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
