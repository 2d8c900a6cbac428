"""What an action is: a pydantic model with `facts` and `perform`. See README, "Add an action"."""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.engine import Connection

from agent.clearance.canonical import clean
from agent.clearance.errors import ActionError as ActionError
from agent.clearance.review import Activity, Review
from agent.clearance.soundness import check_class, check_whole

T = TypeVar("T")
FactsT = TypeVar("FactsT", bound="Facts")


@dataclass(frozen=True)
class FactKind:
    """How much a fact weighs once somebody has approved."""

    name: Literal["material", "volatile"]


#: A change of this fact voids an approval (owner, status, currency, a payee that is new).
Material = Annotated[T, FactKind("material")]
#: This fact moves all the time (balances, sums, what is pending); policy and `perform` guard it.
Volatile = Annotated[T, FactKind("volatile")]


@dataclass(frozen=True)
class Shown:
    """Say how people read a field: `Annotated[int, Shown(usd)]`. Without it they read the value as it is."""

    to_text: Callable[[Any], str]


class Facts(BaseModel):
    """Base of an action's facts: what a reviewer must know and a policy may test.

    Every field is declared `Material[...]` or `Volatile[...]`; a field's `title` and `description` are for people.

    Raises:
        TypeError: when a class is defined with a field that is neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if not any(isinstance(item, FactKind) for item in field.metadata):
                raise TypeError(f"{cls.__qualname__}.{name} must be declared Material[...] or Volatile[...]")

    @classmethod
    def material(cls) -> frozenset[str]:
        """Name the facts whose change voids an approval."""
        return frozenset(
            name
            for name, field in cls.model_fields.items()
            if any(isinstance(item, FactKind) and item.name == "material" for item in field.metadata)
        )


@dataclass(frozen=True)
class Reading:
    """What `facts` may use: a transaction that refuses writes."""

    connection: Connection
    #: The gate's clock, aware UTC.
    now: datetime
    #: Who asked for the action.
    requested_by: str
    #: Cleared or waiting actions of a kind, opened before this one and not carried out; see `earlier`.
    _earlier: Callable[[str], Sequence["Earlier"]]
    #: Actions of a kind that stand in the same message; see `beside`.
    _beside: Callable[[str], Sequence["Earlier"]] = lambda _: ()

    def earlier(self, action: "type[Action[Any]]") -> Sequence["Earlier"]:
        """List what was asked for before this and is not carried out yet, oldest first, of one kind of action.

        It holds what policy or people cleared, and everything of this plan before this call. Limits that count
        only what is done already would let one plan, or two threads at once, slip under them.
        """
        return self._earlier(action.tool_name())

    def beside(self, action: "type[Action[Any]]") -> Sequence["Earlier"]:
        """List the other actions of one kind that the same message asks for, before and after this one.

        It holds what is carried out of them, too, and not what was refused or failed: their sum with this one stays
        the same while the message is carried out. Thresholds that look at one call alone let a split sum through.
        """
        return self._beside(action.tool_name())


@dataclass(frozen=True)
class Earlier:
    """An action that stands before another one and is not carried out yet."""

    arguments: dict[str, Any]
    requested_by: str


@dataclass(frozen=True)
class Effect:
    """What `perform` may use: the one write transaction, inside a savepoint."""

    connection: Connection
    #: The gate's clock, aware UTC.
    now: datetime
    #: Who asked for the action.
    requested_by: str
    #: Key of the request: write it beside what you change, so that an auditor finds the way back.
    request_id: str
    _erase: Callable[[str], None]

    def erase(self, subject: str) -> None:
        """Erase what the journal holds on a person: arguments, facts, sentences, words of requests about `subject`."""
        self._erase(subject)


#: Of arguments in a sentence that nobody wrote.
_MOST_LISTED = 1_000


class Action(BaseModel, Generic[FactsT]):
    """A call with an effect. Fields are the tool's arguments; the docstring is what the model reads.

    Both methods raise `ActionError` with one sentence when it cannot be done.

    Raises:
        TypeError: when a class is defined that cannot work, see `soundness`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.__pydantic_generic_metadata__["origin"]:  # `Action[ItsFacts]`, which nobody wrote
            check_class(cls, Action, Facts)

    @classmethod
    def tool_name(cls) -> str:
        """Give the name the model calls it by: `TransferFunds` is `transfer_funds`."""
        return "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("_")

    @classmethod
    def facts_type(cls) -> type[Facts]:
        """Give the class in `Action[...]`: what `facts` returns, and what policy conditions are type-checked against.

        Raises:
            TypeError: the class was written without it.
        """
        for base in cls.__mro__:
            arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
            if arguments and isinstance(arguments[0], type):
                return arguments[0]
        raise TypeError(f"{cls.__qualname__} must be written as Action[ItsFacts]")

    @abstractmethod
    def facts(self, reading: Reading) -> FactsT:
        """Read what a reviewer must know. Runs several times, in a transaction that refuses writes."""

    @abstractmethod
    def perform(self, effect: Effect) -> str:
        """Do it, and return the sentence that the model and the receipt get.

        Runs after clearance only, in a savepoint of the executing transaction, once with success; does no network.
        """

    @classmethod
    def traces(cls, connection: Connection, request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]] | None:
        """Read back what `perform` left in our database, by request; None: the audit log binds none of it.

        JSON that stays as it is for good, also when somebody is erased: ids, amounts, times. It is digested when the
        action is carried out, and compared by `audit verify`.
        """
        return None

    def sentence(self, facts: FactsT) -> str:
        """Say in one line what will happen, verb first: the heading a reviewer reads."""
        arguments = ", ".join(f"{name} {value}" for name, value in self.model_dump(mode="json").items())
        said = f"{self.tool_name().replace('_', ' ').capitalize()}: {arguments}"
        # Every argument stands beside it, whole.
        return said if len(said) <= _MOST_LISTED else f"{said[:_MOST_LISTED]} …"

    def subjects(self, facts: FactsT) -> list[str]:
        """Name the persons it concerns (`customer:C-1`), so that erasing one finds this request. None by default."""
        return []

    def narrows(self, original: "Action[Any]") -> bool:
        """Tell whether this, an edit, does strictly less than `original`. False unless the action says what less is."""
        return False

    def review(self, facts: FactsT) -> Review:
        """Say how reviewers see it: the words of the button, what changes, what is out of the ordinary."""
        name = self.tool_name().replace("_", " ")
        return Review((name,), line=(self.sentence(facts),), confirm=self.tool_name())

    def activity(self, reading: Reading) -> Activity | None:
        """Read what went on before, for a chart beside the request. None by default."""
        return None


