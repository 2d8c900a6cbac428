"""An action elsewhere that would end its thread, its loop or the process: it is unknown, and nothing else stops."""

import asyncio
from typing import Any, ClassVar

import pytest
from langchain_core.messages import AIMessage

from clearance import ExternalAction
from clearance.actions import Call, Done
from clearance.actions.action import Facts, Volatile
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import World, results

POLICY = """
[roles]
approver = "decides"
[defaults]
approvers = "approver"
"""

ENDS: dict[str, BaseException] = {
    "exits": SystemExit(3),
    "is interrupted": KeyboardInterrupt(),
    "is closed": GeneratorExit(),
    "is cancelled": asyncio.CancelledError(),
    "ends by something else": BaseException("enough"),
}


class QuitFacts(Facts):
    """What is true."""

    size: Volatile[int]


class _Quits(ExternalAction[QuitFacts]):
    name: str
    where: str = ""
    way: str = ""

    timeout_s: ClassVar[float] = 20

    def business_key(self) -> str:
        return f"quit:{self.name}"

    def end(self, here: str) -> None:
        if self.where == here:
            raise ENDS[self.way]


class Quits(_Quits):
    """Do something elsewhere, and end."""

    async def facts(self, looking: Any) -> QuitFacts:
        self.end("facts")
        return QuitFacts(size=1)

    async def perform(self, call: Call) -> Done:
        await asyncio.sleep(0.5 if not self.where else 0.01)
        self.end("perform")
        return Done(f"Did {self.name}.")

    async def look_up(self, call: Call) -> Done:
        self.end("look_up")
        return Done(f"Did {self.name} after all.")


class QuitsInAThread(_Quits):
    """Do something elsewhere in a thread, and end."""

    def facts(self, looking: Any) -> QuitFacts:
        self.end("facts")
        return QuitFacts(size=1)

    def perform(self, call: Call) -> Done:
        self.end("perform")
        return Done(f"Did {self.name}.")

    def look_up(self, call: Call) -> Done:
        self.end("look_up")
        return Done(f"Did {self.name} after all.")


@pytest.fixture
def quitting(world: World) -> World:
    return World(world.database, policy=POLICY, actions=(Quits, QuitsInAThread), way=world.way)


kinds = pytest.mark.parametrize("kind", ["quits", "quits_in_a_thread"])


@kinds
async def test_an_effect_that_quits_is_unknown_and_looked_up_and_others_in_flight_are_done(
    quitting: World, kind: str
) -> None:
    """`sys.exit` ended the loop of them all: the run waited without end, and so did what came next."""
    for number, way in enumerate(ENDS):
        quitting.model.will_say_nothing_more()
        quitting.model.will_say(
            calls(("quits", {"name": f"beside {number}"}), ids=[f"beside-{number}"]), AIMessage("Ok.")
        )
        await quitting.say("go", thread=f"beside {number}")
        quitting.model.will_say_nothing_more()
        wanted = {"name": f"it {number}", "where": "perform", "way": way}
        quitting.model.will_say(calls((kind, wanted), ids=[f"it-{number}"]), AIMessage("Ok."))
        await quitting.say("go", thread=f"it {number}")
        quitting.model.will_say(AIMessage("Ok."), AIMessage("Ok."), AIMessage("Ok."))

        beside = asyncio.create_task(quitting.answer(True, thread=f"beside {number}"))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(quitting.answer(True, thread=f"it {number}"), 15)
        done = await asyncio.wait_for(beside, 15)

        assert results(done) == [f"Did beside {number}."], way
        assert quitting.request(f"it-{number}").state in ("unknown", "executed"), way
    await until(lambda: set(quitting.states()) == {"executed"})
    assert quitting.events().count("unknown") == len(ENDS)
    assert quitting.audit_is_whole()


@kinds
async def test_facts_that_quit_refuse_the_action(quitting: World, kind: str) -> None:
    for number, way in enumerate(ENDS):
        quitting.model.will_say_nothing_more()
        quitting.model.will_say(calls((kind, {"name": f"it {number}", "where": "facts", "way": way})), AIMessage("Ok."))
        said = await asyncio.wait_for(quitting.say("go", thread=f"it {number}"), 15)
        (told,) = results(said)
        assert told.startswith("Not done: "), way
    assert set(quitting.states()) == {"refused"}
