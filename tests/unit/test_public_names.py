"""The public names: what each docstring shows is so, and the list is what the documentation tells of."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

import clearance
from clearance import Clearance

SOURCE = Path(clearance.__file__).parents[1]
#: What cannot carry a docstring itself: it stands below the assignment.
ALIASES = ("Material", "Volatile")


def home(name: str) -> Any:
    """Give the module that defines a public name."""
    if name in ALIASES:
        return importlib.import_module("clearance.actions.action")
    return inspect.getmodule(getattr(clearance, name))


def docstring(name: str) -> str:
    """Give what a public name says of itself."""
    if name not in ALIASES:
        return inspect.getdoc(getattr(clearance, name)) or ""
    body = ast.parse(Path(home(name).__file__).read_text()).body
    at = next(
        at for at, node in enumerate(body) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    below = body[at + 1]
    assert isinstance(below, ast.Expr)
    assert isinstance(below.value, ast.Constant)
    return inspect.cleandoc(str(below.value.value))


METHODS = [name for name, method in vars(Clearance).items() if "Example:" in (getattr(method, "__doc__", None) or "")]


def run(text: str, name: str, names: dict[str, Any]) -> int:
    """Run the examples of a docstring; give how many there were."""
    found = doctest.DocTestParser().get_doctest(text, dict(names), name, None, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(found, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    return len(found.examples)


@pytest.mark.parametrize("name", sorted(clearance.__all__))
def test_a_public_name_has_an_example_and_it_runs(name: str) -> None:
    said = docstring(name)

    assert said.partition("\n")[0].endswith((".", ":")), "the first line is a thought that ends"
    assert run(said, name, {**vars(home(name)), **{one: getattr(clearance, one) for one in ("Facts", "Effect")}}) > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_clearance_does_what_its_example_shows(name: str) -> None:
    assert run(inspect.getdoc(getattr(Clearance, name)) or "", name, {}) > 0


def test_the_ways_in_have_examples() -> None:
    assert {"add_to", "middleware"} <= set(METHODS)


def test_every_public_name_is_found_and_no_other() -> None:
    assert len(clearance.__all__) == len(set(clearance.__all__)) <= 18
    assert sorted(clearance.__all__) == list(clearance.__all__), "in the order people look for them"
    with pytest.raises(AttributeError, match="has no attribute 'Gate'"):
        clearance.Gate  # noqa: B018 - that it fails is what is tried
