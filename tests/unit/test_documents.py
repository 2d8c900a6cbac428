"""What the documents name is there: where links lead, what code blocks hold, commands, targets, files, settings."""

import ast
import importlib.util
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent.actions import ACTIONS
from agent.settings import AgentSettings
from clearance.actions.action import Actions
from clearance.cli.commands import app
from clearance.gate.policy import _KEYS, parse_policy
from clearance.settings import Settings

ROOT = Path(__file__).parents[2]
NAMES = sorted(
    str(path.relative_to(ROOT))
    for folder in (ROOT, *(ROOT / name for name in ("docs", "examples")))
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
    if "node_modules" not in path.parts
)
#: Languages of code blocks that no test reads: pictures, and what a program prints.
NOT_READ = {"mermaid", "diff", "text"}


def text(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, title: str) -> str:
    """Give what stands under a heading, to the next one of its level or a higher one."""
    level = len(title) - len(title.lstrip("#"))
    below = text(name).split(f"\n{title}\n")[1]
    return re.split(rf"\n#{{1,{level}}} ", below)[0]


def tokens(name: str) -> Iterator[Token]:
    """Give all parts of a document, those inside of others too."""
    for token in MarkdownIt("commonmark").enable("table").parse(text(name)):
        yield token
        yield from token.children or ()


def blocks(name: str) -> list[tuple[str, str]]:
    """Give the code blocks of a document, each with its language."""
    return [(token.info, token.content) for token in tokens(name) if token.type == "fence"]