def read_action(cls: type[Action[Any]], arguments: dict[str, Any]) -> Action[Any]:
    """Read arguments from outside into an action.

    Raises:
        ActionError: they do not fit; the sentence names each argument and what is wrong with it.
    """
    if clean(arguments) != arguments:
        raise ActionError(f"{cls.tool_name()} was not called correctly: characters that are no text are in it.")
    try:
        return cls.model_validate(arguments)
    except ValidationError as exc:
        raise ActionError(f"{cls.tool_name()} was not called correctly: {in_words(exc)}.") from exc
    except (ArithmeticError, LookupError, RecursionError, TypeError) as exc:
        # A validator of the action's own that stumbles: pydantic turns only ValueError and AssertionError into its own.
        raise ActionError(f"{cls.tool_name()} was not called correctly: its arguments cannot be read.") from exc


def in_words(error: ValidationError) -> str:
    """Say what a validation error found, as `argument: what is wrong` joined by semicolons; at most five."""
    problems = []
    for item in error.errors(include_url=False, include_context=False)[:5]:
        name = ".".join(str(part)[:40] for part in item["loc"]) or "arguments"
        said = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        problems.append(f"{name}: {said[:1].lower()}{said[1:]}".rstrip("."))
    return "; ".join(problems)


def shown_facts(facts: Facts) -> list[tuple[str, str]]:
    """List an action's facts as (label, text) for people, in the order they are declared."""
    shown = []
    for name, field in type(facts).model_fields.items():
        to_text = next((item.to_text for item in field.metadata if isinstance(item, Shown)), _plain_text)
        shown.append((field.title or label_of(name), to_text(getattr(facts, name))))
    return shown


@dataclass(frozen=True)
class Argument:
    """One argument of a call, for people."""

    name: str
    label: str
    #: As people read it: whole, and as it came.
    text: str


def read_arguments(cls: type[Action[Any]] | None, arguments: dict[str, Any]) -> list[Argument]:
    """List every argument of a call, in the order the action declares them; what it does not declare comes last.

    `cls` is None for an action that the program does not have any more: then the values stand as they were stored.
    """
    texts = {name: value if isinstance(value, str) else _json_text(value) for name, value in arguments.items()}
    fields = cls.model_fields if cls else {}
    try:
        action = read_action(cls, arguments) if cls else None
    except ActionError:  # stored by a program whose action was another
        action = None
    for name, field in fields.items():
        to_text = next((item.to_text for item in field.metadata if isinstance(item, Shown)), None)
        if action is not None and to_text is not None:
            texts[name] = to_text(getattr(action, name))
    ordered = [name for name in fields if name in texts] + [name for name in texts if name not in fields]
    labels = {name: field.title for name, field in fields.items()}
    return [Argument(name, labels.get(name) or label_of(name), texts[name]) for name in ordered]


def label_of(name: str) -> str:
    """Write the name of a field for people: `from_account` is `From account`."""
    return name.replace("_", " ").capitalize()


def _json_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _plain_text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(str(item) for item in value) or "none"
        case _:
            return str(value)


class Actions:
    """The actions of a deployment, by tool name."""

    def __init__(self, classes: Sequence[type[Action[Any]]]) -> None:
        for cls in classes:
            check_whole(cls, Facts)
        self._by_name = {cls.tool_name(): cls for cls in classes}
        if len(self._by_name) != len(classes):
            raise ValueError("two actions have the same name")

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> type[Action[Any]]:
        return self._by_name[name]

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def get(self, name: str) -> type[Action[Any]] | None:
        """Give the action called `name`, or None when there is none."""
        return self._by_name.get(name)
