"""What an external action is: its effect is elsewhere, so it is started once, and what became of it may be unknown.

docs/build.md shows one. The gate runs `facts`, `perform` and `look_up` outside every transaction, on a loop of its own.
"""

import typing
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, cast

from pydantic import create_model

from clearance.actions.action import Action, Effect, Facts, FactsT, Reading
from clearance.actions.stored import stored
from clearance.canonical import digest
from clearance.errors import ActionError


@dataclass(frozen=True)
class Looking:
    """What an external action's `facts` may use: nothing of our database, and any client of its own.

    Example:
        >>> async def read_price(looking: Looking) -> int:
        ...     return 5 if looking.requested_by == "ana" else 7
    """

    #: The gate's clock, aware UTC.
    now: datetime
    #: Who asked for the action.
    requested_by: str


@dataclass(frozen=True)
class Call:
    """One start of an external action: what `perform` and `look_up` get.

    Example:
        >>> async def pay(call: Call) -> "Done":
        ...     headers = {"Idempotency-Key": call.idempotency_key}
        ...     call.progress("sent")
        ...     return Done(f"Paid, {len(headers)} header.")
    """

    #: Stays the same for everything that is sent for the same clearance of a request: 32 hex digits.
    idempotency_key: str
    #: Key of the request: write it where the provider keeps a reference, so that an auditor finds the way back.
    request_id: str
    #: Who asked for the action.
    requested_by: str
    #: 1 for the first start of this request.
    number: int
    #: When it was started, aware UTC.
    started_at: datetime
    _progress: Callable[[Any], None] = lambda _: None

    def progress(self, said: Any) -> None:
        """Tell how far it is: text or JSON, which a run that waits for it passes on to its stream."""
        self._progress(said)


@dataclass(frozen=True)
class Done:
    """It happened, and this sentence says what: the model and the receipt get it.

    Example:
        >>> Done("Refunded 5.00 EUR (R-17).").sentence
        'Refunded 5.00 EUR (R-17).'
    """

    sentence: str


class NotDone(ActionError):
    """Raised by `perform` where it surely did not happen; its text is one sentence. Anything else raised is unknown.

    Example:
        >>> def check(status: int) -> None:
        ...     if status == 422:
        ...         raise NotDone("The provider refused it: the account is closed.")
        >>> check(422)
        Traceback (most recent call last):
        clearance.actions.external.NotDone: The provider refused it: the account is closed.
    """


@dataclass(frozen=True)
class Absent:
    """What `look_up` gives where the provider does not know of it: it did not happen, once enough time has passed."""


@dataclass(frozen=True)
class Unclear:
    """What `look_up` gives where it cannot be told yet; it is asked again later.

    Example:
        >>> Unclear("The provider answers 503.").why
        'The provider answers 503.'
    """

    why: str = ""


LookUp = Done | Absent | Unclear


