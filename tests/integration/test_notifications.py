"""The outbox: everything that is told is collected once, and says what the journal says when it is sent."""

import asyncio
import json
import re
import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage

from agent.actions import ACTIONS
from clearance.actions.action import Action, ActionError, Effect, Facts, Reading
from clearance.actions.definition import ToolDefinition
from clearance.db.tables import cursors, requests
from clearance.db.tables import notifications as rows
from clearance.gate.listing import note_listing
from clearance.journal import notifications
from clearance.journal.notifications import REMINDER, TOLD, Notification
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, POLICY, World

pytestmark = pytest.mark.own_graph("collected from the database alone")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "10"})
BACK = ("reverse_transfer", {"transfer_id": "T-99999", "reason": "sent twice"})
DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"


class NoFacts(Facts):
    pass


class BreakDown(Action[NoFacts]):
    """Fail."""

    def facts(self, reading: Reading) -> NoFacts:
        return NoFacts()

    def perform(self, effect: Effect) -> str:
        raise ActionError("it broke.")


async def collect(world: World) -> None:
    """Collect all there is."""
    while await world.gate.write(notifications.collect):
        pass


def outbox(world: World) -> list[Notification]:
    """Everything in the outbox, in the order of what it tells."""
    found = [Notification(*row) for row in world.read(lambda c: c.execute(sa.select(rows)).all())]
    return sorted(found, key=lambda one: (one.created_at, one.details.get("sequence", 0)))


def events(world: World) -> list[str]:
    """What the outbox tells, but reminders."""
    return [one.event for one in outbox(world) if one.event != REMINDER]


def content(world: World, event: str) -> dict[str, Any] | None:
    """What would be sent for the newest notification of an event."""
    newest = [one for one in outbox(world) if one.event == event][-1]
    return world.read(lambda c: notifications.content(c, newest))  # type: ignore[no-any-return]  # World.read gives Any


async def everything_happens(world: World) -> None:
    """Make each event that is told happen at least once."""
    world.model.will_say(calls(PAY, PAY))
    await world.say("pay twice")
    await world.answer({"approved": True, "edited_args": {"amount": "4000"}})  # edited, narrower: the editor's approval
    await world.answer("yes")  # answer_refused
    await world.answer(True)  # approved, executed, executed
    world.model.will_say(calls(PAY))
    await world.say("pay again")
    await world.answer(False)  # rejected
    world.model.will_say(calls(PAY))
    await world.say("once more")
    world.model.will_say(AIMessage("Fine."))
    await world.say("forget it")  # withdrawn
    world.model.will_say(calls(SMALL, BACK))
    await world.say("small, and a reversal that cannot be")  # refused, executed
    world.model.will_say(calls(PAY))
    await world.say("late")
    world.clock.advance(hours=25)
    await world.answer(True)  # expired
    world.model.will_say(calls(PAY))
    await world.say("changed")
    await world.decide(True, by=ANA)
    world.execute("UPDATE customers SET name = 'Other' WHERE customer_id = 'C-1001'")
    await world.go_on()  # asked_again
    world.actions = (*ACTIONS, BreakDown)
    world.use_policy(POLICY)
    world.model.will_say(calls(("break_down", {})))
    await world.say("break")
    await world.answer(True)  # failed
    await world.freeze()
    await world.unfreeze()
    for said in ("Close a ticket.", "Close a ticket, and mail it."):
        listed = [ToolDefinition("tickets", "close", said, {}, {})]
        await world.gate.write(partial(note_listing, server="tickets", listed=listed))  # tool_waits


async def test_every_kind_of_event_is_collected_once_in_order(world: World) -> None:
    await collect(world)
    await everything_happens(world)
    await collect(world)
    await collect(world)

    told = [row for row in world.audit() if row["event"] in TOLD]
    told = [row for row in told if row["event"] != "requested" or row["details"]["verdict"] == "ask"]
    assert events(world) == [row["event"] for row in told]
    # Those of external actions happen in test_testimony.
    assert {*events(world)} == {*TOLD} - {"unknown", "settled", "contradicted"}
    assert [one.details["sequence"] for one in outbox(world) if one.event != REMINDER] == [row["seq"] for row in told]


