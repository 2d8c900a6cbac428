"""The conversation that led to a request. People's words have a solid bar, the model's a dashed one and their label."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Collapsible, Static

from clearance.cli.cards import moment
from clearance.cli.inbox.words import joined, text
from clearance.contract import Said


class Conversation(Vertical):
    """What led to a request, and what stands in its thread before that."""

    def __init__(self) -> None:
        super().__init__(id="conversation", classes="hidden")
        self._shown: tuple[Sequence[Said], Sequence[Said]] = ([], [])

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield Static(text("The conversation that led here", "bold $primary"), markup=False)
        yield Vertical(id="talk")
        with Collapsible(id="earlier", classes="hidden"):
            yield Vertical(id="earlier-talk")

    async def show(self, talk: Sequence[Said], earlier: Sequence[Said]) -> None:
        """Show what was said. Nothing moves, and what is open stays so, where it is what stands there already."""
        if (talk, earlier) == self._shown:
            return
        self._shown = talk, earlier
        self.set_class(not talk and not earlier, "hidden")
        folded = self.query_one("#earlier", Collapsible)
        folded.title = f"Earlier in this thread, {len(earlier)}"
        folded.set_class(not earlier, "hidden")
        async with self.batch():
            for where, said in (("#talk", talk), ("#earlier-talk", earlier)):
                place = self.query_one(where, Vertical)
                await place.remove_children()
                await place.mount(*[_said(one) for one in said])

    def toggle_earlier(self) -> None:
        """Open what stands earlier in the thread, or close it."""
        folded = self.query_one("#earlier", Collapsible)
        if folded.display:
            folded.collapsed = not folded.collapsed
            folded.query_one("CollapsibleTitle").focus()


def _said(said: Said) -> Static:
    match said.kind:
        case "person":
            label = said.by
        case "lookup":
            label = f"look-up {said.by}, as the thread has it, not in the log"
        case "action":
            label = f"action {said.by}"
        case "model":
            label = "The model's words, not checked"
    at = f", {moment(said.at)}" if said.at else ""
    words = text(said.text, "italic" if said.kind == "model" else "")
    # What is not checked says so before all else.
    by = text(f"{label}{at}", "bold" if said.kind == "model" else "dim")
    return Static(joined(by, "\n", words), classes=f"said {said.kind}", markup=False)
