"""What the screens stand on: one connection, the stream of changes, the switch; each looks when something changed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

from textual.app import App
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.screen import Screen

from clearance.cli.approvals import Approvals, Refused
from clearance.cli.inbox.words import stopped_band
from clearance.cli.terminal import Failed
from clearance.contract import Me, Switch

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


@contextmanager
def unless_left(screen: Screen[Any]) -> Iterator[None]:
    """Go on in peace when a screen is gone before an answer for it came: there is nothing to show it on."""
    try:
        yield
    except NoMatches:
        if screen.app.is_running and screen in screen.app.screen_stack:
            raise


class LiveApp(App[None]):
    """The app as its screens know it: which of them there are it does not know."""

    def __init__(self, approvals: Approvals, me: Me) -> None:
        super().__init__()
        self.approvals = approvals
        #: Whose token the connection carries.
        self.me = me
        #: None before the first answer.
        self.switch: Switch | None = None
        #: Why the list is not live; empty when it is.
        self.not_live = ""
        self._touched: set[str] = set()
        self._something = asyncio.Event()

    def listen(self) -> None:
        """Begin to listen for changes, and to let the screens look."""
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

    def show_switch(self, switch: Switch) -> None:
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


def inbox_of(node: DOMNode) -> LiveApp:
    """Give the app that a screen or a part of it stands in."""
    return cast("LiveApp", node.app)