async def test_what_policy_allows_is_told_when_it_is_done_and_not_before(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(SMALL))
    await world.say("pay little")
    await collect(world)

    assert events(world) == ["executed"]


async def test_two_that_collect_at_once_collect_everything_once(world: World) -> None:
    await collect(world)
    for at in range(6):
        world.model.will_say(calls(PAY))
        await world.say("pay", thread=f"thread-{at}")
    start = threading.Barrier(4)

    def race() -> None:
        start.wait()
        while world.gate.write_now(lambda log: notifications.collect(log, 2)):
            pass

    await asyncio.gather(*(asyncio.to_thread(race) for _ in range(4)))

    assert Counter(events(world)) == {"requested": 6}
    assert len(outbox(world)) == 12


async def test_a_crash_while_collecting_loses_and_repeats_nothing(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")

    class Crash(Exception):
        pass

    def fall(log: Any) -> None:
        notifications.collect(log)
        raise Crash

    for _ in range(2):
        try:
            await world.gate.write(fall)
        except Crash:
            assert outbox(world) == []
    await collect(world)

    assert events(world) == ["requested"]


async def test_what_happened_before_it_was_switched_on_is_not_told(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await collect(world)
    await world.answer(True)
    await collect(world)
    await world.database.write(notifications.stop)
    await world.freeze()
    await collect(world)
    await world.unfreeze()
    await collect(world)

    assert events(world) == ["approved", "executed", "unfrozen"]
    assert world.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(cursors))) == 1


# Reminders


def reminders(world: World) -> list[Notification]:
    return [one for one in outbox(world) if one.event == REMINDER]


async def due(world: World) -> list[Notification]:
    return await world.database.read(lambda c: notifications.due(c, world.clock(), 100))


