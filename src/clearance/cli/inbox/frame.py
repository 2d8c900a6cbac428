"""What every screen of the inbox has: the switch, who one is, the bands, the keys."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from clearance.cli.inbox.live import LiveApp, inbox_of
from clearance.cli.inbox.words import joined, text, who

KEYS = """\
j k        next and previous line       1 2 3      for you, open, decided
Enter      open, or press the button    4 5        audit, statistics
.          show what is new             /          filter
?          these keys                   q          leave
In a request
a          to the approve form          t          earlier in the thread
r          to the reason                n p        next and previous request
e          to the change form           u          back to the list
j k        read on, and back            Esc        close what was opened last

A key moves; only a button that has the focus decides.
While you type, keys are text. Tab and Enter are enough for everything."""


class Frame(Screen[None]):
    """A screen with the bands on top."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark", "keys", "Keys", key_display="?")]

    @property
    def inbox(self) -> LiveApp:
        """The app."""
        return inbox_of(self)

    def bands(self) -> ComposeResult:
        """Give what stands on top of the screen."""
        yield Static(id="switch", markup=False)
        yield Static(id="frozen", classes="hidden", markup=False)
        yield Static(id="connection", classes="hidden", markup=False)

    def show_frame(self) -> None:
        """Show the switch, who one is, and the connection."""
        if not self.query("#switch"):
            return
        switch = self.inbox.switch
        word = Content("") if switch is None else Content.styled(
            " Frozen " if switch.frozen else " Effects on ", "bold reverse" if switch.frozen else "$success"
        )  # fmt: skip
        self.query_one("#switch", Static).update(
            joined(Content.styled("Clearance inbox", "bold"), "   ", word, "   ", who(self.inbox.me))
        )
        self.show_text("#frozen", self.inbox.band)
        self.show_text("#connection", self.inbox.not_live)

    def show_text(self, where: str, said: str) -> None:
        """Show a text in a place that is hidden while there is none."""
        place = self.query_one(where, Static)
        place.update(text(said))
        place.set_class(not said, "hidden")

    def action_keys(self) -> None:
        """Show the keys."""
        self.app.push_screen(Keys())


class Keys(ModalScreen[None]):
    """All keys."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,u,question_mark,enter", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        """Give the list of keys."""
        with VerticalScroll(id="keys"):
            yield Static(KEYS, markup=False)
