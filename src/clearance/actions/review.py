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
    """One thing that will not be what it was.

    Attributes:
        label: What changes.
        before, after: As people read them.
        change: The difference; empty for none.
        of: Whose it is.
        fact: The fact that `before` tells. Of a material one it is told when it was another as it was asked.

    Example:
        >>> Change(("Went back for", Id("O-1001")), before="0.00 EUR", after="5.00 EUR").after
        '5.00 EUR'
    """

    label: Words
    before: str
    after: str
    change: str = ""
    of: Words = ()
    fact: str = ""


@dataclass(frozen=True)
class Concern:
    """Something out of the ordinary, found by our own code.

    Attributes:
        title: A sentence, or the beginning of one.
        text: More of it, after the title.
        is_bad: Worse than unusual: it looks made to mislead.

    Example:
        >>> Concern(("All of what was paid goes back.",)).is_bad
        False
    """

    title: Words
    text: Words = ()
    is_bad: bool = False

    @property
    def stop(self) -> str:
        """What ends the title where more follows."""
        return "." if self.text and "".join(self.title)[-1:] not in (".", ":") else ""


@dataclass(frozen=True)
class Review:
    """An action in the words of whoever decides on it.

    Texts are sequences of our own words, with `Name` and `Id` (`clearance.actions`) around what comes from outside.

    Attributes:
        what: What it is done to, in few words: the button says `verb` and this, and so does the heading.
        verb, past: What is done, as a command and as done: "Refund", "Refunded".
        who: Whom it concerns, after `what` in the heading.
        line, below: What stands after the verb in a list, and below it; `what` if there is no `line`.
        amount: How much, in a list.
        changes: What will not be what it was.
        concerns: Worst first; people see three at most.
        said: Names of facts that stand in the above already.
        confirm, confirm_is: What one types where the risk is critical, and what that is called.

    Example:
        >>> review = Review(verb="Refund", past="Refunded", what=("5.00 EUR",), who=("of", Id("O-1001")))
        >>> review.verb
        'Refund'
    """

    what: Words
    verb: str = "Carry out"
    past: str = "Carried out"
    who: Words = ()
    line: Words = ()
    below: Words = ()
    amount: str = ""
    changes: Sequence[Change] = ()
    concerns: Sequence[Concern] = ()
    said: frozenset[str] = frozenset()
    confirm: str = ""
    confirm_is: str = "the name of the action"


@dataclass(frozen=True)
class Activity:
    """What went on before, day by day.

    Attributes:
        title, of: What the numbers are, and of what: "Sent per day", `Id("A-2001")`.
        days: Every day in order, with nothing left out.
        this: What this action would add.
        to_text: How people read a number.

    Example:
        >>> from datetime import date
        >>> days = [(date(2026, 3, 1), 2), (date(2026, 3, 2), 0), (date(2026, 3, 3), 4)]
        >>> Activity("Refunds per day", (Id("B-1"),), days, this=1, to_text=str).summary
        'median 3, largest 4'
    """

    title: str
    of: Words
    days: Sequence[tuple[date, int]]
    this: int
    to_text: Callable[[int], str]

    @property
    def summary(self) -> str:
        """Say what is usual: the median and the largest of the days on which something went on."""
        active = [value for _, value in self.days if value]
        if not active:
            return "nothing"
        return f"median {self.to_text(round(statistics.median(active)))}, largest {self.to_text(max(active))}"
