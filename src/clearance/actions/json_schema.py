"""Arguments that a JSON schema describes, as fields of an action: typed where it says of what type they are.

What it says beyond types is checked by the schema itself, and the model is shown it as its server wrote it. It comes
from outside, so it is bounded, refers to nothing but itself, and no pattern of it is run by a machine that can hang.
"""

import re
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema, create_model
from pydantic_core import SchemaError

from clearance.canonical import is_too_much

#: Parts that a schema may have once what it refers to stands in it.
_MOST_PARTS = 5_000
#: Keywords of a schema that are checked here: bounds, which are numbers, and sizes, which are integers, among them.
#: Not `pattern`, which Python may take for ever to match: of a text that is an argument by itself it is checked by
#: pydantic's machine, which does not, and of others by the server.
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_CHECKED = ("type", "enum", "const", "required", *_BOUNDS, *_SIZES)
#: Keywords whose value is a schema, and those that have several of which one is to fit.
_OF_ONE, _OF_MANY = ("items", "additionalProperties"), ("anyOf", "oneOf")
#: Larger integers are not canonical JSON.
_MOST = 2**53 - 1
_PLAIN: dict[str, Any] = {
    "string": str,
    "integer": Annotated[int, Field(ge=-_MOST, le=_MOST)],
    "number": Annotated[float, Field(allow_inf_nan=False)],
    "boolean": bool,
    "null": type(None),
}


class UnfitSchemaError(ValueError):
    """No arguments can be read by this schema; the text says why."""


@dataclass(frozen=True)
class Property:
    """One argument: its type, what the model is shown, and how it may be left out."""

    annotation: Any
    is_required: bool
    #: What stands for it where it is left out; None: nothing does, and nothing is sent.
    default: Any
    #: Whether `null` is a value of it.
    is_nullable: bool


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Give a schema with what it refers to in its place, once: what refers to itself may be anything further down.

    Raises:
        UnfitSchemaError: it refers elsewhere, or is larger than anything that is meant.
    """
    found = _Inliner(schema).inline(schema, ())
    if is_too_much(found):
        raise UnfitSchemaError("its schema is too large")
    if found.get("type", "object") != "object" or not isinstance(found.get("properties", {}), dict):
        raise UnfitSchemaError("its schema is not one of an object")
    return dict(found)


class _Inliner:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._parts = 0

    def inline(self, part: Any, within: tuple[str, ...]) -> Any:
        self._parts += 1
        if self._parts > _MOST_PARTS or len(within) > 20:
            raise UnfitSchemaError("its schema is too large")
        if isinstance(part, list):
            return [self.inline(one, within) for one in part]
        if not isinstance(part, dict):
            return part
        if isinstance(reference := part.get("$ref"), str):
            if reference in within:
                return {}  # a tree: how it goes on further down its server checks
            there = self.inline(self._at(reference), (*within, reference))
            beside = {name: one for name, one in part.items() if name != "$ref"}
            return {**there, **self.inline(beside, within)} if isinstance(there, dict) else there
        if "$dynamicRef" in part or "$recursiveRef" in part:
            return {}
        return {
            name: self.inline(one, within)
            for name, one in part.items()
            if name not in ("$defs", "definitions", "$schema", "$id", "$anchor", "$comment")
            or not isinstance(one, dict | str)
        }

    def _at(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise UnfitSchemaError(f"its schema refers elsewhere ({reference[:60]})")
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if name and not (isinstance(found, dict) and name in found):
                raise UnfitSchemaError(f"its schema refers to what is not in it ({reference[:60]})")
            found = found[name] if name else found
        return found


def properties_of(schema: dict[str, Any]) -> dict[str, Property]:
    """Give the arguments that an inlined schema describes."""
    required = schema.get("required") if _is_sound("required", schema.get("required")) else []
    assert isinstance(required, list)
    return {
        name: _property(part if isinstance(part, dict) else {}, is_required=name in required)
        for name, part in (schema.get("properties") or {}).items()
    }


def _property(part: dict[str, Any], *, is_required: bool) -> Property:
    kind = _type(part)
    if isinstance(pattern := part.get("pattern"), str) and kind is str and _is_matched(pattern):
        kind = Annotated[str, Field(pattern=pattern)]
    default = part.get("default")
    if default is not None and violation(checked(part), default) is not None:
        default = None  # the server's own default does not fit its schema
    is_nullable = violation(checked(part), None) is None
    if not is_required and default is None:
        kind = kind | None if kind is not Any else Any
    return Property(Annotated[kind, WithJsonSchema(_shown(part))], is_required, default, is_nullable)


def _shown(part: Any) -> Any:
    """Give a schema as models and pages read it: as its server wrote it, without what says what it cannot say."""
    if isinstance(part, list):
        return [_shown(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: _shown(one) for name, one in part.items() if name not in _CHECKED or _is_sound(name, one)}
    # In it names stand where keywords do, and of a value nothing is a keyword.
    found.update((name, part[name]) for name in ("enum", "const", "default", "examples") if name in found)
    if isinstance(part.get("properties"), dict):
        found["properties"] = {name: _shown(one) for name, one in part["properties"].items()}
    return found


def _is_matched(pattern: str) -> bool:
    """Tell whether pydantic's machine knows a pattern; one that looks ahead or back it does not."""
    try:
        TypeAdapter(Annotated[str, Field(pattern=pattern)])
    except SchemaError:
        return False
    return True


