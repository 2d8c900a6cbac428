"""What cannot work as an action is told when its class is made, not when somebody has approved it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from clearance.actions.action import Action, Actions, Effect, Facts, Reading, Volatile


class BoilFacts(Facts):
    """What is true of the kettle."""

    full: Volatile[bool]


class Boil(Action[BoilFacts]):
    """Boil water."""

    degrees: int = 100

    def facts(self, reading: Reading) -> BoilFacts:
        return BoilFacts(full=True)

    def perform(self, effect: Effect) -> str:
        return "Boiled."


def made(base: Any = Boil, **members: Any) -> Any:
    """Define a class as an author would."""
    named = {"__doc__": "Boil.", "__module__": __name__, "__qualname__": "Wrong", **members}
    return type("Wrong", (base,), named)


async def _async(self: Any, given: Any) -> Any: ...
async def _async_generator(self: Any, given: Any) -> Any:
    yield 1


def _generator(self: Any, given: Any) -> Any:
    yield 1


def _nothing(self: Any) -> Any: ...
def _two(self: Any, given: Any, more: Any) -> Any: ...
def _keyword(self: Any, *, given: Any) -> Any: ...
def _no_sentence(self: Any, given: Any) -> None: ...


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    **{
        f"async {name}": (lambda name=name: made(**{name: _async}), f"Wrong.{name} is async")  # type: ignore[misc]
        for name in ("facts", "perform", "sentence", "subjects", "narrows", "review", "activity")
    },
    "async generator": (lambda: made(perform=_async_generator), "Wrong.perform is async"),
    "generator": (lambda: made(perform=_generator), "Wrong.perform is a generator"),
    "too few": (lambda: made(facts=_nothing), "Wrong.facts(self: Any) -> Any must take one argument"),
    "too many": (lambda: made(perform=_two), "must take one argument: def perform(self, effect)"),
    "by keyword": (lambda: made(perform=_keyword), "must take one argument"),
    "class method": (lambda: made(perform=classmethod(_no_sentence)), "must be a plain method"),
    "static method": (lambda: made(perform=staticmethod(_no_sentence)), "must be a plain method"),
    "None": (lambda: made(perform=_no_sentence), "must return a sentence, not None"),
    "no docstring": (lambda: made(__doc__=None), "Wrong needs a docstring"),
    "blank docstring": (lambda: made(__doc__=" \n"), "Wrong needs a docstring"),
    "alias": (lambda: made(__annotations__={"to": int}, to=Field(1, alias="from")), "without an alias"),
    "excluded": (lambda: made(__annotations__={"to": int}, to=Field(1, exclude=True)), "carried out unseen"),
    "secret": (lambda: made(__annotations__={"to": SecretStr}), "nobody could see what they approve"),
    "secret or none": (lambda: made(__annotations__={"to": list[SecretStr] | None}, to=None), "nobody could see"),
    "extra": (lambda: made(model_config=ConfigDict(extra="allow")), "forbids extra arguments"),
    "not frozen": (lambda: made(model_config=ConfigDict(frozen=False)), "an action is frozen"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_class_that_cannot_work_is_refused_when_it_is_made(what: str) -> None:
    make, said = WRONG[what]

    with pytest.raises(TypeError, match=re.escape(said)):
        make()


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("name", ["sentence", "perform", "tool_name", "copy"])
def test_an_argument_is_not_called_as_something_that_an_action_has(name: str) -> None:
    with pytest.raises((TypeError, NameError), match=name):
        made(__annotations__={name: str}, **{name: "x"})


def test_an_action_of_other_facts_than_facts_is_refused() -> None:
    class Loose(BaseModel):
        full: bool

    with pytest.raises(TypeError, match="must be written as Action"):
        made(Action[Loose], facts=Boil.facts, perform=Boil.perform)  # type: ignore[type-var]  # that is the mistake
    with pytest.raises(TypeError, match="must be written as Action"):
        made(Action, facts=Boil.facts, perform=Boil.perform)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "Wrong needs facts(self, reading) and perform(self, effect)"),
        ({"facts": Boil.facts}, "Wrong needs perform(self, effect)"),
        ({"perform": Boil.perform}, "Wrong needs facts(self, reading)"),
    ],
    ids=["both", "perform", "facts"],
)
def test_one_that_lacks_a_method_may_be_a_base_and_is_no_action(members: dict[str, Any], said: str) -> None:
    base = made(Action[BoilFacts], **members)

    with pytest.raises(TypeError, match=re.escape(said)):
        Actions([base])
    Actions([made(base, facts=Boil.facts, perform=Boil.perform)])


def test_an_action_whose_arguments_say_all_has_no_facts_to_read() -> None:
    plain = made(Action[Facts], perform=Boil.perform)

    Actions([plain])
    assert plain().facts(None) == Facts()


def test_a_name_that_no_endpoint_takes_is_refused() -> None:
    with pytest.raises(TypeError, match="endpoints take no tool called"):
        type("Überweise", (Boil,), {"__doc__": "Pay.", "__module__": __name__})


def test_a_sentence_that_nobody_wrote_is_no_longer_than_a_reviewer_reads() -> None:
    noted = made(__annotations__={"note": str}, note="")

    assert len(noted(note="x" * 50_000).sentence(BoilFacts(full=True))) < 1_100
