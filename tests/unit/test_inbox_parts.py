"""Parts of the inbox without a server: text as HTML, the form made from a schema, the chart, what an action says."""

import tomllib
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pytest
from pydantic import Field

from agent.actions import TransferFunds
from clearance.actions.action import Action, Actions, Effect, Facts, Material, Reading, Volatile
from clearance.actions.review import Activity, Id, Name, Review
from clearance.desk.choices import is_confirmed
from clearance.desk.comparison import as_asked, plain
from clearance.journal.requests import Request
from clearance.server.inbox import chart, edit_form, text
from clearance.server.inbox.session import safe_next
from clearance.text.rendering import span
from tests.support.server import ROOT


class MailFacts(Facts):
    """Facts of an action of another trade."""

    receivers: Material[int] = Field(title="Receivers")
    sent_today: Volatile[int]


class SendMail(Action[MailFacts]):
    """Send a mail."""

    subject: str = Field(max_length=900, description="what stands on top")
    copies: int = 1
    urgent: bool = False
    tone: Literal["plain", "warm"] = "plain"
    to: list[str] = Field(default_factory=list)

    def facts(self, reading: Reading) -> MailFacts:
        raise NotImplementedError

    def perform(self, effect: Effect) -> str:
        raise NotImplementedError


class Terse(SendMail):
    """An action that does not say what to type."""

    def review(self, facts: MailFacts) -> Review:
        return Review(("one mail",), verb="Send")


class Told(SendMail):
    """An action that says a sentence, and nothing else of itself."""

    def sentence(self, facts: MailFacts) -> str:
        return f"Mail {facts.receivers} people about {self.subject}"


class Broken(SendMail):
    """An action whose words fail."""

    def review(self, facts: MailFacts) -> Review:
        raise RuntimeError("no words")


def request(action: str, **changed: Any) -> Request:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    values: dict[str, Any] = {
        "request_id": "r", "number": 1, "plan_id": "p", "turn_id": "t", "thread_id": "t", "tool_call_id": "c",
        "position": 0, "requested_by": "olga", "action": action, "arguments": {"subject": "Hello"}, "digest": "d",
        "salt": "s", "facts": {"receivers": 3, "sent_today": 0}, "sentence": "Send mail: subject Hello",
        "verdict": "ask", "rule": "rule", "risk": "low", "approvers": ["approver"], "approvals": 1, "state": "asked",
        "revision": 1, "notice": None, "opened_at": at, "expires_at": at, "asked_ms": None, "refused_answers": 0,
    }  # fmt: skip
    return Request(**{**values, **changed})


# Text


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("a <b> & \"c\" 'd'", "a &lt;b&gt; &amp; &#34;c&#34; &#39;d&#39;"),
        ("a\u202eb", 'a<span class="char" title="hidden character: right-to-left override">U+202E'),
        (r"\u202e", '<span class="char" title="hidden character: right-to-left override">U+202E'),
        (r"\ud83d\ude00", '<span class="char" title="character: grinning face">U+1F600'),
        (r"\\u202e", r"\\u202e"),
        ("‹U+FFFFFF›", "‹U+FFFFFF›"),
    ],
)
def test_our_texts_show_what_hides_and_escape_the_rest(given: str, made: str) -> None:
    assert str(text.ours(given)).startswith(made)


def test_what_a_person_wrote_keeps_its_lines_and_its_backslashes() -> None:
    made = str(text.theirs("one\n\n<two>\\u202e"))

    assert made == "one\n&lt;two&gt;\\u202e"
    assert str(text.theirs("x" * 5_000, 100)).endswith("5,000 characters")


def test_names_and_ids_stand_apart() -> None:
    made = text.parts(("to", Name("<i>"), Id("A-1")))

    assert made == 'to <bdi>&lt;i&gt;</bdi> <span class="id">A-1</span>'
    assert plain(("to", Name("<i>"), Id("A-1"))) == "to <i> A-1"


# The form for a change


