"""What the graph reads: turns, plans and calls as they are in the journal, whatever the state of a thread says."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from pydantic import ValidationError
from sqlalchemy.engine import Connection

from clearance.actions.action import Actions, read_action, read_arguments, shown_facts
from clearance.actions.review import Concern
from clearance.db.engine import Database
from clearance.errors import ActionError, NotOursError
from clearance.gate import twins
from clearance.gate.judging import Judge
from clearance.gate.notices import read_notices
from clearance.gate.question import Question, written
from clearance.journal.decisions import Decision, decisions_on, read_people
from clearance.journal.history import Past, Settled, history_of, settled_in
from clearance.journal.plans import Plan, plans_of_turn, read_plan_and_turn
from clearance.journal.questions import asking_in, questions_of
from clearance.journal.receipts import Receipt, ended_of_turn, receipts_of_turn
from clearance.journal.requests import Request, SameCall, read_request, requests_of_plan
from clearance.journal.turns import Turn, open_turn_of, open_turns_in, open_turns_of, read_turn
from clearance.text.namesakes import Known
from clearance.text.rendering import line

#: Seconds for which it is known who asked or decided ever.
_PEOPLE_S = 60


@dataclass(frozen=True)
class Call:
    """Where a call stands. Comes from the graph's state, so nothing in it is believed: the journal is looked up."""

    thread_id: str
    message_id: str
    tool_call_id: str
    #: The revision that the question shows; an answer to another one is refused.
    revision: int = 0
    #: Where in the thread the graph runs that asks.
    place: str = ""


#: A request and how it ended; None while it is open.
Ended = tuple[Request, Receipt | None]


@dataclass(frozen=True)
class Truth:
    """What the journal knows about some messages of a thread."""

    #: By id of the AI message.
    plans: dict[str, Plan]
    #: By id of the request.
    requests: dict[str, Request]
    #: By id of the request.
    receipts: dict[str, Receipt]
    #: What persons wrote in the thread: content by id of the message.
    heard: dict[str, Any] = field(default_factory=dict)
    #: What the gate itself told in it: text by id of the message.
    notices: dict[str, str] = field(default_factory=dict)
    #: Ids of what was heard in the place that asks, and of what its model said.
    heard_here: frozenset[str] = frozenset()
    said_here: frozenset[str] = frozenset()
    #: Whether agents inside other graphs had turns in the thread that are over.
    is_any_inside: bool = False
    #: The part of all this that changes no more.
    settled: Settled = field(default_factory=Settled, compare=False, repr=False)

    @classmethod
    def of(cls, plans: Iterable[Plan], ended: Iterable[Ended]) -> Self:
        """Give what is known by these plans and their requests alone."""
        ended = list(ended)
        return cls(
            {plan.message_id: plan for plan in plans},
            {request.request_id: request for request, _ in ended},
            {receipt.request_id: receipt for _, receipt in ended if receipt},
        )


