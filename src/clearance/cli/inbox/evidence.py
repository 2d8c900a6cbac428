"""What a reviewer sees of a request, in the order of reading: what it does, what is odd, what changes, why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Collapsible, Static

from clearance.cli.cards import moment, roles
from clearance.cli.inbox.activity import ActivityChart
from clearance.cli.inbox.conversation import Conversation
from clearance.cli.inbox.facts import changes_table, facts_grid
from clearance.cli.inbox.words import RISKS, grid, happened, joined, left, side_by_side, state, text
from clearance.contract import Attempt, Detail, Review
from clearance.desk.labels import ATTEMPTS
from clearance.text.rendering import visible


class Evidence(VerticalScroll):
    """All that is known of a request, and on top what became of an answer."""

    def __init__(self) -> None:
        super().__init__(id="evidence")

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield Static(id="report", classes="hidden", markup=False)
        yield Static("Reading…", id="heading", markup=False)
        for part in (
            "notice",
            "vitals",
            "look-first",
            "arguments",
            "changes-title",
            "changes",
            "facts",
            "starts",
            "turn",
        ):
            yield Static(id=part, markup=False)
        yield Conversation()
        yield ActivityChart()
        yield Static(id="history", markup=False)

    async def show(self, shown: Detail, now: datetime) -> None:
        """Show a request."""
        entry, review, payload = shown.request, shown.review, shown.payload
        differs = [
            joined(text(f"The database says otherwise than the log: {one}.", "$error"), "\n")
            for one in shown.disagreements
        ]
        otherwise = [
            joined(text(f"Known to be otherwise than its receipt says: {one}", "bold $error"), "\n")
            for one in shown.contradictions
        ]
        self._fill("#heading", joined(
            *otherwise, *differs,
            Content.styled(f" {entry.risk} risk ", RISKS.get(entry.risk, "")), "  ", _heading(review)
        ))  # fmt: skip
        self._fill("#notice", text(f"Asked again: {entry.notice}", "$warning") if entry.notice else None)
        self.show_vitals(shown, now)
        first = [text(f"! {one.text}", "$error" if one.is_bad else "$warning") for one in shown.look_first]
        warnings = Content("\n").join(first)
        self._fill("#look-first", None if not first else warnings if self._is_low else _section(_FIRST, warnings))
        self._show_changes(review)
        called = [(visible(one.label), visible(one.text, keep="\n") or "empty") for one in review.arguments]
        drawn = side_by_side(called, self.size.width) if self._is_low else grid(called)
        self._fill("#arguments", _section(f"Exactly this: {visible(entry.action)}", drawn) if called else None)
        turn = _turn(payload["turn"]["requests"])
        if shown.receipt is None and entry.flight is None:
            turn = joined(turn, "\n", text(_CALLED_OFF.format(entry.requested_by), "dim"))
        self._fill("#turn", _section("The whole turn", turn))
        starts = Content("\n").join([_start(one) for one in shown.attempts])
        self._fill("#starts", _section("Starts elsewhere", starts) if shown.attempts else None)
        await self.query_one(Conversation).show(shown.talk, shown.earlier)
        self.query_one(ActivityChart).show(shown.activity)
        history = Content("\n").join([happened(event) for event in shown.history if event.event != "question_put"])
        ids = text(f"Request {entry.id} · thread {entry.thread_id}", "dim")
        self._fill("#history", _section("What happened so far", joined(history, "\n", ids)))

    def show_vitals(self, shown: Detail, now: datetime) -> None:
        """Show how it stands, until when, and whom it needs; time goes on, so this is drawn each second."""
        entry = shown.request
        given = entry.approvals_given
        none = ", none given yet" if entry.state == "asked" else ""
        by = f", given by {', '.join(given)}" if given else none
        until = joined(f"{moment(entry.expires_at)}, ", left(entry.expires_at, now))
        rows: list[tuple[str, Content]] = [
            ("State", text(state(entry.state), "bold")),
            ("Until", until if entry.state == "asked" else text(moment(entry.expires_at))),
            ("Needs", text(roles(entry.approvers, entry.approvals_needed) + by)),
            ("Because of", text(entry.rule)),
            ("Asked by", text(f"{entry.requested_by}, {moment(entry.requested_at)}")),
        ]
        if shown.receipt is not None:
            rows.insert(1, ("Receipt", text(shown.receipt.sentence or "what it said was erased", "bold")))
            if shown.receipt.settled_by:
                rows.insert(2, ("Settled by", text(f"{shown.receipt.settled_by}, on whose word it rests", "bold")))
        if entry.flight is not None:
            rows[1] = ("Known", text(entry.flight.sentence, "$warning" if entry.state == "unknown" else ""))
        if self._is_low:
            parts = [joined(Content.styled(f"{label.lower()} ", "dim"), said) for label, said in rows[1:]]
            self._fill("#vitals", Content(" · ").join([rows[0][1], *parts]))
            return
        self._fill("#vitals", Content("\n").join(
            [joined(Content.styled(label.ljust(12), "dim"), said) for label, said in rows]
        ))  # fmt: skip

    @property
    def _is_low(self) -> bool:
        """Whether lines are few: what is asked, its warnings, arguments and facts come before air and titles."""
        return self.screen.has_class("-low")

    def report(self, said: str, kind: str) -> None:
        """Say on top what happened: `good`, `caution` or `danger`."""
        report = self.query_one("#report", Static)
        report.update(text(said, "bold"))
        report.set_classes(kind)
        self.scroll_home(animate=False)

    def hide_report(self) -> None:
        """Take away what was said on top."""
        self.query_one("#report").add_class("hidden")

    def toggle_earlier(self) -> None:
        """Open what stands earlier in the thread, and go there; or close it."""
        self.query_one(Conversation).toggle_earlier()

    def fold(self) -> None:
        """Close what was opened."""
        for one in self.query(Collapsible):
            one.collapsed = True

    def _show_changes(self, review: Review) -> None:
        read = "as it was when it was asked"
        if review.read_at is not None:
            read = f"read at {review.read_at.astimezone(UTC):%H:%M:%S} UTC"
        has_any = bool(review.changes or review.facts)
        self._fill("#changes-title", text(f"What changes, {read}", "bold $primary") if has_any else None)
        place = self.query_one("#changes", Static)
        place.update(changes_table(review.changes))
        place.set_class(not review.changes, "hidden")
        self._fill("#facts", facts_grid(review.facts) if review.facts else None)

    def _fill(self, where: str, said: Content | None) -> None:
        place = self.query_one(where, Static)
        place.update(said or "")
        place.set_class(said is None, "hidden")


def arguments_of(shown: Detail) -> dict[str, Any]:
    """Give what the action is called with, as it is safe to show."""
    return dict(shown.payload["action_requests"][0]["args"])


def _start(one: Attempt) -> Content:
    said = f"{one.number}  {ATTEMPTS.get(one.state, one.state)}, started {moment(one.started_at)}"
    if one.settled_by:
        said += f"; on the word of {one.settled_by}: {one.reason or 'what they said was erased'}"
    elif one.looks:
        said += f"; looked up {one.looks} times" if one.looks > 1 else "; looked up once"
    return text(said)


def _heading(review: Review) -> Content:
    does = " ".join(part for part in (review.heading, review.what) if part)
    return joined(text(does, "bold"), f" {text(review.who).plain}" if review.who else "")


def _section(title: str, body: Content) -> Content:
    return joined(text(title, "bold $primary"), "\n", body)


_FIRST = "Look at these first"
_CALLED_OFF = (
    "What is cleared is carried out, whatever becomes of this screen, or of the page or run that asked for it. {} calls"
    " it off: by cancelling the run while it goes on, or with a new message."
)


def _turn(requests: Sequence[dict[str, Any]]) -> Content:
    lines = []
    for number, one in enumerate(requests, 1):
        style = "bold" if one["this"] else ""
        said = text(one["sentence"] or one["action"], style)
        mark = Content.styled(f"{'→' if one['this'] else ' '} {number}  ", style)
        lines.append(joined(mark, said, text(f" ({state(one['state'])})", "dim")))
    return Content("\n").join(lines)
