"""What the graph reads: turns, plans and calls as they are in the journal, whatever the state of a thread says."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.engine import Connection

from agent.clearance import journal, twins
from agent.clearance.action import read_arguments, shown_facts
from agent.clearance.approval import Question, written
from agent.clearance.errors import NotOursError
from agent.clearance.journal import Decision, Plan, Receipt, Request, Turn
from agent.clearance.judging import Judge
from agent.clearance.listed import Listed, read_listed
from agent.clearance.namesakes import namesake
from agent.clearance.notices import read_notices
from agent.clearance.rendering import line
from agent.clearance.review import Concern
from agent.clearance.reviewing import taken_away
from agent.db.engine import Database

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
    heard: dict[str, Any]
    #: What the gate itself told in it: text by id of the message.
    notices: dict[str, str]


class Records:
    """Reads of the journal, each at one moment."""

    def __init__(self, database: Database, judge: Judge, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._judge = judge
        self._clock = clock
        #: Who asked or decided, and when that was read: all of them are many rows.
        self._people: tuple[float, list[str]] = (float("-inf"), [])

    async def turn(self, thread_id: str, turn_id: str) -> tuple[Turn | None, list[Plan], dict[str, Receipt | None]]:
        """Read a turn of this thread, its plans in order, its requests and how each ended; None without such a turn."""

        def work(connection: Connection) -> tuple[Turn | None, list[Plan], dict[str, Receipt | None]]:
            turn = journal.turn(connection, turn_id)
            if turn is None or turn.thread_id != thread_id:
                return None, [], {}
            return turn, journal.plans_of_turn(connection, turn_id), journal.outcomes_of_turn(connection, turn_id)

        return await self._database.read(work)

    async def receipts(self, turn_id: str) -> list[Receipt]:
        """Read the receipts of a turn, in the order they were written."""
        return await self._database.read(lambda connection: journal.receipts_of_turn(connection, turn_id))

    async def open_turn_of(self, thread_id: str) -> Turn | None:
        """Read the open turn of a thread, or None."""
        return await self._database.read(lambda connection: journal.open_turn_of(connection, thread_id))

    async def open_turns(self) -> list[Turn]:
        """Read all open turns of threads that are kept, oldest first."""
        return await self._database.read(journal.open_turns)

    async def truth(self, thread_id: str, message_ids: list[str]) -> Truth:
        """Read what the journal knows about these messages of a thread, and all that persons wrote in it."""
        return await self._database.read(lambda connection: read_truth(connection, thread_id, message_ids))

    async def look(self, thread_id: str, turn_id: str, message_ids: list[str]) -> tuple[Turn | None, list[Plan], Truth]:
        """Read `turn` and `truth` at one moment, for the model to speak."""

        def work(connection: Connection) -> tuple[Turn | None, list[Plan], Truth]:
            turn = journal.turn(connection, turn_id)
            if turn is None or turn.thread_id != thread_id:
                return None, [], Truth({}, {}, {}, {}, {})
            return turn, journal.plans_of_turn(connection, turn_id), read_truth(connection, thread_id, message_ids)

        return await self._database.read(work)

    async def call(self, call: Call) -> tuple[Plan, dict[str, Any], Question | None]:
        """Read a call as the model made it: its plan, `{"name", "args", "id", …}`, and for an action what to ask.

        Raises:
            NotOursError: the journal has no such call in this thread.
        """

        def work(connection: Connection) -> tuple[Plan, dict[str, Any], Question | None]:
            plan, turn = plan_and_turn(connection, call.thread_id, call.message_id)
            calls = (plan.message or {}).get("tool_calls", [])
            found = next((one for one in calls if one["id"] == call.tool_call_id), None)
            if found is None:
                raise NotOursError(f"message {call.message_id!r} has no call {call.tool_call_id!r}")
            requests = journal.requests_of_plan(connection, plan.plan_id)
            request = next((one for one in requests if one.tool_call_id == call.tool_call_id), None)
            return plan, found, self._question_of(connection, request, turn, plan, requests) if request else None

        return await self._database.read(work)

    def question(self, connection: Connection, request_id: str) -> Question:
        """Read a request with what is shown around it, in the caller's transaction.

        Raises:
            NotOursError: there is no such request.
        """
        request = journal.request(connection, request_id)
        if request is None:
            raise NotOursError(f"there is no request {request_id!r}")
        turn = journal.turn(connection, request.turn_id)
        assert turn is not None
        plan = next(one for one in journal.plans_of_turn(connection, turn.turn_id) if one.plan_id == request.plan_id)
        requests = journal.requests_of_plan(connection, request.plan_id)
        return self._question_of(connection, request, turn, plan, requests)

    def _question_of(
        self, connection: Connection, request: Request, turn: Turn, plan: Plan, requests: list[Request]
    ) -> Question:
        decisions = journal.decisions_on(connection, [request.request_id])
        called = read_arguments(self._judge.actions.get(request.action), request.arguments or {})
        return Question(request, turn, requests, decisions, self._facts_shown(request), called,
                        self._concerns(connection, request, decisions), written(plan))  # fmt: skip

    async def listed(self, requests: Sequence[Request]) -> list[Listed]:
        """Read what a list says of these requests."""

        def work(connection: Connection) -> list[Listed]:
            alike = self._alike(connection, {one.requested_by: None for one in requests})
            return read_listed(connection, self._judge.actions, requests, alike, self._clock())

        return await self._database.read(work)

    def _concerns(self, connection: Connection, request: Request, made: list[Decision]) -> list[Concern]:
        if request.state != "asked":
            return []
        now = self._clock()
        found = twins.read_twins(connection, [request], now)
        gone = taken_away(self._judge.actions, request)
        alike = self._namesakes(connection, dict.fromkeys([request.requested_by, *(one.decided_by for one in made)]))
        return [*([gone] if gone else []), *alike, *twins.concerns(request, found.get(request.request_id, []), now)]

    def _namesakes(self, connection: Connection, names: Iterable[str]) -> list[Concern]:
        """Say of each of these people whether somebody else of the journal has a name that looks the same."""
        return [
            Concern(
                (f"{line(name)} is not {line(other)}.",),
                ("Two people have names that look alike; neither decides for the other.",),
                is_bad=True,
            )
            for name, other in self._alike(connection, names).items()
        ]

    def _alike(self, connection: Connection, names: Iterable[str]) -> dict[str, str]:
        """Name for each of these people somebody else of the journal whose name looks the same, if there is one."""
        read_at, people = self._people
        names = list(names)
        # Who is new must not look like somebody else for a minute before it is told.
        if time.monotonic() - read_at > _PEOPLE_S or not set(names) <= set(people):
            people = journal.people(connection)
            self._people = time.monotonic(), people
        found = {name: namesake(name, [*people, *names]) for name in names}
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
    plan = journal.plan_by_message(connection, thread_id, message_id)
    turn = journal.turn(connection, plan.turn_id) if plan else None
    if plan is None or turn is None:
        raise NotOursError(f"thread {thread_id!r} has no message {message_id!r} of the model's own")
    return plan, turn


def read_truth(connection: Connection, thread_id: str, message_ids: list[str]) -> Truth:
    """Read what the journal knows about these messages of a thread, and all that persons wrote in it."""
    turns = journal.turns_of(connection, thread_id)
    # A thread that nobody spoke in has no plans either.
    plans = journal.plans_by_messages(connection, thread_id, message_ids) if turns else []
    requests = journal.requests_of_plans(connection, [plan.plan_id for plan in plans])
    receipts = journal.receipts_of(connection, [request.request_id for request in requests])
    return Truth(
        {plan.message_id: plan for plan in plans},
        {request.request_id: request for request in requests},
        receipts,
        {message["id"]: message["content"] for turn in turns for message in turn.messages},
        read_notices(connection, thread_id, message_ids),
    )
