"""One request: what a reviewer must see, and the decision beside it. Only a button that has the focus decides."""

import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Footer, Input, Label, Static

from agent.clearance.answers import MAX_REASON
from agent.cli.approvals import Refused
from agent.cli.cards import moment
from agent.cli.inbox.frame import Frame, unless_left
from agent.cli.inbox.words import (
    RISKS,
    Confirmation,
    changed_facts,
    check_report,
    confirmation,
    effect,
    event_line,
    facts_table,
    grid,
    joined,
    left,
    needs,
    sentence,
    state,
    text,
)
from agent.cli.terminal import Failed
from agent.contract import Checked, Shown, Standing

_MOST = 200


class RequestScreen(Frame):
    """One question and its answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "approve_form", "Approve form"),
        Binding("r", "reject_form", "Reason"),
        Binding("e", "edit_form", "Change"),
        Binding("n", "go(1)", "Next"),
        Binding("p", "go(-1)", "Previous"),
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
        self._detail: Shown | None = None
        #: Whether it waits for this person.
        self._is_mine = False
        #: Whether the request is another one by now than what is on the screen.
        self._is_stale = False
        self._is_late = False
        self._is_busy = False
        self._has_decided = False
        #: The reason somebody had typed when the field for it went.
        self._reason = ""
        #: What the form is drawn for; drawn again only when that changes, so that nothing moves under a finger.
        self._drawn: tuple[Any, ...] | None = None
        self._checked: tuple[Checked, dict[str, Any]] | None = None

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield from self.bands()
        with Container(id="request"):
            with VerticalScroll(id="evidence"):
                yield Static(id="report", classes="hidden", markup=False)
                yield Static("Reading…", id="heading", markup=False)
                for part in ("notice", "vitals", "look-first", "facts", "turn", "said", "history"):
                    yield Static(id=part, markup=False)
            yield VerticalScroll(id="decide", can_focus=False)
        yield Footer()

    def on_mount(self) -> None:
        """Read the request."""
        self.show_frame()
        self.query_one("#evidence").focus()
        self.set_interval(1, self._tick)
        self._do(self._load())

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
            await self._draw_form()
            return
        detail = await self.inbox.approvals.detail(self._request_id)
        was, now = before.request, detail.request
        if was.state == "asked" == now.state and (was.digest, was.revision) != (now.digest, now.revision):
            # What is on the screen stays, so that nothing else is read than what was there when the key was pressed.
            self._is_stale = True
            self._report("This request changed while you were reading. Press . to load what is new.", "caution")
            await self._draw_form()
            return
        if was.state != now.state:
            self._report_end(detail)
        await self._show(detail)

    async def _load(self) -> None:
        await self._show(await self.inbox.approvals.detail(self._request_id))

    async def _show(self, detail: Shown) -> None:
        self._is_mine = False
        if detail.request.state == "asked":
            mine = await self.inbox.approvals.page("mine", limit=_MOST, thread_id=detail.request.thread_id)
            self._is_mine = self._request_id in [one.id for one in mine.requests]
        self._detail, self._is_stale = detail, False
        self._is_late = detail.request.state == "asked" and detail.request.expires_at <= self.inbox.approvals.now()
        self._draw_evidence(detail)
        await self._draw_form()

    def _kept(self) -> str:
        """Tell what was typed for nothing, also after its field is gone."""
        self._reason = self._typed("#reason") or self._reason
        return f" You had written: {self._reason}" if self._reason else ""

    def _report_end(self, detail: Shown) -> None:
        """Say what became of the request; what was typed for it is told, since its field goes."""
        last = detail.history[-1] if detail.history else None
        outcome = detail.receipt.outcome if detail.receipt else None
        said = detail.receipt.sentence if detail.receipt and detail.receipt.sentence else state(detail.request.state)
        if not self._has_decided and last is not None:
            decided = [one for one in detail.history if one.event in ("approved", "rejected", "edited")]
            by = f" by {decided[-1].actor}" if decided and outcome in ("executed", "rejected", None) else ""
            said = f"Meanwhile {state(detail.request.state)}{by}. {said}"
        if not self._has_decided:
            said += self._kept()
        is_good = outcome == "executed" or (outcome == "rejected" and self._has_decided)
        self._report(said, "good" if is_good else "caution")

    def _tick(self) -> None:
        detail = self._detail
        if detail is None or detail.request.state != "asked":
            return
        if not self._is_late and detail.request.expires_at <= self.inbox.approvals.now():
            self._is_late = True
            self._report("Expired while you were looking: an answer comes too late, and nothing moved.", "caution")
            self._do(self._draw_form())
        self._draw_vitals(detail)

    # Showing

    def _draw_evidence(self, detail: Shown) -> None:
        entry, payload = detail.request, detail.payload
        self._fill("#heading", joined(
            Content.styled(f" {entry.risk} risk ", RISKS.get(entry.risk, "")), "  ", text(sentence(entry), "bold")
        ))  # fmt: skip
        self._fill("#notice", text(f"Asked again: {payload['notice']}", "$warning") if payload.get("notice") else None)
        self._draw_vitals(detail)
        first = [text(one.text, "$error" if one.is_bad else "$warning") for one in detail.look_first]
        self._fill("#look-first", _section("Look at these first", Content("\n").join(first)) if first else None)
        facts = facts_table(payload.get("shown_facts") or [])
        arguments = [(name, text(value).plain) for name, value in self._arguments.items() if value != ""]
        self._fill("#facts", _section("Arguments", grid(arguments)), _section("Facts", grid(facts)) if facts else None)
        self._fill("#turn", _section("The whole turn", _turn(payload)))
        said = payload.get("said") or []
        self._fill("#said", *[_section(one["label"], _quoted(one)) for one in said])
        history = Content("\n").join([event_line(event) for event in detail.history])
        self._fill("#history", _section("What happened so far", history))

    def _draw_vitals(self, detail: Shown) -> None:
        entry, payload = detail.request, detail.payload
        given = payload.get("approvals_given") or []
        by = f", given by {', '.join(given)}" if given else ", none given yet"
        until = joined(f"{moment(entry.expires_at)}, ", left(entry.expires_at, self.inbox.approvals.now()))
        rows: list[tuple[str, Content]] = [
            ("State", text(state(entry.state), "bold")),
            ("Until", until if entry.state == "asked" else text(moment(entry.expires_at))),
            ("Needs", text(needs(entry.approvers, entry.approvals_needed) + by)),
            ("Because of", text(entry.rule)),
            ("Asked by", text(f"{entry.requested_by}, {moment(entry.requested_at)}")),
            ("Request", text(entry.id)),
            ("Thread", text(entry.thread_id)),
        ]
        if detail.receipt is not None:
            rows.insert(1, ("Receipt", text(detail.receipt.sentence or "what it said was erased", "bold")))
        self._fill("#vitals", Content("\n").join(
            [joined(Content.styled(label.ljust(12), "dim"), said) for label, said in rows]
        ))  # fmt: skip

    def _fill(self, where: str, *parts: Content | None) -> None:
        shown = [part for part in parts if part is not None]
        place = self.query_one(where, Static)
        place.update(Content("\n\n").join(shown))
        place.set_class(not shown, "hidden")

    def _report(self, said: str, kind: str) -> None:
        """Say on top what happened: `good`, `caution` or `danger`."""
        report = self.query_one("#report", Static)
        report.update(text(said, "bold"))
        report.set_classes(kind)
        self.query_one("#evidence").scroll_home(animate=False)

    # The form

    async def _draw_form(self) -> None:
        """Draw what this person may do now. What is typed stays as long as the same may be done."""
        detail = self._detail
        if detail is None:
            return
        entry = detail.request
        is_frozen = self.inbox.switch is not None and self.inbox.switch.frozen
        given = len(detail.payload.get("approvals_given") or [])
        may = self._is_mine and not self._is_late
        drawn = (entry.state, entry.digest, entry.revision, given, may, is_frozen, self._is_stale, detail.thread)
        if drawn == self._drawn:
            return
        kept = {field.id: field.value for field in self.query("#decide Input").results(Input) if field.id}
        opened = [one.id for one in self.query("#decide .opened")]
        focused = self.focused.id if self.focused is not None else None
        was_for = self._drawn[1:3] if self._drawn else None
        self._drawn, self._checked = drawn, None
        panel = self.query_one("#decide", VerticalScroll)
        async with self.batch():
            await panel.remove_children()
            await panel.mount(*self._form(detail, is_frozen=is_frozen, may=may, given=given))
        is_same = was_for == drawn[1:3]
        for name, value in kept.items():
            # A reason may outlive a change of the request; an amount typed for another one may not.
            for field in self.query(f"#{name}").results(Input) if is_same or name == "reason" else ():
                field.value = value
        for opened_form in opened:
            for form in self.query(f"#{opened_form}"):
                form.remove_class("hidden").add_class("opened")
        again = [found for found in self.query(f"#{focused}") if found.focusable] if focused else []
        (again[0] if again else self.query_one("#evidence")).focus(scroll_visible=False)

    def _form(self, detail: Shown, *, is_frozen: bool, may: bool, given: int) -> list[Widget]:
        entry = detail.request
        if detail.thread == "gone" and entry.finished_at is None:
            return [
                _note("The thread of this request is gone: nothing can be carried out there."),
                _button("Close the request, nothing moves", "close"),
            ]
        if entry.state != "asked":
            return [_note(f"This request is {state(entry.state)}."), _note("n: next request · u: back to the list")]
        if self._is_late:
            return [_note("Its time is over: an answer comes too late."), _note("n: next request · u: back")]
        if not may:
            who = needs(entry.approvers, entry.approvals_needed)
            return [_note(f"This does not wait for you. It needs {who}, and nobody who asked for it, changed it or"
                          " approved it already.")]  # fmt: skip
        form: list[Widget] = [Label("Your decision", classes="title", markup=False)]
        if self._is_stale:
            form += [_note("It changed while you were reading."), _button("Load what is new", "load")]
        elif is_frozen:
            form.append(_note(f"{self.inbox.band}. Approving is refused meanwhile; rejecting works."))
        else:
            form += self._approve_form(detail, given)
        form += [
            _button("Reject…", "open-reject"),
            Vertical(
                Label("Why not? The agent and whoever asked read it.", markup=False),
                Input(id="reason", max_length=MAX_REASON),
                _button("Reject, nothing moves", "reject"),
                id="reject-form",
                classes="hidden",
            ),
        ]
        if not is_frozen and not self._is_stale:
            form += [_button("Change it…", "open-edit"), self._edit_form()]
        return form

    def _approve_form(self, detail: Shown, given: int) -> list[Widget]:
        entry = detail.request
        does = effect(sentence(entry))
        form: list[Widget] = []
        if entry.risk == "critical":
            wanted = self._confirmation(detail).wanted
            form += [Label(text(f"To approve, type {wanted}"), markup=False), Input(id="confirm")]
        if entry.approvals_needed - given > 1:
            does = f"Approve, {given + 1} of {entry.approvals_needed}: {does}"
        form.append(_button(does, "approve", "error" if entry.risk == "critical" else "primary"))
        others = [one for one in detail.payload["turn"]["requests"] if one["state"] == "asked" and not one["this"]]
        if others:
            form.append(_note(f"It is carried out when {len(others)} more of this turn "
                              f"{'is' if len(others) == 1 else 'are'} decided."))  # fmt: skip
        return form

    def _edit_form(self) -> Widget:
        fields: list[Widget] = []
        for place, (name, value) in enumerate(self._arguments.items()):
            fields += [Label(text(name), markup=False), Input(_written(value), id=f"argument-{place}")]
        return Vertical(
            *fields,
            _button("Check the change", "check"),
            Static(id="checked", classes="hidden", markup=False),
            Label("", id="edit-confirm-label", classes="hidden", markup=False),
            Input(id="edit-confirm", classes="hidden"),
            _button("", "edit", classes="hidden"),
            id="edit-form",
            classes="hidden",
        )

    @property
    def _arguments(self) -> dict[str, Any]:
        assert self._detail is not None
        return dict(self._detail.payload["action_requests"][0]["args"])

    def _confirmation(self, detail: Shown) -> Confirmation:
        return confirmation(sentence(detail.request), self._arguments, detail.payload.get("facts"), detail.request.id)

    def _typed(self, where: str) -> str:
        return next((field.value.strip() for field in self.query(where).results(Input)), "")

    # Deciding

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "approve":
                self._approve()
            case "open-reject":
                self.action_reject_form()
            case "reject":
                self._reject()
            case "open-edit":
                self.action_edit_form()
            case "check":
                self._do(self._check())
            case "edit":
                self._edit()
            case "close":
                self._do(self._decide(lambda: self.inbox.approvals.close(self._request_id)))
            case "load":
                self.action_load()

    def _approve(self) -> None:
        detail = self._detail
        assert detail is not None
        if detail.request.risk == "critical" and not self._is_confirmed("#confirm", self._confirmation(detail)):
            return
        self._do(self._decide(lambda: self.inbox.approvals.decide(detail.request, "approve")))

    def _reject(self) -> None:
        detail = self._detail
        assert detail is not None
        reason = self._typed("#reason")
        if not reason:
            self._report("Say why not: the agent and whoever asked read it.", "danger")
            self.query_one("#reason").focus()
            return
        self._do(self._decide(lambda: self.inbox.approvals.decide(detail.request, "reject", reason=reason)))

    def _is_confirmed(self, where: str, wanted: Confirmation) -> bool:
        typed = self._typed(where)
        if wanted.fits(typed):
            return True
        was = f"You typed {typed}" if typed else "You typed nothing"
        self._report(f"{was}; to approve, type {wanted.wanted}. Nothing was recorded.", "danger")
        self.query_one(where).focus()
        return False

    async def _check(self) -> None:
        detail = self._detail
        assert detail is not None
        self._hide_checked()
        try:
            changes = self._changes()
            checked = await self.inbox.approvals.check(detail.request, changes)
        except (Failed, ValueError) as exc:
            self._report(str(exc), "danger")
            return
        self._checked = checked, changes
        rows = changed_facts(detail.payload.get("shown_facts") or [], checked.facts)
        if checked.rule != detail.request.rule:
            rows.append(("Because of", text(checked.rule).plain))
        if checked.risk != detail.request.risk:
            rows.append(("Risk", text(f"{detail.request.risk} → {checked.risk}").plain))
        place = self.query_one("#checked", Static)
        place.update(joined(text(checked.sentence, "bold"), "\n\n", grid(rows), "\n\n", text(check_report(checked))))
        place.remove_class("hidden")
        button = self.query_one("#edit", Button)
        does = effect(checked.sentence)
        button.label = text(f"{does} instead" if checked.is_enough else f"Change it to: {does}")
        button.variant = "error" if checked.risk == "critical" else "primary"
        button.remove_class("hidden")
        if checked.risk == "critical":
            label = self.query_one("#edit-confirm-label", Label)
            label.update(text(f"To change it, type {self._edit_confirmation().wanted}"))
            label.remove_class("hidden")
            self.query_one("#edit-confirm").remove_class("hidden")
        button.focus()
        button.scroll_visible(animate=False)

    def _edit_confirmation(self) -> Confirmation:
        assert self._checked is not None
        checked, changes = self._checked
        return confirmation(checked.sentence, {**self._arguments, **changes}, None, self._request_id)

    def _edit(self) -> None:
        detail = self._detail
        if detail is None or self._checked is None:
            return
        checked, changes = self._checked
        if checked.risk == "critical" and not self._is_confirmed("#edit-confirm", self._edit_confirmation()):
            return
        self._do(self._decide(lambda: self.inbox.approvals.decide(detail.request, "edit", arguments=changes)))

    def _changes(self) -> dict[str, Any]:
        """Give the arguments that differ from what is asked.

        Raises:
            ValueError: none does, or one cannot be read.
        """
        changes: dict[str, Any] = {}
        for place, (name, value) in enumerate(self._arguments.items()):
            typed = self.query_one(f"#argument-{place}", Input).value
            if typed != _written(value):
                changes[name] = _read(name, typed, value)
        if not changes:
            raise ValueError("Nothing is changed yet.")
        return changes

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
        self.query_one("#evidence").focus()

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

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        """Move on to the button; a field decides nothing."""
        match event.input.id:
            case "confirm":
                self.query_one("#approve").focus()
            case "reason":
                self.query_one("#reject").focus()
            case "edit-confirm":
                self.query_one("#edit").focus()
            case _:
                self.query_one("#check").focus()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if (event.input.id or "").startswith("argument-"):
            self._hide_checked()

    def _hide_checked(self) -> None:
        self._checked = None
        for where in ("#checked", "#edit-confirm-label", "#edit-confirm", "#edit"):
            self.query_one(where).add_class("hidden")

    def action_approve_form(self) -> None:
        """Go to the approve form."""
        for where in ("#confirm", "#approve"):
            for one in self.query(where):
                one.focus()
                return

    def action_reject_form(self) -> None:
        """Open the form for a reason, and go there."""
        self._open("#reject-form", "#reason")

    def action_edit_form(self) -> None:
        """Open the form for a change, and go there."""
        self._open("#edit-form", "#argument-0")

    def _open(self, form: str, field: str) -> None:
        if not self.query(form):
            return
        self.action_close()
        self.query_one(form).remove_class("hidden").add_class("opened")
        self.query(field).focus()

    def action_close(self) -> None:
        """Close the form that is open; what is typed there stays."""
        for one in self.query("#decide .opened"):
            one.remove_class("opened").add_class("hidden")
        self.query_one("#evidence").focus()

    def action_load(self) -> None:
        """Load what is new about this request."""
        self.query_one("#report").add_class("hidden")
        self._do(self._load())

    def action_scroll(self, by: int) -> None:
        """Move the evidence."""
        self.query_one("#evidence").scroll_relative(y=by, animate=False)

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


def _section(title: str, body: Content) -> Content:
    return joined(text(title, "bold $primary"), "\n", body)


def _turn(payload: dict[str, Any]) -> Content:
    lines = []
    for number, one in enumerate(payload["turn"]["requests"], 1):
        style = "bold" if one["this"] else ""
        said = text(one["sentence"] or one["action"], style)
        mark = Content.styled(f"{'→' if one['this'] else ' '} {number}  ", style)
        lines.append(joined(mark, said, text(f" ({state(one['state'])})", "dim")))
    return Content("\n").join(lines)


def _quoted(said: dict[str, str]) -> Content:
    """Mark people's words by a solid bar, the model's by a dashed one."""
    is_models = said["label"].startswith("The model")
    bar, style = ("┊ ", "italic $accent") if is_models else ("┃ ", "")
    return joined(Content.styled(bar, style), text(said["text"], style))


def _note(said: str) -> Static:
    return Static(text(said), classes="note", markup=False)


def _button(label: str, name: str, variant: Any = "default", classes: str = "") -> Button:
    return Button(text(label), variant, id=name, classes=classes)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(name: str, typed: str, was: Any) -> Any:
    if isinstance(was, str):
        return typed
    try:
        return json.loads(typed)
    except ValueError as exc:
        raise ValueError(f"{name} must be JSON, such as {_written(was)}") from exc
