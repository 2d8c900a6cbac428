"""The app: one connection, the stream of changes, the switch. Screens show; each looks anew when something changed."""

import asyncio
from typing import ClassVar, Protocol, runtime_checkable

from textual.app import App
from textual.binding import BindingType

from agent.cli.approvals import Approvals, Refused
from agent.cli.inbox.frame import unless_left
from agent.cli.inbox.lists import ListScreen
from agent.cli.inbox.words import stopped_band
from agent.cli.terminal import Failed
from agent.contract import Freeze, Me

#: Seconds until a broken stream is tried again.
_AGAIN_S = 3
#: Seconds between two looks of somebody who may not read the stream.
_LOOK_S = 10
#: Changes of this time are looked at together.
_TOGETHER_S = 0.3


@runtime_checkable
class Looks(Protocol):
    """A screen that shows what changes."""

    async def look(self, touched: set[str]) -> None:
        """Read anew what is shown; `touched` are the requests that changed, empty when anything may have."""

    def show_frame(self) -> None:
        """Show the switch and the connection."""


class Inbox(App[None]):
    """The inbox of the person whose token the connection carries."""

    CSS_PATH = "style.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  as textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]  # noqa: RUF012  as above
    BINDINGS: ClassVar[list[BindingType]] = [("ctrl+c", "quit", "Leave")]

    def __init__(self, approvals: Approvals, me: Me) -> None:
        super().__init__()
        self.approvals = approvals
        #: Whose token the connection carries.
        self.me = me
        #: None before the first answer.
        self.switch: Freeze | None = None
        #: Why the list is not live; empty when it is.
        self.not_live = ""
        self._touched: set[str] = set()
        self._something = asyncio.Event()

    async def on_mount(self) -> None:
        """Show the list and begin to listen."""
        self.title = "Clearance"
        await self.push_screen(ListScreen())
        self.run_worker(self._listen(), name="listen")
        self.run_worker(self._look_on(), name="look")

    @property
    def band(self) -> str:
        """What stands over every screen while effects are stopped."""
        return stopped_band(self.switch) if self.switch is not None else ""

    def look_anew(self, *request_ids: str) -> None:
        """Let every screen read anew, soon."""
        self._touched.update(request_ids or [""])
        self._something.set()

    async def read_switch(self) -> None:
        """Read the switch, and show it."""
        self.show_switch(await self.approvals.switch())

    def show_switch(self, switch: Freeze) -> None:
        """Show how the switch stands."""
        self.switch = switch
        self._show_frames()

    async def _listen(self) -> None:
        last: int | None = None
        while True:
            wait_s, again = _AGAIN_S, f"Trying again every {_AGAIN_S} s."
            try:
                async for change in self.approvals.changes(last):
                    if change is None:
                        self._say_live("")
                        self.look_anew()
                    else:
                        last = change.seq
                        self.look_anew(*[change.request_id] if change.request_id else [])
            except Refused as exc:
                wait_s, again = _LOOK_S, f"Reading every {_LOOK_S} s."
                # Who holds no role reads no stream, and can still see what became of their own requests.
                self._say_live(f"Not live: {exc} {again}")
            except Failed as exc:
                since = self.approvals.now()
                self._say_live(self.not_live or f"Not live since {since:%H:%M:%S} UTC: {exc} {again}")
            await asyncio.sleep(wait_s)
            if wait_s == _LOOK_S:
                self.look_anew()

    async def _look_on(self) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(_TOGETHER_S)
            self._something.clear()
            touched, self._touched = self._touched, set()
            try:
                await self.read_switch()
                for screen in list(self.screen_stack):
                    if not isinstance(screen, Looks):
                        continue
                    with unless_left(screen):
                        await screen.look(set() if "" in touched else touched)
            except Failed as exc:
                self._say_live(self.not_live or f"Not up to date: {exc}")

    def _say_live(self, why_not: str) -> None:
        self.not_live = why_not
        self._show_frames()

    def _show_frames(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, Looks):
                screen.show_frame()
