"""The sender against a real receiver that fails, hangs, is not there, and recovers."""

import asyncio
import base64
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from clearance.db.tables import leases
from clearance.db.tables import notifications as rows
from clearance.journal import notifications
from clearance.journal.notifications import ATTEMPTS, Notification, wait_s
from clearance.server.upkeep.webhooks import Sender, key_of, sender_of
from clearance.settings import Settings, SettingsError
from tests.support.receiver import SECRET, Receiver
from tests.support.scripted_model import calls
from tests.support.world import World

pytestmark = pytest.mark.own_graph("sent from the database alone")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.close()


def sender_to(world: World, receiver: Receiver) -> Sender:
    return Sender(world.gate, receiver.url, SECRET.encode(), world.clock, timeout_s=5)


@asynccontextmanager
async def running(sender: Sender) -> AsyncIterator[None]:
    """Let a sender run in the background."""
    task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def outbox(world: World) -> list[Notification]:
    query = sa.select(rows).order_by(rows.c.created_at)
    return [Notification(*row) for row in world.read(lambda c: c.execute(query).all())]


async def until(world: World, holds: Any, seconds: float = 60) -> None:
    """Wait until something holds of the outbox."""
    for _ in range(int(seconds * 50)):
        if holds(outbox(world)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"it did not come: {outbox(world)}")


async def freeze(world: World) -> None:
    """Make one event, after everything before it was left out."""
    await world.gate.write(notifications.collect)
    await world.freeze(reason="a reason")


async def test_what_happens_arrives_signed_and_once(world: World, receiver: Receiver) -> None:
    await world.gate.write(notifications.collect)
    async with running(sender_to(world, receiver)):
        world.model.will_say(calls(PAY))
        await world.say("pay")
        await world.answer(True)
        await until(world, lambda found: len([one for one in found if one.delivered_at]) == 3)
        await asyncio.sleep(1.2)

    assert receiver.events == ["requested", "approved", "executed"]
    for delivery in receiver.deliveries:
        assert delivery.is_signed()
        assert not delivery.is_signed(b"another key, as long as the first one")
        assert delivery.headers["content-type"] == "application/json"
        assert delivery.headers["webhook-id"] == delivery.content["id"]
        assert abs(int(delivery.headers["webhook-timestamp"]) - time.time()) < 20
    assert receiver.deliveries[0].content["request"]["action"] == "transfer_funds"
    assert all(one.attempts == 1 for one in outbox(world) if one.delivered_at)


async def test_a_receiver_that_fails_is_tried_again_at_growing_intervals(world: World, receiver: Receiver) -> None:
    world.clock.stop()  # between an attempt and the look at it a busy machine lets seconds pass
    await freeze(world)
    receiver.script = [500, 503, 404]
    async with running(sender_to(world, receiver)):
        for attempt, error in enumerate(("answered 500", "answered 503", "answered 404"), start=1):
            await until(world, lambda found, attempt=attempt: found and found[0].attempts == attempt)
            (tried,) = outbox(world)
            assert tried.last_error == error
            assert tried.next_at is not None
            wait = (tried.next_at - world.clock()) / timedelta(seconds=wait_s(attempt))
            assert 0.55 < wait <= 1.2
            await asyncio.sleep(1.2)
            assert len(receiver.deliveries) == attempt  # not before its time
            world.clock.advance(seconds=wait_s(attempt) * 1.2)
        await until(world, lambda found: found[0].delivered_at)

    (delivered,) = outbox(world)
    assert [delivery.headers["webhook-id"] for delivery in receiver.deliveries] == [delivered.notification_id] * 4
    assert delivered.attempts == 4
    assert [wait_s(attempt) for attempt in (1, 2, 3, 10, 11, 33)] == [5, 10, 20, 2560, 3600, 3600]
    assert 24 < sum(wait_s(attempt) for attempt in range(1, ATTEMPTS)) / 3600 < 26


