"""A ticket desk's MCP server, over HTTP: what only looks says so, what destroys says so, the rest says nothing.

Run beside `make dev`, with TICKET_SERVER_URL=http://127.0.0.1:2098/mcp in .env.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from mcp.server.fastmcp import FastMCP
from mcp.types import ToolAnnotations

PORT = 2098
_ROOT = Path(__file__).parents[1]


def made(port: int) -> FastMCP:
    """Make a desk with one ticket, which forgets everything when it ends."""
    desk = FastMCP("tickets", port=port, log_level="WARNING", stateless_http=True)
    tickets = {1: "Ada cannot sign in"}

    @desk.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def list_tickets() -> str:
        """List the open tickets."""
        return "\n".join(f"{number}: {title}" for number, title in tickets.items()) or "No tickets."

    @desk.tool()
    def create_ticket(title: str, priority: Literal["low", "high"] = "low") -> str:
        """Create a ticket, for example title "Card lost"."""
        number = max(tickets, default=0) + 1
        tickets[number] = title
        return f"Ticket {number} is open, {priority} priority."

    @desk.tool(annotations=ToolAnnotations(destructiveHint=True))
    def delete_ticket(number: int) -> str:
        """Delete a ticket for good."""
        return f"Deleted {tickets.pop(number)!r}." if number in tickets else f"There is no ticket {number}."

    return desk


class TicketDesk:
    """One in a process of its own, until the block ends."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/mcp"
        self._port = port

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, "-m", "demo.tickets", str(self._port)], cwd=_ROOT)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    break
            time.sleep(0.1)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(10)


if __name__ == "__main__":
    made(int(sys.argv[1]) if len(sys.argv) > 1 else PORT).run("streamable-http")
