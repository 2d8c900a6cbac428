"""The key of the log: another one stops at once, a change of it is on the record, and both verify."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage

from agent.clearance import audit
from agent.clearance.errors import AuditKeyError
from agent.clearance.gate import Gate
from agent.clearance.signing import Keys, fingerprint
from agent.cli.effects import os_person
from agent.db.tables import audit_head
from agent.settings import Settings
from agent.wiring import wire
from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.world import AUDIT_KEY, World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
OTHER = b"another key, just as long as it has to be"


@pytest.fixture(autouse=True)
def environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())


async def test_another_key_stops_the_server_and_whatever_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.freeze()
    before = world.whole_log()
    given = Settings(_env_file=None, audit_key=OTHER.decode(),  # type: ignore[call-arg,arg-type]  # no .env here
                     database_url=world.database.url.replace("+psycopg", ""))  # fmt: skip

    with pytest.raises(AuditKeyError, match=f"is under the key {fingerprint(AUDIT_KEY)}"):
        wire(given)
    with pytest.raises(AuditKeyError):
        await Gate(world.database, world.gate.judge, OTHER).write(lambda log: log.append("unfrozen", "ops"))
    monkeypatch.setenv("AUDIT_KEY", OTHER.decode())
    ran = run("unfreeze")

    assert (ran.code, "AUDIT_KEY: the audit log is under the key" in ran.err) == (1, True)
    assert world.whole_log() == before


async def test_a_log_that_does_not_name_its_key_yet_is_checked_by_its_last_row(world: World) -> None:
    await world.freeze()
    world.execute("UPDATE audit_head SET key_id = NULL")

    with pytest.raises(AuditKeyError, match="was not signed with it"):
        Gate(world.database, world.gate.judge, OTHER).write_now(lambda log: log.append("unfrozen", "ops"))
    await world.unfreeze()
    assert world.audit_is_whole()


async def test_the_key_is_changed_on_the_record_and_both_verify(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")
    new = tmp_path / "new-key"
    assert run("audit", "rotate-key").code == 2

    ran = run("audit", "rotate-key", "--new-key-file", str(new))

    assert (ran.code, "Set AUDIT_KEY" in ran.out) == (0, True)
    with pytest.raises(AuditKeyError):
        await world.answer(True)
    key = new.read_text().strip()
    assert new.stat().st_mode & 0o077 == 0
    world.gate.keys = Keys(key.encode(), (AUDIT_KEY,))
    await world.answer(True)
    assert world.states() == ["executed"]
    monkeypatch.setenv("AUDIT_KEY", key)
    without = run("audit", "verify")
    monkeypatch.setenv("AUDIT_OLD_KEYS", AUDIT_KEY.decode())
    with_old = run("audit", "verify")
    assert (without.code, with_old.code) == (6, 0)
    only_old = world.read(lambda c: audit.verify(c, AUDIT_KEY))
    assert f"is under the key {fingerprint(key.encode())}, which is not given" in str(only_old.reason)


async def test_a_server_starts_under_the_new_key_and_under_no_other_before_anything_else_is_written(
    world: World, tmp_path: Path
) -> None:
    """The last row, which tells of the change, is under the old key: that one started a server, the new one none."""
    await world.freeze()
    new = tmp_path / "new-key"
    assert run("audit", "rotate-key", "--new-key-file", str(new)).code == 0

    with pytest.raises(AuditKeyError):
        wire(_settings(world, AUDIT_KEY.decode()))
    with pytest.raises(AuditKeyError):
        wire(_settings(world, OTHER.decode()))
    started = wire(_settings(world, new.read_text()))
    started.gate.write_now(lambda log: log.append("unfrozen", "ops"))
    started.database.close()
    wire(_settings(world, new.read_text())).database.close()


@pytest.mark.parametrize(
    "command", [("freeze", "--reason", "drill"), ("unfreeze",), ("audit", "settle-clock"), ("audit", "rotate-key")]
)
async def test_every_command_that_writes_the_log_refuses_another_key(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    await world.gate.write(lambda log: log.append("unfrozen", "ops"))
    before = world.whole_log(), world.read(lambda c: c.execute(audit_head.select()).all())
    file = tmp_path / "key"
    file.write_text(OTHER.decode())
    monkeypatch.delenv("AUDIT_KEY")
    monkeypatch.setenv("AUDIT_KEY_FILE", str(file))

    ran = run(*command)

    assert (ran.code, f"is under the key {fingerprint(AUDIT_KEY)}" in " ".join(ran.err.split())) == (1, True), ran.err
    assert (world.whole_log(), world.read(lambda c: c.execute(audit_head.select()).all())) == before
    assert [name for name in os.listdir(tmp_path) if name.startswith("key")] == ["key"]
    assert file.read_text() == OTHER.decode()


async def test_a_process_that_writes_while_the_key_is_changed_stops_and_the_log_stays_whole(
    world: World, tmp_path: Path
) -> None:
    """A server that somebody forgot to stop: each of its rows is under the old key and before the change, or none."""
    beside = Gate(world.database, world.gate.judge, AUDIT_KEY)

    def write_on() -> int:
        for written in range(5_000):
            try:
                beside.write_now(lambda log: log.append("unfrozen", "beside"))
            except AuditKeyError:
                return written
        raise AssertionError("it went on under the old key")

    with ThreadPoolExecutor() as threads:
        written = threads.submit(write_on)
        for _ in range(6_000):
            if world.whole_log():
                break
            await asyncio.sleep(0.01)
        new = tmp_path / "new-key"
        ran = run("audit", "rotate-key", "--new-key-file", str(new))
        many = written.result(timeout=60)

    assert ran.code == 0, ran.err
    rows = world.whole_log()
    assert ([row["event"] for row in rows], rows[-1]["actor"]) == (["unfrozen"] * many + ["key_rotated"], os_person())
    keys = Keys(new.read_text().strip().encode(), (AUDIT_KEY,))
    assert world.read(lambda c: audit.verify(c, keys)).is_whole


def _settings(world: World, key: str) -> Settings:
    return Settings(_env_file=None, audit_key=key,  # type: ignore[call-arg,arg-type]  # no .env here
                    database_url=world.database.url.replace("+psycopg", ""))  # fmt: skip


async def test_a_key_file_may_lie_elsewhere_and_is_replaced_with_the_old_one_noted(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await world.freeze()
    file = tmp_path / "elsewhere" / "key"
    file.parent.mkdir()
    file.write_text(AUDIT_KEY.decode())
    monkeypatch.delenv("AUDIT_KEY")
    monkeypatch.setenv("AUDIT_KEY_FILE", str(file))

    assert run("audit", "verify").code == 0
    assert run("audit", "rotate-key").code == 0

    assert file.read_text() != AUDIT_KEY.decode()
    assert (file.parent / "key.old").read_text().splitlines() == [AUDIT_KEY.decode()]
    assert run("unfreeze").code == 0
    assert run("audit", "verify").code == 0
