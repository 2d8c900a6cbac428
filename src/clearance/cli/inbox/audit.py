"""The audit log: is it whole, what happened, and the switch that stops every effect."""

from collections.abc import Coroutine
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from clearance.cli.inbox.live import LiveApp, inbox_of, unless_left
from clearance.cli.inbox.words import event_line, in_flight, open_requests, text
from clearance.cli.terminal import Failed
from clearance.contract import Event
from clearance.text.rendering import visible

_PAGE = 50
_MORE = "more"


class AuditPane(Vertical):
    """The log and the switch."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._events: list[Event] = []

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        with Vertical(id="switch-form"):
            yield Static(id="switch-report", markup=False)
            yield Label("Why are effects stopped? Everybody who is refused meanwhile reads it.", markup=False)
            yield Input(id="freeze-reason", max_length=500)
            yield Button(Content("Freeze all effects"), id="freeze")
        yield Static(id="whole", markup=False)
        yield Button(Content("Check every row of the log"), id="verify")
        yield OptionList(id="events", markup=False)

    @property
    def inbox(self) -> LiveApp:
        """The app."""
        return inbox_of(self)

    def reload(self) -> None:
        """Read the log and the switch."""
        self.run_worker(self._safely(self.look()), group="audit")

    async def look(self) -> None:
        """Read what is new in the log, above what is shown; the cursor stays on its row."""
        self._show_switch()
        known = self._events[0].seq if self._events else 0
        page = await self.inbox.approvals.events(limit=_PAGE)
        events = self.query_one("#events", OptionList)
        at = events.highlighted_option.id if events.highlighted_option else None
        new = [one for one in page if one.seq > known]
        if not new:
            return
        # More new ones than a page holds: begin anew, so that no row is missing between.
        self._events = page if len(new) == len(page) else new + self._events
        self._draw(at)

    def _draw(self, at: str | None) -> None:
        events = self.query_one("#events", OptionList)
        events.clear_options()
        events.add_options([Option(event_line(one), id=str(one.seq)) for one in self._events])
        if self._events and self._events[-1].seq > 1:
            events.add_option(Option(text("   Older: show more", "italic"), id=_MORE))
        ids = [str(one.seq) for one in self._events]
        events.highlighted = ids.index(at) if at in ids else None

    def _show_switch(self) -> None:
        switch = self.inbox.switch
        if switch is None:
            return
        button = self.query_one("#freeze", Button)
        # The label is not touched without need: nothing changes under a finger.
        label = f"Turn effects on, {open_requests(switch)}" if switch.frozen else "Freeze all effects"
        if str(button.label) != label:
            button.label = text(label)
        self.query_one("#freeze-reason").set_class(switch.frozen, "hidden")
        self.query_one("#switch-form Label").set_class(switch.frozen, "hidden")

    @on(Button.Pressed, "#freeze")
    def _switched(self) -> None:
        self.run_worker(self._safely(self._switch()), group="switch", exclusive=True)

    async def _switch(self) -> None:
        switch = self.inbox.switch
        if switch is None:
            return
        if switch.frozen:
            now = await self.inbox.approvals.unfreeze()
            said = f"Effects may run again; nothing runs by itself. {open_requests(now).capitalize()}."
        else:
            reason = self.query_one("#freeze-reason", Input)
            if not reason.value.strip():
                self._report("Say why: everybody who is refused meanwhile reads it.", is_bad=True)
                reason.focus()
                return
            now = await self.inbox.approvals.freeze(reason.value.strip())
            said = "No effect of ours is in flight, and none starts. Approvals are refused meanwhile; rejections count."
            flying = in_flight(now)
            said = f"{said}\n{flying}" if flying else said.replace(" of ours", "")
            reason.value = ""
        self.inbox.show_switch(now)
        self._report(said, is_bad=False)
        await self.look()
        self._show_switch()

    @on(Button.Pressed, "#verify")
    def _verified(self) -> None:
        self.run_worker(self._safely(self._verify()), group="verify", exclusive=True)

    async def _verify(self) -> None:
        found = await self.inbox.approvals.verify()
        if found.is_whole:
            said, style = f"Whole: {found.rows:,} rows. Head {found.head}", "$success"
        else:
            at = "" if found.broken_at is None else f" at row {found.broken_at}"
            said, style = f"Broken{at}: {found.reason}. {found.rows:,} rows are whole.", "bold $error"
        self.query_one("#whole", Static).update(text(said, style))

    @on(OptionList.OptionSelected)
    def _older(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id == _MORE:
            self.run_worker(self._safely(self._more()), group="audit")

    async def _more(self) -> None:
        last = self._events[-1].seq
        page = await self.inbox.approvals.events(before=last, limit=_PAGE)
        self._events += [one for one in page if one.seq < last]
        self._draw(str(page[0].seq) if page else None)

    @on(Input.Submitted, "#freeze-reason")
    def _reason_done(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#freeze").focus()

    async def _safely(self, work: Coroutine[Any, Any, None]) -> None:
        with unless_left(self.screen):
            try:
                await work
            except Failed as exc:
                self._report(str(exc), is_bad=True)

    def _report(self, said: str, *, is_bad: bool) -> None:
        self.query_one("#switch-report", Static).update(
            Content.styled(visible(said, keep="\n"), "$error" if is_bad else "$success")
        )
