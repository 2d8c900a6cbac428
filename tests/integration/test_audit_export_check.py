"""An export alone shows that what was approved is what ran, without a database; and what is bent in it shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from clearance.journal.exported import check
from clearance.journal.signing import Keys
from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.world import ANA, AUDIT_KEY, TESS, TOM, World

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
MUCH = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "12000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5"})


async def _export(world: World, monkeypatch: pytest.MonkeyPatch, file: Path) -> list[dict[str, Any]]:
    """Let requests be approved, edited, rejected, allowed and expire, and export the log."""
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())
    world.model.will_say(calls(SMALL), AIMessage("Done."), calls(PAY), AIMessage("Done."))
    await world.say("pay 5")
    await world.say("pay")
    await world.answer(True)
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay", thread="edited")
    await world.answer({"approved": True, "edited_args": {"amount": "4000"}}, thread="edited")
    world.model.will_say(calls(PAY), AIMessage("No."))
    await world.say("pay", thread="late")
    world.clock.advance(hours=30)
    await world.answer(True, thread="late", by=ANA)
    assert run("audit", "export", str(file)).code == 0
    return [json.loads(line) for line in _read(file)]


def _read(file: Path) -> list[str]:
    return file.read_text().splitlines()


def _of(rows: list[dict[str, Any]], event: str, at: int = -1) -> dict[str, Any]:
    return [row for row in rows if row["event"] == event][at]


def _set(event: str, **details: Any) -> Callable[[list[dict[str, Any]]], None]:
    def bend(rows: list[dict[str, Any]]) -> None:
        row = _of(rows, event)
        row["details"] = json.dumps({**json.loads(row["details"]), **details})

    return bend


def _column(event: str, **columns: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: _of(rows, event).update(columns)


BENT: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str]] = {
    "other arguments ran": (_set("executed", digest="0" * 64), "what was carried out is not what was asked for"),
    "other arguments were approved": (_set("approved", digest="0" * 64), "what was approved is not what was asked for"),
    "another revision ran": (_set("executed", revision=7), "revision 7 was carried out"),
    "who asked approved": (_column("approved", actor="olga"), "olga asked for it or edited it, and approved it"),
    "after the deadline": (_set("requested", deadline="2020-01-01T00:00:00.000000Z"), ""),
    "nobody approved": (lambda rows: _of(rows, "approved").update(event="answer_refused"), "with 0 of 1 approvals"),
    "twice": (lambda rows: _of(rows, "expired").update(event="executed", request_id=_of(rows, "executed")["request_id"],
                                                       details=_of(rows, "executed")["details"]), "had ended already"),
    "never opened": (lambda rows: _of(rows, "requested").update(request_id="x"), "was never opened"),
    "while frozen": (lambda rows: rows[0].update(event="frozen"), "while effects were frozen"),
    "out of order": (lambda rows: rows.insert(3, rows.pop(4)), "is missing before it"),
    "back in time": (lambda rows: rows[5].update(at="2020-01-01T00:00:00.000000Z"), "is before that of the row before"),
    "no row": (lambda rows: rows[5].pop("mac"), "it is no row of an export"),
}  # fmt: skip


async def test_an_export_proves_what_ran_and_each_bend_shows(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = await _export(world, monkeypatch, tmp_path / "log.jsonl")

    whole = check((json.dumps(row) for row in rows), Keys(AUDIT_KEY))
    assert (whole.findings, whole.executed, whole.proven, whole.is_signed) == ([], 3, 3, True)
    for bent, (bend, text) in BENT.items():
        changed = json.loads(json.dumps(rows))
        bend(changed)
        found = check((json.dumps(row) for row in changed), None)
        if text:
            assert text in " | ".join(one.text for one in found.findings), bent
        assert check((json.dumps(row) for row in changed), Keys(AUDIT_KEY)).findings, bent


async def test_the_command_needs_no_database(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    await _export(world, monkeypatch, tmp_path / "log.jsonl")
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all.db")
    (tmp_path / "key").write_text(AUDIT_KEY.decode())
    (tmp_path / "wrong").write_text("another key, just as long as it has to be")

    signed = run("audit", "check", str(tmp_path / "log.jsonl"), "--key-file", str(tmp_path / "key"))
    unsigned = run("audit", "check", str(tmp_path / "log.jsonl"))
    wrong = run("audit", "check", str(tmp_path / "log.jsonl"), "--key-file", str(tmp_path / "wrong"))

    assert (signed.code, unsigned.code, wrong.code) == (0, 0, 6)
    assert "3 of 3 effects are proven to be what was cleared" in signed.out
    assert "signatures were not checked" in unsigned.out
    assert run("audit", "check", str(tmp_path / "none")).code == 1


async def test_two_people_are_two_in_the_export(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world.model.will_say(calls(MUCH), AIMessage("Done."))
    await world.say("pay much")
    for person in (TESS, TOM):
        if world.states() == ["asked"]:
            await world.answer(True, by=person)
    rows = await _export(world, monkeypatch, tmp_path / "log.jsonl")
    assert check((json.dumps(row) for row in rows), Keys(AUDIT_KEY)).findings == []
