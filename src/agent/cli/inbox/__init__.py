"""`clearance inbox`: the inbox in a terminal. It shows and does what the page does, over the approvals API.

app.py           connection, what changes, the switch
frame.py         who one is, the bands and the keys of every screen
lists.py         who must decide what, by when
request.py       one request: read, kept up to date, decided; it puts two things side by side
  evidence.py      what a reviewer sees, in the order of reading
    facts.py         what changes: before, after, change; and what stays as it is
    conversation.py  what led to it, and what stands earlier in the thread
    activity.py      what went on before, as bars
  decision.py      what one may answer, and why not
    edit.py          the form for a change, checked before it is made
audit.py         the log, is it whole, the switch
statistics.py    how awake reviewers are
words.py         what is said how; nothing from outside is markup
style.tcss       how it looks
"""

import asyncio
import sys

import typer

from agent.cli.terminal import Failed


def inbox(context: typer.Context) -> None:
    """Decide what waits for you in a full screen: list, facts, the whole turn, and the decision beside them.

    `?` shows the keys. A key moves; only a button that has the focus decides.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failed("The inbox needs a terminal; `clearance pending` and `clearance watch` do not.")
    raise typer.Exit(asyncio.run(_show(str(context.obj))))


async def _show(url: str) -> int:
    from agent.cli.approvals import approvals
    from agent.cli.inbox.app import Inbox

    async with approvals(url) as client:
        # Who is not signed in, or asks where nothing answers, is told so without a screen.
        app = Inbox(client, await client.me())
        await app.run_async()
        return app.return_code or 0
