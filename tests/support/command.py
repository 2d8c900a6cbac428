"""The `clearance` command, run in this process as its entry point would run it."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

from clearance.cli import main
from clearance.settings import settings


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as one JSON value."""
        return json.loads(self.out)


def run(*arguments: str) -> Ran:
    """Run the command and give what it printed; its errors are exit codes, a traceback fails the test."""
    settings.cache_clear()  # as a process of its own
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return Ran(int(code), out.getvalue(), err.getvalue())
