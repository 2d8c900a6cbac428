"""A clock that jumps: nothing is late, nothing lasts longer, and an operator settles it on the record."""

from datetime import timedelta

import pytest
from langchain_core.messages import AIMessage

from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.world import AUDIT_KEY, World, question, results

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5"})


async def _jump(world: World, **by: float) -> None:
    """Let one row be written under a clock that is ahead, and set it right again."""
    world.clock.advance(**by)
    await world.gate.write(lambda log: log.append("unfrozen", "ops"))
    world.clock.advance(**{name: -value for name, value in by.items()})


async def test_a_request_of_a_day_is_not_carried_out_three_months_later(world: World) -> None:
    """The log's time stood still, so its deadline never came."""
    await _jump(world, days=300)
    world.model.will_say(calls(PAY), AIMessage("No."))
    asked = question(await world.say("pay"))
    assert world.request().expires_at - world.clock() < timedelta(hours=25), asked

    world.clock.advance(days=90)
    await world.answer(True)

    assert world.transfers() == []
    assert world.states() == ["expired"]


async def test_while_the_log_is_ahead_nothing_is_approved_or_done_and_a_no_counts(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("No."))
    await world.say("pay")
    await _jump(world, hours=1)

    asked = question(await world.answer(True))
    assert "ahead of this machine's clock" in str(asked["notice"])
    await world.answer(False)
    world.model.will_say(calls(SMALL), AIMessage("It was not done."))
    done = await world.say("pay 5", thread="small")

    assert world.states() == ["rejected", "refused"]
    assert "settle-clock" in results(done)[-1]
    assert world.transfers() == []
    assert world.audit_is_whole()


async def test_what_was_approved_before_the_jump_is_not_carried_out_in_it(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("No."))
    await world.say("pay")
    world.execute("UPDATE requests SET state = 'approved' WHERE state = 'asked'")
    await _jump(world, hours=2)

    await world.go_on()

    assert world.states() == ["refused"]
    assert world.transfers() == []


@pytest.mark.parametrize("skew_s", [1, 100])
async def test_machines_that_differ_by_seconds_stop_nothing(world: World, skew_s: int) -> None:
    await _jump(world, seconds=skew_s)
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer(True)

    assert world.states() == ["executed"]


async def test_an_operator_settles_it_on_the_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())
    world.model.will_say(calls(PAY))
    world.clock.advance(days=300)
    await world.say("pay", thread="asked in the jump")
    world.clock.advance(days=-300)

    told = run("audit", "verify")
    status = run("status")
    ahead_s = run("status", "--json").json["ahead_s"]
    settled = run("audit", "settle-clock")
    again = run("audit", "settle-clock")

    assert (told.code, "ahead of this machine's clock" in told.err) == (0, True)
    assert "All effects are stopped, because the audit log is 299 days" in " ".join(status.out.split())
    assert "Effects may run" not in status.out
    assert ahead_s > 299 * 86_400
    assert run("status").out.startswith("Effects may run.")
    assert "1 open requests expired" in settled.out
    assert "Nothing changed" in again.out
    assert world.states() == ["expired"]
    assert run("audit", "verify").err == ""
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay", thread="after")
    await world.answer(True, thread="after")
    assert world.states() == ["expired", "executed"]
    assert world.audit_is_whole()
    (row,) = [row for row in world.audit() if row["event"] == "clock_settled"]
    assert row["details"]["ahead_s"] >= 299 * 86_400


async def test_a_lease_of_a_clock_that_jumped_keeps_nobody_out(world: World) -> None:
    world.clock.advance(days=300)
    assert await world.gate.take_lease("duty", "gone", timedelta(seconds=15))
    world.clock.advance(days=-300)

    assert await world.gate.take_lease("duty", "here", timedelta(seconds=15))
    assert not await world.gate.take_lease("duty", "third", timedelta(seconds=15))
    world.clock.advance(seconds=16)
    assert await world.gate.take_lease("duty", "third", timedelta(seconds=15))
