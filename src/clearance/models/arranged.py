"""What a long thread begins with, as a model reads it: arranged once, since it stays the same.

What comes of it is what `presentable`, `trim` and `alternating` give of the whole.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from langchain_core.messages import AnyMessage, SystemMessage

from clearance.message_values import Noted, OtherKindError, copy_of, first_same, noted
from clearance.models.history import (
    alternating,
    count,
    fitting,
    is_persons,
    open_calls,
    presentable,
    start_of_turn,
    trim_turn,
)


class Arranged:
    """The first messages of a thread as a model reads them, for one provider.

    It is made of copies, for a provider's client may write to what it is given. What was written to is not given again:
    then all is arranged anew.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        #: Messages of the thread that it is made of.
        self.taken = 0
        #: Whether they can be arranged by themselves.
        self.is_whole = True
        self._messages: list[AnyMessage] = []
        #: What each of them is.
        self._noted: list[Noted] = []
        #: Tokens of all that come before each of them, and of all.
        self._tokens = [0]
        #: Which of them do not follow the one before in turns.
        self._out_of_turn: list[int] = []

    def taking(self, many: int, read: Callable[[int, int], list[AnyMessage]]) -> "Arranged":
        """Give one that is made of so many messages of the thread, which `read` gives from one to another."""
        is_as_made = first_same(self._messages, self._noted) == len(self._messages)
        known = self if is_as_made and self.taken <= many else Arranged(self._of)
        return known if known.taken == many else known._with_more(many, read(known.taken, many))

    def fitting(self, tokens: int) -> int:
        """Tell from which on the last messages fit into so many tokens."""
        return min(bisect_left(self._tokens, self._tokens[-1] - tokens), len(self._messages))

    def since(self, first: int) -> tuple[list[AnyMessage], bool]:
        """Give the messages from one on, and whether persons and the model take turns in them."""
        return self._messages[first:], all(at < first for at in self._out_of_turn)

    def _with_more(self, many: int, messages: Sequence[AnyMessage]) -> "Arranged":
        made = Arranged(self._of)
        made.taken = many
        new = presentable(messages, self._of)
        try:
            copies = [copy_of(one) for one in new]
            as_made = [noted(one) for one in copies]
        except (OtherKindError, RecursionError):
            made.is_whole = False
            return made
        made.is_whole = self.is_whole and not open_calls(new) and not any(isinstance(one, SystemMessage) for one in new)
        if made.is_whole:
            made._messages, made._noted = [*self._messages, *copies], [*self._noted, *as_made]
            made._tokens = [*self._tokens[:-1], *accumulate((count([one]) for one in copies), initial=self._tokens[-1])]
            new_ones = range(len(self._messages), len(made._messages))
            out = [at for at in new_ones if not _follows(made._messages[max(at - 1, 0) : at + 1])]
            made._out_of_turn = [*self._out_of_turn, *out]
        return made


def _follows(messages: Sequence[AnyMessage]) -> bool:
    in_turns = alternating(messages)
    return len(in_turns) == len(messages) and in_turns[-1] is messages[-1]


@dataclass(frozen=True)
class Told:
    """The true history of a thread, the first messages of which stay as they are."""

    #: Gives the messages from one to another, as a model may read them.
    read: Callable[[int, int], list[AnyMessage]]
    length: int
    #: How many of the first stay; all that is called there is answered there.
    settled: int
    #: What was made of those before, by the provider that it was made for. To be filled.
    arranged: dict[str, Arranged]

    def all(self) -> list[AnyMessage]:
        """Give all messages."""
        return self.read(0, self.length)

    def in_turns(self, of: str, tokens: int) -> list[AnyMessage] | None:
        """Give what a provider's model is sent, in at most so many tokens; None where that is made of all at once."""
        if not self.settled:
            return None
        known = self.arranged.get(of, Arranged(of)).taking(self.settled, self.read)
        self.arranged[of] = known
        rest = presentable(self.read(self.settled, self.length), of)
        # Another has to tell what is wrong with it, or where the turn begins.
        is_rest = not open_calls(rest) and not any(isinstance(one, SystemMessage) for one in rest)
        if not known.is_whole or not is_rest or not any(map(is_persons, rest)):
            return None
        start = start_of_turn(rest)
        current = trim_turn(rest[start:], tokens)
        room = tokens - count(current)
        first = fitting(rest[:start], room)
        between = rest[first:start]
        before, is_in_turns = ([], True) if first else known.since(known.fitting(room - count(between)))
        older = [*before, *between]
        begins = next((at for at, message in enumerate(older) if is_persons(message)), len(older))
        history = [*older[begins:], *current]
        return alternating(history, since=max(len(before) - begins, 0) if is_in_turns else 0)
