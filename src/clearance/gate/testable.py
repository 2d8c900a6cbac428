"""What a condition can test of arguments and facts: their names, their types in CEL, and their values.

A field has a name by its path, `args.buyer.country`. What cannot be typed has none, so that naming it is an error
when the policy is read. A value that its type cannot hold exactly (NaN, a number too large or too fine, None) is passed
on as something that CEL refuses: whatever tests it fails, and failed is `deny`.
"""

import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from cel_expr_python import cel
from pydantic import BaseModel, RootModel
from pydantic_core import to_jsonable_python

#: Models inside models that are read; what lies deeper has no name.
_DEEPEST = 5
#: CEL has no decimals. Its duration is a number of fixed point that is ordered and summed exactly, and that no other
#: type can be mixed up with: a second is one. Python brings microseconds to it.
_PER_UNIT, _MOST_DIGITS = 1_000_000, 12


class _Unusable:
    """What no type of CEL takes."""


UNUSABLE = _Unusable()


@dataclass(frozen=True)
class _Type:
    """A type in CEL, and how a value of Python becomes one."""

    cel: Any  # cel.Type; the package's classes cannot be named in annotations
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Testable:
    """A field that conditions can test."""

    path: tuple[str, ...]
    type: Any
    read: Callable[[Any], Any]
    #: It, or a model that it stands in, may be None: then `has(…)` tells, and whatever else tests it fails.
    is_optional: bool
    #: Every text that it may be; None where it may be any, or is no text.
    choices: tuple[str, ...] | None = None


def exact(number: Decimal) -> Any:
    """Give a decimal number as conditions have it, or what they refuse, where it cannot be held exactly."""
    # Before anything counts with it: an exponent of a million is ten bytes long, and a million digits.
    if not number.is_finite() or (number and not -_MOST_DIGITS < number.adjusted() <= _MOST_DIGITS):
        return UNUSABLE
    parts = (Fraction(number) if number else Fraction(0)) * _PER_UNIT
    if parts.denominator != 1:
        return UNUSABLE
    try:
        return timedelta(microseconds=parts.numerator)
    except OverflowError:
        return UNUSABLE


