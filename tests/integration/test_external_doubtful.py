"""What surely did not happen and what nobody knows are not mixed up: a refusal of a resend, a call that never began."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import pytest
from langchain_core.messages import AIMessage

from clearance import ExternalAction, Facts, Volatile
from clearance.actions import Call, Done, Looking
from clearance.desk import flights
from clearance.desk.desk import Desk
from clearance.gate import elsewhere, looking, performing
from clearance.gate.elsewhere import Elsewhere, Performing
from clearance.journal.attempts import attempts_on
from clearance.principal import LOCAL
from clearance.server.upkeep.outcomes import Outcomes
from tests.integration.test_external import PAID, PAY, woken
from tests.support.outside import OUTSIDE, POLICY
from tests.support.paying import ROLES
from tests.support.payments import Provider
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import World, results

# The gate's own loop does it, whatever graph stands before.
pytestmark = pytest.mark.own_graph


class SlowlyKnown(Facts):
    """What takes long to be read."""

    balance: Volatile[int]


class PayKnowing(ExternalAction[SlowlyKnown]):
    """Pay an amount, of which something is true that takes long to be read."""

    amount: int
    reads: ClassVar[list[float]] = []

    async def facts(self, looking: Looking) -> SlowlyKnown:
        self.reads.append(time.monotonic())
        await asyncio.sleep(0.3)
        return SlowlyKnown(balance=5)

    def perform(self, call: Call) -> Done:
        return Done("Paid.")


class PayBlocking(ExternalAction[Facts]):
    """Pay an amount by code that blocks, though it says that it does not."""

    amount: int
    timeout_s: ClassVar[float] = 0.3
    there: ClassVar[threading.Event] = threading.Event()
    go: ClassVar[threading.Event] = threading.Event()

    async def perform(self, call: Call) -> Done:
        self.there.set()
        self.go.wait(60)
        return Done("Paid.")


@pytest.fixture
def outside(world: World, provider: Provider) -> World:
    world.actions = (*OUTSIDE, PayKnowing, PayBlocking)
    world.use_policy(ROLES + POLICY)
    PayKnowing.reads.clear()
    return world


def _attempts(world: World) -> list[tuple[str, str | None]]:
    made = world.read(partial(attempts_on, request_id=world.request().request_id))
    return [(one.state, one.cause) for one in made]


async def test_the_refusal_of_a_resend_says_nothing_of_the_first_start(outside: World, provider: Provider) -> None:
    """It was told as surely not done, and was paid."""
    provider.knows_keys, provider.next = True, ["breaks after", "refuses", "refuses"]
    outside.model.will_say(calls(("pay_out_by_key", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    for number in (2, 3):
        outside.clock.advance(seconds=10)
        await until(lambda number=number: len(_attempts(outside)) == number)  # type: ignore[misc]  # bound as it is now
        await until(lambda: outside.states() == ["unknown"])

    assert provider.paid() == [("X-1", 5000)]
    assert outside.receipts() == {}
    assert _attempts(outside) == [("released", "error"), ("released", "refused"), ("unknown", "refused")]


async def test_what_was_proven_absent_before_is_surely_not_done_when_it_is_refused(
    outside: World, provider: Provider
) -> None:
    provider.next = ["breaks before", "refuses"]
    outside.model.will_say(calls(PAY), AIMessage("Refused."))
    await outside.say("pay")

    await outside.answer(True)
    outside.clock.advance(seconds=60)
    await until(lambda: outside.states() == ["failed"])

    assert _attempts(outside) == [("released", "error"), ("failed", None)]


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A process that stands still between a claim and its call until `go`; `there` tells that it does."""
    there, go = threading.Event(), threading.Event()
    stopped: Callable[[Elsewhere, Performing], Any] = vars(Elsewhere)["_stopped"]

    async def stall(self: Elsewhere, performing: Performing) -> Any:
        if not there.is_set():
            there.set()
            await asyncio.to_thread(go.wait, 30)
        return await stopped(self, performing)

    monkeypatch.setattr(Elsewhere, "_stopped", stall)
    yield there, go
    go.set()


async def test_what_others_gave_up_meanwhile_is_not_begun(
    outside: World, provider: Provider, stalled: tuple[threading.Event, threading.Event]
) -> None:
    """Taken for dead it was looked up, was not there, and was started again; then it went on where it stood."""
    there, go = stalled
    outside.model.will_say(calls(PAY), AIMessage("Paid."))
    await outside.say("pay")
    paying = asyncio.create_task(outside.answer(True))
    await until(there.is_set)

    outside.clock.advance(seconds=60)
    first = outside.gate
    outside.use_policy(ROLES + POLICY)
    await outside.gate.flights.reconcile_once()
    await until(lambda: outside.states() == ["executed"])
    go.set()
    await paying
    assert first.elsewhere.here(outside.request().request_id) is None

    assert provider.paid() == [("X-1", 5000)]
    assert len(provider.asked) == 1
    assert _attempts(outside)[0] == ("released", "holder gone")


