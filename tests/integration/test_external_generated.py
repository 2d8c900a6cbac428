"""External actions under any order of what people, providers, clocks and processes do, against a model of the states.

What the audit log tells is replayed through the states that DESIGN has; the provider's own books say what was done.
`make explore` tries more of them than the suite does, each time others.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from clearance.db.engine import Database
from clearance.desk.desk import Desk
from clearance.gate import deadlines, flights, performing
from clearance.gate.decision import Refusal
from clearance.gate.ending import cancel_run
from clearance.journal.attempts import attempts_on
from clearance.journal.receipts import Receipt, read_receipt
from clearance.journal.requests import Request
from clearance.journal.turns import turns_of
from clearance.principal import Principal
from tests.support.held import ARRIVES_S, KINDS, POLICY, TIMEOUT_S, HeldProvider, Start, use
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, Person, World

T = TypeVar("T")

EXAMPLES, STEPS = int(os.environ.get("EXAMPLES", "10")), 20
#: From which states an event may come, and what it leads to; `None` keeps the state.
_CLEARED, _FLYING = {"approved", "allowed"}, {"executing", "unknown"}
_OPEN = {"asked", *_CLEARED}
MOVES: dict[str, tuple[set[str], str | None]] = {
    "approved": ({"asked"}, "approved"),
    "rejected": ({"asked"}, "rejected"),
    "asked_again": (_OPEN, "asked"),
    "started": ({*_CLEARED, "unknown"}, "executing"),
    "unknown": ({"executing"}, "unknown"),
    "reconciling": ({"unknown"}, None),
    "reconciled": ({"unknown"}, None),
    "settled": ({"unknown"}, None),
    "executed": (_FLYING, "executed"),
    "failed": (_FLYING, "failed"),
    "refused": (_CLEARED, "refused"),
    "withdrawn": (_OPEN, "withdrawn"),
    "expired": (_OPEN, "expired"),
}
THREADS = st.sampled_from(["one", "two", "three"])
#: Seconds: at once, when a lease is over, when what has not arrived never will.
AFTER_S = st.sampled_from([0, 20, 70, 70, 70])
PEOPLE = st.sampled_from([ANA, BEN])
MOODS = st.lists(
    st.sampled_from(
        [
            "does it",
            "refuses",
            "refuses",
            "breaks before",
            "breaks after",
            "hangs",
            "hangs",
            "dies before",
            "dies after",
        ]
    ),
    min_size=1,
    max_size=2,
)
KIND = st.sampled_from([kind.tool_name() for kind in KINDS])
STEP = st.sampled_from(["look", "look", "later", "arrives", "done", "refused", "broken", "switch", "hello"])
CALL = st.tuples(
    KIND,
    st.sampled_from(["X-1", "X-2"]),
    st.sampled_from([60, 500, 500, 500]),
)


#: What goes on beside the runs, by the loop of its process.
UNDER_WAY: dict[int, list[Future[Any]]] = {}


@dataclass
class Fate:
    """What the log tells of one request."""

    account: str
    state: str
    cleared_as: str = ""
    starts: int = 0
    first_start: int = 0
    expires_at: str = ""
    via: str = ""
    #: Whether somebody came to know of the opposite of its receipt.
    is_contradicted: bool = False


class Campaign(RuleBasedStateMachine):
    """Two threads, a provider, and processes over one database, of which some end."""

    template: ClassVar[Path]
    folder: ClassVar[Path]
    _numbers: ClassVar["count[int]"] = count()

    def __init__(self) -> None:
        super().__init__()
        self.file = self.folder / f"{next(self._numbers)}.db"
        shutil.copy(self.template, self.file)
        self.runner = asyncio.Runner()
        self.checkpointer = InMemorySaver()
        self.world = self._process(None)
        self.provider = HeldProvider(self.world.clock, die=self._die)
        use(self.provider)
        #: Processes that live on beside the one that people use.
        self.others: list[World] = []
        self.receipts: dict[str, Receipt] = {}
        self.call_ids = count()
        #: Requests of which a person said what became, whether or not it is so.
        self.said: set[str] = set()

    # Processes

    def _process(self, before: World | None) -> World:
        world = World(Database(f"sqlite:///{self.file}"), POLICY, KINDS, self.checkpointer)
        if before is not None:
            world.clock = before.clock
            world.use_policy(POLICY)
        world.model.will_say(*[self._speak] * 500)
        return world

    def _die(self) -> None:
        """End the process that performs what the provider was asked for last; its calls may go on elsewhere."""
        request_id = self.provider.starts[-1].call.request_id
        for world in (self.world, *self.others):
            if world.gate.elsewhere.here(request_id) is not None:
                world.database.is_closed = True

    def _bury(self) -> None:
        for world in (self.world, *self.others):
            if world.database.is_closed:
                world.database.close()
        self.others = [world for world in self.others if not world.database.is_closed]
        if self.world.database.is_closed:
            self.world = self._process(self.world)

    def _run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Run something in the process that people use; None where that ended meanwhile.

        Whoever waits for longer than anything here takes, waits for time to pass.
        """

        async def go() -> T | None:
            task, began = asyncio.ensure_future(work), time.monotonic()
            while not task.done():
                await asyncio.wait([task], timeout=0.02)
                if self.world.database.is_closed:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    return None
                if time.monotonic() - began > 0.4:
                    self._time_passes(10)
                    began = time.monotonic()
            return task.result()

        came = self.runner.run(go())
        self._bury()
        self._quiet()
        return came

    def _quiet(self) -> None:
        """Wait until nothing goes on but what hangs elsewhere."""
        until = time.monotonic() + 0.4
        while any(self._is_busy(world) for world in (self.world, *self.others)):
            time.sleep(0.003)
            if time.monotonic() > until:
                self._time_passes(10)
                until = time.monotonic() + 0.4
        self._bury()

    @staticmethod
    def _is_busy(world: World) -> bool:
        left = UNDER_WAY.get(id(vars(world.gate.elsewhere)["_loop"]), [])
        left[:] = [one for one in left if not one.done()]
        return bool(left) and not world.database.is_closed

    def _speak(self, read: Any) -> AIMessage:
        messages: list[BaseMessage] = list(read)
        last = max((at for at, one in enumerate(messages) if isinstance(one, HumanMessage)), default=-1)
        words = str(messages[last].content) if last >= 0 else ""
        if not words.startswith("pay ") or any(isinstance(one, ToolMessage) for one in messages[last:]):
            return AIMessage("Done.")
        wished = [part.split() for part in words.removeprefix("pay ").split(" and ")]
        made = [(kind, {"account": account, "amount": int(amount)}) for kind, account, amount in wished]
        return calls(*made, ids=[f"call-{next(self.call_ids)}" for _ in made])

    # What people do

    @rule(thread=THREADS, wishes=st.lists(CALL, min_size=1, max_size=2), moods=MOODS, is_approved=st.booleans())
    def ask(self, thread: str, wishes: list[tuple[str, str, int]], moods: Any, is_approved: bool) -> None:
        self.provider.moods = moods
        words = " and ".join(f"{kind} {account} {amount}" for kind, account, amount in wishes)
        self._checked(thread, self._run(self.world.say(f"pay {words}", thread=thread)))
        asked = [one for one in self._in("asked") if one.thread_id == thread]
        for _ in asked if is_approved else ():
            self._answer(thread, True, ANA)

    @rule(
        thread=THREADS,
        kind=KIND,
        mood=st.sampled_from(["hangs", "hangs", "breaks before", "breaks after", "dies before", "dies after"]),
        then=st.lists(st.tuples(STEP, MOODS), min_size=2, max_size=5),
    )
    def a_lost_answer(self, thread: str, kind: str, mood: Any, then: list[tuple[str, Any]]) -> None:
        """What chance alone comes to too seldom: all that may happen after it, to the same request."""
        self.ask(thread, [(kind, f"X-{thread}", 500)], [mood], True)
        for step, moods in then:
            if step == "look":
                self._look(0, moods)
            elif step == "later" and self._in(*_FLYING):
                self._look(70, moods)
            elif step == "switch":
                self.turn_the_switch()
            elif step == "hello":
                self._checked(thread, self._run(self.world.say("hello", thread=thread)), is_heard=True)
            elif step in ("arrives", "done", "refused", "broken") and self._held():
                self._answer_held(self._held()[0], step)

    @precondition(lambda self: self._in("asked"))
    @rule(at=st.integers(0, 3), word=st.sampled_from(["yes", "yes", "api", "no", "edit"]), by=PEOPLE, moods=MOODS)
    def answer(self, at: int, word: str, by: Person, moods: Any) -> None:
        asked = self._in("asked")
        request = asked[at % len(asked)]
        self.provider.moods = moods
        if word == "api":
            self._run(self._decide(request, by))
            return
        given = {"yes": True, "no": False, "edit": {"approved": True, "edited_args": {"amount": 400}}}[word]
        self._answer(request.thread_id, given, by)

    async def _decide(self, request: Request, by: Person) -> None:
        if await self.world.decide(True, by=by, call=request.tool_call_id):
            await self.world.database.run(lambda: self.world.gate.carry_out_plan(request.plan_id))

    def _answer(self, thread: str, given: Any, by: Person) -> None:
        async def go() -> Any:
            if await self.world.open_question(thread) is None:
                await self.world.go_on(thread=thread)
            if await self.world.open_question(thread) is None:
                return None
            return await self.world.answer(given, by=by, thread=thread)

        self._checked(thread, self._run(go()))

    @precondition(lambda self: self._in(*_CLEARED, *_FLYING))
    @rule(thread=THREADS, how=st.sampled_from(["goes on", "goes on", "says hello", "cancels"]))
    def thread_goes_on(self, thread: str, how: str) -> None:
        match how:
            case "goes on":
                self._checked(thread, self._run(self._woken(thread)))
            case "says hello":
                self._checked(thread, self._run(self.world.say("hello", thread=thread)), is_heard=True)
            case _:
                turns = self.world.read(lambda connection: turns_of(connection, thread))
                if turns and turns[-1].state == "open":
                    by, run_id = Principal(OLGA.identity), turns[-1].run_id or ""
                    self._run(
                        self.world.gate.write(lambda log: cancel_run(log, thread, run_id, by=by, goes_on_with=None))
                    )

    @precondition(lambda self: self.provider.is_frozen or self._in(*_CLEARED, *_FLYING))
    @rule()
    def turn_the_switch(self) -> None:
        if self.provider.is_frozen:
            self.provider.is_frozen = False
            self._run(self.world.unfreeze())
        else:
            self._run(self.world.freeze())
            self.provider.is_frozen = True

    @precondition(lambda self: self._in("unknown"))
    @rule(at=st.integers(0, 3), happened=st.booleans())
    def somebody_says(self, at: int, happened: bool) -> None:
        unknown = self._in("unknown")
        self._settle(unknown[at % len(unknown)], happened=happened)

    def _settle(self, request: Request, *, happened: bool) -> None:
        ben = Principal(BEN.identity, roles=frozenset(BEN.roles))
        desk = Desk(self.world.gate)
        became = self._run(desk.settle(ben, request.request_id, happened=happened, reason="their books"))
        if became is not None and not isinstance(became, Refusal):
            self.said.add(request.request_id)

    # What the provider does

    @precondition(lambda self: self._held())
    @rule(at=st.integers(0, 3), word=st.sampled_from(["arrives", "done", "refused", "broken"]))
    def a_call_that_hangs(self, at: int, word: str) -> None:
        held = self._held()
        self._answer_held(held[at % len(held)], word)

    def _answer_held(self, start: Start, word: str) -> None:
        if word in ("arrives", "done") and not (start.is_done or start.is_lost):
            self.provider.do(start)
        if word == "arrives":
            return
        if (word == "done" and start.is_lost) or (word == "refused" and start.is_done):
            word = "broken"
        self.provider.say(start, word)
        time.sleep(0.02)  # its thread goes on
        self._quiet()

    def _held(self) -> list[Start]:
        return [one for one in self.provider.starts if one.is_open]

    # What time and processes do

    @precondition(lambda self: self._in(*_OPEN))
    @rule(seconds=st.sampled_from([10, 700, 4000]))
    def time_passes(self, seconds: float) -> None:
        self._time_passes(seconds)
        self._run(self.world.gate.write(lambda log: deadlines.expire(log)))

    def _time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds=seconds)
        for start in self.provider.starts:  # what its author promised
            if (self.world.clock() - start.at).total_seconds() > TIMEOUT_S + ARRIVES_S - 1 and not start.is_done:
                start.is_lost = True

    @precondition(lambda self: self._in(*_FLYING))
    @rule(
        moods=MOODS,
        after_s=AFTER_S,
        by=st.sampled_from(["the same", "the same", "another"]),
        tells=st.sampled_from([True, True, False]),
    )
    def it_is_looked_into(self, moods: Any, after_s: float, by: str, tells: bool) -> None:
        if by == "another" and self.others:
            self.others.append(self.world)
            self.world = self.others.pop(0)
        self.provider.is_blind = not tells
        self._look(after_s, moods)

    def _look(self, after_s: float, moods: Any) -> None:
        self._time_passes(after_s)
        self.provider.moods = moods
        self._run(self.world.gate.flights.reconcile_once())

    @precondition(lambda self: self._in(*_CLEARED, *_FLYING))
    @rule(is_killed=st.booleans())
    def a_process_starts(self, is_killed: bool) -> None:
        if is_killed:
            self.world.database.is_closed = True
            self._bury()
        elif len(self.others) < 2:
            self.others.append(self.world)
            self.world = self._process(self.world)

    # What has to hold

    def _in(self, *states: str) -> list[Request]:
        return [one for one in self.world.requests() if one.state in states]

    async def _woken(self, thread: str) -> Any:
        state = await self.world.graph.aget_state(self.world.config(None, thread))
        if not state.values:
            return None
        if state.next:
            return await self.world.go_on(thread=thread)
        known = [one for one in state.values["messages"] if isinstance(one, HumanMessage)]
        return await self.world.run({"messages": known}, by=None, thread=thread)

    def _checked(self, thread: str, state: Any, *, is_heard: bool = False) -> None:
        """What is unknown is told as that; what has a receipt is told as that says, or asked further.

        What a turn before this one left unknown is told once words are heard (`is_heard`), or by the server.
        """
        if state is None or "__interrupt__" in state:
            return
        said = {one.tool_call_id: str(one.content) for one in state["messages"] if isinstance(one, ToolMessage)}
        notices = [str(one.content) for one in state["messages"] if isinstance(one, AIMessage)]
        for request in self.world.requests():
            if request.thread_id != thread or request.tool_call_id not in self._calls_in(state):
                continue
            told = said.get(request.tool_call_id)
            if request.state == "unknown":
                assert (told or "").startswith("Nobody knows yet") or any(
                    one.startswith(f"Nobody knows yet whether {request.action}") for one in notices
                ), (request, state["messages"])
            elif request.is_over:
                turns = self.world.read(lambda connection: turns_of(connection, thread))
                if is_heard or request.turn_id == turns[-1].turn_id or not (told or "").startswith("Nobody knows yet"):
                    assert told == self._receipt(request), (request, told)

    @staticmethod
    def _calls_in(state: Any) -> set[str]:
        return {str(call["id"]) for one in state["messages"] if isinstance(one, AIMessage) for call in one.tool_calls}

    def _receipt(self, request: Request) -> str | None:
        found = self.world.read(partial(read_receipt, request_id=request.request_id))
        return None if found is None else found.sentence

    @invariant()
    def the_log_and_the_books_agree(self) -> None:
        requests = {one.request_id: one for one in self.world.requests()}
        fates = self._replayed(requests)
        assert self.provider.came_frozen == []
        for request_id, request in requests.items():
            fate = fates[request_id]
            assert fate.state == request.state, (fate, request)
            receipt = self.world.read(partial(read_receipt, request_id=request_id))
            assert (
                self.receipts.setdefault(request_id, receipt) == receipt
                if receipt
                else not self.receipts.get(request_id)
            )
            made = self.world.read(partial(attempts_on, request_id=request_id))
            times = self.provider.times({one.idempotency_key for one in made})
            assert times <= 1, (request, made)
            assert [one.is_in_flight for one in made] == [False] * (len(made) - 1) + [request.is_in_flight] * bool(made)
            assert sum(one.call.request_id == request_id for one in self.provider.starts) <= fate.starts
            if request.action == "blind":
                assert fate.starts <= 1
            if request_id in self.said:
                continue
            if request.state == "executed":
                assert times == 1, (request, made)
            elif request.is_over:
                assert times == 0, (request, made)

    def _replayed(self, requests: dict[str, Request]) -> dict[str, Fate]:
        fates: dict[str, Fate] = {}
        ended: set[str] = set()
        frozen, last_freeze = False, 0
        for place, row in enumerate(self.world.whole_log()):
            event, details = row["event"], row["details"]
            if event == "turn_ended":
                ended.add(row["turn_id"])
            elif event in ("frozen", "unfrozen"):
                frozen, last_freeze = event == "frozen", place
            if row["request_id"] not in requests:
                continue
            if event == "requested":
                state = {"allow": "allowed", "ask": "asked"}[details["verdict"]]
                arguments = requests[row["request_id"]].arguments or {}
                fates[row["request_id"]] = Fate(arguments["account"], state)
                continue
            fate = fates[row["request_id"]]
            if event == "edited":
                assert fate.state == "asked"
                fate.state = "approved" if details["counts"] else "asked"
            elif event == "contradicted":
                fate.is_contradicted = True
                assert fate.state not in _OPEN | _FLYING
            elif event == "released":
                assert fate.state == "unknown"
                fate.state = fate.cleared_as
                assert row["turn_id"] not in ended
            elif event in MOVES:
                before, after = MOVES[event]
                assert fate.state in before, (event, fate)
                if event == "started":
                    assert not frozen
                    assert row["turn_id"] not in ended
                    others = [one for one in fates.values() if one is not fate and one.account == fate.account]
                    assert not any(one.state in _FLYING for one in others), (fate, others)
                    if fate.starts:
                        assert last_freeze < fate.first_start
                    else:
                        fate.first_start = place
                    fate.starts += 1
                    if fate.state in _CLEARED:
                        fate.cleared_as = fate.state
                fate.state = after or fate.state
                fate.via = details.get("via", fate.via)
        return fates

    def teardown(self) -> None:
        """In the end everything comes to be known, and its thread tells it."""
        try:
            self._end()
        finally:
            for start in self.provider.starts:
                start.said.set()
            for world in (self.world, *self.others):
                world.database.close()
            self.runner.close()

    def _end(self) -> None:
        self.provider.is_blind, self.provider.moods = False, []
        if self.provider.is_frozen:
            self.turn_the_switch()
        for start in self._held():
            self.provider.say(start, "done" if start.is_done else "broken")
        time.sleep(0.02)
        self._quiet()
        for _ in range(10):
            if not self._in("executing", "unknown"):
                break
            self._time_passes(700)
            self._run(self.world.gate.flights.reconcile_once())
            for request in self._in("unknown"):
                made = self.world.read(partial(attempts_on, request_id=request.request_id))
                if made[-1].next_look_at is None:
                    times = self.provider.times({one.idempotency_key for one in made})
                    self._settle(request, happened=bool(times))
        assert not self._in("executing", "unknown"), self._in("executing", "unknown")
        for thread in ("one", "two", "three"):
            self._checked(thread, self._run(self.world.say("hello", thread=thread)), is_heard=True)
        assert not self._in("asked", "approved", "allowed")
        self.the_log_and_the_books_agree()
        assert self.world.audit_is_whole()


def test_any_order_of_events_keeps_the_states(
    seeded_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights.Flights, "reconcile", lambda self: None)  # only when a rule says so
    monkeypatch.setattr(flights, "_WATCH_S", 0.01)
    monkeypatch.setattr(performing, "_BETWEEN_S", 0.005)
    submit = performing.Loop.submit

    def watched(loop: performing.Loop, work: Any) -> Any:
        made = submit(loop, work)
        UNDER_WAY.setdefault(id(loop), []).append(made)
        return made

    monkeypatch.setattr(performing.Loop, "submit", watched)

    class Here(Campaign):
        template, folder = seeded_sqlite, tmp_path

    is_long = "EXAMPLES" in os.environ
    phases = [Phase.generate, Phase.shrink] if "SHRINK" in os.environ else [Phase.generate]
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not is_long,
            phases=phases,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
