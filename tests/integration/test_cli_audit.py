"""`clearance audit` on both databases: whole, broken, cut; and nothing of it writes."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from clearance.journal import audit
from tests.support.command import run
from tests.support.tampering import disarm
from tests.support.world import AUDIT_KEY, World

pytestmark = pytest.mark.own_graph("a command reads the database alone")


@pytest.fixture(autouse=True)
def environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())


async def _write_some(world: World) -> None:
    for number in range(3):
        await world.freeze(reason=f"drill {number}")
        await world.unfreeze()


def _tamper(world: World, statement: str) -> None:
    disarm(world.database)
    world.execute(statement)


async def test_verify_tells_that_the_log_is_whole_and_where_it_ends(world: World) -> None:
    await _write_some(world)

    ran = run("audit", "verify")

    assert ran.code == 0
    assert "Whole: 6 rows." in ran.out
    assert f"Head {run('audit', 'head').out.strip()}" in ran.out


async def test_an_empty_log_is_whole_and_has_a_head(world: World) -> None:
    head = run("audit", "head").out.strip()
    await _write_some(world)

    assert head == "0:"
    assert run("audit", "verify", "--head", head).code == 0


async def test_verify_names_the_first_row_that_was_changed(world: World) -> None:
    await _write_some(world)
    _tamper(world, "UPDATE audit SET actor = 'somebody' WHERE seq IN (3, 5)")

    ran = run("audit", "verify")
    as_json = run("audit", "verify", "--json")

    assert ran.code == as_json.code == 6
    assert "Broken at row 3" in ran.out
    assert as_json.json["whole"] is False
    assert as_json.json["broken_at"] == 3


async def test_a_log_that_was_cut_shows_against_a_noted_head(world: World) -> None:
    await _write_some(world)
    noted = run("audit", "head").out.strip()
    (before,) = world.read(lambda c: [row for row in audit.rows(c) if row["seq"] == 4])
    _tamper(world, "DELETE FROM audit WHERE seq > 4")
    world.execute(f"UPDATE audit_head SET seq = 4, mac = '{before['mac']}', at = '{before['at']}'")

    assert run("audit", "verify").code == 0
    assert run("audit", "verify", "--head", noted).code == 6


async def test_a_freeze_switch_that_was_flipped_by_hand_is_told_without_naming_a_row(world: World) -> None:
    await world.freeze()
    world.execute("UPDATE audit_head SET frozen = FALSE, frozen_by = NULL")

    ran = run("audit", "verify")
    as_json = run("audit", "verify", "--json")

    assert ran.code == as_json.code == 6
    assert "Broken: the freeze switch is off, the log says on, by ops." in ran.out
    assert "All 1 rows are whole" in ran.out
    assert (as_json.json["whole"], as_json.json["broken_at"]) == (False, None)


@pytest.mark.parametrize("head", ["", "5", "5:", "0:" + "0" * 64, "05:" + "0" * 64, "5:xyz"])
async def test_a_noted_head_that_is_none_is_refused(world: World, head: str) -> None:
    """One of row 0 with a mac was taken, and compared with nothing."""
    assert run("audit", "verify", "--head", head).code == 2


async def test_verify_with_another_key_is_broken_from_the_first_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _write_some(world)
    monkeypatch.setenv("AUDIT_KEY", "another key, just as long as it has to be")

    assert run("audit", "verify", "--json").json["broken_at"] == 1


async def test_without_a_key_nothing_is_verified_and_none_is_made(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIT_KEY")

    ran = run("audit", "verify")

    assert ran.code == 1
    assert "AUDIT_KEY" in ran.err
    assert "audit-key" not in " ".join(os.listdir(tmp_path))


async def test_a_row_written_while_the_log_is_verified_does_not_break_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL reads each statement anew unless told otherwise: the head was older than the rows behind it."""
    await _write_some(world)
    read_head = audit.read_head

    def read_head_and_let_somebody_write(connection: Connection) -> audit.Head:
        head = read_head(connection)
        _in_another_thread(lambda: world.gate.write_now(lambda log: log.append("noted", "somebody")))
        return head

    monkeypatch.setattr(audit, "read_head", read_head_and_let_somebody_write)

    assert run("audit", "verify").code == 0


def _in_another_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def test_tail_prints_the_newest_rows_in_order(world: World) -> None:
    await _write_some(world)

    rows = run("audit", "tail", "-n", "2", "--json").json
    lines = run("audit", "tail", "-n", "2").out.splitlines()

    assert [(row["seq"], row["event"]) for row in rows] == [(5, "frozen"), (6, "unfrozen")]
    assert [line.split()[0] for line in lines] == ["5", "6"]
    assert len(run("audit", "tail", "--json").json) == 6


async def test_export_writes_every_row_as_it_was_signed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _write_some(world)
    monkeypatch.setattr("clearance.cli.audit._CHUNK", 4)

    printed = run("audit", "export")
    written = run("audit", "export", str(tmp_path / "log.jsonl"))

    exported = [json.loads(line) for line in printed.out.splitlines()]
    assert exported == world.read(lambda c: list(audit.rows(c)))
    assert (tmp_path / "log.jsonl").read_text() == printed.out
    assert "Wrote 6 rows" in written.out


async def test_an_export_that_cannot_be_written_is_an_error(world: World, tmp_path: Path) -> None:
    ran = run("audit", "export", str(tmp_path / "none" / "log.jsonl"))

    assert ran.code == 1
    assert ran.err.count("\n") == 1


async def test_reading_the_log_writes_nothing(world: World) -> None:
    await _write_some(world)
    before = run("audit", "export").out

    for command in (["verify"], ["head"], ["tail"], ["export"]):
        run("audit", *command)

    assert run("audit", "export").out == before
