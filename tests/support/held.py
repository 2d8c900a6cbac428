"""A provider in this process whose answers a test holds back: it decides what becomes of each call, and when."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from clearance import ExternalAction, Facts
from clearance.actions import Absent, Call, Done, NotDone, Unclear

#: What a provider does with a call. One that hangs is answered, or not, when the test says so.
Mood = Literal["does it", "refuses", "breaks before", "breaks after", "hangs", "dies before", "dies after"]
#: Seconds that a perform may take, that a call may be on its way for, and that a key is remembered.
TIMEOUT_S, ARRIVES_S, KEY_LASTS_S = 0.05, 60, 600


@dataclass
class Start:
    """One call that reached the provider."""

    call: Call
    #: Of the action.
    name: str
    at: datetime
    is_done: bool = False
    #: Whether it is on its way no more, and never comes to be done.
    is_lost: bool = False
    #: Set with what it says in the end.
    said: threading.Event = field(default_factory=threading.Event)
    answer: Done | Exception = field(default_factory=lambda: ConnectionError("lost"))

    @property
    def is_open(self) -> bool:
        """Tell whether somebody still waits for its answer."""
        return not self.said.is_set()


@dataclass
class HeldProvider:
    """Its books, the calls that it holds, and what it does with the next."""

    clock: Callable[[], datetime]
    moods: list[Mood] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    #: How often what a key stands for was done, and when first.
    done: Counter[str] = field(default_factory=Counter)
    first: dict[str, datetime] = field(default_factory=dict)
    is_blind: bool = False
    #: Whether whoever froze all effects was told that they are frozen.
    is_frozen: bool = False
    #: Calls that came meanwhile.
    came_frozen: list[str] = field(default_factory=list)
    #: Called where the process of a call is to end, before that hears an answer.
    die: Callable[[], None] = lambda: None

    def take(self, action: "ExternalAction[Any]", call: Call) -> Start:
        """Take a call, and do with it what the mood says."""
        start = Start(call, action.tool_name(), self.clock())
        self.starts.append(start)
        if self.is_frozen:
            self.came_frozen.append(call.request_id)
        mood = self.moods.pop(0) if self.moods else "does it"
        if mood in ("does it", "breaks after", "dies after"):
            self.do(start)
        if mood in ("dies before", "dies after"):
            self.die()
        match mood:
            case "does it":
                self.say(start, "done")
            case "refuses":
                self.say(start, "refused")
            case "breaks before" | "breaks after" | "dies before" | "dies after":
                self.say(start, "broken")
                start.is_lost = not start.is_done
        return start

    def do(self, start: Start) -> None:
        """Do what a call asks for; one that is known by its key is done no more, where keys are known."""
        key, now = start.call.idempotency_key, self.clock()
        is_known = key in self.first and now <= self.first[key] + timedelta(seconds=KEY_LASTS_S)
        if start.name != "keyed" or not is_known:
            self.done[key] += 1
            self.first.setdefault(key, now)
        start.is_done = True

    def say(self, start: Start, word: str) -> None:
        """Answer a call: done, refused or broken."""
        if word == "done":
            if not start.is_done:
                self.do(start)
            start.answer = Done("Paid.")
        elif word == "refused":
            start.is_lost = True
            start.answer = NotDone("The account is closed.")
        start.said.set()

    def times(self, keys: set[str]) -> int:
        """Count how often what these keys stand for was done."""
        return sum(self.done[key] for key in keys)


_NOW: list[HeldProvider] = []


def use(provider: HeldProvider) -> None:
    """Let the actions below call this one from now on."""
    _NOW[:] = [provider]


class _Pay(ExternalAction[Facts]):
    """Pay an amount to an account."""

    account: str
    amount: int

    timeout_s: ClassVar[float] = TIMEOUT_S
    arrives_within_s: ClassVar[float] = ARRIVES_S
    most_at_once: ClassVar[int] = 100

    def business_key(self) -> str:
        return f"pay:{self.account}"

    def perform(self, call: Call) -> Done | Awaitable[Done]:
        start = _NOW[0].take(self, call)
        start.said.wait(60)
        if isinstance(start.answer, Exception):
            raise start.answer
        return start.answer


class Seen(_Pay):
    """Pay an amount to an account, by a provider that can be asked; the call blocks."""

    def look_up(self, call: Call) -> Done | Absent | Unclear:
        provider = _NOW[0]
        if provider.is_blind:
            return Unclear("it does not say")
        return Done("Paid.") if provider.done[call.idempotency_key] else Absent()


class Awaited(Seen):
    """Pay an amount to an account, by a provider that can be asked; the call is awaited, and can be stopped."""

    async def perform(self, call: Call) -> Done:
        start = _NOW[0].take(self, call)
        while start.is_open:  # noqa: ASYNC110  told by a test's thread
            await asyncio.sleep(0.005)
        if isinstance(start.answer, Exception):
            raise start.answer
        return start.answer


class Keyed(_Pay):
    """Pay an amount to an account, by a provider that does a key once and cannot be asked."""

    key_lasts_s: ClassVar[float] = KEY_LASTS_S


class Blind(_Pay):
    """Pay an amount to an account, by a provider that cannot be asked and does a key twice."""


KINDS: tuple[type[ExternalAction[Any]], ...] = (Seen, Awaited, Keyed, Blind)
POLICY = """
[roles]
approver = "decides"
[defaults]
expires = "1h"
approvers = "approver"
risk = "high"
""" + "\n".join(
    f"""[[rule]]
action  = "{kind.tool_name()}"
when    = "args.amount <= 100"
verdict = "allow"
"""
    for kind in KINDS
)
