"""What went on before, day by day, as bars, and this request as a bar of its own on the same scale."""

from collections.abc import Sequence
from datetime import date

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Collapsible, Sparkline, Static

from clearance.cli.inbox.words import joined, text
from clearance.contract import Activity

#: Lines of the bars.
_HEIGHT = 4
#: Columns of the bar of this request, and of the air before it. "this" stands below it.
_THIS, _AIR = 4, 2
#: Heights that a line of text can show; the lowest of all stands for nothing.
_STEPS = 8 * _HEIGHT - 1


class ActivityChart(Vertical):
    """Bars, the days below them, and the same in words: nothing in it is told by colour."""

    def __init__(self) -> None:
        super().__init__(id="activity", classes="hidden")
        self._activity: Activity | None = None

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield Static(id="activity-title", markup=False)
        yield Sparkline(id="bars")
        yield Static(id="axis", markup=False)
        yield Static(id="activity-words", markup=False)
        with Collapsible(title="The same as numbers", id="days"):
            yield Static(id="days-list", markup=False)

    def show(self, activity: Activity | None) -> None:
        """Show what went on; nothing where none is known."""
        if activity == self._activity:
            return
        self._activity = activity
        self.set_class(activity is None or not activity.days, "hidden")
        self._draw()

    def on_resize(self, _: events.Resize) -> None:
        """Draw as many bars as there is room for."""
        self._draw()

    def _draw(self) -> None:
        activity = self._activity
        room = self.size.width - _AIR - _THIS
        if activity is None or not activity.days or room <= 0:
            return
        days = len(activity.days)
        together = -(-days // room)
        values = [one.value for one in activity.days]
        columns = [max(values[at : at + together]) for at in range(0, days, together)]
        bars = self.query_one("#bars", Sparkline)
        bars.data = heights(columns, activity.this.value)
        bars.styles.width, bars.styles.height = len(columns) + _AIR + _THIS, _HEIGHT
        axis = under_bars([one.day for one in activity.days], len(columns))
        self.query_one("#activity-title", Static).update(
            text(f"{activity.title}, {activity.of}, last {days} days", "bold $primary")
        )
        self.query_one("#axis", Static).update(text(axis, "dim"))
        self.query_one("#activity-words", Static).update(_in_words(activity, together))
        self.query_one("#days-list", Static).update(_as_numbers(activity))


def heights(columns: Sequence[int], this: int) -> list[float]:
    """Give what the bars show: the days, air, and this request; all from nothing to the largest of them.

    Something that is there is seen, however little it is beside the largest.
    """
    top = max(*columns, this, 1)
    least = top * 1.5 / _STEPS
    seen = [max(value, least) if value else 0 for value in (*columns, this)]
    return [*seen[:-1], *[0.0] * _AIR, *[seen[-1]] * _THIS]


def under_bars(days: Sequence[date], width: int) -> str:
    """Write the first, the middle and the last day below the bars, which are `width` columns wide."""
    first, middle, last = (f"{day:%-d %b}" for day in (days[0], days[len(days) // 2], days[-1]))
    between = width - len(first) - len(last)
    within = middle.center(between) if between > len(middle) + 1 else " " * max(between, 1)
    return f"{first}{within}{last}{' ' * _AIR}this"


def _in_words(activity: Activity, together: int) -> Content:
    each = f" · a bar is the largest of {together} days" if together > 1 else ""
    said = joined(text(activity.summary), each, " · not in the log")
    return joined(said, "\n", text(f"This request: {activity.this.text}", "bold"), ", the bar apart at the right")


def _as_numbers(activity: Activity) -> Content:
    busy = [one for one in activity.days if one.value]
    lines = [text(f"{one.day:%Y-%m-%d}  {one.text:>14}") for one in busy]
    return Content("\n").join([*lines, text(f"{'This request':10}  {activity.this.text:>12}", "bold")])
