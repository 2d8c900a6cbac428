"""What an action is: a pydantic model with `facts` and `perform`. docs/build.md shows one."""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from clearance.actions.origin import ToolOrigin
from clearance.actions.review import Activity, Review
from clearance.actions.soundness import METHODS, check_class, check_whole, described
from clearance.actions.stored import stored
from clearance.canonical import clean
from clearance.errors import ActionError as ActionError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection  # a third of what the import of an action takes

T = TypeVar("T")
FactsT = TypeVar("FactsT", bound="Facts")


@dataclass(frozen=True)
class FactKind:
    """How much a fact weighs once somebody has approved."""

    name: Literal["material", "volatile"]


Material = Annotated[T, FactKind("material")]
"""Declare a fact whose change voids an approval: owner, status, currency, a recipient that is new.

Example:
    >>> class OrderFacts(Facts):
    ...     buyer: Material[str]
    >>> sorted(OrderFacts.material())
    ['buyer']
"""
Volatile = Annotated[T, FactKind("volatile")]
"""Declare a fact that moves all the time (balances, sums, what is pending): policy and `perform` guard it.

Example:
    >>> class StockFacts(Facts):
    ...     pieces: Volatile[int]
    >>> sorted(StockFacts.material())
    []
"""


@dataclass(frozen=True)
class Shown:
    """Say how people read a field: `Annotated[int, Shown(in_words)]`. Without it they read the value as it is.

    Example:
        >>> from typing import Annotated
        >>> Cents = Annotated[int, Shown(lambda cents: f"{cents // 100}.{cents % 100:02} EUR")]
        >>> class PriceFacts(Facts):
        ...     price: Material[Cents]
    """

    to_text: Callable[[Any], str]


