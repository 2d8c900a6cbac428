"""Whether a class can work as an action, told when it is made; and whether what its methods return can be used."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from clearance.canonical import clean

T = TypeVar("T")

#: What an author writes, and what each is called with beside the action itself.
METHODS = {
    "facts": "reading",
    "perform": "effect",
    "sentence": "facts",
    "subjects": "facts",
    "narrows": "original",
    "review": "facts",
    "activity": "reading",
}
#: Longer sentences of an action are refused: they stand in the receipt, on the page and in the model's context.
MOST_SENTENCE = 4_000
#: An id of somebody that it concerns is no longer than this.
_MOST_SUBJECT = 200
#: What an action has before its author wrote any.
_DEFAULTS = ("Action.facts", "ExternalAction.facts")
#: Names that endpoints take for a tool.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_class(cls: Any, base: type[BaseModel], facts_base: type[BaseModel]) -> None:
    """Check what stands in a class derived from `base`, the action itself. One that is not whole yet may be a base.

    Raises:
        TypeError: it cannot work; names the class, the method or field, and what to write instead.
    """
    name = cls.__qualname__
    for method, given in cls.methods().items():
        if method in cls.__dict__:
            _check_method(name, method, cls.__dict__[method], given, may_wait=method in cls.may_wait())
    for field, info in cls.model_fields.items():
        if hasattr(base, field) or field in cls.methods():
            raise TypeError(f"{name}.{field}: an argument cannot be called so, an action has something of that name")
        if info.alias or info.validation_alias or info.serialization_alias:
            raise TypeError(f"{name}.{field}: an argument has one name, without an alias")
        if info.exclude:
            raise TypeError(f"{name}.{field}: an argument that is left out could be carried out unseen")
        if _has_secret(info.annotation):
            raise TypeError(f"{name}.{field}: of an argument that is hidden nobody could see what they approve")
    if cls.model_config.get("extra") != "forbid" or not cls.model_config.get("frozen"):
        raise TypeError(f"{name}.model_config: an action is frozen and forbids extra arguments")
    if not missing(cls, facts_base):
        check_whole(cls, facts_base)


def _has_secret(annotation: Any) -> bool:
    kinds = (SecretStr, SecretBytes, Secret)
    return (isinstance(annotation, type) and issubclass(annotation, kinds)) or any(
        map(_has_secret, get_args(annotation))
    )


def missing(cls: Any, facts_base: type[BaseModel]) -> list[str]:
    """Name the methods that every action needs and this class does not have: one of no facts needs not read them."""
    return [
        *(["facts"] if cls.facts.__qualname__ in _DEFAULTS and _facts_of(cls) is not facts_base else []),
        *(["perform"] if getattr(cls.perform, "__isabstractmethod__", False) else []),
    ]


def _facts_of(cls: Any) -> Any:
    try:
        return cls.returned_by_facts()
    except TypeError:  # it was written without
        return None


def check_whole(cls: Any, facts_base: type[BaseModel]) -> None:
    """Check that nothing is missing.

    Raises:
        TypeError: see `check_class`.
    """
    name = cls.__qualname__
    if lacking := missing(cls, facts_base):
        raise TypeError(f"{name} needs {' and '.join(f'{one}(self, {cls.methods()[one]})' for one in lacking)}")
    facts_type = cls.returned_by_facts()
    if not (isinstance(facts_type, type) and issubclass(facts_type, facts_base)):
        raise TypeError(f"{name} must be written as Action[ItsFacts], where ItsFacts is a class of Facts")
    if not (cls.__dict__.get("__doc__") or "").strip():
        raise TypeError(f"{name} needs a docstring: it is what the model reads to know when to call it")
    cls.facts_type()
    if not _NAME.fullmatch(cls.tool_name()):
        raise TypeError(f"{name}: endpoints take no tool called {cls.tool_name()!r}; use ASCII letters and digits")


def _check_method(name: str, method: str, written: Any, given: str, *, may_wait: bool) -> None:
    is_written = f"def {method}(self, {given})" if given else f"def {method}(self)"
    if not inspect.isfunction(written):
        raise TypeError(f"{name}.{method} must be a plain method: {is_written}")
    if (inspect.iscoroutinefunction(written) and not may_wait) or inspect.isasyncgenfunction(written):
        raise TypeError(f"{name}.{method} is async, and would never be awaited: write {is_written}")
    if inspect.isgeneratorfunction(written):
        raise TypeError(f"{name}.{method} is a generator, and would never run: return, do not yield")
    signature = inspect.signature(written)
    try:
        signature.bind(*([None, None] if given else [None]))
    except TypeError:
        raise TypeError(
            f"{name}.{method}{signature} must take {'one' if given else 'no'} argument: {is_written}"
        ) from None
    if method in ("perform", "sentence") and signature.return_annotation in (None, "None"):
        raise TypeError(f"{name}.{method} must return a sentence, not None")


def described(given: object) -> str:
    """Say what somebody gave in the place of something else, by its name, or its class where it has none."""
    name = getattr(given, "__name__", None)
    return repr(given)[:100] if isinstance(given, str) else str(name or f"an object of {type(given).__name__}")


# What methods return. A caller that goes on with something else would store it, show it or fail half way.


def a_sentence(said: Any, of: str) -> str:
    """Give what an action says as text that can be stored, shown and read.

    Raises:
        TypeError, ValueError: it is none; for the log, which names the method `of`.
    """
    if not isinstance(said, str):
        _drop(said)
        raise TypeError(f"{of} returned {type(said).__name__}, not a sentence")
    if not said.strip():
        raise ValueError(f"{of} returned an empty sentence")
    if len(said) > MOST_SENTENCE:
        raise ValueError(f"{of} returned {len(said):,} characters; a sentence has at most {MOST_SENTENCE:,}")
    if clean(said) != said:
        raise ValueError(f"{of} returned characters that are no text")
    return str(said)


def an(expected: type[T], given: Any, of: str) -> T:
    """Give what a method returned, which must be of this class.

    Raises:
        TypeError: it is not; for the log, which names the method `of`.
    """
    if not isinstance(given, expected):
        _drop(given)
        raise TypeError(f"{of} returned {type(given).__name__}, not {expected.__name__}")
    return given


def some_subjects(given: Any, of: str) -> list[str]:
    """Give the ids of whom something concerns.

    Raises:
        TypeError: it is no list of short texts: one text would be taken for its letters.
    """
    if not isinstance(given, list | tuple):
        _drop(given)
        raise TypeError(f"{of} returned {type(given).__name__}, not a list of ids")
    for one in given:
        if not isinstance(one, str) or not one or len(one) > _MOST_SUBJECT or clean(one) != one:
            raise TypeError(f"{of} returned {one!r:.100}, which is no id")
    return list(given)


def _drop(given: Any) -> None:
    close: Callable[[], None] | None = getattr(given, "close", None) if inspect.iscoroutine(given) else None
    if close:  # else Python warns, far from here, that it was never awaited
        close()