@pytest.mark.parametrize("how", ["hang", "drip"])
async def test_one_that_hangs_holds_up_neither_the_gate_nor_the_others(
    world: World, receiver: Receiver, how: str
) -> None:
    await freeze(world)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    receiver.script = [how]
    async with running(sender_to(world, receiver)):
        await until(world, lambda found: sum(one.delivered_at is not None for one in found) == 1)
        assert sum(one.attempts for one in outbox(world)) == 1  # the other one still hangs
        await world.unfreeze()
        hangs_still = [one.last_error for one in outbox(world)] == [None, None, None]
        await until(world, lambda found: any(one.last_error == "no answer in 5 s" for one in found))
        world.clock.advance(seconds=7)
        await until(world, lambda found: sum(one.delivered_at is not None for one in found) == 3)

    assert hangs_still
    assert {*receiver.events} == {"requested", "frozen", "unfrozen"}
    assert len(receiver.deliveries) == 4


async def test_a_receiver_that_was_away_gets_everything_in_order(world: World, receiver: Receiver) -> None:
    await world.gate.write(notifications.collect)
    receiver.stop()
    # Else, where this takes long, the first is tried a second time before the last one is tried at all, and then waits
    # longer than the last: later ones overtake it.
    world.clock.stop()
    async with running(sender_to(world, receiver)):
        world.model.will_say(calls(PAY))
        await world.say("pay")
        await world.answer(True)
        await world.freeze()
        world.clock.advance(seconds=1)  # no two rows of the log are of the same time: these are a little ahead of it
        await until(world, lambda found: len([one for one in found if one.attempts]) == 4)
        assert {one.last_error for one in outbox(world) if one.attempts} == {"ConnectError"}
        receiver.start()
        world.clock.advance(seconds=7)
        await until(world, lambda found: len([one for one in found if one.delivered_at]) == 4)

    assert sorted(receiver.events) == ["approved", "executed", "frozen", "requested"]
    assert [event for event in receiver.events if event != "frozen"] == ["requested", "approved", "executed"]


async def test_a_redirect_is_not_followed(world: World, receiver: Receiver) -> None:
    await freeze(world)
    receiver.script = ["redirect"]
    async with running(sender_to(world, receiver)):
        await until(world, lambda found: found and found[0].attempts == 1)

    assert len(receiver.deliveries) == 1
    assert outbox(world)[0].last_error == "answered 307"