class Facts(BaseModel):
    """Base of an action's facts: what a reviewer must know and a policy may test.

    Every field is declared `Material[...]` or `Volatile[...]`; a field's `title` and `description` are for people.

    Example:
        >>> class OrderFacts(Facts):
        ...     buyer: Material[str]
        ...     refunded: Volatile[int]
        >>> OrderFacts(buyer="Ada", refunded=0).buyer
        'Ada'

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
    """What `facts` may use: a transaction that keeps no writes.

    Attributes:
        connection: Of SQLAlchemy, to the database of DATABASE_URL.
        now: The gate's clock, aware UTC.
        requested_by: Who asked for the action.

    Example:
        >>> import sqlalchemy as sa
        >>> def read_buyer(reading: Reading) -> str:
        ...     return reading.connection.execute(sa.text("SELECT buyer FROM orders")).scalar_one()
    """

    connection: "Connection"
    now: datetime
    requested_by: str
    #: Cleared or waiting actions of some kinds, opened before this one and not carried out; see `earlier`.
    _earlier: Callable[[Sequence[str]], Sequence["Earlier"]]
    #: Actions of some kinds that stand in the same message; see `beside`.
    _beside: Callable[[Sequence[str]], Sequence["Earlier"]] = lambda _: ()

    def earlier(self, *actions: "type[Action[Any]]") -> Sequence["Earlier"]:
        """List what was asked for before this and is not carried out yet, oldest first, of these kinds of action.

        It holds what policy or people cleared, and everything of this plan before this call; of external actions what
        is in flight, too. Limits that count only what is done already would let one plan, or two threads at once, slip
        under them. Several kinds are read at once.
        """
        return self._earlier([action.tool_name() for action in actions])

    def beside(self, *actions: "type[Action[Any]]") -> Sequence["Earlier"]:
        """List the other actions of these kinds that the same message asks for, before and after this one.

        It holds what is carried out of them, too, and not what was refused or failed: their sum with this one stays
        the same while the message is carried out. Thresholds that look at one call alone let a split sum through.
        """
        return self._beside([action.tool_name() for action in actions])


@dataclass(frozen=True)
class Earlier:
    """An action that stands before another one and is not carried out yet."""

    arguments: dict[str, Any]
    requested_by: str
    #: Name of its tool, where several kinds were asked for.
    action: str = ""


@dataclass(frozen=True)
class Effect:
    """What `perform` may use: the one write transaction, inside a savepoint.

    Attributes:
        connection: Of SQLAlchemy, to the database of DATABASE_URL; what is written over it commits with the receipt.
        now: The gate's clock, aware UTC.
        requested_by: Who asked for the action.
        request_id: Key of the request: write it beside what you change, so that an auditor finds the way back.

    Example:
        >>> import sqlalchemy as sa
        >>> def refund(effect: Effect) -> None:
        ...     row = {"request": effect.request_id, "by": effect.requested_by, "at": effect.now}
        ...     effect.connection.execute(sa.text("INSERT INTO refunds VALUES (:request, :by, :at)"), row)
    """

    connection: "Connection"
    now: datetime
    requested_by: str
    request_id: str
    _erase: Callable[[str], None]

    def erase(self, subject: str) -> None:
        """Erase what the journal holds on a person: arguments, facts, sentences, words of requests about `subject`."""
        self._erase(subject)


#: Of arguments in a sentence that nobody wrote.
_MOST_LISTED = 1_000


class Action(BaseModel, Generic[FactsT]):
    """A call with an effect. Fields are the tool's arguments; the docstring is what the model reads.

    `facts` and `perform` raise `ActionError` with one sentence when it cannot be done. One whose arguments say all is
    written as `Action[Facts]`, and has no facts to read.

    Example:
        >>> class RefundOrder(Action[Facts]):
        ...     '''Refund an order, for example O-1001.'''
        ...     order_id: str
        ...     def perform(self, effect: Effect) -> str:
        ...         return f"Refunded {self.order_id}."
        >>> RefundOrder.tool_name()
        'refund_order'
        >>> RefundOrder(order_id="O-1001").sentence(Facts())
        'Refund order: order_id O-1001'

    Raises:
        TypeError: when a class is defined that cannot work, see `soundness`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    #: Where the tool comes from; all None for what is written here, and for `gated` ones.
    tool_origin: ClassVar[ToolOrigin] = ToolOrigin()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.__pydantic_generic_metadata__["origin"]:  # `Action[ItsFacts]`, which nobody wrote
            check_class(cls, Action, Facts)

    @classmethod
    def methods(cls) -> dict[str, str]:
        """Name what an author writes, and what each is called with beside the action itself."""
        return METHODS

    @classmethod
    def may_wait(cls) -> frozenset[str]:
        """Name those of `methods` that may be async."""
        return frozenset()

    @classmethod
    def tool_name(cls) -> str:
        """Give the name the model calls it by: `RefundOrder` is `refund_order`."""
        return _snake_case(cls.__name__)

    @classmethod
    def returned_by_facts(cls) -> type[Facts]:
        """Give the class in `Action[...]`, which `facts` returns.

        Raises:
            TypeError: the class was written without it.
        """
        for base in cls.__mro__:
            arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
            if arguments and isinstance(arguments[0], type):
                return arguments[0]
        raise TypeError(f"{cls.__qualname__} must be written as Action[ItsFacts]")

    @classmethod
    def facts_type(cls) -> type[Facts]:
        """Give what policy conditions are type-checked against, and what reviewers see: here, what `facts` returns.

        Raises:
            TypeError: the class was written without it.
        """
        return cls.returned_by_facts()

    # Not narrower here: an external action looks elsewhere and acts there, and gets other things to do so.
    def facts(self, reading: Any, /) -> Any:
        """Read what a reviewer must know: a `Reading` to the facts. Runs several times; writes are refused.

        `Action[Facts]` has none.
        """
        return Facts()

    @abstractmethod
    def perform(self, effect: Any, /) -> Any:
        """Do it with an `Effect`, and return the sentence that the model and the receipt get.

        Runs after clearance only, in a savepoint of the executing transaction, once with success; does no network.
        """

    @classmethod
    def traces(cls, connection: "Connection", request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]] | None:
        """Read back what `perform` left in our database, by request; None: the audit log binds none of it.

        JSON that stays as it is for good, also when somebody is erased: ids, amounts, times. It is digested when the
        action is carried out, and compared by `audit verify`.
        """
        return None

    def sentence(self, facts: FactsT) -> str:
        """Say in one line what will happen, verb first: the heading a reviewer reads."""
        arguments = ", ".join(f"{name} {value}" for name, value in stored(self).items())
        said = f"{self.tool_name().replace('_', ' ').capitalize()}: {arguments}"
        # Every argument stands beside it, whole.
        return said if len(said) <= _MOST_LISTED else f"{said[:_MOST_LISTED]} …"

    def subjects(self, facts: FactsT) -> list[str]:
        """Name the persons it concerns (`person:P-1`), so that erasing one finds this request. None by default."""
        return []

    def narrows(self, original: "Action[Any]") -> bool:
        """Tell whether this, an edit, does strictly less than `original`. False unless the action says what less is."""
        return False

    def review(self, facts: FactsT) -> Review:
        """Say how reviewers see it: the words of the button, what changes, what is out of the ordinary."""
        name, sentence = self.tool_name().replace("_", " "), self.sentence(facts)
        # The arguments, which a sentence that nobody wrote consists of, stand below it anyway.
        who = () if type(self).sentence is Action.sentence else ("–", sentence)
        return Review((name,), who=who, line=(sentence,), confirm=self.tool_name())

    def activity(self, reading: Reading) -> Activity | None:
        """Read what went on before, for a chart beside the request. None by default."""
        return None


