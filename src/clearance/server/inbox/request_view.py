"""What the page of one request shows: plain values. Text in them is as it came; `text` makes HTML of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clearance.actions.action import Argument
from clearance.actions.review import Concern, Id, Review, Words
from clearance.desk import flights
from clearance.desk.choices import Panel
from clearance.desk.comparison import Changed, heading
from clearance.desk.detail import Detail
from clearance.desk.labels import ATTEMPTS, STATES, event_label
from clearance.journal.attempts import Attempt
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request
from clearance.server.api import conversation
from clearance.server.api.dossier import Dossier
from clearance.server.inbox.wording import SOON, Moment, clock, decided_by, moment, needs
from clearance.text.rendering import span

_ICONS = {"executed": ("done", "check"), "approved": ("cleared", "check"), "allowed": ("cleared", "check"),
          "asked": ("wait", "clock"), "executing": ("wait", "clock"), "unknown": ("wait", "warn")}  # fmt: skip


@dataclass(frozen=True)
class Vital:
    """One of the few facts under the sentence."""

    label: str
    text: Words
    sub: Words = ()
    is_soon: bool = False
    #: An address on the page for `sub`.
    link: str = ""
    #: What it is as long as a change is not made, where that is another.
    was: str = ""


@dataclass(frozen=True)
class Step:
    """A request in its turn."""

    number: int
    look: str
    icon: str
    what: Words
    state: str
    more: Words
    is_this: bool
    href: str
    #: What it is as long as a change is not made.
    was: Words = ()


@dataclass(frozen=True)
class Said:
    """What stands in the conversation: kind is person, lookup, action or model."""

    kind: str
    by: str
    text: str
    at: Moment | None


@dataclass(frozen=True)
class Happened:
    """A line of what happened to a request."""

    at: Moment
    who: str
    what: str
    more: str = ""


@dataclass(frozen=True)
class Start:
    """One start of an effect elsewhere: (label, text) of what is known of it."""

    number: int
    known: Sequence[tuple[str, Words]]


@dataclass(frozen=True)
class Field:
    """A field of the form for a change."""

    name: str
    label: str
    hint: str
    value: str
    #: text, long, number, yes or no, or one of `choices`.
    kind: str = "text"
    choices: Sequence[str] = ()
    error: str = ""


@dataclass(frozen=True)
class Checked:
    """A change that was checked and not made."""

    #: (label, before, after) of the arguments that change.
    differences: Sequence[tuple[str, str, str]]
    #: Name and value of what is sent when it is made.
    values: dict[str, str]
    button: Words
    about: Words
    #: What is typed to confirm it; empty where nothing is.
    confirm: str = ""
    confirm_is: str = ""


@dataclass(frozen=True)
class RequestView:
    """The page of one request."""

    request: Request
    review: Review
    #: What of it the database says otherwise than the log; shown before anything else.
    disagreements: Sequence[str]
    heading: str
    vitals: Sequence[Vital]
    concerns: Sequence[Concern]
    #: Every argument of the call, under what it came to: will run, ran, was asked for.
    arguments: Sequence[Argument]
    arguments_title: str
    changes: Sequence[Changed]
    #: Labels of the facts whose change voids an approval.
    material: Sequence[str]
    known: Sequence[tuple[str, str, str | None]]
    facts_of: str
    steps: Sequence[Step]
    turn_state: str
    talk: Sequence[Said]
    earlier: Sequence[Said]
    happened: Sequence[Happened]
    receipt: Receipt | None
    finished: Moment | None
    #: The person on whose word alone the receipt rests; None where it rests on what we know.
    settled_by: str | None
    #: What came to be known after the receipt and says otherwise; shown before anything else.
    contradictions: Sequence[str]
    #: Starts of an effect elsewhere.
    starts: Sequence[Start]
    #: From when on the viewer may say that it did not happen; None: now, or never.
    not_happened: Moment | None
    until: Moment
    is_soon: bool
    panel: Panel
    fields: Sequence[Field] = ()
    #: The request before the change that is shown; None where none is.
    before: "Before | None" = None


@dataclass(frozen=True)
class Before:
    """A request as it stands, where the page shows a change to it."""

    detail: Detail
    review: Review

    @property
    def request(self) -> Request:
        """The request itself."""
        return self.detail.request

    @property
    def words(self) -> Words:
        """Say what it would do."""
        return _words(self.review)


def vitals(detail: Detail, now: datetime, before: Before | None = None) -> list[Vital]:
    """List until, needs, asked because, asked by, waits; of what is started or over, who decided and when."""
    request, made = detail.request, detail.question.decisions
    asked_by = Vital("Asked by", (Id(request.requested_by),), ("their words",), link="#talk")
    if not request.is_open:
        deciders = decided_by(made)
        label = "Rejected by" if request.state == "rejected" else "Approved by"
        names = tuple(word for one in deciders for word in (",", Id(one)))[1:]
        decided = [Vital(label, names)] if deciders else []
        if request.finished_at is None:
            assert detail.attempt is not None
            return [asked_by, *decided, *_flight(detail.attempt, now)]
        end = moment(request.finished_at, now, seconds=True)
        return [asked_by, *decided, Vital(STATES[request.state], (end.words,), (f"{end.at} UTC",))]
    until = moment(request.expires_at, now)
    approvals = [one for one in made if one.counts]
    given_at = [(Id(one.decided_by), f"{clock(one.decided_at, now)} UTC") for one in approvals]
    who = tuple(word for pair in given_at for word in (",", *pair))[1:]
    is_asked, was = request.state == "asked", before.request if before else request
    return [
        Vital("Until", (until.words if request.expires_at > now else "passed",), (f"{until.at} UTC",),
              is_soon=request.expires_at - now < SOON),
        *([Vital(f"Needs {needs(request)}", (f"{len(approvals)} of {request.approvals} given",), who,
                was=needs(was) if needs(was) != needs(request) else "")]
          if is_asked else [Vital("Approved by", who or ("policy",))]),
        Vital("Asked because", (request.rule,), ("policy rule",), was=was.rule if was.rule != request.rule else ""),
        asked_by,
        Vital("Waits", (span(now - request.opened_at),), (f"since {clock(request.opened_at, now)} UTC",)),
    ]  # fmt: skip


def _flight(last: Attempt, now: datetime) -> list[Vital]:
    start = moment(last.started_at, now, seconds=True)
    started = Vital("Started", (start.words,), (f"{start.at} UTC",))
    if last.state == "executing":
        return [started]
    if last.next_look_at is None:
        return [started, Vital("To be known", ("by the word of a person",))]
    next_at = moment(last.next_look_at, now, seconds=True)
    return [started, Vital("Looked into", ("next",), (f"at {next_at.at} UTC",))]


def said(heard: Sequence[conversation.Said], now: datetime) -> list[Said]:
    """List what was said."""
    return [Said(one.kind, one.by, one.text, moment(one.at, now, seconds=True) if one.at else None) for one in heard]


def steps(detail: Detail, reviews: dict[str, Review], now: datetime, before: Before | None = None) -> list[Step]:
    """List the requests of the turn in order."""
    found = []
    shown = {one.request_id: one for one in detail.question.plan}
    for number, one in enumerate((shown.get(one.request_id, one) for one in detail.of_turn), 1):
        review, receipt = reviews[one.request_id], detail.receipts.get(one.request_id)
        look, icon = _ICONS.get(one.state, ("refused", "cross"))
        is_this = one.request_id == detail.request.request_id
        more = f"{clock(receipt.finished_at, now, seconds=True)} UTC" if receipt else _waiting(one)
        found.append(
            Step(number, look, "here" if is_this and one.state == "asked" else icon,
                 _words(review), STATES[one.state], (more,), is_this,
                 f"/inbox/requests/{one.request_id}", before.words if before and is_this else ())
        )  # fmt: skip
    return found


def _words(review: Review) -> Words:
    return (review.verb, *review.what, *review.who)


def _waiting(request: Request) -> str:
    if request.state == "asked":
        return f"needs {needs(request)}"
    if request.is_in_flight:
        return "started elsewhere"
    return f"by the rule {request.rule!r}" if request.state == "allowed" else "waits for the turn"


def turn_state(detail: Detail) -> str:
    """Say how the turn stands as a whole."""
    plan, turn = detail.question.plan, detail.of_turn
    undecided = sum(one.state == "asked" for one in plan)
    if undecided and len(plan) > 1:
        which = "" if len(plan) == len(turn) else f"the last {len(plan)} of "
        return f"Nothing more runs until {which}these {len(turn)} actions are decided, then in this order"
    done = sum(one.state == "executed" for one in turn)
    return f"{done} of {len(turn)} done" if len(turn) > 1 else "The only action of its turn"


def happened(events: Sequence[dict[str, Any]], now: datetime) -> list[Happened]:
    """List what happened to a request, newest first."""
    return [_happened(event, now) for event in reversed(events)]


def _happened(event: dict[str, Any], now: datetime) -> Happened:
    details = json.loads(event["details"])
    said = details.get("rule") or details.get("cause") or details.get("attempt") or ""
    if event["event"] in _OF_STARTS:
        said = _of_start(event["event"], details)
    elif event["event"] in ("executed", "failed") and "attempt" in details:
        said = f"start {details['attempt']}{_VIA.get(details.get('via', ''), '')}"
    at = datetime.fromisoformat(event["at"])
    return Happened(moment(at, now, seconds=True), event["actor"], event_label(event["event"]), str(said))


#: Events whose `attempt` is the number of a start.
_OF_STARTS = ("started", "unknown", "reconciling", "reconciled", "released", "settled", "contradicted")

#: How the outcome of a start came.
_VIA = {"late": ", by a late answer", "look-up": ", by a look-up", "person": ", on the word of a person"}


def _of_start(event: str, details: dict[str, Any]) -> str:
    number = f"start {details['attempt']}"
    match event:
        case "settled":
            return f"{number}: it {'happened' if details['happened'] else 'did not happen'}"
        case "contradicted":
            return f"{number}: it {'happened' if details['says'] == 'executed' else 'did not happen'}"
        case "reconciled":
            return f"{number}: it {'happened' if details['result'] == 'executed' else 'did not happen'}"
        case "unknown":
            return f"{number}: {details['cause']}"
        case _:
            return number


def view_of(
    dossier: Dossier, reviews: dict[str, Review], fields: Sequence[Field], before: Before | None = None
) -> RequestView:
    """Put together the page of a request; with `before`, what is read is a change to that, which nobody made yet."""
    request, detail, now = dossier.request, dossier.detail, dossier.now
    return RequestView(
        request=request,
        review=dossier.review,
        disagreements=detail.disagreements,
        heading=heading(request, dossier.review),
        vitals=vitals(detail, now, before),
        concerns=dossier.concerns,
        arguments=dossier.arguments,
        arguments_title=_arguments_title(request, is_change=before is not None),
        changes=dossier.changes,
        material=dossier.material,
        known=dossier.known,
        facts_of=_facts_of(dossier, is_change=before is not None),
        steps=steps(detail, reviews, now, before),
        turn_state=turn_state(detail),
        talk=said(dossier.talk.led, now),
        earlier=said(dossier.talk.earlier, now),
        # That a question reached its thread is no answer.
        happened=happened([event for event in detail.events if event["event"] != "question_put"], now),
        receipt=detail.receipt,
        finished=moment(detail.receipt.finished_at, now, seconds=True) if detail.receipt else None,
        settled_by=detail.attempt.settled_by if detail.attempt else None,
        contradictions=[flights.contradiction(one) for one in detail.contradictions],
        starts=[_start(one, now) for one in detail.attempts],
        not_happened=moment(at, now, seconds=True) if (at := dossier.panel.not_happened_from) else None,
        until=moment(request.expires_at, now),
        is_soon=request.is_open and request.expires_at - now < SOON,
        panel=dossier.panel,
        fields=fields,
        before=before,
    )


def _start(one: Attempt, now: datetime) -> Start:
    state = ATTEMPTS[one.state]
    if one.settled_by is not None:
        state = f"{state}, says"
    known: list[tuple[str, Words]] = [("State", (state, *([Id(one.settled_by)] if one.settled_by else [])))]
    if one.settled_by is not None:
        known.append(("How they know", (one.reason or "What they said was erased.",)))
    known.append(("Started", (f"{clock(one.started_at, now, seconds=True)} UTC",)))
    if one.ended_at is not None:
        known.append(("Known since", (f"{clock(one.ended_at, now, seconds=True)} UTC",)))
    if one.cause is not None:
        known.append(("Why it was not known", (flights.why_unknown(one),)))
    if one.state == "unknown":
        known.append(("What is done", (flights.looking(one),)))
    elif one.looks:
        known.append(("Looked up", (f"{one.looks} times" if one.looks > 1 else "once",)))
    known.append(("Sent under the key", (Id(one.idempotency_key),)))
    return Start(one.number, known)


def _arguments_title(request: Request, *, is_change: bool) -> str:
    if is_change:
        return "Exactly this would run"
    if request.is_open:
        return "Exactly this will run"
    if request.is_in_flight:
        return "Exactly this was started"
    return "Exactly this ran" if request.state == "executed" else "Exactly this was asked for"


def _facts_of(dossier: Dossier, *, is_change: bool) -> str:
    if is_change:
        return "As your change would make it"
    if dossier.stands:
        return f"Read at {clock(dossier.now, dossier.now, seconds=True)} UTC"
    return "As it was when it was asked for"
