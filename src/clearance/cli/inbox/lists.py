"""The list: who must decide what, by when. Nothing moves under the cursor; what is new waits until it is asked for."""

from collections.abc import Coroutine
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Footer, Input, Label, OptionList, Static, Tab, Tabs
from textual.widgets.option_list import Option

from clearance.cli.inbox.audit import AuditPane
from clearance.cli.inbox.frame import Frame
from clearance.cli.inbox.live import unless_left
from clearance.cli.inbox.request import RequestScreen
from clearance.cli.inbox.statistics import StatisticsPane
from clearance.cli.inbox.words import row, text
from clearance.cli.terminal import Failed
from clearance.contract import Counts, Entry, Page
from clearance.contract import Tab as ListTab

_PAGE = 50
#: The API gives no more at once.
_MOST = 200
_TABS: dict[str, str] = {
    "mine": "For you",
    "open": "Open",
    "decided": "Decided",
    "audit": "Audit",
    "statistics": "Statistics",
    "in_flight": "In flight",
}
#: Only for those who hold a role of the policy.
_FOR_DECIDERS = ("audit", "statistics")
_FILTERS = {"action": "Action", "risk": "Risk", "requested_by": "Asked by", "thread_id": "Thread"}
_EMPTY = {
    "mine": "Nothing for you to decide.",
    "open": "Nothing is open.",
    "in_flight": "Nothing is in flight elsewhere.",
    "decided": "Nothing was decided yet.",
}
_MORE = "more"


