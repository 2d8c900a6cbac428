"""The form for a change: it is checked first, so that its button can say what it does."""

import json
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Button, Input, Label, Static

from clearance.cli.inbox.evidence import arguments_of
from clearance.cli.inbox.facts import changes_lines, differences
from clearance.cli.inbox.words import change_button, check_report, joined, text, to_confirm, unconfirmed
from clearance.contract import Checked, Detail


class Wrong(Message):
    """What was typed cannot be sent."""

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__()


class EditForm(Vertical):
    """A field for each argument; what they come to; the button."""

    class Check(Message):
        """Somebody wants to know what these arguments would come to."""

        def __init__(self, changes: dict[str, Any]) -> None:
            self.changes = changes
            super().__init__()

    class Make(Message):
        """Somebody makes the change that was checked."""

        def __init__(self, changes: dict[str, Any]) -> None:
            self.changes = changes
            super().__init__()

    def __init__(self, shown: Detail) -> None:
        super().__init__(id="edit-form", classes="hidden")
        self._shown = shown
        self._arguments = arguments_of(shown)
        #: What the check found, and of what; None as long as what is typed is not checked.
        self._checked: tuple[Checked, dict[str, Any]] | None = None

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        for place, (name, value) in enumerate(self._arguments.items()):
            yield Label(text(name), markup=False)
            yield Input(_written(value), id=f"argument-{place}")
        yield Button("Check the change", id="check")
        yield Static(id="checked", classes="hidden", markup=False)
        yield Label("", id="edit-confirm-label", classes="hidden", markup=False)
        yield Input(id="edit-confirm", classes="hidden")
        yield Button("", id="edit", classes="hidden")

    def show_checked(self, checked: Checked, changes: dict[str, Any]) -> None:
        """Show what a change comes to, and the button that makes it."""
        self._checked = checked, changes
        entry, review = self._shown.request, checked.review
        before = [(name, _written(value)) for name, value in self._arguments.items()]
        parts = [
            joined(text(f"{review.verb} {review.what}", "bold"), " ", text(review.who)),
            differences(before, {name: _written(value) for name, value in changes.items()}),
            changes_lines(review.changes),
        ]
        if checked.rule != entry.rule:
            parts.append(text(f"Because of {checked.rule}"))
        if checked.risk != entry.risk:
            parts.append(text(f"Risk {entry.risk} → {checked.risk}"))
        place = self.query_one("#checked", Static)
        place.update(joined(*[part for one in parts if one for part in (one, "\n\n")], text(check_report(checked))))
        place.remove_class("hidden")
        button = self.query_one("#edit", Button)
        button.label = text(change_button(checked))
        button.variant = "error" if checked.risk == "critical" else "primary"
        button.remove_class("hidden")
        if _is_critical(checked):
            label = self.query_one("#edit-confirm-label", Label)
            label.update(text(f"Type {to_confirm(review)}"))
            label.remove_class("hidden")
            self.query_one("#edit-confirm").remove_class("hidden")
        button.focus()
        button.scroll_visible(animate=False)

    @on(Button.Pressed, "#check")
    def _check(self, event: Button.Pressed) -> None:
        event.stop()
        self._hide_checked()
        try:
            self.post_message(self.Check(self._changes()))
        except ValueError as exc:
            self.post_message(Wrong(str(exc)))

    @on(Button.Pressed, "#edit")
    def _make(self, event: Button.Pressed) -> None:
        event.stop()
        if self._checked is None:
            return
        checked, changes = self._checked
        field = self.query_one("#edit-confirm", Input)
        if _is_critical(checked) and (wrong := unconfirmed(field.value.strip(), checked.review)):
            field.focus()
            self.post_message(Wrong(wrong))
            return
        self.post_message(self.Make(changes))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if event.input.id != "edit-confirm":
            self._hide_checked()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        """Move on to the button; a field decides nothing."""
        event.stop()
        self.query_one("#edit" if event.input.id == "edit-confirm" else "#check").focus()

    def _hide_checked(self) -> None:
        self._checked = None
        for where in ("#checked", "#edit-confirm-label", "#edit-confirm", "#edit"):
            self.query_one(where).add_class("hidden")

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


def _is_critical(checked: Checked) -> bool:
    """Tell whether the change approves something critical: that takes what an approval takes."""
    return checked.is_enough and checked.risk == "critical"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(name: str, typed: str, was: Any) -> Any:
    if isinstance(was, str):
        return typed
    try:
        return json.loads(typed)
    except ValueError as exc:
        raise ValueError(f"{name} must be JSON, such as {_written(was)}") from exc
