"""Time passes on the real server: deadlines close by themselves, the requester is told, and so is the webhook."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from langgraph_sdk.errors import NotFoundError

from clearance.db.engine import Database
from clearance.db.tables import notifications, requests
from clearance.gate.freeze import freeze_effects
from clearance.gate.gate import Gate
from clearance.journal import audit
from clearance.journal.verification import verify
from tests.support.command import run
from tests.support.conversation import Conversation, connected, converse
from tests.support.receiver import SECRET, Receiver
from tests.support.server import Server
from tests.support.world import FRAME

POLICY = """
[roles]
approver = "decides"
[defaults]
expires = "3s"
approvers = "approver"
[[rule]]
action = "delete_user"
verdict = "ask"
expires = "24h"
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.close()


@pytest.fixture
def server(make_server: Callable[..., Server], receiver: Receiver) -> Iterator[Server]:
    """A server whose requests expire after three seconds, and that tells the receiver."""
    made = make_server(POLICY_FILE="time-policy.toml", WEBHOOK_URL=receiver.url, WEBHOOK_SECRET=SECRET)
    (made.folder / "time-policy.toml").write_text(POLICY)
    yield made
    made.stop()


def read(server: Server, work: Callable[[sa.Connection], Any]) -> Any:
    database = Database(server.database_url)
    try:
        return database.read_now(work)
    finally:
        database.close()


def told(server: Server) -> list[Any]:
    """The outbox, in order."""
    query = sa.select(notifications).where(notifications.c.event != "reminder").order_by(notifications.c.created_at)
    return list(read(server, lambda c: c.execute(query).all()))


async def until(holds: Callable[[], Any], server: Server, seconds: float = 60) -> None:
    for _ in range(int(seconds * 10)):
        if holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"it did not come:\n{server.log[-3000:]}")


async def test_a_deadline_closes_by_itself_and_the_requester_is_told(
    server: Server,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    server.start()
    async with connected(server.url) as client:
        talk = await converse(client)
        held = await talk.say("transfer 5,000 from A-2001 to A-2003")
        expires_at = datetime.fromisoformat(held["__interrupt__"][0]["value"]["expires_at"])
        messages: list[dict[str, Any]] = []
        while len(messages) < 4 and (datetime.now(UTC) - expires_at).total_seconds() < 60:
            await asyncio.sleep(0.1)
            messages = await talk.messages()
        late_s = (datetime.now(UTC) - expires_at).total_seconds()
        await until(lambda: "expired" in receiver.events, server)
        status = await talk.status()
        states = read(server, lambda c: c.scalars(sa.select(requests.c.state)).all())
        rows = read(
            server, lambda c: [(row["event"], row["actor"]) for row in audit.rows(c) if row["event"] not in FRAME]
        )
        whole = read(server, lambda c: verify(c, server.environment()["AUDIT_KEY"].encode()))
        stopped = stop_by_a_clock(server)
        for name in ("DATABASE_URL", "AUDIT_KEY"):
            monkeypatch.setenv(name, server.environment()[name])
        settled = run("audit", "settle-clock")
        after = pages(server)["audit"]
    server.stop()

    record_property("measured", f"the requester was told {late_s:.1f} s after the deadline")
    assert "Not done: it was not cleared in time; the deadline was" in messages[-1]["content"]
    assert messages[-1]["type"] == "ai"
    assert status == "idle"
    assert states == ["expired"]
    assert rows == [("requested", "local"), ("expired", "system")]
    assert whole.is_whole
    assert receiver.events == ["requested", "expired"]
    assert all(delivery.is_signed() for delivery in receiver.deliveries)
    assert receiver.deliveries[1].content["request"]["outcome"].startswith("Not done: it was not cleared in time")
    assert SECRET not in server.log
    assert "very-private" not in server.log
    assert 3_500 < stopped["api"]["ahead_s"] < 3_700
    for page in ("freeze", "audit"):
        assert "Effects are stopped by a clock." in stopped[page], page
        assert "All effects are stopped, because the audit log is" in stopped[page], page
        assert "Effects on" not in stopped[page], page
    assert (settled.code, "stopped by a clock" in after) == (0, False), settled.err


def stop_by_a_clock(server: Server) -> dict[str, Any]:
    """Let a process whose clock is an hour ahead write a row; give what the server says then."""
    database = Database(server.database_url)
    key = server.environment()["AUDIT_KEY"].encode()
    ahead = Gate(database, None, key, lambda: datetime.now(UTC) + timedelta(hours=1))  # type: ignore[arg-type]  # judges nothing
    ahead.write_now(lambda log: log.append("recorded", "system"))
    database.close()
    return {"api": httpx.get(f"{server.url}/approvals/freeze", timeout=30).json(), **pages(server)}


def pages(server: Server) -> dict[str, str]:
    """Give what the pages say that tell of the switch."""
    return {page: httpx.get(f"{server.url}/inbox/{page}", timeout=30).text for page in ("freeze", "audit")}


async def test_what_happened_before_a_kill_is_told_after_it(server: Server, receiver: Receiver) -> None:
    """One delivery is cut off, one could not connect, one was never collected: all arrive after the restart."""
    receiver.script = ["hang"]
    server.start()
    async with connected(server.url) as client:
        talk = await converse(client)
        await talk.say("delete customer C-1003 because the account was opened twice")
        await until(lambda: receiver.deliveries, server)
        receiver.stop()
        await talk.answer({"approved": False, "reason": "no"})
        await until(lambda: [row.event for row in told(server) if row.attempts], server)
    server.kill()
    database = Database(server.database_url)
    gate = Gate(database, None, server.environment()["AUDIT_KEY"].encode())  # type: ignore[arg-type]  # judges nothing
    gate.write_now(partial(freeze_effects, by="ops", reason="a drill"))
    database.close()
    receiver.start()

    server.start()
    began = time.monotonic()
    await until(lambda: len(told(server)) == 3 and all(row.delivered_at for row in told(server)), server, 90)
    took = time.monotonic() - began
    server.stop()

    arrived = {delivery.headers["webhook-id"]: delivery for delivery in receiver.deliveries}
    assert Counter(one.content["event"] for one in arrived.values()) == {"requested": 1, "rejected": 1, "frozen": 1}
    assert all(delivery.is_signed() for delivery in receiver.deliveries)
    assert took < 60


async def test_a_request_that_was_due_while_the_server_was_down_is_closed_after_the_restart(
    server: Server, receiver: Receiver
) -> None:
    server.start()
    async with connected(server.url) as client:
        talk = await converse(client)
        await talk.say("transfer 5,000 from A-2001 to A-2003")
    server.kill()
    await asyncio.sleep(3.5)

    server.start()
    async with connected(server.url) as client:
        again = Conversation(client, talk.thread_id)
        messages: list[Any] = []
        for _ in range(600):
            # The server was killed before it had written the thread, perhaps: then recovery makes it again first.
            with suppress(NotFoundError):
                messages = await again.messages()
            if "not cleared in time" in str(messages[-1:]):
                break
            await asyncio.sleep(0.1)
    server.stop()

    assert "Not done: it was not cleared in time" in messages[-1]["content"]
    assert read(server, lambda c: c.scalars(sa.select(requests.c.state)).all()) == ["expired"]
    assert receiver.events.count("expired") == 1


def test_an_address_that_cannot_be_stops_the_server_and_says_so(make_server: Callable[..., Server]) -> None:
    wrong = make_server(WEBHOOK_URL="example.com/hook", WEBHOOK_SECRET=SECRET)

    with pytest.raises(RuntimeError, match="WEBHOOK_URL: must begin with http"):
        wrong.start()
