"""The key of the log: another one stops at once, a change of it is on the record, and both verify."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage

from clearance.cli.effects import os_person
from clearance.db.tables import audit_head
from clearance.errors import AuditKeyError
from clearance.gate.gate import Gate
from clearance.journal.signing import Keys, fingerprint
from clearance.journal.verification import verify
from clearance.settings import Settings
from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.told import opened
from tests.support.world import AUDIT_KEY, World

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

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
        opened(given)
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
    only_old = world.read(lambda c: verify(c, AUDIT_KEY))
    assert f"is under the key {fingerprint(key.encode())}, which is not given" in str(only_old.reason)


async def test_a_server_starts_under_the_new_key_and_under_no_other_before_anything_else_is_written(
    world: World, tmp_path: Path
) -> None:
    """The last row, which tells of the change, is under the old key: that one started a server, the new one none."""
    await world.freeze()
    new = tmp_path / "new-key"
    assert run("audit", "rotate-key", "--new-key-file", str(new)).code == 0

    with pytest.raises(AuditKeyError):
        opened(_settings(world, AUDIT_KEY.decode()))
    with pytest.raises(AuditKeyError):
        opened(_settings(world, OTHER.decode()))
    started = opened(_settings(world, new.read_text()))
    started.gate.write_now(lambda log: log.append("unfrozen", "ops"))
    started.database.close()
    opened(_settings(world, new.read_text())).database.close()


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
    assert world.read(lambda c: verify(c, keys)).is_whole


def _settings(world: World, key: str, **more: Path) -> Settings:
    return Settings(_env_file=None, audit_key=key,  # type: ignore[call-arg,arg-type]  # no .env here
                    database_url=world.database.url.replace("+psycopg", ""), **more)  # type: ignore[arg-type]  # fmt: skip


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


@pytest.fixture
def key_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "keys" / "key"
    file.parent.mkdir()
    file.write_text(AUDIT_KEY.decode())
    monkeypatch.delenv("AUDIT_KEY")
    monkeypatch.setenv("AUDIT_KEY_FILE", str(file))
    return file


def test_a_change_of_key_that_broke_off_before_its_last_step_says_where_the_new_key_lies(
    world: World, key_file: Path
) -> None:
    """The log was under a key that no sentence named: the refusal to start told its fingerprint only."""
    world.gate.write_now(lambda log: log.append("unfrozen", "ops"))

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Path, "replace", _cut)
        ran = run("audit", "rotate-key")

    new = key_file.with_name("key.new")
    say_where = f"That key lies in {str(new)!r}"
    finish = f"Finish it: rename that file to {str(key_file)!r}"
    told = " ".join(ran.err.split())
    assert (ran.code, say_where in told, finish in told) == (1, True, True), told
    assert key_file.read_text() == AUDIT_KEY.decode()
    with pytest.raises(AuditKeyError) as refused:
        opened(_settings(world, "", audit_key_file=key_file))
    assert say_where in str(refused.value)
    assert finish in str(refused.value)
    for command in (("unfreeze",), ("audit", "rotate-key"), ("audit", "verify")):
        ran = run(*command)
        assert (ran.code, say_where in " ".join(ran.err.split())) == (6 if "verify" in command else 1, True), ran
    new.rename(key_file)
    assert run("unfreeze").code == 0
    assert run("audit", "verify").code == 0


def test_a_key_that_lies_beside_for_another_reason_is_not_taken_for_the_new_one(world: World, key_file: Path) -> None:
    world.gate.write_now(lambda log: log.append("unfrozen", "ops"))
    key_file.write_text(OTHER.decode())
    key_file.with_name("key.new").write_text("a third key, which is just as long as needed")

    with pytest.raises(AuditKeyError) as refused:
        opened(_settings(world, "", audit_key_file=key_file))

    assert "That key lies in" not in str(refused.value)
    assert "Give the key that signed its last row" in str(refused.value)


def test_a_new_key_of_another_place_lies_beside_the_old_one_before_the_log_is_under_it(
    world: World, key_file: Path, tmp_path: Path
) -> None:
    """A file of another disk cannot be renamed over the key: the log was under it by then."""
    world.gate.write_now(lambda log: log.append("unfrozen", "ops"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(OTHER.decode())

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Path, "replace", _cut)
        assert run("audit", "rotate-key", "--new-key-file", str(elsewhere)).code == 1

    new = key_file.with_name("key.new")
    assert (new.read_text(), new.stat().st_mode & 0o077) == (OTHER.decode(), 0)
    new.rename(key_file)
    assert run("audit", "verify").code == 0


def _cut(self: Path, target: Path) -> Path:
    raise OSError(5, "the power went")
