"""One request: the evidence, and the decision beside it. Here it is read, kept up to date, and decided."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer

from clearance.cli.approvals import Refused
from clearance.cli.inbox.decision import Decision
from clearance.cli.inbox.edit import EditForm, Wrong
from clearance.cli.inbox.evidence import Evidence
from clearance.cli.inbox.frame import Frame
from clearance.cli.inbox.live import unless_left
from clearance.cli.inbox.words import state
from clearance.cli.terminal import Failed
from clearance.contract import Detail, Standing


class RequestScreen(Frame):
    """One question and its answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # A terminal of 80 columns has room for all of them.
        Binding("a", "approve_form", "Approve…"),
        Binding("r", "reject_form", "Reject…"),
        Binding("e", "edit_form", "Change…"),
        Binding("t", "thread", "Thread"),
        Binding("n", "go(1)", "Next"),
        Binding("p", "go(-1)", "Previous", show=False),
        Binding("u", "back", "Back"),
        Binding("j", "scroll(2)", show=False),
        Binding("k", "scroll(-2)", show=False),
        Binding("full_stop", "load", "Show new", show=False),
        Binding("escape", "close", show=False),
    ]

    def __init__(self, request_id: str, ids: list[str]) -> None:
        super().__init__()
        self._request_id = request_id
        self._ids = ids
        #: What is on the screen; None before it was read.
        self._detail: Detail | None = None
        #: Whether the request is another one by now than what is on the screen.
        self._is_stale = False
        self._is_late = False
        self._is_busy = False
        self._has_decided = False

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield from self.bands()
        with Container(id="request"):
            yield Evidence()
            yield Decision()
        yield Footer()

    def on_mount(self) -> None:
        """Read the request."""
        self.show_frame()
        self._evidence.focus()
        self.set_interval(1, self._tick)
        self._do(self._load())

    @property
    def _evidence(self) -> Evidence:
        return self.query_one(Evidence)

    @property
    def _decision(self) -> Decision:
        return self.query_one(Decision)

    # Reading

    async def look(self, touched: set[str]) -> None:
        """Read the request anew when it, its turn or the switch may have changed."""
        if self._is_busy:
            return
        before = self._detail
        if before is None:
            await self._load()
            return
        about = {self._request_id, *(one["id"] for one in before.payload["turn"]["requests"])}
        if touched and not touched & about:
            return
        detail = await self.inbox.approvals.detail(self._request_id)
        was, now = before.request, detail.request
        if was.state == "asked" == now.state and (was.digest, was.revision) != (now.digest, now.revision):
            # What is on the screen stays, so that nothing else is read than what was there when the key was pressed.
            self._is_stale = True
            self._report("This request changed while you were reading. Press . to load what is new.", "caution")
            await self._show_decision()
            return
        if was.state != now.state:
            self._report_end(detail)
        await self._show(detail)

    async def _load(self) -> None:
        await self._show(await self.inbox.approvals.detail(self._request_id))

    async def _show(self, detail: Detail) -> None:
        now = self.inbox.approvals.now()
        self._detail, self._is_stale = detail, False
        self._is_late = detail.request.state == "asked" and detail.request.expires_at <= now
        await self._evidence.show(detail, now)
        await self._show_decision()

    async def _show_decision(self) -> None:
        if self._detail is not None:
            await self._decision.show(self._detail, is_stale=self._is_stale, is_late=self._is_late)

    def _report(self, said: str, kind: str) -> None:
        self._evidence.report(said, kind)

    def _report_end(self, detail: Detail) -> None:
        """Say what became of the request; what was typed for it is told, since its field goes."""
        outcome = detail.receipt.outcome if detail.receipt else None
        said = detail.receipt.sentence if detail.receipt and detail.receipt.sentence else state(detail.request.state)
        if not self._has_decided:
            decided = [one for one in detail.history if one.event in ("approved", "rejected", "edited")]
            by = f" by {decided[-1].actor}" if decided and outcome in ("executed", "rejected", None) else ""
            said = f"Meanwhile {state(detail.request.state)}{by}. {said}{self._kept()}"
        is_good = outcome == "executed" or (outcome == "rejected" and self._has_decided)
        self._report(said, "good" if is_good else "caution")

    def _kept(self) -> str:
        """Tell what was typed for nothing."""
        reason = self._decision.reason
        return f" You had written: {reason}" if reason else ""

    async def _tick(self) -> None:
        detail = self._detail
        if detail is None or detail.request.state != "asked":
            return
        now = self.inbox.approvals.now()
        self._evidence.show_vitals(detail, now)
        if not self._is_late and detail.request.expires_at <= now:
            self._is_late = True
            self._report("Expired while you were looking: an answer comes too late, and nothing moved.", "caution")
            with unless_left(self):
                await self._show_decision()

    # Deciding

    @on(Wrong)
    def _wrong(self, event: Wrong) -> None:
        self._report(event.said, "danger")

    @on(EditForm.Check)
    def _asked_to_check(self, event: EditForm.Check) -> None:
        self._do(self._check(event.changes))

    async def _check(self, changes: dict[str, Any]) -> None:
        assert self._detail is not None
        try:
            checked = await self.inbox.approvals.check(self._detail.request, changes)
        except Failed as exc:
            self._report(str(exc), "danger")
            return
        # What was wrong with what was typed before is corrected.
        self._evidence.hide_report()
        self._decision.show_checked(checked, changes)

    @on(Decision.Made)
    def _made(self, event: Decision.Made) -> None:
        self._do(self._decide(lambda: self.inbox.approvals.decide(event.seen, event.decision, **event.more)))

    @on(Decision.Settled)
    def _settled(self, event: Decision.Settled) -> None:
        settle = self.inbox.approvals.settle
        self._do(self._decide(lambda: settle(self._request_id, happened=event.happened, reason=event.reason)))

    @on(Decision.Close)
    def _close_lost(self) -> None:
        self._do(self._decide(lambda: self.inbox.approvals.close(self._request_id)))

    async def _decide(self, send: Callable[[], Awaitable[Standing]]) -> None:
        """Send a decision and show what came of it; where it was refused, what was typed stays."""
        try:
            standing = await send()
        except Refused as exc:
            # Why it was refused may be news about the request itself.
            detail = await self.inbox.approvals.detail(self._request_id)
            kept = self._kept() if detail.request.state != "asked" else ""
            receipt = f" {detail.receipt.sentence}" if detail.receipt and detail.receipt.sentence else ""
            await self._show(detail)
            self._report(f"{exc}{receipt}{kept}", "danger")
            return
        self._has_decided = True
        self._report(standing.sentence, _kind(standing))
        await self._load()
        self._evidence.focus()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do one thing at a time: a button that is pressed again meanwhile does nothing."""
        if self._is_busy:
            work.close()
            return
        self._is_busy = True
        self.run_worker(self._done(work), group="do")

    async def _done(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with unless_left(self):
                await work
        except Failed as exc:
            with unless_left(self):
                self._report(f"{exc} What you typed is still here.", "danger")
        finally:
            self._is_busy = False
            # What changed meanwhile was not looked at.
            self.inbox.look_anew(self._request_id)

    # Keys

    def action_approve_form(self) -> None:
        """Go to the approve form."""
        self._decision.to_approve()

    def action_reject_form(self) -> None:
        """Open the form for a reason, and go there."""
        self._decision.to_reject()

    def action_edit_form(self) -> None:
        """Open the form for a change, and go there."""
        self._decision.to_edit()

    def action_thread(self) -> None:
        """Open what stands earlier in the thread, or close it."""
        self._evidence.toggle_earlier()

    def action_close(self) -> None:
        """Close the form that is open, else what is open beside it; what is typed stays."""
        if not self._decision.close():
            self._evidence.fold()
        self._evidence.focus()

    @on(Decision.Load)
    def action_load(self) -> None:
        """Load what is new about this request."""
        self._evidence.hide_report()
        self._do(self._load())

    def action_scroll(self, by: int) -> None:
        """Move the evidence."""
        self._evidence.scroll_relative(y=by, animate=False)

    def action_go(self, by: int) -> None:
        """Go to the next or previous request of the list one came from."""
        at = self._ids.index(self._request_id) + by if self._request_id in self._ids else -1
        if 0 <= at < len(self._ids):
            self.app.switch_screen(RequestScreen(self._ids[at], self._ids))

    def action_back(self) -> None:
        """Go back to the list."""
        self.app.pop_screen()


def _kind(standing: Standing) -> str:
    match standing.receipt.outcome if standing.receipt else None:
        case "executed" | "rejected":
            return "good"
        case None:
            return "caution"
        case _:
            return "danger"