class ListScreen(Frame):
    """The tabs and their list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "Next", show=False),
        Binding("k", "move(-1)", "Previous", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("full_stop", "show_new", "Show new", key_display="."),
        Binding("1", "tab('mine')", show=False),
        Binding("2", "tab('open')", show=False),
        Binding("3", "tab('decided')", show=False),
        Binding("4", "tab('audit')", show=False),
        Binding("5", "tab('statistics')", show=False),
        Binding("6", "tab('in_flight')", show=False),
        Binding("escape", "close_filter", show=False),
        Binding("q", "app.quit", "Leave"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[Entry] = []
        #: Ids of shown requests that are no longer in this list.
        self._stale: set[str] = set()
        self._next: str | None = None
        self._new = 0

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield from self.bands()
        yield Tabs(*[Tab(label, id=name) for name, label in _TABS.items() if self._may_see(name)])
        with Horizontal(id="filter", classes="hidden"):
            for name, label in _FILTERS.items():
                with Vertical():
                    yield Label(label, markup=False)
                    yield Input(id=f"filter-{name}", compact=True)
            yield Button("Clear", id="clear", compact=True)
        yield Static(id="news", classes="hidden", markup=False)
        yield Static(id="problem", classes="hidden", markup=False)
        yield Static(id="empty", classes="hidden", markup=False)
        # It stays also when it is empty: hidden, it would lose the focus to nothing.
        yield OptionList(id="list", markup=False)
        yield AuditPane(id="audit-pane", classes="hidden")
        yield StatisticsPane(id="statistics-pane", classes="hidden")
        yield Footer()

    def on_mount(self) -> None:
        """Show the frame and read the list first of all."""
        self.show_frame()
        self.query_one("#list").focus()
        # Deadlines come nearer.
        self.set_interval(30, self._draw_again)

    @property
    def tab(self) -> str:
        """Which tab is shown."""
        return self.query_one(Tabs).active or "mine"

    @property
    def _list_tab(self) -> ListTab:
        match self.tab:
            case "open":
                return "open"
            case "in_flight":
                return "in_flight"
            case "decided":
                return "decided"
            case _:
                return "mine"

    @property
    def _narrowed(self) -> dict[str, str]:
        values = {name: self.query_one(f"#filter-{name}", Input).value.strip() for name in _FILTERS}
        return {name: value for name, value in values.items() if value}

    # Reading

    async def look(self, touched: set[str]) -> None:
        """Count anew, grey what left the list, and say what is new; no line moves."""
        self._show_counts(await self.inbox.approvals.counts())
        if self.tab == "audit":
            await self.query_one(AuditPane).look()
        if self.tab in _FOR_DECIDERS:
            return
        tab, narrowed = self.tab, self._narrowed
        page = await self.inbox.approvals.page(self._list_tab, limit=_MOST, **narrowed)
        if (tab, narrowed) != (self.tab, self._narrowed):
            return
        self._show_problem("")
        there = {one.id: one for one in page.requests}
        known = {one.id for one in self._shown}
        shown = self._shown
        for place, one in enumerate(shown):
            if one.id in there:
                self._replace(place, there[one.id], is_stale=False)
            elif one.id in touched or (page.next is None and one.id not in self._stale):
                left = (await self.inbox.approvals.detail(one.id)).request
                if self._shown is not shown:  # read anew meanwhile: its places are those of other requests
                    return
                self._replace(place, left, is_stale=True)
        self._say_new(sum(one.id not in known and self._would_stand_here(one) for one in page.requests))

    def reload(self) -> None:
        """Read the list from its beginning."""
        self.run_worker(self._shown_to(self._reload()), group="reload", exclusive=True)

    async def _shown_to(self, work: Coroutine[Any, Any, None]) -> None:
        with unless_left(self):
            await work

    async def _reload(self) -> None:
        at = self._highlighted_id()
        try:
            wanted = max(_PAGE, min(len(self._shown), _MOST)) if at else _PAGE
            page = await self.inbox.approvals.page(self._list_tab, limit=wanted, **self._narrowed)
            self._show_counts(await self.inbox.approvals.counts())
        except Failed as exc:
            self._show_problem(str(exc))
            return
        self._show_problem("")
        self._show_page(page, at)

    async def _more(self) -> None:
        assert self._next is not None
        try:
            page = await self.inbox.approvals.page(self._list_tab, after=self._next, limit=_PAGE, **self._narrowed)
        except Failed as exc:
            self._show_problem(str(exc))
            return
        known = {one.id for one in self._shown}
        more = [one for one in page.requests if one.id not in known]
        options = self.query_one("#list", OptionList)
        options.remove_option(_MORE)
        at = len(self._shown)
        self._shown += more
        self._next = page.next
        options.add_options(self._options(more))
        options.highlighted = at if more else None

    # Showing

    def _show_page(self, page: Page, at: str | None) -> None:
        options = self.query_one("#list", OptionList)
        self._shown, self._next, self._stale = page.requests, page.next, set()
        options.clear_options()
        options.add_options(self._options(page.requests))
        ids = [one.id for one in page.requests]
        options.highlighted = ids.index(at) if at in ids else 0 if ids else None
        self.show_text("#empty", "" if ids else self._empty())
        self._say_new(0)

    def _options(self, entries: list[Entry]) -> list[Option]:
        now = self.inbox.approvals.now()
        options = [Option(row(one, now, self._room, is_stale=False), id=one.id) for one in entries]
        if self._next is not None:
            options.append(Option(text("   Older: show more", "italic"), id=_MORE))
        return options

    def _replace(self, place: int, entry: Entry, *, is_stale: bool) -> None:
        self._shown[place] = entry
        (self._stale.add if is_stale else self._stale.discard)(entry.id)
        drawn = row(entry, self.inbox.approvals.now(), self._room, is_stale=is_stale)
        self.query_one("#list", OptionList).replace_option_prompt(entry.id, drawn)

    @property
    def _room(self) -> int:
        """Columns of a line of the list."""
        options = self.query_one("#list", OptionList)
        # A character of air on both sides, and the bar.
        return (options.size.width or self.app.size.width) - 2 - options.styles.scrollbar_size_vertical

    def on_resize(self) -> None:
        """Break the lines anew where there is more or less room for them."""
        self._draw_again()

    def _draw_again(self) -> None:
        for place, one in enumerate(self._shown):
            self._replace(place, one, is_stale=one.id in self._stale)

    def _would_stand_here(self, entry: Entry) -> bool:
        """Tell whether a request belongs among those that are loaded, rather than on a later page."""
        if self._next is None or not self._shown:
            return True
        last = self._shown[-1]
        if self.tab == "in_flight":
            return (entry.requested_at, entry.id) < (last.requested_at, last.id)
        if self.tab == "decided":
            return (entry.finished_at, entry.id) > (last.finished_at, last.id)
        return (entry.expires_at, entry.id) < (last.expires_at, last.id)

    def _empty(self) -> str:
        narrowed = self._narrowed
        if narrowed:
            said = ", ".join(f"{_FILTERS[name].lower()} {value}" for name, value in narrowed.items())
            return f"None of them match: {said}. Press / to change or clear the filter."
        return _EMPTY[self._list_tab]

    def _say_new(self, count: int) -> None:
        self._new = count
        self.show_text("#news", f"{count} new; press . to show" if count else "")

    def _show_problem(self, said: str) -> None:
        self.show_text("#problem", said)

    def _show_counts(self, counts: Counts) -> None:
        for name, count in counts.model_dump().items():
            number = f"{count}" if count < 1_000 else "999+"
            self.query_one(f"Tabs #{name}", Tab).label = text(f"{_TABS[name]} {number}")

    def _highlighted_id(self) -> str | None:
        options = self.query_one("#list", OptionList)
        if options.highlighted is None:
            return None
        return options.get_option_at_index(options.highlighted).id

    # Doing

    @on(Tabs.TabActivated)
    def _tab_changed(self) -> None:
        self.query_one("#audit-pane").set_class(self.tab != "audit", "hidden")
        self.query_one("#statistics-pane").set_class(self.tab != "statistics", "hidden")
        self.query_one("#list").set_class(self.tab in _FOR_DECIDERS, "hidden")
        for where in ("#empty", "#news", "#problem"):
            self.show_text(where, "")
        if self.tab in _FOR_DECIDERS:
            self.query_one("#filter").add_class("hidden")
            pane = self.query_one(AuditPane) if self.tab == "audit" else self.query_one(StatisticsPane)
            pane.reload()
            return
        self._shown, self._next = [], None
        self.query_one("#list", OptionList).clear_options()
        self.reload()

    @on(OptionList.OptionSelected)
    def _opened(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == _MORE:
            self.run_worker(self._shown_to(self._more()), group="reload", exclusive=True)
        elif event.option.id is not None:
            self.app.push_screen(RequestScreen(event.option.id, [one.id for one in self._shown]))

    @on(Input.Submitted)
    def _filtered(self) -> None:
        self.query_one("#list").focus()
        self.reload()

    @on(Button.Pressed, "#clear")
    def _cleared(self) -> None:
        for field in self.query("#filter Input").results(Input):
            field.value = ""
        self.action_close_filter()
        self.reload()

    def action_move(self, by: int) -> None:
        """Move in the list."""
        options = self.query_one("#list", OptionList)
        options.focus()
        move: Any = options.action_cursor_down if by > 0 else options.action_cursor_up
        move()

    def action_filter(self) -> None:
        """Open the filter."""
        if self.tab not in _FOR_DECIDERS:
            self.query_one("#filter").remove_class("hidden")
            self.query_one("#filter-action").focus()

    def action_close_filter(self) -> None:
        """Close the filter, unless it narrows the list."""
        self.query_one("#filter").set_class(not self._narrowed, "hidden")
        self.query_one("#list").focus()

    def action_show_new(self) -> None:
        """Load the list again; the cursor stays on its request."""
        if self.tab == "statistics":
            self.query_one(StatisticsPane).reload()
        elif self.tab != "audit":
            self.reload()

    def action_tab(self, name: str) -> None:
        """Show another tab."""
        if not self._may_see(name):
            return
        self.query_one(Tabs).active = name
        self.query_one({"audit": "#freeze-reason", "statistics": "#statistics-pane"}.get(name, "#list")).focus()

    def _may_see(self, tab: str) -> bool:
        return tab not in _FOR_DECIDERS or self.inbox.me.is_decider