async def test_an_hour_before_the_deadline_it_is_told_again_once(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await collect(world)
    world.clock.advance(hours=22, minutes=59)
    before = [one.event for one in await due(world)]
    world.clock.advance(minutes=2)
    await collect(world)
    after = [one.event for one in await due(world)]
    told = content(world, REMINDER)

    assert (before, after) == (["requested"], ["requested", "reminder"])
    assert told is not None
    assert told["request"]["state"] == "asked"
    assert told["details"]["expires_at"] == told["request"]["expires_at"]
    (reminder,) = reminders(world)
    assert reminder.created_at == world.request().expires_at - timedelta(hours=1)


async def test_what_was_open_when_it_was_switched_on_is_told_again_too(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    for _ in range(2):  # switched off and on again
        await collect(world)
        await world.database.write(notifications.stop)

    assert [one.event for one in outbox(world)] == [REMINDER]


async def test_what_is_decided_in_time_is_not_told_again(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await collect(world)
    await world.answer(False)

    assert content(world, REMINDER) is None


async def test_what_is_asked_anew_is_told_again_before_its_new_deadline_only(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await collect(world)
    world.clock.advance(hours=10)
    await world.decide(True, by=ANA)
    world.execute("UPDATE customers SET name = 'Other' WHERE customer_id = 'C-1001'")
    await world.go_on()
    await collect(world)

    first, second = reminders(world)
    assert world.read(lambda c: notifications.content(c, first)) is None
    assert world.read(lambda c: notifications.content(c, second))["request"]["revision"] == 2


async def test_a_deadline_within_the_hour_is_not_told_again(world: World) -> None:
    world.use_policy(world.policy.replace('expires   = "24h"', 'expires   = "59m"'))
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await collect(world)

    assert events(world) == ["requested"]
    assert reminders(world) == []


# What is told


async def test_the_content_is_what_the_journal_says_when_it_is_sent(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await collect(world)
    before = content(world, "requested")
    await world.answer(True, by=BEN)
    await collect(world)
    after, approved = content(world, "requested"), content(world, "approved")

    assert before is not None
    assert after is not None
    assert approved is not None
    request = world.request()
    assert before["request"] == {
        "id": request.request_id,
        "action": "transfer_funds",
        "sentence": request.sentence,
        "notice": None,
        "outcome": None,
        "is_erased": False,
        "risk": "high",
        "state": "asked",
        "revision": 1,
        "rule": request.rule,
        "requested_by": "olga",
        "approvers": ["approver"],
        "approvals": {"needed": 1, "given": 0},
        "opened_at": before["occurred_at"],
        "expires_at": before["request"]["expires_at"],
        "thread_id": "thread",
        "turn_id": request.turn_id,
    }
    assert after["request"]["state"] == "executed"
    assert after["request"]["outcome"].startswith("Transferred $5,000.00")
    assert after["request"]["approvals"] == {"needed": 1, "given": 1}
    assert (before["actor"], approved["actor"]) == ("olga", "ben")
    assert before["id"] == after["id"] != approved["id"]
    assert before["sequence"] < approved["sequence"]
    assert not {"digest", "arguments", "receipt"} & {*approved["details"]}


async def test_a_freeze_is_told_with_its_reason_while_it_stands(world: World) -> None:
    await collect(world)
    await world.freeze(by="ops", reason="the bank\nis on \u202efire")
    await collect(world)
    while_it_stands = content(world, "frozen")
    await world.unfreeze()

    assert while_it_stands is not None
    assert while_it_stands["details"]["reason"] == "the bank ⏎ is on ‹U+202E›fire"
    assert while_it_stands["actor"] == "ops"
    assert while_it_stands["request"] is None
    lifted = content(world, "frozen")
    assert lifted is not None
    assert lifted["details"]["reason"] is None


async def test_of_an_erased_person_nothing_is_told(world: World) -> None:
    """The person's name is in the sentence until it is erased, also of what waits in the outbox meanwhile."""
    await collect(world)
    delete = ("delete_user", {"user_id": "C-1003", "reason": "asked for it"})
    world.model.will_say(calls(delete))
    name = world.read(lambda c: c.scalar(sa.text("SELECT name FROM customers WHERE customer_id = 'C-1003'")))
    await world.say("delete C-1003", by=OLGA)
    await collect(world)
    before = json.dumps(content(world, "requested"))
    await world.answer(True)
    await collect(world)
    told = [world.read(partial(notifications.content, notification=one)) for one in outbox(world)]

    assert world.states() == ["executed"]
    assert name in before
    assert name not in json.dumps(told)
    assert name not in str([row._mapping for row in world.read(lambda c: c.execute(sa.select(rows)).all())])
    executed = content(world, "executed")
    assert executed is not None
    assert executed["request"]["is_erased"] is True
    assert executed["request"]["sentence"] is None


async def test_what_hides_is_shown_in_what_is_told(world: World) -> None:
    await collect(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    world.execute(sa.update(requests).values(sentence="Pay \u202eevE", notice="a\nb"))
    await collect(world)

    told = content(world, "requested")
    assert told is not None
    assert told["request"]["sentence"] == "Pay ‹U+202E›evE"
    assert told["request"]["notice"] == "a‹U+000A›b"


async def test_what_has_long_been_over_leaves_the_outbox(world: World) -> None:
    await collect(world)
    await world.freeze()
    await world.unfreeze()
    await collect(world)
    frozen, unfrozen = outbox(world)
    await world.database.write(lambda c: notifications.mark_delivered(c, frozen.notification_id, world.clock()))
    world.clock.advance(days=31)
    await world.database.write(lambda c: notifications.prune(c, world.clock()))

    assert outbox(world) == [unfrozen]


def test_the_document_names_every_event() -> None:
    table = DOCUMENT.read_text().split("## Events")[1].split("\n## ")[0]

    assert set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE)) == {*TOLD, REMINDER}
