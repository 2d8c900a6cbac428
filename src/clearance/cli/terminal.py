"""What all commands share: exit codes, the two consoles, and text from outside made safe to print."""

import json
import os
import sys
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from clearance.text import rendering


class Code(IntEnum):
    """Exit codes: what a script learns without reading a word."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    NOT_OPEN = 3
    ANSWER_REFUSED = 4
    NOT_CARRIED_OUT = 5
    LOG_BROKEN = 6
    POLICY_INVALID = 7


#: For `--help`, one line each.
CODES = "\n".join(
    [
        "[bold]Exit codes[/bold]",
        "0  done as asked, or recorded and waiting for others",
        "1  the server, the database or the settings: one sentence on stderr",
        "2  the command line itself",
        "3  no such request, or it is no longer open",
        "4  the answer was refused; the reason is printed and the request stays open",
        "5  decided, not carried out: it failed, was refused, is late or is asked again",
        "6  the audit log is not whole",
        "7  the policy is not valid",
    ]
)


class Failed(Exception):
    """Ends the command with one sentence on stderr and this exit code."""

    def __init__(self, sentence: str, code: Code = Code.ERROR) -> None:
        self.code = code
        super().__init__(sentence)


def _console(*, stderr: bool = False) -> Console:
    # Nothing that is printed is markup: names, memos and reasons come from outside.
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_terminal or os.environ.get("COLUMNS") else 120
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


out = _console()
err = _console(stderr=True)


def say(text: str, style: str = "") -> None:
    """Print text from anywhere, unbroken."""
    out.print(Text(plain(text), style), soft_wrap=True)


def warn(text: str) -> None:
    """Print one sentence to stderr."""
    err.print(Text(plain(text), "red"), soft_wrap=True)


def say_json(value: Any) -> None:
    """Print JSON, in ASCII: whatever is in it, a terminal only sees text."""
    typer.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def plain(text: str) -> str:
    """Give `text` with what would not show as itself made visible, its lines as they are."""
    return rendering.visible(text, keep="\n\t")


def line(text: str) -> str:
    """Give `text` on one line, at most 200 characters of it."""
    return rendering.line(text)