def _type(part: Any) -> Any:
    """Give the Python type of what a schema describes, Any where it does not say."""
    if not isinstance(part, dict):
        return Any
    values = part["enum"] if "enum" in part else [part["const"]] if "const" in part else None
    if values is not None:
        is_named = isinstance(values, list) and values and all(isinstance(one, str | bool | int) for one in values)
        return Literal[tuple(values)] if is_named else Any
    for several in ("anyOf", "oneOf"):
        if isinstance(part.get(several), list) and part[several]:
            return _either([_type(one) for one in part[several]])
    match part.get("type"):
        case list() as names if names:
            return _either([_type({**part, "type": name}) for name in names])
        case "array":
            return list[_type(part.get("items"))]  # type: ignore[misc]  # a type made here
        case "object":
            return _object(part)
        case str() as name if name in _PLAIN:
            return _PLAIN[name]
        case _:
            return Any


def _either(kinds: list[Any]) -> Any:
    return Any if Any in kinds else reduce(or_, kinds)


def _object(part: dict[str, Any]) -> Any:
    """Give a class with what a nested schema describes, a mapping where that cannot be or the names are not told."""
    named = part.get("properties")
    if not isinstance(named, dict) or not named:
        more = part.get("additionalProperties")
        return dict[str, _type(more)] if isinstance(more, dict) else dict[str, Any]  # type: ignore[misc]  # as above
    if any(not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or hasattr(BaseModel, name) for name in named):
        return dict[str, Any]
    fields: dict[str, Any] = {}
    for name, found in properties_of(part).items():
        fields[name] = (found.annotation, ... if found.is_required else found.default)
    extra: Literal["allow", "forbid"] = "forbid" if part.get("additionalProperties") is False else "allow"
    make: Any = create_model
    return make("Nested", __config__=ConfigDict(frozen=True, extra=extra, protected_namespaces=()), **fields)


def without_absent(part: Any, value: Any) -> Any:
    """Give a value as it is sent: without what is None only because it was left out."""
    if not isinstance(part, dict):
        return value
    if isinstance(value, list):
        return [without_absent(part.get("items"), one) for one in value]
    if not isinstance(value, dict):
        return value
    for several in ("anyOf", "oneOf", "allOf"):
        for one in part[several] if isinstance(part.get(several), list) else ():
            value = without_absent(one, value)
    named = part.get("properties") if isinstance(part.get("properties"), dict) else {}
    assert isinstance(named, dict)
    required = part["required"] if _is_sound("required", part.get("required")) else []
    return {
        name: without_absent(named.get(name), one)
        for name, one in value.items()
        if one is not None or name in required or name not in named or violation(checked(named[name]), None) is None
    }


# What is checked by the schema itself


def checked(part: Any) -> Any:
    """Give what is checked of a schema: the keywords that can be, in a bounded time; what it forbids by others is not.

    Never stricter than the schema: of what is left out here its server says no.
    """
    if not isinstance(part, dict):
        return part if isinstance(part, bool) else True
    found: dict[str, Any] = {name: part[name] for name in _CHECKED if name in part and _is_sound(name, part[name])}
    found.update((name, checked(part[name])) for name in _OF_ONE if isinstance(part.get(name), dict | bool))
    for name in _OF_MANY:
        if isinstance(part.get(name), list) and part[name]:
            # Without a keyword that is left out two of them may fit.
            found.setdefault("allOf", []).append({"anyOf": [checked(one) for one in part[name]]})
    if isinstance(part.get("allOf"), list):
        found.setdefault("allOf", []).extend(checked(one) for one in part["allOf"])
    if isinstance(part.get("properties"), dict):
        found["properties"] = {name: checked(one) for name, one in part["properties"].items()}
    if "patternProperties" in part:
        found.pop("additionalProperties", None)
    return found


def _is_sound(name: str, value: Any) -> bool:
    """Tell whether a keyword says what it can say today; older drafts have others, and servers make mistakes."""
    match name:
        case "type":
            kinds = value if isinstance(value, list) else [value]
            return bool(kinds) and all(kind in (*_PLAIN, "array", "object") for kind in kinds)
        case "enum" | "required":
            return isinstance(value, list) and (name == "enum" or all(isinstance(one, str) for one in value))
        case "const":
            return True
        case _:
            kind = (int, float) if name in _BOUNDS else int
            return isinstance(value, kind) and not isinstance(value, bool)


def violation(part: Any, value: Any) -> str | None:
    """Say what of a value does not fit what `checked` gave, as `argument: what is wrong`; None when all does."""
    # Comes with the package that MCP needs; nothing else here does.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(part).iter_errors(value))
    if error is None:
        return None
    where = ".".join(str(one) for one in error.absolute_path)
    return f"{where}: {error.message[:200]}" if where else error.message[:200]
