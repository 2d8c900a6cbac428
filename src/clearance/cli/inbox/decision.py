"""The decision beside the evidence: what one may answer, in words why not. Only a button that has the focus decides."""

from typing import Any

from textual import on
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from clearance.cli.cards import moment
from clearance.cli.inbox.edit import EditForm, Wrong
from clearance.cli.inbox.words import state, text, to_confirm, unconfirmed
from clearance.contract import Answers, Checked, Detail, Entry
from clearance.gate.answers import MAX_REASON


class Decision(VerticalScroll):
    """The forms for an answer, as far as one may give it."""

    class Made(Message):
        """Somebody decided on a request as it was seen."""

        def __init__(self, seen: Entry, decision: str, **more: Any) -> None:
            self.seen = seen
            self.decision = decision
            self.more = more
            super().__init__()

    class Settled(Message):
        """Somebody says what became of a request of which nobody knows."""

        def __init__(self, *, happened: bool, reason: str) -> None:
            self.happened = happened
            self.reason = reason
            super().__init__()

    class Close(Message):
        """Somebody closes a request whose thread is gone."""

    class Load(Message):
        """Somebody wants to see what is new."""

    def __init__(self) -> None:
        super().__init__(id="decide", can_focus=False)
        self._shown: Detail | None = None
        #: What the forms are drawn for; drawn again only when that changes, so that nothing moves under a finger.
        self._drawn: tuple[Any, ...] = ()
        #: The reason somebody had typed when the field for it went.
        self._reason = ""

    async def show(self, shown: Detail, *, is_stale: bool, is_late: bool) -> None:
        """Show what one may answer now. What is typed stays as long as the same may be done.

        `is_stale` when the request is another one by now than what is on the screen, `is_late` when its time is over.
        """
        entry = shown.request
        drawn = (entry.digest, entry.revision, entry.state, shown.answers, is_stale, is_late)
        if drawn == self._drawn:
            return
        self._reason = self.reason
        is_same = self._drawn[:2] == drawn[:2]
        self._drawn, self._shown = drawn, shown
        kept = {field.id: field.value for field in self.query(Input) if field.id}
        opened = [one.id for one in self.query(".opened")]
        focused = self.screen.focused.id if self.screen.focused is not None else None
        async with self.batch():
            await self.remove_children()
            await self.mount(*_forms(shown, is_stale=is_stale, is_late=is_late))
        for name, value in kept.items():
            # A reason may outlive a change of the request; an amount typed for another one may not.
            for field in self.query(f"#{name}").results(Input) if is_same or name == "reason" else ():
                field.value = value
        for form in self.query(", ".join(f"#{name}" for name in opened)) if opened else ():
            form.remove_class("hidden").add_class("opened")
        again = [found for found in self.screen.query(f"#{focused}") if found.focusable] if focused else []
        (again[0] if again else self.screen.query_one("#evidence")).focus(scroll_visible=False)

    @property
    def reason(self) -> str:
        """What is typed as the reason, also after its field is gone."""
        return self._typed("#reason") or self._reason

    def show_checked(self, checked: Checked, changes: dict[str, Any]) -> None:
        """Show what a change comes to."""
        for form in self.query(EditForm):
            form.show_checked(checked, changes)

    # Where a key leads

    def to_approve(self) -> None:
        """Go to the approve form."""
        for where in ("#confirm", "#approve"):
            for one in self.query(where):
                one.focus()
                return

    def to_reject(self) -> None:
        """Open the form for a reason, and go there."""
        self._open("#reject-form", "#reason")

    def to_edit(self) -> None:
        """Open the form for a change, and go there."""
        self._open("#edit-form", "#argument-0")

    def close(self) -> bool:
        """Close the form that is open, and tell whether one was; what is typed there stays."""
        opened = self.query(".opened")
        was_open = bool(opened)
        opened.remove_class("opened").add_class("hidden")
        return was_open

    def _open(self, form: str, field: str) -> None:
        if self.query(form):
            self.close()
            self.query(form).remove_class("hidden").add_class("opened")
            self.query(field).focus()

    # What is pressed

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        match event.button.id:
            case "approve":
                self._approve()
            case "open-reject":
                self.to_reject()
            case "reject":
                self._reject()
            case "open-edit":
                self.to_edit()
            case "happened":
                self._settle(happened=True)
            case "not-happened":
                self._settle(happened=False)
            case "close":
                self.post_message(self.Close())
            case "load":
                self.post_message(self.Load())

    def _approve(self) -> None:
        assert self._shown is not None
        entry, review = self._shown.request, self._shown.review
        if entry.risk == "critical" and (wrong := unconfirmed(self._typed("#confirm"), review)):
            self._refuse(wrong, "#confirm")
            return
        self.post_message(self.Made(entry, "approve"))

    def _reject(self) -> None:
        assert self._shown is not None
        reason = self._typed("#reason")
        if not reason:
            self._refuse("Say why not: the agent and whoever asked read it.", "#reason")
            return
        self.post_message(self.Made(self._shown.request, "reject", reason=reason))

    def _settle(self, *, happened: bool) -> None:
        reason = self._typed("#reason")
        if not reason:
            self._refuse("Say how you know: it stands in the receipt for ever.", "#reason")
            return
        self.post_message(self.Settled(happened=happened, reason=reason))

    @on(EditForm.Make)
    def _change(self, event: EditForm.Make) -> None:
        assert self._shown is not None
        event.stop()
        self.post_message(self.Made(self._shown.request, "edit", arguments=event.changes))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        """Move on to the button; a field decides nothing."""
        event.stop()
        button = "#approve" if event.input.id == "confirm" else "#happened" if self.query("#happened") else "#reject"
        self.query_one(button).focus()

    def _refuse(self, said: str, field: str) -> None:
        self.post_message(Wrong(said))
        self.query_one(field).focus()

    def _typed(self, where: str) -> str:
        return next((field.value.strip() for field in self.query(where).results(Input)), "")