async def test_what_is_never_taken_is_given_up_and_said(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    await freeze(world)
    receiver.script = [500] * 3
    async with running(sender_to(world, receiver)):
        await until(world, lambda found: found and found[0].attempts == 1)
        world.execute(sa.update(rows).values(attempts=ATTEMPTS - 1))
        world.clock.advance(hours=1)
        await until(world, lambda found: found[0].attempts == ATTEMPTS)
        world.clock.advance(days=2)
        await asyncio.sleep(1.5)

    (given_up,) = outbox(world)
    assert (given_up.next_at, given_up.delivered_at, given_up.last_error) == (None, None, "answered 500")
    assert len(receiver.deliveries) == 2
    assert f"notification {given_up.notification_id} (frozen) is given up: answered 500" in caplog.text


async def test_a_sender_that_died_while_sending_loses_nothing(world: World, receiver: Receiver) -> None:
    """It is killed after the receiver got it and before that was written down: it comes again, under the same id."""
    await freeze(world)
    receiver.script = ["hang"]
    async with running(sender_to(world, receiver)):
        await until(world, lambda _: receiver.deliveries)
    async with running(sender_to(world, receiver)):
        await until(world, lambda found: found[0].delivered_at)

    assert len({delivery.headers["webhook-id"] for delivery in receiver.deliveries}) == 1
    assert len(receiver.deliveries) == 2


async def test_of_two_senders_one_sends(world: World, receiver: Receiver) -> None:
    await world.gate.write(notifications.collect)
    async with running(sender_to(world, receiver)), running(sender_to(world, receiver)):
        for _ in range(5):
            await world.freeze()
            await world.unfreeze()
            await asyncio.sleep(0.3)
        await until(world, lambda found: len(found) == 10 and all(one.delivered_at for one in found))

    assert receiver.events == ["frozen", "unfrozen"] * 5
    assert world.read(lambda c: c.execute(sa.select(leases)).all()) == []


async def test_neither_secret_nor_address_is_logged_or_stored(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await freeze(world)
    receiver.script = [500, "hang", "redirect"]
    async with running(sender_to(world, receiver)):
        for attempt in (1, 2, 3):
            await until(world, lambda found, attempt=attempt: found and found[0].attempts == attempt)
            world.clock.advance(seconds=wait_s(attempt) * 1.2)
        await until(world, lambda found: found[0].delivered_at)
        receiver.stop()
        await world.unfreeze()
        # It is said after it is written down.
        await until(world, lambda found: len(found) == 2 and "is tried again: ConnectError" in caplog.text)

    written = caplog.text + str(outbox(world))
    assert SECRET not in written
    assert "very-private" not in written


async def test_a_database_that_is_away_for_a_while_does_not_end_it(world: World, receiver: Receiver) -> None:
    await world.gate.write(notifications.collect)
    world.execute("ALTER TABLE notifications RENAME TO away")
    async with running(sender_to(world, receiver)):
        await world.freeze()
        await asyncio.sleep(1.5)
        world.execute("ALTER TABLE away RENAME TO notifications")
        await until(world, lambda found: found and found[0].delivered_at)

    assert receiver.events == ["frozen"]


# What the settings say

NO_GATE: Any = None


def settings(**given: str) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]  # no .env of whoever tests; texts, as one has


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com/hook", "must begin with http"),
        ("example.com/hook", "must begin with http"),
        ("http://", "must begin with http"),
        ("https://example.com:port", "cannot be read"),
    ],
)
def test_an_address_that_cannot_be_stops_the_server(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"WEBHOOK_URL: {says}"):
        sender_of(settings(webhook_url=url, webhook_secret=SECRET), NO_GATE)


def test_a_secret_of_the_libraries_is_read_as_they_read_it() -> None:
    key = bytes(range(32))

    assert key_of(f"whsec_{base64.b64encode(key).decode()}") == key
    assert key_of(SECRET) == SECRET.encode()
    for wrong in ("whsec_no base64 at all, whatever its length", f"whsec_{'A' * 28}"):
        with pytest.raises(SettingsError, match="WEBHOOK_SECRET: after whsec_"):
            sender_of(settings(webhook_url="https://example.com", webhook_secret=wrong), NO_GATE)


def test_without_an_address_nothing_is_sent() -> None:
    assert sender_of(settings(), NO_GATE) is None


# What the document says


async def test_the_documented_check_takes_what_is_sent_and_nothing_else(world: World, receiver: Receiver) -> None:
    names: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    exec(compile(code, str(DOCUMENT), "exec"), names)
    is_ours = names["is_ours"]
    key = bytes(range(32))
    await freeze(world)
    async with running(Sender(world.gate, receiver.url, key, world.clock)):
        await until(world, lambda found: found and found[0].delivered_at)
    (delivery,) = receiver.deliveries
    secret = f"whsec_{base64.b64encode(key).decode()}"
    old = {**delivery.headers, "webhook-timestamp": str(int(time.time()) - 301)}

    assert is_ours(secret, delivery.headers, delivery.body)
    assert not is_ours(secret, delivery.headers, delivery.body + b" ")
    assert not is_ours(SECRET, delivery.headers, delivery.body)
    assert not is_ours(secret, {**delivery.headers, "webhook-id": "another"}, delivery.body)
    assert not is_ours(secret, old, delivery.body)


async def test_the_documented_payload_has_the_keys_that_are_sent(world: World, receiver: Receiver) -> None:
    text = DOCUMENT.read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    await world.gate.write(notifications.collect)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    async with running(sender_to(world, receiver)):
        await until(world, lambda found: any(one.delivered_at for one in found))
    sent = receiver.deliveries[0].content

    def shape(value: Any) -> Any:
        return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else type(value)

    assert shape(sent) == shape(json.loads(example))
    for detail in notifications.TOLD_DETAILS:
        assert f"`{detail}`" in text
