"""An argument that the model leaves out and a default makes anew each time, such as a reference: one for each call."""

import uuid
from typing import ClassVar

import pytest
from langchain_core.messages import AIMessage
from pydantic import Field

from clearance import ExternalAction
from clearance.actions import Call, Done, Looking
from clearance.actions.action import Action, Effect, Facts, Reading, Volatile
from tests.integration.test_carried_out_at_once import decide
from tests.support.scripted_model import calls
from tests.support.world import BEN, World, results

POLICY = """
[roles]
approver = "decides"
[defaults]
approvers = "approver"
"""

DONE: list[tuple[str, int]] = []


class Size(Facts):
    """What is true."""

    size: Volatile[int]


class Book(Action[Size]):
    """Book something here."""

    amount: int
    reference: str = Field(default_factory=lambda: uuid.uuid4().hex)

    def facts(self, reading: Reading) -> Size:
        # Both calls of a plan: this one's reference is no other's.
        return Size(size=len(reading.beside()))

    def perform(self, effect: Effect) -> str:
        DONE.append((self.reference, self.amount))
        return "Booked."


class BookElsewhere(ExternalAction[Size]):
    """Book something elsewhere."""

    amount: int
    reference: str = Field(default_factory=lambda: uuid.uuid4().hex)

    looked: ClassVar[list[str]] = []

    def business_key(self) -> str:
        return f"book:{self.reference}"

    async def facts(self, looking: Looking) -> Size:
        BookElsewhere.looked.append(self.reference)
        return Size(size=1)

    async def perform(self, call: Call) -> Done:
        DONE.append((self.reference, self.amount))
        return Done("Booked.")


@pytest.fixture
def booking(world: World) -> World:
    """A world with one such action here, and one elsewhere."""
    DONE.clear()
    BookElsewhere.looked.clear()
    return World(world.database, policy=POLICY, actions=(Book, BookElsewhere))


both = pytest.mark.parametrize("name", ["book", "book_elsewhere"])


@both
async def test_it_is_made_once_for_a_call(booking: World, name: str) -> None:
    """Elsewhere each look was for another, and the run failed each time with a look that was never over."""
    booking.model.will_say(calls((name, {"amount": 5}), (name, {"amount": 6})), AIMessage("Booked."))
    await booking.say("book it")
    first, second = [(one.arguments or {})["reference"] for one in booking.requests()]
    assert set(BookElsewhere.looked) == ({first, second} if name == "book_elsewhere" else set())

    await booking.answer(True)
    said = await booking.answer(True)

    assert results(said) == ["Booked.", "Booked."]
    assert [(first, 5), (second, 6)] == DONE
    assert booking.audit_is_whole()


async def test_a_decision_without_a_run_carries_out_what_was_shown(booking: World) -> None:
    booking.model.will_say(calls(("book", {"amount": 5})), AIMessage("Booked."))
    await booking.say("book it")
    (asked,) = booking.requests()

    await decide(booking, True)

    assert [((asked.arguments or {})["reference"], 5)] == DONE


@both
async def test_an_edit_that_leaves_it_out_makes_another_once(booking: World, name: str) -> None:
    booking.model.will_say(calls((name, {"amount": 5})), AIMessage("Booked."))
    await booking.say("book it")
    (asked,) = booking.requests()
    whole = {"type": "edit", "edited_action": {"name": name, "args": {"amount": 4}}}

    await booking.answer({"decisions": [whole]})
    (edited,) = booking.requests()
    assert (edited.revision, (edited.arguments or {})["amount"]) == (2, 4)
    assert (edited.arguments or {})["reference"] != (asked.arguments or {})["reference"]
    if edited.state == "asked":
        await booking.answer(True, by=BEN)

    assert [((edited.arguments or {})["reference"], 4)] == DONE
