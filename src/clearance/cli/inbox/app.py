"""The app: how it looks, and the screen it begins with."""

from typing import ClassVar

from textual.binding import BindingType

from clearance.cli.inbox.lists import ListScreen
from clearance.cli.inbox.live import LiveApp


class Inbox(LiveApp):
    """The inbox of the person whose token the connection carries."""

    CSS_PATH = "style.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  as textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]  # noqa: RUF012  as above
    BINDINGS: ClassVar[list[BindingType]] = [("ctrl+c", "quit", "Leave")]

    async def on_mount(self) -> None:
        """Show the list and begin to listen."""
        self.title = "Clearance"
        await self.push_screen(ListScreen())
        self.listen()
