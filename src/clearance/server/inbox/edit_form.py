"""The form for a change, made from an action's schema, and what it says back."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from clearance.actions.action import Action, ActionError, label_of, read_arguments
from clearance.canonical import clean
from clearance.gate.question import shown_arguments
from clearance.server.inbox.request_view import Field
from clearance.text.rendering import unshown

#: Names of its fields in the page's form.
_PREFIX = "arg."
#: Texts that may be longer than this get room for several lines.
_LONG = 600


def fields(cls: type[Action[Any]], arguments: dict[str, Any]) -> list[Field]:
    """List the fields of an action with what they hold now."""
    schema = cls.model_json_schema()
    shown = shown_arguments(arguments)
    return [
        _field(name, field, shown.get(name), schema.get("$defs", {})) for name, field in schema["properties"].items()
    ]


def _field(name: str, schema: dict[str, Any], value: Any, defs: dict[str, Any]) -> Field:
    schema = {**defs.get(str(schema.get("$ref", "")).rsplit("/", 1)[-1], {}), **schema}
    kind, choices = _kind(schema)
    text = _text(value)
    label = label_of(name)
    hint = str(schema.get("description", ""))
    return Field(f"{_PREFIX}{name}", label, f"{hint[:1].upper()}{hint[1:]}", text, kind, choices)


def _kind(schema: dict[str, Any]) -> tuple[str, Sequence[str]]:
    if "enum" in schema:
        return "choice", [str(one) for one in schema["enum"]]
    match schema.get("type"):
        case "boolean":
            return "choice", ["true", "false"]
        case "integer" | "number":
            return "number", ()
        case "string":
            return ("long" if schema.get("maxLength", 0) > _LONG else "text"), ()
        case _:
            return "json", ()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def typed_into(current: Sequence[Field], typed: dict[str, str]) -> list[Field]:
    """Give the fields with what somebody typed."""
    return [replace(field, value=typed.get(field.name, field.value)) for field in current]


def read_changes(current: Sequence[Field], typed: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the arguments that somebody changed, and what is wrong with those that cannot be read, by field."""
    changed: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in current:
        text = typed.get(field.name, field.value).replace("\r\n", "\n")
        if text == field.value:
            continue
        if field.kind in ("json", "choice", "number"):
            try:
                changed[field.name.removeprefix(_PREFIX)] = _read(field, text)
            except ValueError:
                wrong[field.name] = f"{field.label} cannot be read."
        else:
            changed[field.name.removeprefix(_PREFIX)] = text
    return changed, wrong


def _read(field: Field, text: str) -> Any:
    if field.kind == "json" or field.choices == ["true", "false"]:
        return json.loads(text, parse_int=_integer)
    return text.strip()


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number too large to be one")
    return int(digits)


def check_fields(cls: type[Action[Any]], arguments: dict[str, Any], changes: dict[str, Any]) -> dict[str, str]:
    """Tell by field what is wrong with changed arguments by themselves; empty when nothing is."""
    try:
        edited = {name: unshown(value, arguments.get(name)) for name, value in changes.items()}
    except ActionError as exc:
        return {f"{_PREFIX}{name}": _sentence(str(exc)) for name in list(changes)[:1]}
    if clean(edited) != edited:
        return {f"{_PREFIX}{name}": "It has characters that are no text." for name in list(changes)[:1]}
    try:
        cls.model_validate({**arguments, **edited})
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False)
        return {f"{_PREFIX}{error['loc'][0] if error['loc'] else ''}": _sentence(error["msg"]) for error in found[::-1]}
    except (ArithmeticError, LookupError, RecursionError, TypeError):
        return {f"{_PREFIX}{name}": "It cannot be read." for name in list(changes)[:1]}
    return {}


def differences(cls: type[Action[Any]], before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str]]:
    """List what is another afterwards, as people read it: (label, before, after)."""
    was = {one.name: one.text for one in read_arguments(cls, before)}
    return [
        (one.label, was.get(one.name, ""), one.text)
        for one in read_arguments(cls, after)
        if before.get(one.name) != after[one.name]
    ]


def blame(current: Sequence[Field], changes: dict[str, Any], said: str) -> str:
    """Name the field that a sentence about the whole is most likely about: one that changed, better one it names."""
    changed = [field for field in current if field.name.removeprefix(_PREFIX) in changes]
    named = [
        one for one in changed if str(changes[one.name.removeprefix(_PREFIX)]).strip().casefold() in said.casefold()
    ]
    return next((field.name for field in [*named, *changed]), "")


def with_errors(current: Sequence[Field], errors: dict[str, str]) -> list[Field]:
    """Give the fields with what is wrong with them."""
    return [replace(field, error=errors.get(field.name, "")) for field in current]


def _sentence(text: str) -> str:
    said = text.removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    return f"{said[:1].upper()}{said[1:]}."