def test_a_form_is_made_from_any_schema() -> None:
    fields = {field.name: field for field in edit_form.fields(SendMail, {"subject": "Hi", "copies": 2, "to": ["a"]})}

    assert {name: (field.kind, field.value) for name, field in fields.items()} == {
        "arg.subject": ("long", "Hi"),
        "arg.copies": ("number", "2"),
        "arg.urgent": ("choice", ""),
        "arg.tone": ("choice", ""),
        "arg.to": ("json", '["a"]'),
    }
    assert fields["arg.subject"].hint == "What stands on top"
    assert fields["arg.tone"].choices == ["plain", "warm"]


def test_only_what_was_changed_is_sent_and_by_its_type() -> None:
    fields = edit_form.fields(SendMail, {"subject": "Hi", "copies": 2, "urgent": False, "tone": "plain", "to": ["a"]})

    typed = {"arg.subject": "Hi", "arg.copies": " 3 ", "arg.urgent": "true", "arg.to": '["a", "b"]', "arg.more": "x"}
    changes, wrong = edit_form.read_changes(fields, typed)

    assert changes == {"copies": "3", "urgent": True, "to": ["a", "b"]}
    assert wrong == {}
    assert edit_form.read_changes(fields, {"arg.to": "[", "arg.urgent": "9" * 9_000})[1] == {
        "arg.to": "To cannot be read.",
        "arg.urgent": "Urgent cannot be read.",
    }


def test_what_a_change_makes_another_is_written_as_people_read_it() -> None:
    before = {"from_account": "A-1", "to_account": "A-2", "amount": "48250.00", "memo": "a\u202eb"}

    found = edit_form.differences(TransferFunds, before, {**before, "amount": "4825.00", "memo": "c"})
    of_old = edit_form.differences(TransferFunds, {"from_account": 7}, {**before, "memo": ""})

    assert found == [("Amount", "$48,250.00", "$4,825.00"), ("Memo", "a\u202eb", "c")]
    assert ("From account", "7", "A-1") in of_old


def test_errors_stand_at_their_fields() -> None:
    arguments = {"subject": "Hi", "copies": 2}

    assert edit_form.check_fields(SendMail, arguments, {"copies": "3"}) == {}
    assert set(edit_form.check_fields(SendMail, arguments, {"copies": "x", "subject": "y" * 901})) == {
        "arg.copies",
        "arg.subject",
    }
    fields = edit_form.fields(SendMail, arguments)
    assert edit_form.blame(fields, {"copies": "3", "subject": "Offer"}, "There is no Offer.") == "arg.subject"
    assert edit_form.blame(fields, {"copies": "3"}, "Too many.") == "arg.copies"
    assert edit_form.blame(fields, {}, "Too many.") == ""


@pytest.mark.parametrize("typed", ["48,250.00", "$48,250.00", "48250", " 48 250.0 ", "048250"])
def test_an_amount_is_confirmed_however_it_is_written(typed: str) -> None:
    assert is_confirmed(typed, "48,250.00")


@pytest.mark.parametrize("typed", ["", "4825000", "48,250.01", "4.8250", "48250e0", "x", "-48250", "٤٨٢٥٠"])
def test_another_amount_confirms_nothing(typed: str) -> None:
    assert not is_confirmed(typed, "48,250.00")
    assert not is_confirmed(typed, "")


@pytest.mark.parametrize("typed", ["1,250.00 EUR", "1250 eur", "EUR 1250", "1250", "€1,250"])
def test_an_amount_is_confirmed_in_its_currency_or_without_one(typed: str) -> None:
    assert is_confirmed(typed, "€1,250.00" if "€" in typed else "1,250.00 EUR")


@pytest.mark.parametrize("typed", ["1250 USD", "$1250", "1250 EU", "EUR"])
def test_an_amount_in_another_currency_confirms_nothing(typed: str) -> None:
    assert not is_confirmed(typed, "1,250.00 EUR")
    assert not is_confirmed(typed, "€1,250.00")


def test_a_name_is_confirmed_in_any_case() -> None:
    assert is_confirmed(" priya  natarajan", "Priya Natarajan")
    assert not is_confirmed("Priya", "Priya Natarajan")


