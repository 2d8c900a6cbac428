"""What is stored of arguments and facts: JSON that is the same each time that it is made of the same values."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from clearance.canonical import canonical


def stored(model: BaseModel) -> dict[str, Any]:
    """Give the JSON form of an action or of facts. Sets are in an order of their own: else each process had another."""
    dumped: dict[str, Any] = model.model_dump(mode="json")
    return {name: _in_order(getattr(model, name, None), value) for name, value in dumped.items()}


def _in_order(value: Any, dumped: Any) -> Any:
    if isinstance(dumped, list):
        if isinstance(value, set | frozenset):
            return sorted(_each(value, dumped), key=canonical)
        return list(_each(value, dumped)) if isinstance(value, list | tuple) else dumped
    if isinstance(dumped, dict):
        if isinstance(value, BaseModel):
            return {name: _in_order(getattr(value, name, None), one) for name, one in dumped.items()}
        if isinstance(value, dict) and len(value) == len(dumped):
            of = zip(value.values(), dumped.items(), strict=True)
            return {name: _in_order(inner, one) for inner, (name, one) in of}
    return dumped


def _each(values: Any, dumped: list[Any]) -> Iterator[Any]:
    if len(values) != len(dumped):  # written in a way of its own
        yield from dumped
        return
    for value, one in zip(values, dumped, strict=True):
        yield _in_order(value, one)