def headings(name: str) -> set[str]:
    """Give the names by which one links to the headings of a document, as GitHub makes them."""
    parts = list(tokens(name))
    titles = [
        "".join(inside.content for inside in following.children or () if inside.type in ("text", "code_inline"))
        for token, following in pairwise(parts)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(name: str) -> Iterator[str]:
    """Give where the links and pictures of a document lead."""
    for token in tokens(name):
        if token.type in ("link_open", "image"):
            yield str(token.attrs.get("href", token.attrs.get("src")))
        elif token.type in ("html_block", "html_inline"):
            yield from re.findall(r'(?:src|href)="([^"]+)"', token.content)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    wrong = []
    for link in links(name):
        if re.match(r"https?://", link):
            continue
        file, _, heading = unquote(link).partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        is_there = target.exists() and ROOT in target.resolve().parents
        if not is_there or (heading and heading not in headings(str(target.resolve().relative_to(ROOT)))):
            wrong.append(link)

    assert wrong == []


def test_every_page_and_picture_is_led_to() -> None:
    led_to = {
        ((ROOT / name).parent / link.partition("#")[0]).resolve()
        for name in NAMES
        for link in links(name)
        if not re.match(r"https?://", link)
    }
    there = {path for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".png", ".svg")}

    assert there - led_to == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_code_block_can_be_read(name: str) -> None:
    for language, code in blocks(name):
        match language:
            case "python":
                compile(code, name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            case "toml":
                tomllib.loads(code)
            case "json":
                json.loads(code)
            case "sh":
                subprocess.run(["bash", "-n"], input=code, text=True, check=True)
            case _:
                assert language in NOT_READ, f"{name} has a block of {language!r}, which no test reads"


def _commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for command, made in group.commands.items():
        yield (*path, command), made
        if hasattr(made, "commands"):
            yield from _commands(made, *path, command)


COMMANDS = dict(_commands(typer.main.get_command(app)))
#: What projects add, the sample and the examples.
THEIRS = {
    name.replace("_", "-")
    for folder in (ROOT / "src" / "agent", ROOT / "examples")
    for path in folder.rglob("*.py")
    for name in re.findall(r"\.command\([^)]*\)\n *def (\w+)", path.read_text())
}


def _called(name: str) -> Iterator[list[str]]:
    """Give the words of each `clearance …` in a document's code; `verify|check` stands for each of them."""
    codes = [token.content for token in tokens(name) if token.type == "code_inline"]
    codes += [line for language, code in blocks(name) if language == "sh" for line in code.splitlines()]
    for code in codes:
        words = code.partition("#")[0].replace("\\|", "|").split()
        if words[:1] == ["clearance"]:
            for alternative in words[2].split("|") if len(words) > 2 and "|" in words[2] else words[2:3] or [""]:
                yield [*words[1:2], *([alternative] if alternative else []), *words[3:]]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_is_named_exists_with_its_options(name: str) -> None:
    for words in _called(name):
        if words in ([], ["--help"], ["--version"]) or words[0] in THEIRS:
            continue
        path = next((tuple(words[:length]) for length in (2, 1) if tuple(words[:length]) in COMMANDS), None)
        assert path is not None, f"{name}: there is no `clearance {' '.join(words)}`"
        command = COMMANDS[path]
        if hasattr(command, "commands") and len(words) > 1:
            pytest.fail(f"{name}: there is no `clearance {' '.join(words)}`")
        names = ("opts", "secondary_opts")  # the second of --happened/--not
        options = {option for param in command.params for kind in names for option in getattr(param, kind, ())}
        assert {word for word in words if word.startswith("--")} <= options, f"{name}: `clearance {' '.join(words)}`"


def test_every_command_is_told() -> None:
    told = {tuple(words[:length]) for name in NAMES for words in _called(name) for length in (1, 2)}

    assert {path for path, command in COMMANDS.items() if not hasattr(command, "commands")} - told == set()


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for name in NAMES:
        codes = [token.content for token in tokens(name) if token.type in ("code_inline", "fence")]
        named = {target for code in codes for target in re.findall(r"\bmake ([a-z-]+)", code)}
        assert named <= targets, name


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_is_named_is_there(name: str) -> None:
    path = re.compile(r"(?:src|tests|docs|clients|bench|demo|examples|scripts|\.ci)/[\w./-]+")
    named = [token.content for token in tokens(name) if token.type == "code_inline" and path.fullmatch(token.content)]
    #: What the reader is told to write: the block begins with the file's name.
    theirs = {file for _, code in blocks(name) for file in re.findall(r"\A# ([\w./-]+)", code)}
    places = (ROOT, (ROOT / name).parent)

    assert [one for one in named if one not in theirs and not any((place / one).exists() for place in places)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_the_library_that_is_named_is_there(name: str) -> None:
    for named in set(re.findall(r"\bclearance(?:\.\w+){2,}(?::\w+)?", text(name))):
        within, last = re.split(r"[.:](?=\w+$)", named)
        is_there = hasattr(importlib.import_module(within), last) or importlib.util.find_spec(named) is not None
        assert is_there, f"{name}: there is no {named}"


def test_readme_can_be_read_at_a_sitting() -> None:
    assert len(text("README.md").split()) <= 1_200


def test_every_setting_stands_in_the_table() -> None:
    table = section("docs/operate.md", "## Settings")

    assert set(re.findall(r"`([A-Z_]+)`", table)) == {
        name.upper() for name in Settings.model_fields | AgentSettings.model_fields
    }
    assert set(re.findall(r"`([A-Z_]+)`\\\*", table)) == {name.upper() for name in AgentSettings.model_fields}


def test_the_policy_that_operators_read_is_one() -> None:
    (policy,) = (code for language, code in blocks("docs/operate.md") if language == "toml")

    read = parse_policy(policy, "docs/operate.md", Actions(ACTIONS), {"usd": lambda dollars: dollars * 100})

    assert [rule.verdict.word for rule in read.rules] == ["ask"]
    table = section("docs/operate.md", "## The policy")
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == _KEYS["rule"]


def test_every_test_that_a_promise_names_is_there() -> None:
    table = section("docs/how-it-works.md", "## Promises, and the tests that hold them")
    named = re.findall(r"`((?:unit/|integration/|server/)?test_[a-z_]+\.py)`", table)

    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(range(1, 15))
    assert len(named) > 14
    for name in named:
        assert list((ROOT / "tests").rglob(name)), f"the promises name {name}, which is not there"


def test_the_changelog_begins_with_this_version() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]

    assert re.findall(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)[0] == project["version"]
