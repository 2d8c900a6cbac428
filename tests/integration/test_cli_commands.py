"""The command line as a whole: help everywhere, one sentence for what goes wrong, nothing heavy before it is needed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from clearance.cli.commands import app
from clearance.cli.terminal import line, plain
from tests.support.command import run

ROOT = Path(__file__).parents[2]


def _commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)


COMMANDS = dict(_commands(typer.main.get_command(app)))
NEEDS_DATABASE = [
    ("audit", "verify"),
    ("audit", "head"),
    ("audit", "tail"),
    ("audit", "export"),
    ("status",),
    ("freeze", "--reason", "drill"),
    ("unfreeze",),
]


def test_the_commands_keep_their_names() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        *("chat", "inbox", "watch", "pending", "show", "approve", "reject", "edit", "settle"),
        *("status", "freeze", "unfreeze", "migrate"),
        *("audit", "audit verify", "audit head", "audit tail", "audit export"),
        *("audit check", "audit rotate-key", "audit settle-clock"),
        *("policy", "policy check", "policy explain", "policy replay", "policy try"),
        *("tools", "tools list", "tools show", "tools accept"),
        *("token", "stats"),
    }


@pytest.mark.parametrize("path", [*COMMANDS, ()], ids=" ".join)
def test_every_command_and_every_option_has_help(path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")

    assert shown.code == 0
    if path:
        assert COMMANDS[path].help
        assert COMMANDS[path].help.split("\n")[0].split()[0] in shown.out
        assert [param.name for param in COMMANDS[path].params if not getattr(param, "help", None)] == []


@pytest.mark.parametrize("command", ["approve", "reject", "edit", ""])
def test_help_documents_the_exit_codes(command: str) -> None:
    shown = run(*([command] if command else []), "--help").out

    assert [code for code in "01234567" if f"\n {code}  " not in shown] == []


def test_help_is_there_at_once_without_what_the_commands_need() -> None:
    heavy = {
        "langgraph",
        "langchain_core",
        "langgraph_sdk",
        "sqlalchemy",
        "pydantic",
        "clearance.application",
        "textual",
        "httpx",
    }
    code = f"import clearance.cli.commands, sys; print(sorted({heavy!r} & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"


def test_help_lists_the_commands_that_the_settings_name_without_loading_the_project() -> None:
    code = """
import sys
from clearance.cli import main
try:
    main(["--help"])
finally:
    print("loaded:", sorted({"sqlalchemy", "clearance.application", "agent.app"} & set(sys.modules)))
"""

    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "seed" in ran.stdout
    assert "loaded: []" in ran.stdout


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere.at_all:app", "there is no module 'nowhere.at_all'"),
        ("agent.commands:clearance", "is no typer app"),
        ("src/agent/commands.py:app", "names no typer app"),
        (":app", "names no typer app"),
        ("agent.commands", "names no"),
    ],
)
def test_commands_that_are_not_there_are_named(named: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMANDS", named)

    ran = run("seed")

    assert (ran.code, said in ran.err) == (1, True)


@pytest.mark.parametrize("command", [("status",), ("audit", "head"), ("pending",), ("--help",)], ids=" ".join)
def test_what_only_looks_needs_no_graph_and_no_migrations(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'some.db'}")
    monkeypatch.setenv("LANGGRAPH_URL", "http://127.0.0.1:1")
    assert run("migrate").code == 0
    code = f"""
import sys
from clearance.cli import main
try:
    main({list(command)!r})
finally:
    print("loaded:", sorted({{"langchain", "langchain_core", "langgraph", "langsmith", "alembic"}} & set(sys.modules)))
"""

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "loaded: []" in ran.stdout, ran.stderr
    assert ran.returncode == (1 if command == ("pending",) else 0), ran.stderr


def test_the_projects_own_commands_stand_beside_ours() -> None:
    assert " seed " in run("--help").out
    assert "made-up business" in run("seed", "--help").out


def test_the_version_is_the_packages() -> None:
    assert run("--version").out.startswith("clearance 0.")


@pytest.mark.parametrize("command", NEEDS_DATABASE, ids=" ".join)
def test_a_database_that_is_not_there_is_an_error_and_is_not_made(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")

    ran = run(*command)

    assert ran.code == 1
    assert "none.db" in ran.err
    assert "clearance migrate" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://127.0.0.1/x", "must begin with sqlite:// or postgresql://"),
        ("postgresql://127.0.0.1:1/x", "did not answer"),
    ],
)
def test_a_database_that_cannot_be_is_one_sentence(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    ran = run("status")

    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.db").write_text("this is no database, however long it is\n" * 100)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'notes.db'}")

    ran = run("status")

    assert ran.code == 1
    assert ran.err.count("\n") == 1


def test_a_setting_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_STEPS", "many")

    ran = run("status")

    assert ran.code == 1
    assert "MODEL_STEPS" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        *(("pending",), ("pending", "--mine"), ("show", "a"), ("approve", "a"), ("reject", "a", "--reason", "no")),
        *(("edit", "a", "--set", "amount=1"), ("chat", "hello"), ("watch",)),
    ],
    ids=" ".join,
)
def test_a_server_that_does_not_answer_is_one_sentence(command: tuple[str, ...]) -> None:
    ran = run("--url", "http://127.0.0.1:1", *command)

    assert ran.code == 1
    assert "http://127.0.0.1:1 does not answer" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("show", " "),
        ("approve", "a", "--revision", "one"),
        ("reject", "a"),
        ("reject", "a", "--reason", " "),
        ("edit", "a"),
        ("edit", "a", "--set", "amount"),
        ("edit", "a", "--set", "amount=1", "--set", "amount=2"),
        ("freeze",),
        ("freeze", "--reason", " "),
        ("audit", "verify", "--head", "12"),
        ("audit", "tail", "-n", "0"),
        ("seed", "--size", "huge"),
        ("nothing",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(command: tuple[str, ...]) -> None:
    assert run("--url", "http://127.0.0.1:1", *command).code == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë & José — 山田", "Zoë & José — 山田"),
        ("\x1b]0;title\x07", "‹U+001B›]0;title‹U+0007›"),
        ("\x9b31m", "‹U+009B›31m"),
        ("\x7f", "‹U+007F›"),
        ("pay\u202eeulav", "pay‹U+202E›eulav"),
        ("a\u200bb\ufeff", "a‹U+200B›b‹U+FEFF›"),
        ("\ud800", "‹U+D800›"),
        ("[red]no markup[/red] :smile:", "[red]no markup[/red] :smile:"),
        ("over\rwrite", "over‹U+000D›write"),
    ],
)
def test_text_from_outside_shows_what_is_in_it(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert line(text) == shown


def test_a_line_is_one_line_of_bounded_length() -> None:
    assert line("a\nb\tc") == "a‹U+000A›b‹U+0009›c"
    assert line("x" * 10_240) == "x" * 200 + " … 10,240 characters"
