"""What templates show: plain values, made of the desk's. Text in them is as it came; `text` makes HTML of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.clearance.desk import Detail
from agent.clearance.journal import Decision, Receipt, Request
from agent.clearance.panel import Panel, given
from agent.clearance.principal import Principal
from agent.clearance.review import Concern, Id, Review, Words
from agent.clearance.reviewing import STATES, Changed, Shown, heading
from agent.server import talk
from agent.server.request import Reading

_SOON = timedelta(minutes=60)


# Times


@dataclass(frozen=True)
class Moment:
    """A time: in words for feeling, exactly for truth."""

    words: str
    at: str
    iso: str


def span(length: timedelta) -> str:
    """Say how long in words, rounded down: minutes under 120, hours under 48, then days."""
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "under 1 min"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def clock(at: datetime, now: datetime, *, seconds: bool = False) -> str:
    """Write a time of day, with the day when it is another one."""
    text = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    if at.date() == now.date():
        return text
    return f"{at:%-d %b} {text}" if at.year == now.year else f"{at:%-d %b %Y} {text}"


def moment(at: datetime, now: datetime, *, seconds: bool = False) -> Moment:
    """Say when something was or will be."""
    words = f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"
    return Moment(words, clock(at, now, seconds=seconds), at.astimezone(UTC).isoformat())


# Words

_ICONS = {"executed": ("done", "check"), "approved": ("cleared", "check"), "allowed": ("cleared", "check"),
          "asked": ("wait", "clock")}  # fmt: skip
#: Events of the audit log, as people read them, and their look.
EVENTS = {
    "requested": ("Asked", ""),
    "asked_again": ("Asked again", "late"),
    "approved": ("Approved", ""),
    "edited": ("Changed", ""),
    "rejected": ("Rejected", ""),
    "executed": ("Ran", "done"),
    "failed": ("Failed", "refused"),
    "refused": ("Refused", "refused"),
    "withdrawn": ("Withdrawn", "late"),
    "expired": ("Expired", "late"),
    "frozen": ("Frozen", "freeze"),
    "unfrozen": ("Unfrozen", "freeze"),
    "answer_refused": ("Answer refused", "refused"),
}


def event_word(event: str) -> str:
    """Name an audit event for people."""
    return EVENTS.get(event, (event.replace("_", " ").capitalize(), ""))[0]


def needs(request: Request) -> str:
    """Say of whom a request needs approval: `2 treasurers`."""
    roles = " and ".join(request.approvers or []) or "nobody"
    return f"{request.approvals} × {roles}" if request.approvals > 1 else roles


# The list


@dataclass(frozen=True)
class Row:
    """A request in a list."""

    id: str
    risk: str
    verb: str
    line: Words
    below: Words
    place: str
    remark: Concern | None
    notice: str | None
    amount: str
    asked_by: str
    needs: str
    needs_sub: str
    #: Who decided it, where somebody did.
    by: str
    opened: Moment
    waits: str
    until: Moment
    is_soon: bool
    is_open: bool
    #: Decided while one looks at the list.
    is_gone: bool


@dataclass(frozen=True)
class Around:
    """What stands around the requests of a page."""

    #: Requests of their plans, by plan.
    plans: dict[str, list[Request]]
    #: Decisions, by request.
    decisions: dict[str, list[Decision]]


def row(
    request: Request, shown: Shown, around: Around, viewer: Principal, now: datetime, *, is_gone: bool = False
) -> Row:
    """Make a row of a request."""
    review, plan = shown.review, around.plans.get(request.plan_id, [request])
    made = around.decisions.get(request.request_id, [])
    # A row that is decided while one looks keeps its lines: what stands below it must not move.
    concern = next(iter(review.concerns), None) if request.is_open or is_gone else None
    end = request.finished_at or request.expires_at
    place = [one.request_id for one in plan].index(request.request_id) + 1
    return Row(
        id=request.request_id,
        risk=request.risk,
        verb=review.verb,
        line=review.line or review.what,
        below=review.below,
        place=f"{place} of {len(plan)} in its turn" if len(plan) > 1 else "",
        remark=concern,
        notice=request.notice if request.is_open or is_gone else None,
        amount=review.amount,
        asked_by=request.requested_by,
        needs=needs(request) if request.state == "asked" else STATES[request.state],
        needs_sub=_needs_sub(request, plan, made, viewer),
        by="" if request.is_open else _decided_by(made),
        opened=moment(request.opened_at, now),
        waits=span((request.finished_at or now) - request.opened_at),
        until=moment(end, now),
        is_soon=request.is_open and end - now < _SOON,
        is_open=request.is_open,
        is_gone=is_gone,
    )


def _needs_sub(request: Request, plan: list[Request], made: list[Decision], viewer: Principal) -> str:
    if request.state == "asked" and request.approvals > 1:
        own = any(one.counts and one.decided_by == viewer.id for one in made)
        return f"{given(made)} of {request.approvals} given{', yours' if own and given(made) == 1 else ''}"
    if request.state in ("approved", "allowed"):
        waits = sum(one.state == "asked" for one in plan)
        return f"waits for {waits} more of its turn" if waits else "runs now"
    return ""


def _decided_by(made: Sequence[Decision]) -> str:
    return next((one.decided_by for one in reversed(made) if one.counts or one.decision == "reject"), "")


# One request


@dataclass(frozen=True)
class Vital:
    """One of the few facts under the sentence."""

    label: str
    text: Words
    sub: Words = ()
    is_soon: bool = False
    #: An address on the page for `sub`.
    link: str = ""


@dataclass(frozen=True)
class Step:
    """A request in its turn."""

    number: int
    look: str
    icon: str
    what: Words
    below: Words
    state: str
    more: Words
    is_this: bool
    href: str


@dataclass(frozen=True)
class Said:
    """What somebody said in the conversation: kind is person, lookup or model."""

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
    max_length: int | None = None


@dataclass(frozen=True)
class Report:
    """The box on top: what happened to an answer, or to the request meanwhile."""

    title: Words
    text: Words = ()
    #: danger, caution, good or nothing.
    look: str = ""
    icon: str = "warn"
    #: (address on the page, text) of what is to be corrected.
    errors: Sequence[tuple[str, str]] = ()

    @property
    def is_urgent(self) -> bool:
        """Tell whether a screen reader says it at once."""
        return self.look in ("danger", "caution")


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
    heading: str
    vitals: Sequence[Vital]
    concerns: Sequence[Concern]
    changes: Sequence[Changed]
    known: Sequence[tuple[str, str, str | None]]
    facts_of: str
    steps: Sequence[Step]
    turn_state: str
    talk: Sequence[Said]
    earlier: Sequence[Said]
    happened: Sequence[Happened]
    receipt: Receipt | None
    finished: Moment | None
    until: Moment
    is_soon: bool
    panel: Panel
    fields: Sequence[Field] = ()
    reports: Sequence[Report] = field(default_factory=list)


def vitals(detail: Detail, now: datetime) -> list[Vital]:
    """List until, needs, asked because, asked by, waits; of what is over, who decided and when it ended."""
    request, made = detail.request, detail.question.decisions
    asked_by = Vital("Asked by", (Id(request.requested_by),), ("their words",), link="#talk")
    if not request.is_open:
        assert request.finished_at is not None
        end = moment(request.finished_at, now, seconds=True)
        word = {"executed": "Ran", "rejected": "Rejected"}.get(request.state, STATES[request.state])
        deciders = [one.decided_by for one in made if one.counts or one.decision == "reject"]
        label = "Rejected by" if request.state == "rejected" else "Approved by"
        names = tuple(word for one in deciders for word in (",", Id(one)))[1:]
        decided = [Vital(label, names)] if deciders else []
        return [asked_by, *decided, Vital(word, (end.words,), (f"{end.at} UTC",))]
    until = moment(request.expires_at, now)
    approvals = [one for one in made if one.counts]
    given_at = [(Id(one.decided_by), f"{clock(one.decided_at, now)} UTC") for one in approvals]
    who = tuple(word for pair in given_at for word in (",", *pair))[1:]
    is_asked = request.state == "asked"
    return [
        Vital("Until", (until.words if request.expires_at > now else "passed",), (f"{until.at} UTC",),
              is_soon=request.expires_at - now < _SOON),
        *([Vital(f"Needs {needs(request)}", (f"{len(approvals)} of {request.approvals} given",), who)]
          if is_asked else [Vital("Approved by", who or ("policy",))]),
        Vital("Asked because", (request.rule,), ("policy rule",)),
        asked_by,
        Vital("Waits", (span(now - request.opened_at),), (f"since {clock(request.opened_at, now)} UTC",)),
    ]  # fmt: skip


def said(heard: Sequence[talk.Said], now: datetime) -> list[Said]:
    """List what was said."""
    return [Said(one.kind, one.by, one.text, moment(one.at, now, seconds=True) if one.at else None) for one in heard]


def steps(detail: Detail, reviews: dict[str, Review], now: datetime) -> list[Step]:
    """List the requests of the plan in order."""
    found = []
    for number, one in enumerate(detail.question.plan, 1):
        review, receipt = reviews[one.request_id], detail.receipts.get(one.request_id)
        look, icon = _ICONS.get(one.state, ("refused", "cross"))
        is_this = one.request_id == detail.request.request_id
        more = f"{clock(receipt.finished_at, now, seconds=True)} UTC" if receipt else _waiting(one)
        found.append(
            Step(number, look, "here" if is_this and one.state == "asked" else icon,
                 (review.verb, *review.what, *review.who), (), STATES[one.state], (more,), is_this,
                 f"/inbox/requests/{one.request_id}")
        )  # fmt: skip
    return found


def _waiting(request: Request) -> str:
    if request.state == "asked":
        return f"needs {needs(request)}"
    return f"by the rule {request.rule!r}" if request.state == "allowed" else "waits for the turn"


def turn_state(detail: Detail) -> str:
    """Say how the turn stands as a whole."""
    plan = detail.question.plan
    undecided = sum(one.state == "asked" for one in plan)
    if undecided and len(plan) > 1:
        return f"Nothing runs until all {len(plan)} actions are decided, then in this order"
    done = sum(one.state == "executed" for one in plan)
    return f"{done} of {len(plan)} done" if len(plan) > 1 else "The only action of its turn"


def happened(events: Sequence[dict[str, Any]], now: datetime) -> list[Happened]:
    """List what happened to a request, newest first."""
    return [_happened(event, now) for event in reversed(events)]


def _happened(event: dict[str, Any], now: datetime) -> Happened:
    details = json.loads(event["details"])
    said = details.get("rule") or details.get("cause") or details.get("attempt") or ""
    at = datetime.fromisoformat(event["at"])
    return Happened(moment(at, now, seconds=True), event["actor"], event_word(event["event"]), str(said))


def request_view(
    reading: Reading, reviews: dict[str, Review], fields: Sequence[Field], *, is_change: bool
) -> RequestView:
    """Put together the page of a request; `is_change` when what is shown is a change that nobody made yet."""
    request, detail, now = reading.request, reading.detail, reading.now
    return RequestView(
        request=request,
        review=reading.review,
        heading=heading(request, reading.review),
        vitals=vitals(detail, now),
        concerns=reading.concerns,
        changes=reading.changes,
        known=reading.known,
        facts_of=_facts_of(reading, is_change=is_change),
        steps=steps(detail, reviews, now),
        turn_state=turn_state(detail),
        talk=said(reading.talk.led, now),
        earlier=said(reading.talk.earlier, now),
        happened=happened(detail.events, now),
        receipt=detail.receipt,
        finished=moment(detail.receipt.finished_at, now, seconds=True) if detail.receipt else None,
        until=moment(request.expires_at, now),
        is_soon=request.is_open and request.expires_at - now < _SOON,
        panel=reading.panel,
        fields=fields,
    )


def _facts_of(reading: Reading, *, is_change: bool) -> str:
    if is_change:
        return "As your change would make it"
    if reading.stands:
        return f"Read at {clock(reading.now, reading.now, seconds=True)} UTC"
    return "As it was when it was asked for"
