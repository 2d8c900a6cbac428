"""docs/audit.md names every event and every key of its details; the exported lines fit docs/audit.schema.json."""

import ast
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from langchain_core.messages import AIMessage

from clearance.db.tables import audit
from clearance.gate.freeze import unfreeze_effects
from clearance.journal import refusals
from clearance.journal.audit import Log
from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.server import ROOT
from tests.support.world import ANA, AUDIT_KEY, BEN, OLGA, World

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

SOURCE = ROOT / "src" / "clearance"
DOCUMENT = (ROOT / "docs" / "audit.md").read_text()
SCHEMA = json.loads((ROOT / "docs" / "audit.schema.json").read_text())
EVENT = re.compile(r"[a-z]+(_[a-z]+)*")
#: Columns of a row that are not details, and what functions on the way to the log take for themselves.
NOT_DETAILS = {column.name for column in audit.columns} | {"actor", "kind"}


def _documented() -> dict[str, set[str]]:
    """Keys of details by event, `?` and all, as the table of events tells them."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ((?:`\w+\??`(?:, )?)+) \|$", DOCUMENT, re.MULTILINE)
    return {event: set(re.findall(r"`(\w+\??)`", keys)) for event, keys in rows}


def _written() -> Iterator[tuple[str, set[str], str]]:
    """Give every event that the sources name, with the details that stand in the same call, and where."""
    trees = {path.relative_to(SOURCE): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    tellers = _tellers(list(trees.values()))
    for path, tree in trees.items():
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            event = _constant(_event(node, tellers))
            if event and EVENT.fullmatch(event) and isinstance(node, ast.Call):
                yield event, _details(node, functions), f"{path}:{node.lineno}"


def _tellers(trees: list[ast.Module]) -> dict[str, int]:
    """Give the functions that hand an event on to `log.append`, by name, and which of their arguments it is."""
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    tellers: dict[str, int] = {}
    while True:
        found = dict(tellers)
        for function in functions:
            names = [argument.arg for argument in function.args.args if argument.arg != "self"]
            for node in ast.walk(function):
                event = _event(node, tellers)
                if isinstance(event, ast.Name) and event.id in names:
                    found[function.name] = names.index(event.id)
        if found == tellers:
            return tellers
        tellers = found


def _event(node: ast.AST, tellers: dict[str, int]) -> ast.expr | None:
    """Give what stands for the event in a call that tells the log one; None for anything else."""
    if not isinstance(node, ast.Call):
        return None
    called = ast.unparse(node.func)
    at = 0 if re.fullmatch(r"(.*\.)?log\.append|self\.append|_Event", called) else tellers.get(called.split(".")[-1])
    return node.args[at] if at is not None and at < len(node.args) else None


def _constant(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _details(node: ast.Call, functions: dict[str, ast.FunctionDef]) -> set[str]:
    found = {keyword.arg for keyword in node.keywords if keyword.arg} - NOT_DETAILS
    for keyword in node.keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Call):  # **marks(…): the keys that it may give
            called = functions.get(ast.unparse(keyword.value.func))
            for part in ast.walk(called) if called else ():
                if isinstance(part, ast.Dict):
                    found |= {key for key in map(_constant, [key for key in part.keys if key]) if key}
    return found


def test_every_event_in_the_sources_is_documented_and_the_other_way_round() -> None:
    assert {event for event, _, _ in _written()} == set(_documented())
    assert set(SCHEMA["properties"]["event"]["enum"]) == set(_documented())


def test_every_detail_in_the_sources_is_documented_with_its_event() -> None:
    documented = {event: {key.rstrip("?") for key in keys} for event, keys in _documented().items()}

    missing = [f"{where}: {event} {sorted(keys - documented[event])}" for event, keys, where in _written()
               if event in documented and not keys <= documented[event]]  # fmt: skip

    assert missing == []


def test_every_key_is_explained_and_stands_in_the_sources() -> None:
    keys = {key.rstrip("?") for keys in _documented().values() for key in keys}
    explained = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [^|]+ \|$", DOCUMENT.split("## Events")[1], re.MULTILINE)
    sources = "".join(path.read_text() for path in SOURCE.rglob("*.py"))

    assert {key for row in explained for key in re.findall(r"`(\w+)`", row)} == keys
    assert [key for key in keys if not re.search(rf'\b{key}=|"{key}":', sources)] == []


def test_the_columns_are_documented_in_the_order_in_which_they_are_signed() -> None:
    table = DOCUMENT.split("## A line of the export")[1].split("`mac` signs")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [column.name for column in audit.columns]
    assert SCHEMA["required"] == list(SCHEMA["properties"]) == [column.name for column in audit.columns]


PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": "rent"})
TOO_MUCH = ("transfer_funds", {**PAY[1], "amount": "999999999"})


async def test_an_exported_log_is_as_the_document_and_the_schema_say(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _let_much_happen(world)
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())
    documented, validator = _documented(), jsonschema_rs.validator_for(SCHEMA)

    assert run("audit", "export", str(tmp_path / "log.jsonl")).code == 0

    before: dict[str, Any] = {}
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        row = json.loads(line)
        validator.validate(row)
        details, keys = json.loads(row["details"]), documented.pop(row["event"], None) or _documented()[row["event"]]
        assert {key for key in keys if not key.endswith("?")} <= set(details), row
        assert set(details) <= {key.rstrip("?") for key in keys}, row
        # As the document shows how to check a line.
        signed = [*list(row.values())[:8], before["mac"] if before else ""]
        text = json.dumps(signed, separators=(",", ":"))
        assert hmac.new(AUDIT_KEY, text.encode(), "sha256").hexdigest() == row["mac"]
        before = row
    assert set(documented) == NOT_HERE


#: Events of effects elsewhere.
OF_STARTS = ("started", "unknown", "reconciling", "reconciled", "released", "settled", "contradicted")
#: Events that other tests see happen.
NOT_HERE = {
    *("answer_unknown", "failed", "forged_call", "unheard_words", "refused_without_thread"),
    *("erased", "recorded", "binding_began", "key_rotated", "clock_settled"),
    # `test_what_is_started_elsewhere_is_told_as_the_document_says` has those.
    *OF_STARTS,
    # `test_what_mcp_servers_list_is_told_as_the_document_says` has those.
    "tools_taken",
    "tool_waits",
    "tool_accepted",
}


def test_the_schema_refuses_what_is_no_line() -> None:
    good = {"seq": 1, "at": "2026-01-01T00:00:00.000000Z", "event": "frozen", "actor": "ops", "thread_id": None,
            "turn_id": None, "request_id": None, "details": "{}", "mac": "0" * 64}  # fmt: skip
    bad: dict[str, Any] = {"seq": 0, "at": "2026-01-01T00:00:00Z", "event": "unheard_of", "actor": "", "thread_id": 1,
                           "turn_id": 1, "request_id": 1, "details": {}, "mac": "0"}  # fmt: skip
    validator = jsonschema_rs.validator_for(SCHEMA)

    assert validator.is_valid(good)
    assert [name for name, value in bad.items() if validator.is_valid({**good, name: value})] == []
    assert [name for name in good if validator.is_valid({key: good[key] for key in good if key != name})] == []
    assert not validator.is_valid({**good, "more": 1})


async def _let_much_happen(world: World) -> None:
    """Let every event be written that a conversation can write."""
    world.model.will_say(calls(PAY, PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer("Ömer says so \U0001f600")
    await world.answer({"approved": True, "edited_args": {"amount": "4000"}})
    await world.answer(False)
    await world.answer(True, by=BEN)  # asked once more, of somebody who did not edit it
    world.model.will_say(calls(TOO_MUCH), AIMessage("It cannot be."))
    await world.say("pay all", thread="refused")
    world.model.will_say(calls(PAY), AIMessage("Hello."))
    await world.say("pay", thread="withdrawn")
    await world.say("hello", thread="withdrawn")
    world.model.will_say(calls(PAY))
    await world.say("pay", thread="late")
    world.clock.advance(hours=25)
    await world.answer(True, thread="late", by=OLGA)
    world.model.will_say(calls(PAY, PAY))
    await world.say("pay", thread="frozen")
    for call in ("call-0", "call-1"):
        await world.decide(True, by=ANA, call=call)
    await world.decide(True, by=BEN)
    await world.freeze()
    await world.go_on(thread="frozen")
    await world.gate.write(lambda log: _lift(world, log))
    world.clock.advance(minutes=2)
    await world.gate.write(refusals.chain_totals)


def _lift(world: World, log: Log) -> None:
    """Lift the freeze as the command line does, which says so."""
    unfreeze_effects(log, by="os:ops", via="command line")