class Records:
    """Reads of the journal, each at one moment."""

    def __init__(self, database: Database, judge: Judge, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._judge = judge
        self.clock = clock
        #: Who asked or decided, and when that was read: all of them are many rows.
        self._people: tuple[float, Known] = (float("-inf"), Known())

    async def turn(self, thread_id: str, turn_id: str, place: str = "") -> tuple[Turn | None, list[Plan], list[Ended]]:
        """Read a turn of this place, its plans in order, its requests and how each ended; None without such a turn."""

        def work(connection: Connection) -> tuple[Turn | None, list[Plan], list[Ended]]:
            turn = read_turn(connection, turn_id)
            if turn is None or (turn.thread_id, turn.place) != (thread_id, place):
                return None, [], []
            return turn, plans_of_turn(connection, turn_id), ended_of_turn(connection, turn_id)

        return await self._database.read(work)

    async def receipts(self, turn_id: str) -> list[Receipt]:
        """Read the receipts of a turn, in the order they were written."""
        return await self._database.read(lambda connection: receipts_of_turn(connection, turn_id))

    async def open_turn_of(self, thread_id: str, place: str = "") -> Turn | None:
        """Read the open turn of a place in a thread, or None."""
        return await self._database.read(lambda connection: open_turn_of(connection, thread_id, place))

    async def open_turns_of(self, thread_id: str) -> list[Turn]:
        """Read the open turns of a thread, one for each place of it."""
        return await self._database.read(lambda connection: open_turns_of(connection, thread_id))

    async def open_turns_in(self, thread_ids: Sequence[str]) -> list[Turn]:
        """Read the open turns of some threads, those of each together, oldest first."""
        return await self._database.read(lambda connection: open_turns_in(connection, thread_ids))

    async def requester_of_run(self, thread_id: str, run_id: str | None, called_in: str | None) -> Turn | None:
        """Find the turn whose requester is the one who asks in an agent that is nested, None where there is none yet.

        That is the turn whose look-up calls it (`called_in`); else any that the same run's words led to.
        """

        def work(connection: Connection) -> Turn | None:
            turns = [past.turn for past in history_of(connection, thread_id)]
            calling = next((turn for turn in turns if turn.turn_id == called_in), None)
            return calling or next((turn for turn in turns if run_id is not None and turn.run_id == run_id), None)

        return await self._database.read(work)

    async def is_heard(self, thread_id: str, run_id: str) -> bool:
        """Tell whether the words that a run brought to the outermost graph of a thread opened a turn."""

        def work(connection: Connection) -> bool:
            history = history_of(connection, thread_id)
            return any(past.turn.run_id == run_id and not past.turn.place for past in history)

        return await self._database.read(work)

    async def said_before(self, thread_id: str, place: str, run_id: str | None) -> list[tuple[Turn, list[Plan]]]:
        """Read the turns of a nested agent's place that other runs than this one led to, each with its plans."""

        def work(connection: Connection) -> list[tuple[Turn, list[Plan]]]:
            history = history_of(connection, thread_id)
            here = [past for past in history if past.turn.place == place and past.turn.run_id != run_id]
            return [(past.turn, past.plans) for past in here]

        return await self._database.read(work)

    async def turns_asking(self, thread_id: str, interrupt_ids: Collection[str | None]) -> list[Turn]:
        """Read the open turns of a thread that put these questions; None stands for whichever a nested agent put."""

        def work(connection: Connection) -> list[Turn]:
            still_open = {turn.turn_id: turn for turn in open_turns_of(connection, thread_id)}
            if not still_open:
                return []
            put = {one.request_id for one in questions_of(connection, thread_id) if one.interrupt_id in interrupt_ids}
            by_request = (read_request(connection, one) for one in put)
            named = {request.turn_id for request in by_request if request is not None}
            if None in interrupt_ids and any(turn.place for turn in still_open.values()):
                named |= {
                    one for one in asking_in(connection, thread_id) if one in still_open and still_open[one].place
                }
            return [turn for turn_id, turn in still_open.items() if turn_id in named]

        return await self._database.read(work)

    async def truth(self, thread_id: str, message_ids: list[str], place: str = "") -> Truth:
        """Read what the journal knows about these messages of a thread, and all that persons wrote in it."""
        return await self._database.read(lambda connection: read_truth(connection, thread_id, message_ids, place))

    async def look(
        self, thread_id: str, turn_id: str, message_ids: list[str], place: str = ""
    ) -> tuple[Turn | None, list[Plan], Truth]:
        """Read `turn` and `truth` at one moment, for the model to speak."""

        def work(connection: Connection) -> tuple[Turn | None, list[Plan], Truth]:
            history = history_of(connection, thread_id)
            here = next((one for one in history if (one.turn.turn_id, one.turn.place) == (turn_id, place)), None)
            if here is None:
                return None, [], Truth({}, {}, {})
            return here.turn, here.plans, _truth(connection, thread_id, message_ids, place, history)

        return await self._database.read(work)

    def call(
        self, connection: Connection, call: Call, *, is_shown: bool
    ) -> tuple[Plan, dict[str, Any], Question | None]:
        """Read a call as the model made it: its plan, `{"name", "args", "id", …}`, and for an action what to ask.

        Unless somebody may be shown the question now (`is_shown`), the concerns are not read for it.

        Raises:
            NotOursError: the journal has no such call in this place of this thread.
        """
        plan, turn = plan_and_turn(connection, call.thread_id, call.message_id)
        if turn.place != call.place:
            raise NotOursError(f"message {call.message_id!r} was said in another place of thread {call.thread_id!r}")
        calls = (plan.message or {}).get("tool_calls", [])
        found = next((one for one in calls if one["id"] == call.tool_call_id), None)
        if found is None:
            raise NotOursError(f"message {call.message_id!r} has no call {call.tool_call_id!r}")
        requests = requests_of_plan(connection, plan.plan_id)
        request = next((one for one in requests if one.tool_call_id == call.tool_call_id), None)
        if request is None:
            return plan, found, None
        return plan, found, self._question_of(connection, request, turn, plan, requests, is_shown=is_shown)

    def question(self, connection: Connection, request_id: str) -> Question:
        """Read a request with what is shown around it, in the caller's transaction.

        Raises:
            NotOursError: there is no such request.
        """
        request = read_request(connection, request_id)
        if request is None:
            raise NotOursError(f"there is no request {request_id!r}")
        turn = read_turn(connection, request.turn_id)
        assert turn is not None
        plan = next(one for one in plans_of_turn(connection, turn.turn_id) if one.plan_id == request.plan_id)
        requests = requests_of_plan(connection, request.plan_id)
        return self._question_of(connection, request, turn, plan, requests, is_shown=True)

    def _question_of(
        self,
        connection: Connection,
        request: Request,
        turn: Turn,
        plan: Plan,
        requests: list[Request],
        *,
        is_shown: bool,
    ) -> Question:
        now = self.clock()
        if is_shown:
            twins.prefetch_twins(connection, [request], now)
        decisions = decisions_on(connection, [request.request_id])
        called = read_arguments(self._judge.actions.get(request.action), request.arguments or {})
        concerns, same = self._concerns(connection, request, decisions, now) if is_shown else ([], [])
        return Question(
            request, turn, requests, decisions, self._facts_shown(request), called, concerns, same, written(plan)
        )

    def _concerns(
        self, connection: Connection, request: Request, made: list[Decision], now: datetime
    ) -> tuple[list[Concern], list[SameCall | Request]]:
        """Give what to know of an asked request, and the other requests of which that tells."""
        if request.state != "asked":
            return [], []
        same = twins.read_twins(connection, [request], now).get(request.request_id, [])
        flying = twins.read_flying(connection, [request]).get(request.request_id)
        gone = taken_away(self._judge.actions, request)
        alike = self._namesakes(connection, dict.fromkeys([request.requested_by, *(one.decided_by for one in made)]))
        told = twins.concerns(request, same, now, flying)
        return [*([gone] if gone else []), *alike, *told], [*twins.shown(same), *([flying] if flying else [])]

    def _namesakes(self, connection: Connection, names: Iterable[str]) -> list[Concern]:
        """Say of each of these people whether somebody else of the journal has a name that looks the same."""
        return [
            Concern(
                (f"{line(name)} is not {line(other)}.",),
                ("Two people have names that look alike; neither decides for the other.",),
                is_bad=True,
            )
            for name, other in self.alike(connection, names).items()
        ]

    def alike(self, connection: Connection, names: Iterable[str]) -> dict[str, str]:
        """Name for each of these people somebody else of the journal whose name looks the same, if there is one."""
        read_at, people = self._people
        names = list(names)
        # Who is new must not look like somebody else for a minute before it is told.
        if time.monotonic() - read_at > _PEOPLE_S or not people.names.keys() >= set(names):
            people = Known(read_people(connection))
            self._people = time.monotonic(), people
        # Whom the journal does not know, such as who reads it, may look like one another.
        unknown = Known(names)
        found = {name: people.namesake(name) or unknown.namesake(name) for name in names}
        return {name: other for name, other in found.items() if other}

    def _facts_shown(self, request: Request) -> list[tuple[str, str]]:
        cls = self._judge.actions.get(request.action)
        if cls is None or request.facts is None:
            return []
        try:
            return shown_facts(cls.facts_type().model_validate(request.facts))
        except ValidationError:  # stored by a program whose action had other facts
            return [(name.replace("_", " ").capitalize(), str(value)) for name, value in request.facts.items()]


def plan_and_turn(connection: Connection, thread_id: str, message_id: str) -> tuple[Plan, Turn]:
    """Read the plan that a message of this thread is, and its turn.

    Raises:
        NotOursError: the thread has no such message of the model's own.
    """
    found = read_plan_and_turn(connection, thread_id, message_id)
    if found is None:
        raise NotOursError(f"thread {thread_id!r} has no message {message_id!r} of the model's own")
    return found


def read_truth(
    connection: Connection, thread_id: str, message_ids: list[str], place: str = "", history: list[Past] | None = None
) -> Truth:
    """Read what the journal knows about these messages of a thread, and all that persons wrote in it.

    `history` is that of the thread, where it was read already.
    """
    history = history_of(connection, thread_id) if history is None else history
    return _truth(connection, thread_id, message_ids, place, history)


def _truth(connection: Connection, thread_id: str, message_ids: list[str], place: str, history: list[Past]) -> Truth:
    known = set(message_ids)
    settled = settled_in(thread_id, place, history, known)
    new = Settled(place).with_more(history[len(settled.pasts) :], known)
    # Words whose id is that of earlier ones: then those are not what is known of it.
    is_same = all(settled.heard.get(one, content) == content for one, content in new.heard.items())
    return Truth(
        settled.plans | new.plans,
        settled.requests | new.requests,
        settled.receipts | new.receipts,
        heard=settled.heard | new.heard,
        notices=read_notices(connection, thread_id, message_ids),
        heard_here=settled.heard_here | new.heard_here,
        said_here=settled.said_here | new.said_here,
        is_any_inside=settled.is_any_inside or new.is_any_inside,
        settled=settled if is_same else Settled(place),
    )


def taken_away(actions: Actions, request: Request) -> Concern | None:
    """Say of an open request that the program has no such action any more, or not with these arguments."""
    if request.arguments is None:
        return None
    title = ("Approved, it is not carried out.",)
    cls = actions.get(request.action)
    if cls is None:
        return Concern(title, (f"The program has no action {request.action} any more.",), is_bad=True)
    try:
        read_action(cls, request.arguments)
    except ActionError as exc:
        return Concern(title, (f"The program has changed since it was asked: {exc}",), is_bad=True)
    return None
