"""What is true elsewhere about external actions: read outside every transaction, and known inside one.

A transaction that needs what was not read yet, or too long ago, ends with `NeedsLookError` and without a trace; it is
read, and the transaction begins again. So nothing waits for somebody else's server while it holds the log's lock.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clearance.actions.action import Action, Facts, read_action
from clearance.actions.external import ExternalAction
from clearance.errors import ActionError

#: So long after its answer came, what was read elsewhere is read again.
_FRESH_S = 5.0
#: So many times a transaction is begun anew for it.
MOST_ROUNDS = 5


@dataclass(frozen=True)
class ToLook:
    """An external action, and who asked for it."""

    action: ExternalAction[Any]
    requested_by: str
    now: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        """Tell it from others: name, arguments, who asked."""
        return self.action.tool_name(), self.action.model_dump_json(), self.requested_by


class NeedsLookError(Exception):
    """Raised in a transaction that needs to know what is true elsewhere. It wrote nothing."""

    def __init__(self, needed: Sequence[ToLook]) -> None:
        self.needed = list(needed)
        super().__init__(f"facts of {len(self.needed)} external actions are not read")


@dataclass(frozen=True)
class Seen:
    """What was read elsewhere, or why it could not be; and when, by a clock that never jumps."""

    found: Facts | ActionError
    at: float

    @property
    def is_fresh(self) -> bool:
        """Tell whether it may still be believed."""
        return time.monotonic() - self.at <= _FRESH_S


@dataclass
class Sight:
    """What was read elsewhere for one piece of work."""

    seen: dict[tuple[str, str, str], Seen] = field(default_factory=dict)
    #: What was made of arguments, by whose they are.
    read: dict[tuple[str, ...], Action[Any]] = field(default_factory=dict)

    def knows(self, look: ToLook) -> bool:
        """Tell whether it was read, lately."""
        found = self.seen.get(look.key)
        return found is not None and found.is_fresh


_sight: ContextVar[Sight | None] = ContextVar("clearance_sight", default=None)


@contextmanager
def sight() -> Iterator[Sight]:
    """Let what is read elsewhere be known for the length of the block, in threads that it starts work in, too."""
    made = Sight()
    token = _sight.set(made)
    try:
        yield made
    finally:
        _sight.reset(token)


def elsewhere(look: ToLook) -> Facts:
    """Give what is true elsewhere about an action.

    Raises:
        ActionError: it could not be read; says why.
        NeedsLookError: it was not read yet, or too long ago.
    """
    here = _sight.get()
    if here is None or not here.knows(look):
        raise NeedsLookError([look])
    found = here.seen[look.key].found
    if isinstance(found, ActionError):
        raise found
    return found


def read_action_once(cls: type[Action[Any]], arguments: dict[str, Any], *of: str) -> Action[Any]:
    """Read the arguments of a call or an edit, which `of` tells from others, once for one piece of work.

    A default that is made anew each time, such as a reference, would make it another action each time, of which nothing
    was ever read elsewhere.

    Raises:
        ActionError: see `read_action`.
    """
    here = _sight.get()
    if here is None:
        return read_action(cls, arguments)
    if of not in here.read:
        here.read[of] = read_action(cls, arguments)
    return here.read[of]


def need(looks: Iterable[ToLook]) -> None:
    """Make sure that all of these were read, so that they are read together.

    Raises:
        NeedsLookError: some were not, or too long ago.
    """
    here = _sight.get()
    lacking = [look for look in looks if here is None or not here.knows(look)]
    if lacking:
        raise NeedsLookError(lacking)
