"""`clearance freeze`, `unfreeze`, `status`: the switch on this machine, whoever asks."""

import asyncio
import os
import pwd
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clearance.db import engine
from clearance.journal.audit import Log
from clearance.journal.signing import seal
from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.world import AUDIT_KEY, World, results

pytestmark = pytest.mark.own_graph("a command reads the database alone")

ME = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})


@pytest.fixture(autouse=True)
def environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())


async def test_freeze_stops_effects_and_records_who_and_how(world: World) -> None:
    ran = run("freeze", "--reason", "fraud  in\nprogress")

    (row,) = world.audit()
    assert ran.code == 0
    assert f"Frozen by {ME} since {datetime.now(UTC):%Y-%m-%d}" in ran.out
    assert "fraud in progress" in ran.out
    assert "No effect is in flight" in ran.out
    sealed = seal(AUDIT_KEY, "fraud in progress")
    assert (row["event"], row["actor"]) == ("frozen", ME)
    assert row["details"] == {"via": "command line", "sealed_reason": sealed}
    assert run("audit", "verify").code == 0


async def test_a_freeze_says_that_it_waits_and_that_it_could_not_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_WAIT_S", 2)
    held, go = threading.Event(), threading.Event()

    def hold(log: Log) -> None:
        held.set()
        go.wait(20)

    holding = asyncio.create_task(world.gate.write(hold))
    assert await asyncio.to_thread(held.wait, 10)
    ran = await asyncio.to_thread(run, "freeze", "--reason", "drill")
    go.set()
    await holding

    assert ran.code == 1
    assert "Waiting for what is in flight; not frozen yet." in ran.err
    assert "Not frozen yet: what is in flight does not end." in ran.err
    assert world.events() == []
    assert run("freeze", "--reason", "drill").code == 0


async def test_who_froze_is_the_users_id_and_not_what_the_environment_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("USER", "somebody-else")

    run("freeze", "--reason", "drill")

    assert world.audit()[0]["actor"] == ME


async def test_what_was_held_before_is_not_approved_while_frozen(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    frozen = run("freeze", "--reason", "drill")
    await world.answer({"approved": True})
    held = world.states()
    run("unfreeze")
    done = await world.answer({"approved": True})

    assert "1 request is open: 1 to decide" in frozen.out
    assert held == ["asked"]
    assert results(done) == ["Transferred $5,000.00 from A-2001 to A-2003 (T-301)."]


async def test_freezing_twice_keeps_the_first_reason(world: World) -> None:
    run("freeze", "--reason", "the first")

    again = run("freeze", "--reason", "the second")

    assert again.code == 0
    assert "the first Nothing changed." in again.out
    assert world.events() == ["frozen"]


async def test_unfreeze_lets_effects_run_and_says_that_nothing_runs_by_itself(world: World) -> None:
    nothing = run("unfreeze")
    run("freeze", "--reason", "drill")

    ran = run("unfreeze")

    assert "Nothing was frozen." in nothing.out
    assert (ran.code, world.events()) == (0, ["frozen", "unfrozen"])
    assert "nothing runs by itself" in ran.out


async def test_status_tells_the_switch_and_what_is_open(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    before = run("status", "--json").json
    run("freeze", "--reason", "drill")
    after = run("status", "--json").json

    counts = {"asked": 1, "approved": 0, "allowed": 0}
    assert before == {"frozen": None, "ahead_s": None, "open": counts, "in_flight": []}
    assert (after["frozen"]["by"], after["frozen"]["reason"]) == (ME, "drill")
    assert "Frozen by" in run("status").out


async def test_the_switch_works_while_the_policy_does_not_load(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLICY_FILE", str(tmp_path / "none.toml"))

    assert run("freeze", "--reason", "drill").code == 0


async def test_a_freeze_without_the_logs_key_is_refused_and_makes_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIT_KEY")

    ran = run("freeze", "--reason", "drill")

    assert ran.code == 1
    assert world.events() == []
    assert "audit-key" not in " ".join(os.listdir(tmp_path))


async def test_a_reason_is_shown_as_it_is_written(world: World) -> None:
    run("freeze", "--reason", "[red]alert[/red] \x1b[31m")

    assert "[red]alert[/red] ‹U+001B›[31m" in run("status").out