async def test_what_comes_too_late_to_its_call_is_not_begun(
    outside: World,
    provider: Provider,
    stalled: tuple[threading.Event, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, go = stalled
    monkeypatch.setattr(elsewhere, "_BEGINS_S", 0.2)
    outside.model.will_say(calls(PAY), AIMessage("Not paid."))
    await outside.say("pay")
    paying = asyncio.create_task(outside.answer(True))
    await until(there.is_set)
    await asyncio.sleep(0.3)

    go.set()
    done = await paying

    assert provider.asked == []
    assert results(done) == ["Not done: it could not begin in time."]


async def test_facts_that_take_longer_than_they_stay_fresh_are_read_once(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were read again and again, each time too old when they came, and the action was refused."""
    monkeypatch.setattr(looking, "_FRESH_S", 0.25)
    outside.model.will_say(calls(("pay_knowing", {"amount": 5})), AIMessage("Paid."))

    await outside.say("pay")
    read = len(PayKnowing.reads)
    done = await outside.answer(True)

    assert read == 1
    assert results(done) == ["Paid."]


async def test_a_call_that_cannot_begin_is_unknown_and_waited_for_by_nobody(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run waited for ever: a process that cannot start another thread raised where nobody heard."""

    begin = performing.begin

    def cannot(name: str, method: Any, loop: performing.Loop) -> Any:
        if name.endswith(".perform"):
            raise RuntimeError("can't start new thread")
        return begin(name, method, loop)

    outside.model.will_say(calls(("pay_out_blindly", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")
    monkeypatch.setattr(elsewhere, "begin", cannot)

    await asyncio.wait_for(outside.answer(True), 60)

    assert outside.states() == ["unknown"]
    assert outside.gate.elsewhere.here(outside.request().request_id) is None


async def test_what_another_process_left_and_never_looks_into_is_found(outside: World, provider: Provider) -> None:
    provider.next, provider.takes_s = ["pays, then hangs"], 30
    outside.model.will_say(calls(("pay_out_blocking", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")
    paying = asyncio.create_task(outside.answer(True))
    await until(lambda: provider.paid() != [])
    paying.cancel()

    outside.use_policy(ROLES + POLICY)
    outside.clock.advance(seconds=60)
    await Outcomes(outside.parts).look()
    await until(lambda: outside.states() == ["executed"])
    told = await woken(outside)

    assert results(told) == [PAID]
    assert len(provider.asked) == 1


async def test_an_async_method_that_blocks_holds_up_nobody_else(
    outside: World, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """It held the loop that all facts, look-ups, performs and receipts of the process shared."""
    PayBlocking.there.clear()
    PayBlocking.go.clear()
    outside.model.will_say(calls(("pay_blocking", {"amount": 5})))
    await outside.say("pay")
    resting = asyncio.create_task(outside.answer(True))
    await until(PayBlocking.there.is_set)
    outside.model.will_say(calls(PAY, ids=["other"]), AIMessage("Paid."))

    await outside.say("pay", thread="other")
    done = await outside.answer(True, thread="other")
    await resting
    held = outside.states()
    PayBlocking.go.set()
    await until(lambda: outside.states() == ["executed", "executed"])

    assert results(done) == [PAID]
    assert held == ["unknown", "executed"]
    assert outside.receipts()["call-0"] == "Paid."
    assert "blocks: others go on without it" in caplog.text


async def test_what_was_taken_as_not_arrived_and_happened_beside_the_next_start_is_told(
    outside: World, provider: Provider
) -> None:
    """A provider that takes longer than it promised: paid twice, and nobody was told."""
    provider.next, provider.takes_s = ["slow"], 7
    outside.model.will_say(calls(("pay_out_blocking", PAY[1])), AIMessage("Paid."))
    await outside.say("pay")

    await outside.answer(True)
    outside.clock.advance(seconds=60)
    await until(lambda: outside.states() == ["executed"])
    receipts = outside.receipts()
    await until(lambda: "contradicted" in outside.events())
    detail = await Desk(outside.gate).detail(LOCAL, outside.request().request_id)

    assert provider.paid() == [("X-1", 5000), ("X-1", 5000)]
    assert outside.receipts() == receipts
    assert "it was done twice" in flights.contradiction(detail.contradictions[0])
    assert outside.audit_is_whole()


async def test_what_was_withdrawn_as_not_arrived_and_happened_is_told(outside: World, provider: Provider) -> None:
    """The page of its request could not be shown."""
    provider.next, provider.takes_s = ["slow"], 7
    outside.model.will_say(calls(("pay_out_blocking", PAY[1])), AIMessage("Hello."))
    await outside.say("pay")

    await outside.answer(True)
    await outside.say("hello")
    outside.clock.advance(seconds=60)
    await until(lambda: outside.states() == ["failed"])
    await until(lambda: "contradicted" in outside.events())
    detail = await Desk(outside.gate).detail(LOCAL, outside.request().request_id)

    assert "it happened; its receipt says that it did not" in flights.contradiction(detail.contradictions[0])