class ExternalAction(Action[FactsT]):
    """A call whose effect is elsewhere: a provider, a queue, a command. Started at most once by us.

    `perform` runs after clearance, outside every transaction, and may take `timeout_s`. What it raises beside `NotDone`
    leaves the outcome unknown: nobody knows whether it happened. Then `look_up` is asked, again and again; without one
    it is sent again under its own key while the provider remembers that (`key_lasts_s`); else a person settles it.

    Example:
        >>> class RefundOrder(ExternalAction[Facts]):
        ...     '''Refund an order, for example O-1001.'''
        ...     order_id: str
        ...     def business_key(self) -> str:
        ...         return f"refund:{self.order_id}"
        ...     async def perform(self, call: Call) -> Done:
        ...         return Done(f"Refunded {self.order_id}.")
        >>> RefundOrder(order_id="O-1001").business_key()
        'refund:O-1001'
        >>> RefundOrder.has_look_up()
        False

    Raises:
        TypeError: when a class is defined that cannot work, see `soundness`.
    """

    #: Seconds that `perform` may take. An async one is stopped then, one that blocks goes on in its thread.
    timeout_s: ClassVar[float] = 30
    #: Seconds that `facts` and `look_up` may take.
    look_timeout_s: ClassVar[float] = 10
    #: After this long, what the provider does not know of did not happen. Presence counts at once, absence only then.
    arrives_within_s: ClassVar[float] = 60
    #: The provider does a key once, and remembers it for so long; 0: it does not, so nothing is sent again on hope.
    key_lasts_s: ClassVar[float] = 0
    #: How many of its kind may be in flight in one process at a time.
    most_at_once: ClassVar[int] = 4

    @classmethod
    def methods(cls) -> dict[str, str]:
        return {
            **super().methods(),
            "facts": "looking",
            "perform": "call",
            "look_up": "call",
            "sums": "reading",
            "business_key": "",
            "write_down": "effect",
        }

    @classmethod
    def may_wait(cls) -> frozenset[str]:
        return frozenset(("facts", "perform", "look_up"))

    @classmethod
    def facts_type(cls) -> type[Facts]:
        """Give what policy conditions and reviewers see: the class in `ExternalAction[...]`, and what `sums` returns.

        Raises:
            TypeError: the class was written without it, or both have a field of the same name.
        """
        return _facts_type(cls, cls.returned_by_facts())

    @classmethod
    def sums_type(cls) -> type[Facts]:
        """Give what `sums` returns, by its annotation.

        Raises:
            TypeError: it is annotated with something else than a class of Facts.
        """
        if cls.sums is ExternalAction.sums:
            return Facts
        found = typing.get_type_hints(cls.sums).get("return")
        if not (isinstance(found, type) and issubclass(found, Facts)):
            raise TypeError(f"{cls.__qualname__}.sums must be annotated with the class of Facts that it returns")
        return found

    @classmethod
    def has_look_up(cls) -> bool:
        """Tell whether it can be asked elsewhere whether it happened."""
        return cls.look_up is not ExternalAction.look_up

    def business_key(self) -> str:
        """Name what must not be in flight twice, whoever asks and however. By default, exactly this call."""
        return f"{self.tool_name()}:{digest(self.tool_name(), stored(self))[:32]}"

    def facts(self, looking: Looking) -> "FactsT | Awaitable[FactsT]":
        """Read elsewhere what a reviewer must know. Runs several times, and has no effect.

        `ExternalAction[Facts]` has none.
        """
        return cast("FactsT", Facts())

    def sums(self, reading: Reading) -> Facts:
        """Read in our own database what limits count, in the transaction that decides. Nothing by default."""
        return Facts()

    @abstractmethod
    def perform(self, call: Call) -> "Done | str | Awaitable[Done | str]":
        """Do it, and say what was done.

        Runs after clearance only, outside every transaction, in a thread of its own where it blocks.

        Raises:
            NotDone: it surely did not happen. Whatever else is raised: nobody knows.
        """

    def look_up(self, call: Call) -> "LookUp | Awaitable[LookUp]":
        """Ask elsewhere whether a call happened. Runs several times, and has no effect; what it raises is `Unclear`."""
        return Unclear("there is nobody to ask.")

    def write_down(self, effect: Effect) -> None:
        """Write in our own tables that it happened, in the transaction of its receipt, once. Nothing by default.

        However it became known: by its answer, late, by a look-up, or by a person. Until then `reading.earlier` has it
        as in flight. It happened already, so what is raised here undoes what was written here and nothing else, and the
        receipt tells it.
        """


@lru_cache(maxsize=1_000)
def _facts_type(cls: type[ExternalAction[Any]], elsewhere: type[Facts]) -> type[Facts]:
    sums = cls.sums_type()
    if sums is Facts:
        return elsewhere
    if elsewhere is Facts:
        return sums
    both = sorted(elsewhere.model_fields.keys() & sums.model_fields.keys())
    if both:
        raise TypeError(f"{cls.__qualname__}: {', '.join(both)} is a fact and a sum; give them two names")
    return create_model(f"{cls.__name__}Facts", __base__=(elsewhere, sums))


def joined(cls: type[ExternalAction[Any]], elsewhere: Facts, sums: Facts) -> Facts:
    """Put what was read elsewhere and what is ours together, as policy and reviewers see it."""
    kind = cls.facts_type()
    values = {name: getattr(part, name) for part in (elsewhere, sums) for name in type(part).model_fields}
    return kind.model_construct(**values)
