"""`clearance inbox`: the inbox in a terminal. It shows and does what the page does, over the approvals API.

app              the whole, and the screen it begins with
live             what screens stand on: connection, what changes, the switch
frame            who one is, the bands and the keys of every screen
lists            who must decide what, by when
request          one request: read, kept up to date, decided; it puts two things side by side
  evidence         what a reviewer sees, in the order of reading
    facts            what changes: before, after, change; and what stays as it is
    conversation     what led to it, and what stands earlier in the thread
    activity         what went on before, as bars
  decision         what one may answer, and why not
    edit             the form for a change, checked before it is made
audit            the log, is it whole, the switch
statistics       how awake reviewers are
words            what is said how; nothing from outside is markup
style.tcss       how it looks
"""

import asyncio
import sys

import typer

from clearance.cli.terminal import Failed


def inbox(context: typer.Context) -> None:
    """Decide what waits for you in a full screen: list, facts, the whole turn, and the decision beside them.

    `?` shows the keys. A key moves; only a button that has the focus decides.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failed("The inbox needs a terminal; `clearance pending` and `clearance watch` do not.")
    raise typer.Exit(asyncio.run(_show(str(context.obj))))


async def _show(url: str) -> int:
    from clearance.cli.approvals import approvals
    from clearance.cli.inbox.app import Inbox

    async with approvals(url) as client:
        # Who is not signed in, or asks where nothing answers, is told so without a screen.
        app = Inbox(client, await client.me())
        await app.run_async()
        return app.return_code or 0