def _whole(value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else UNUSABLE


def _words(value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return str(value) if isinstance(value, str) else UNUSABLE


def _broken(value: Any) -> Any:
    """Give a binary number that stands for the number that was written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return UNUSABLE
    if isinstance(value, float):
        return value if math.isfinite(value) else UNUSABLE
    return float(value) if abs(value) <= 2**53 else UNUSABLE


def _money(value: Any) -> Any:
    return exact(value) if isinstance(value, Decimal) else UNUSABLE


def _truth(value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return value if isinstance(value, bool) else UNUSABLE


def _moment(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else UNUSABLE


def _closed(value: Any) -> Any:
    # Equal where the values are, and nothing inside it has a name.
    return json.dumps(to_jsonable_python(value), sort_keys=True).encode()


_PLAIN: Mapping[Any, _Type] = {
    int: _Type(cel.Type.INT, _whole),
    str: _Type(cel.Type.STRING, _words),
    bool: _Type(cel.Type.BOOL, _truth),
    float: _Type(cel.Type.DOUBLE, _broken),
    Decimal: _Type(cel.Type.DURATION, _money),
    datetime: _Type(cel.Type.TIMESTAMP, _moment),
}
#: What stands in a list or under a name and cannot be typed: it is counted and compared as a whole.
_CLOSED = _Type(cel.Type.BYTES, _closed)


@lru_cache(maxsize=2_000)
def testable(model: type[BaseModel]) -> Mapping[str, Testable]:
    """Give what conditions can test of a model, by its name without `args.` or `facts.`."""
    return {".".join(one.path): one for one in _fields(model, (), is_optional=False)}


@lru_cache(maxsize=2_000)
def nested(model: type[BaseModel]) -> Mapping[str, bool]:
    """Give the models inside a model by name, and whether each may be None: their fields are tested, not they."""
    return dict(_nested(model, "", is_optional=False, deep=1))


def values(prefix: str, value: BaseModel) -> dict[str, Any]:
    """Give the values of a model for CEL, by the names of its variables."""
    given: dict[str, Any] = {}
    for name, field in testable(type(value)).items():
        came: Any = value
        for part in field.path:
            came = None if came is None else getattr(came, part)
        given[f"{prefix}.{name}"] = None if came is None else field.read(came)
        if field.is_optional:
            given[f"has.{prefix}.{name}"] = came is not None
    for name, is_optional in nested(type(value)).items():
        if is_optional:
            came = value
            for part in name.split("."):
                came = None if came is None else getattr(came, part)
            given[f"has.{prefix}.{name}"] = came is not None
    return given


def variables(prefix: str, model: type[BaseModel]) -> dict[str, Any]:
    """Give the variables of a model for CEL, by name: `has.…` tells of what may be None whether it is there."""
    known = {f"{prefix}.{name}": field.type for name, field in testable(model).items()}
    there = [name for name, field in testable(model).items() if field.is_optional]
    there += [name for name, is_optional in nested(model).items() if is_optional]
    return known | {f"has.{prefix}.{name}": cel.Type.BOOL for name in there}


def written(model: type[BaseModel], name: str) -> str | None:
    """Give how the type of a field of a model reads in Python, None where it has no such field."""
    *outer, last = name.split(".")
    for part in outer:
        field = model.model_fields.get(part)
        inner: Any = _plain(field.annotation)[0] if field else None
        if not _is_model(inner):
            return None
        model = inner
    field = model.model_fields.get(last)
    if field is None:
        return None
    annotation, is_optional = _plain(field.annotation)
    return _named(annotation) + (" | None" if is_optional else "")


def _named(annotation: Any) -> str:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " | ".join(_named(one) for one in typing.get_args(annotation))
    if typing.get_args(annotation):
        return str(annotation).replace("typing.", "")
    return str(getattr(annotation, "__name__", annotation))


def _fields(model: type[BaseModel], path: tuple[str, ...], *, is_optional: bool) -> typing.Iterator[Testable]:
    for name, field in model.model_fields.items():
        plain, may_miss = _plain(field.annotation)
        here, missing = (*path, name), is_optional or may_miss
        found = _type_of(plain)
        if found is not None:
            yield Testable(here, found.cel, found.read, missing, _choices(plain))
        elif _is_model(plain) and len(here) < _DEEPEST:
            yield from _fields(plain, here, is_optional=missing)


def _choices(annotation: Any) -> tuple[str, ...] | None:
    if typing.get_origin(annotation) is Literal:
        given = [one.value if isinstance(one, Enum) else one for one in typing.get_args(annotation)]
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        given = [one.value for one in annotation]
    else:
        return None
    return tuple(given) if all(isinstance(one, str) for one in given) else None


def _nested(model: type[BaseModel], prefix: str, *, is_optional: bool, deep: int) -> typing.Iterator[tuple[str, bool]]:
    for name, field in model.model_fields.items():
        plain, may_miss = _plain(field.annotation)
        if _is_model(plain) and deep < _DEEPEST:
            yield prefix + name, is_optional or may_miss
            yield from _nested(plain, f"{prefix}{name}.", is_optional=is_optional or may_miss, deep=deep + 1)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, RootModel)


def _plain(annotation: Any) -> tuple[Any, bool]:
    """Strip what says nothing of a type, such as `Annotated` and an alias, and tell whether it may be None."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):  # type Amount = …
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        else:
            break
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        is_optional = len(parts) < len(typing.get_args(annotation))
        if len(parts) == 1:
            inner, inner_optional = _plain(parts[0])
            return inner, is_optional or inner_optional
        return typing.Union[tuple(parts)], is_optional  # noqa: UP007  made of what was found
    if typing.get_origin(annotation) is Literal and None in typing.get_args(annotation):
        return Literal[tuple(one for one in typing.get_args(annotation) if one is not None)], True
    return annotation, False


def _type_of(annotation: Any) -> _Type | None:
    """Give the type of something that is not None, None where it has none."""
    args = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case None if isinstance(annotation, type):
            return _of_class(annotation)
        case typing.Literal:
            return _of_kinds({type(one.value if isinstance(one, Enum) else one) for one in args})
        case typing.Union | types.UnionType:
            return _of_kinds({_plain(one)[0] for one in args})
        case kind if kind in (list, set, frozenset) or (kind is tuple and args[1:] == (...,)):
            return _list_of(args[0])
        case kind if kind is dict:
            names = _type_of(_plain(args[0])[0])
            if names is None or names.cel not in (cel.Type.STRING, cel.Type.INT):
                return None
            return _map_of(names, args[1])
        case _:
            return None


def _of_class(cls: type) -> _Type | None:
    if cls in _PLAIN:
        return _PLAIN[cls]
    if issubclass(cls, Enum):
        return _of_kinds({type(one.value) for one in cls})
    if cls in (list, set, frozenset, tuple):
        return _list_of(Any)
    return _map_of(_PLAIN[str], Any) if cls is dict else None


def _of_kinds(kinds: set[Any]) -> _Type | None:
    """Give the type of what may be one of several: JSON has one kind of number, so whole and broken ones are one."""
    if kinds == {int, float}:
        return _PLAIN[float]
    return _PLAIN.get(next(iter(kinds))) if len(kinds) == 1 else None


def _list_of(annotation: Any) -> _Type:
    # An element that is None is refused where it is tested, like every other None.
    of = _type_of(_plain(annotation)[0]) or _CLOSED

    def read(value: Any) -> Any:
        one_by_one = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_inner(of, one) for one in one_by_one]

    return _Type(cel.Type.List(of.cel), read)


def _map_of(names: _Type, annotation: Any) -> _Type:
    of = _type_of(_plain(annotation)[0]) or _CLOSED

    def read(value: Any) -> Any:
        # Another name than text would be compared with none of the policy's.
        if not all(isinstance(name, str | int) for name in value):
            return UNUSABLE
        return {names.read(name): _inner(of, one) for name, one in value.items()}

    return _Type(cel.Type.Map(names.cel, of.cel), read)


def _inner(of: _Type, value: Any) -> Any:
    return None if value is None and of is not _CLOSED else of.read(value)
