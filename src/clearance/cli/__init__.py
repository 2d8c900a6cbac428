"""The `clearance` command: threads and approvals over the server; audit, policy and freeze in the database.

commands        the list of commands, and behind it the project's own

chat            the conversation
chat_question   deciding in it
inbox/          the full screen
watch           a line for each change
requests        pending, show, approve, reject, edit
effects         status, freeze, unfreeze
audit           the audit log
statistics      stats
policy          the table of rules
tools           what MCP servers say their tools are
tokens          token
migrating       migrate

cards           how a request looks
terminal        exit codes, consoles, safe text

approvals       the approvals API
server          threads, for chat
database        the database of this machine
project         the settings and the `Clearance` of where one stands
                these four are the ways in, and where foreign errors become one sentence
"""

import sys
from collections.abc import Sequence
from contextlib import suppress


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; `arguments` are those of the process if not given."""
    from clearance.cli.commands import app
    from clearance.cli.terminal import Failed, warn

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, never a traceback.
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a standard stream is a TextIOWrapper
    try:
        app(arguments, prog_name="clearance")
    except Failed as exc:
        warn(str(exc))
        sys.exit(exc.code)
    except Exception as exc:  # what a project's own command raises; all but our errors goes on as it is
        if not _is_ours(exc):
            raise
        warn(str(exc))
        sys.exit(1)


def _is_ours(exc: Exception) -> bool:
    from clearance.errors import ClearanceError, DatabaseUnavailable

    return isinstance(exc, ClearanceError | DatabaseUnavailable)
