"""How reviewers see an action, in values: few words, what changes, what is out of the ordinary, what went before.

An action says it in `Action.review` and `Action.activity`; of one that does not, its facts are shown.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date


class Name(str):
    """What somebody is called, as the database or a person gave it: shown apart from our words."""

    __slots__ = ()


class Id(str):
    """An id: shown apart, never broken over lines."""

    __slots__ = ()


#: Our own words, names and ids, in order.
Words = Sequence[str]


@dataclass(frozen=True)
class Change:
    """One thing that will not be what it was."""

    label: Words
    before: str
    after: str
    #: The difference.
    change: str = ""
    #: Whose it is.
    of: Words = ()
    #: The fact that `before` tells. Of a material one it is told when it was another as it was asked.
    fact: str = ""


@dataclass(frozen=True)
class Concern:
    """Something out of the ordinary, found by our own code."""

    title: Words
    #: More of it, after the title.
    text: Words = ()
    #: Worse than unusual: it looks made to mislead.
    is_bad: bool = False

    @property
    def stop(self) -> str:
        """What ends the title where more follows."""
        return "." if self.text and "".join(self.title)[-1:] not in (".", ":") else ""


@dataclass(frozen=True)
class Review:
    """An action in the words of whoever decides on it."""

    #: What it is done to, in few words: the button says `verb` and this.
    what: Words
    verb: str = "Carry out"
    past: str = "Carried out"
    #: Whom it concerns, after `what` in the heading.
    who: Words = ()
    #: What stands after the verb in a list, and below it.
    line: Words = ()
    below: Words = ()
    #: How much, in a list.
    amount: str = ""
    changes: Sequence[Change] = ()
    #: Worst first; people see three at most.
    concerns: Sequence[Concern] = ()
    #: Facts that stand in the above already.
    said: frozenset[str] = frozenset()
    #: What one types to confirm it where the risk is critical, and what that is.
    confirm: str = ""
    confirm_is: str = "the name of the action"


@dataclass(frozen=True)
class Activity:
    """What went on before, day by day."""

    #: What the numbers are, and of what: "Sent per day", `Id("A-2001")`.
    title: str
    of: Words
    #: Every day in order, with nothing left out.
    days: Sequence[tuple[date, int]]
    #: What this action would add.
    this: int
    to_text: Callable[[int], str]

    @property
    def summary(self) -> str:
        """Say what is usual: the median and the largest of the days on which something went on."""
        active = [value for _, value in self.days if value]
        if not active:
            return "nothing"
        return f"median {self.to_text(round(statistics.median(active)))}, largest {self.to_text(max(active))}"