# What an action says


def test_an_action_that_says_nothing_of_itself_is_shown_by_its_facts() -> None:
    shown = as_asked(Actions([SendMail]), request("send_mail"))

    assert (shown.review.verb, list(shown.review.what)) == ("Carry out", ["send mail"])
    assert shown.review.confirm == "send_mail"
    assert shown.known == [("receivers", "Receivers", "3"), ("sent_today", "Sent today", "0")]


def test_the_sentence_of_an_action_that_says_nothing_else_stands_in_its_heading() -> None:
    """The page of the request did not show it, and that is all that `Action.sentence` promises."""
    shown = as_asked(Actions([Told]), request("told"))

    assert " ".join((shown.review.verb, *shown.review.what, *shown.review.who)) == (
        "Carry out told – Mail 3 people about Hello"
    )


@pytest.mark.parametrize("changed", [{"arguments": None}, {"facts": {"other": 1}}, {"action": "gone"}, {"facts": None}])
def test_a_request_of_another_program_is_shown_by_its_sentence(changed: dict[str, Any]) -> None:
    shown = as_asked(Actions([SendMail]), request(**{"action": "send_mail", **changed}))

    assert list(shown.review.what) == ["Send mail: subject Hello"]
    assert shown.known == []


def test_an_action_whose_words_fail_can_still_be_decided() -> None:
    shown = as_asked(Actions([Broken]), request("broken"))

    assert list(shown.review.what) == ["broken"]
    assert shown.known[0] == ("receivers", "Receivers", "3")


# The chart, times, addresses


def test_the_chart_is_drawn_to_scale_and_said_in_words() -> None:
    days = [(date(2026, 11, 1) + timedelta(days=n), value) for n, value in enumerate([0, 50, 100, 0])]

    drawn = chart.draw(Activity('Sent <"per"> day', (Id('A"<-1'),), days, 100, lambda n: f"${n}.00"))

    assert drawn.drawing.count("bar-past") == 2
    assert 'height="97.0"' in drawn.drawing
    assert 'height="48.5"' in drawn.drawing
    assert "style=" not in drawn.drawing
    assert 'aria-label="Bar chart: sent &lt;&#34;per&#34;&gt; day, A&#34;&lt;-1. 4 days' in drawn.drawing
    assert drawn.weeks == [("26 Oct", "$0.00"), ("2 Nov", "$150.00")]
    assert drawn.y == ["$100", "$50", "$0"]


def test_an_account_without_history_has_a_chart_too() -> None:
    drawn = chart.draw(Activity("Sent per day", (Id("A-1"),), [(date(2026, 11, 1), 0)], 0, str))

    assert drawn.summary == "nothing"


@pytest.mark.parametrize(
    ("length", "words"),
    [(0, "under 1 min"), (59, "under 1 min"), (60, "1 min"), (7_199, "119 min"), (7_200, "2 h"), (172_799, "47 h"),
     (172_800, "2 days")],
)  # fmt: skip
def test_times_are_rounded_down(length: int, words: str) -> None:
    assert span(timedelta(seconds=length)) == words


def test_templates_and_files_are_in_the_package() -> None:
    package = ROOT / "src" / "clearance"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["clearance"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}

    files = {path for path in (package / "server" / "inbox").rglob("*") if path.is_file()}

    assert {path for path in files - packed if path.suffix not in (".py", ".pyc")} == set()


@pytest.mark.parametrize("address", ["/inbox", "/inbox?tab=open", "/inbox/requests/1?a=b"])
def test_after_signing_in_one_is_where_one_wanted_to_be(address: str) -> None:
    assert safe_next(address) == address


@pytest.mark.parametrize(("action", "name"), [(Terse, "terse"), (Broken, "broken")])
def test_there_is_always_something_to_type(action: type[SendMail], name: str) -> None:
    review = as_asked(Actions([action]), request(name)).review

    assert (review.confirm, review.confirm_is) == (name, "the name of the action")
