"""Draw docs/terminal.svg: the terminal's inbox on a real server, at a request that takes two. `make terminal`."""

import asyncio
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from agent.bank import MIGRATIONS
from agent.bank.seed import seed
from clearance.cli.approvals import approvals
from clearance.cli.inbox.app import Inbox
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from tests.support.conversation import connected, converse
from tests.support.server import ROOT, Server
from tests.support.tokens import bearer, token
from tests.support.world import OLGA, TESS

#: What olga says, thread by thread.
_SAID = [
    ["transfer 4,825 from A-2001 to A-2003 and 3,000 from A-2001 to A-2002"],
    ["what is the balance of A-2031?", "transfer 28,250 from A-2031 to A-2009"],
]


async def draw(server: Server) -> str:
    """Ask for something, open the critical request, and draw what a treasurer sees."""
    async with connected(server.url, **bearer(OLGA)) as client:
        for thread in _SAID:
            talk = await converse(client)
            for sentence in thread:
                await talk.say(sentence)
    os.environ["CLEARANCE_TOKEN"] = token(TESS)
    async with approvals(server.url) as connection:
        app = Inbox(connection, await connection.me())
        async with app.run_test(size=(130, 64)) as pilot:
            for key in ("", "j", "j", "enter"):
                await pilot.press(*[key] if key else [])
                await pilot.pause(2)
            drawn = app.export_screenshot()
    # Without the fonts that it would fetch from elsewhere.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def main() -> None:
    """Start a server, draw, stop it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "terminal.svg"
    folder = Path(tempfile.mkdtemp())
    database = Database(f"sqlite:///{folder / 'clearance.db'}")
    migrate(database, MIGRATIONS)
    database.write_now(lambda connection: seed(connection, size="small"))
    database.close()
    server = Server(folder, database.url, auth="on").start()
    try:
        file.write_text(asyncio.run(draw(server)))
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