@lru_cache(maxsize=1_000)
def _snake_case(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


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


def kept_arguments(action: Action[Any]) -> dict[str, Any]:
    """Give the arguments as they are stored, shown, and read again before the effect.

    Raises:
        ActionError: what is read again would not be what was approved: one is hidden, as a `SecretStr` is, or a
            validator makes something else of its own result.
    """
    kept = stored(action)
    again = read_action(type(action), kept)
    wrong = [name for name in type(action).model_fields if not _is_same(getattr(action, name), getattr(again, name))]
    if wrong or stored(again) != kept:
        what = ", ".join(wrong) or "one of its arguments"
        raise ActionError(f"{action.tool_name()} cannot be asked for: {what} would not be carried out as it is shown.")
    return kept


def _is_same(one: object, other: object) -> bool:
    # What says nothing of when it is the same is told by what is stored of it.
    return one == other or (type(one).__eq__ is object.__eq__ and type(one) is type(other))


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
    return [
        (label, (to_text or _plain_text)(getattr(facts, name))) for name, label, to_text in _shown_fields(type(facts))
    ]


# Once for a class: a list has hundreds of values.
@lru_cache(maxsize=1_000)
def _shown_fields(cls: type[BaseModel]) -> Sequence[tuple[str, str, Callable[[Any], str] | None]]:
    """List the fields of a model, which is whole: name, label, and how people read it where it says so."""
    return [
        (
            name,
            field.title or label_of(name),
            next((item.to_text for item in field.metadata if isinstance(item, Shown)), None),
        )
        for name, field in cls.model_fields.items()
    ]


@dataclass(frozen=True)
class Argument:
    """One argument of a call, for people."""

    name: str
    label: str
    #: As people read it: whole, and as it came.
    text: str


def read_arguments(
    cls: type[Action[Any]] | None, arguments: dict[str, Any], action: Action[Any] | None = None
) -> list[Argument]:
    """List every argument of a call, in the order the action declares them; what it does not declare comes last.

    `cls` is None for an action that the program does not have any more: then the values stand as they were stored.
    `action` is what was read of the arguments, where that was done.
    """
    texts = {name: value if isinstance(value, str) else _json_text(value) for name, value in arguments.items()}
    try:
        action = action or (read_action(cls, arguments) if cls else None)
    except ActionError:  # stored by a program whose action was another
        action = None
    labels: dict[str, str] = {}
    for name, label, to_text in _shown_fields(cls) if cls else ():
        labels[name] = label
        if action is not None and to_text is not None:
            texts[name] = to_text(getattr(action, name))
    ordered = [name for name in labels if name in texts] + [name for name in texts if name not in labels]
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
    """The actions of a deployment, by tool name: the project's own, and those of tools that are found at its start."""

    def __init__(self, classes: Sequence[type[Action[Any]]]) -> None:
        if isinstance(classes, type):
            raise TypeError(f"actions: is a list of classes, for example [{classes.__name__}]")
        self._own = list(classes)
        #: Of tools elsewhere that may run without asking: they only look.
        self.lookups: dict[str, type[Action[Any]]] = {}
        #: Why a tool that a model may know of is not there, by its name.
        self.absent: dict[str, str] = {}
        #: Grows when what is found at a start is put in.
        self.version = 0
        self._by_name = _by_name(classes)

    def find(
        self,
        found: Sequence[type[Action[Any]]],
        lookups: Sequence[type[Action[Any]]],
        absent: dict[str, str],
    ) -> None:
        """Put in what was found at a start, in the place of what was found before.

        Raises:
            ValueError: two have the same name; says which.
        """
        by_name = _by_name([*self._own, *found])
        _by_name([*self._own, *found, *lookups])
        self.lookups = {cls.tool_name(): cls for cls in lookups}
        self._by_name, self.absent = by_name, dict(absent)
        self.version += 1

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> type[Action[Any]]:
        return self._by_name[name]

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def get(self, name: str) -> type[Action[Any]] | None:
        """Give the action called `name`, or None when there is none."""
        return self._by_name.get(name)


def _by_name(classes: Sequence[type[Action[Any]]]) -> dict[str, type[Action[Any]]]:
    found: dict[str, type[Action[Any]]] = {}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Action)):
            raise TypeError(f"actions: {described(cls)} is no class of Action; list the classes themselves")
        check_whole(cls, Facts)
        if (other := found.get(cls.tool_name())) is not None:
            of = [one.tool_origin.server for one in (other, cls)]
            where = f" ({' and '.join(server or 'this project' for server in of)}): give mcp_tools(prefix=True)"
            raise ValueError(f"two actions have the same name: {cls.tool_name()}{where if any(of) else ''}")
        found[cls.tool_name()] = cls
    return found
