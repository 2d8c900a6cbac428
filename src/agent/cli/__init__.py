"""The `clearance` command: threads and approvals over the server; audit, policy and freeze in the database.

commands.py  the list of commands      decisions.py  pending, show, approve, reject, edit
inbox/       the full screen           watch.py      a line for each change
chat.py      the conversation          in_place.py   deciding in it
audit.py     policy.py                 effects.py    freeze, unfreeze, status
statistics.py                          bank.py       migrate, seed               tokens.py
cards.py     how a request looks       terminal.py   exit codes, consoles, safe text
approvals.py the approvals API         server.py     threads, for chat           database.py
             these three are the ways in, and where foreign errors become one sentence
"""

import sys
from collections.abc import Sequence
from contextlib import suppress


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; `arguments` are those of the process if not given."""
    from agent.cli.commands import app
    from agent.cli.terminal import Failed, warn

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, never a traceback.
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a standard stream is a TextIOWrapper
    try:
        app(arguments, prog_name="clearance")
    except Failed as exc:
        warn(str(exc))
        sys.exit(exc.code)
