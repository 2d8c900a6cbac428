"""What went on before a request, as an SVG drawn by a library. Its look is in the style sheet, by classes."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from clearance.actions.review import Activity
from clearance.desk.comparison import plain
from clearance.server.inbox.text import parts

if TYPE_CHECKING:
    import svg

_WIDTH, _HEIGHT = 300, 100


@dataclass(frozen=True)
class Chart:
    """A drawn chart and what stands around it."""

    title: Markup
    what: str
    drawing: Markup
    #: Labels of the axes, from the top and from the left.
    y: list[str]
    x: list[str]
    #: What the bars say in words.
    summary: str
    #: The same by week, as (first day, text).
    weeks: list[tuple[str, str]]
    this: str


def draw(activity: Activity) -> Chart:
    """Draw what went on day by day, and this request after it."""
    values = [value for _, value in activity.days]
    top = max(*values, activity.this, 1)
    label = (
        f"Bar chart: {activity.title.lower()}, {plain(activity.of)}. {len(values)} days, {activity.summary};"
        f" then this request with {activity.to_text(activity.this)}."
    )
    return Chart(
        title=Markup("Activity of {}").format(parts(activity.of)),
        what=f"{activity.title}, last {len(values)} days",
        drawing=_drawing(values, activity.this, top, label),
        y=[_short(activity, top), _short(activity, top // 2), _short(activity, 0)],
        x=[f"{activity.days[0][0]:%-d %b}", f"{activity.days[len(values) // 2][0]:%-d %b}", "today, then this"],
        summary=activity.summary,
        weeks=[(f"{day:%-d %b}", activity.to_text(value)) for day, value in _weeks(activity)],
        this=activity.to_text(activity.this),
    )


def _drawing(values: list[int], this: int, top: int, label: str) -> Markup:
    # Where it is used: it makes a class of each element there is, which every start of a server would wait for.
    import svg

    # One bar each, and for this request one of its own at the end, apart from the others.
    step = _WIDTH / (len(values) + 2)
    elements: list[svg.Element] = [
        svg.Path(class_=["grid"], d=[svg.M(0, 0), svg.H(_WIDTH), svg.M(0, _HEIGHT), svg.H(_WIDTH)])
    ]
    elements += [_bar("bar-past", place * step, step * 0.7, value, top) for place, value in enumerate(values) if value]
    elements.append(_bar("bar-this", _WIDTH - step * 1.5, step * 1.5, this, top))
    drawing = svg.SVG(
        viewBox=svg.ViewBoxSpec(0, 0, _WIDTH, _HEIGHT),
        preserveAspectRatio=svg.PreserveAspectRatio("none"),
        elements=elements,
        # The library writes these as they are.
        extra={"role": "img", "aria-label": str(escape(label))},
    )
    return Markup(drawing.as_str())


def _bar(kind: str, x: float, width: float, value: int, top: int) -> "svg.Rect":
    import svg

    # Something that is there is seen, however little it is beside the largest.
    height = max(round(value * (_HEIGHT - 3) / top, 2), 0.6)
    return svg.Rect(class_=[kind], x=round(x, 2), y=round(_HEIGHT - height, 2), width=round(width, 2), height=height)


def _weeks(activity: Activity) -> list[tuple[date, int]]:
    sums: dict[date, int] = {}
    for day, value in activity.days:
        monday = day - timedelta(days=day.weekday())
        sums[monday] = sums.get(monday, 0) + value
    return sorted(sums.items())


def _short(activity: Activity, value: int) -> str:
    return activity.to_text(value).removesuffix(".00")