def _forms(shown: Detail, *, is_stale: bool, is_late: bool) -> list[Widget]:
    entry, answers = shown.request, shown.answers
    if is_late:
        return [_note("Its time is over: an answer comes too late."), _note("n: next request · u: back")]
    forms: list[Widget] = [_note(said, "why-not") for said in (answers.why_not, answers.hint) if said]
    if answers.may_settle:
        return [*forms, *_settle_form(answers)]
    if answers.may_close:
        forms.append(_button("Close the request, nothing moves", "close"))
    elif entry.state != "asked":
        forms += [_note(f"This request is {state(entry.state)}."), _note("n: next request · u: back to the list")]
    if not (answers.may_approve or answers.may_reject or answers.may_edit):
        return forms
    forms.insert(0, Label("Your decision", classes="title", markup=False))
    if is_stale:
        forms += [_note("It changed while you were reading."), _button("Load what is new", "load")]
    elif answers.may_approve:
        forms += _approve_form(shown)
    may_edit = answers.may_edit and not is_stale
    opens = [_button("Reject…", "open-reject")] if answers.may_reject else []
    opens += [_button("Change it…", "open-edit")] if may_edit else []
    # Below both, so that neither moves when a form opens.
    forms.append(Horizontal(*opens, id="others"))
    if answers.may_reject:
        forms.append(_reject_form())
    if may_edit:
        forms.append(EditForm(shown))
    return forms


def _approve_form(shown: Detail) -> list[Widget]:
    is_critical = shown.request.risk == "critical"
    form: list[Widget] = []
    if is_critical:
        form += [Label(text(f"Type {to_confirm(shown.review)}"), id="confirm-label", markup=False), Input(id="confirm")]
    button = _button(shown.answers.button, "approve")
    button.variant = "error" if is_critical else "primary"
    return [*form, button, _note(shown.answers.after_press)]


def _settle_form(answers: Answers) -> list[Widget]:
    form: list[Widget] = [
        Label("What became of it?", classes="title", markup=False),
        _note("Nobody knows whether it was done. Look where it would have been done, then say so here."),
        Label("How do you know? It stands in the receipt for ever, with your name.", markup=False),
        Input(id="reason", max_length=MAX_REASON),
        _button("It happened", "happened"),
    ]
    if answers.not_happened_from is None:
        return [*form, _button("It did not happen", "not-happened")]
    at = moment(answers.not_happened_from, seconds=True)
    return [*form, _note(f"That it did not happen can be said from {at} on: until then it may still arrive there.")]


def _reject_form() -> Widget:
    return Vertical(
        Label("Why not? The agent and whoever asked read it.", markup=False),
        Input(id="reason", max_length=MAX_REASON),
        _button("Reject, nothing moves", "reject"),
        id="reject-form",
        classes="hidden",
    )


def _note(said: str, kind: str = "note") -> Static:
    return Static(text(said), classes=kind, markup=False)


def _button(label: str, name: str) -> Button:
    return Button(text(label), id=name)
