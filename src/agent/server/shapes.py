"""Our values in the shapes of the contract. Text from outside is made safe to show here, once."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from agent.clearance import approval
from agent.clearance import statistics as counted
from agent.clearance.action import Argument as Called
from agent.clearance.action import read_arguments
from agent.clearance.answering import Checked
from agent.clearance.desk import Decided
from agent.clearance.journal import Receipt, Switch
from agent.clearance.listed import Listed
from agent.clearance.panel import Panel
from agent.clearance.rendering import SENTENCE, line, visible, whole, words
from agent.clearance.review import Activity, Concern, Review
from agent.clearance.reviewing import Changed, heading, plain
from agent.clearance.reviewing import Shown as ShownFacts
from agent.contract import Activity as ActivityShape
from agent.contract import (
    Answers,
    Argument,
    Change,
    Day,
    Entry,
    Event,
    Fact,
    Freeze,
    Look,
    Outcome,
    Reviewer,
    Said,
    Shown,
    Standing,
    Statistics,
)
from agent.contract import Checked as CheckedShape
from agent.contract import Review as ReviewShape
from agent.server import talk
from agent.server.request import Reading


def entry(listed: Listed) -> Entry:
    """Write a request as a list shows it."""
    request, review = listed.request, listed.review
    return Entry(
        id=request.request_id,
        action=request.action,
        sentence=_sentence(request.sentence),
        line=plain((*filter(None, (heading(request, review),)), *review.what, *review.who)),
        unsaid=line(listed.unsaid((*review.what, *review.who)), SENTENCE),
        remark=_remark(listed.remark) if listed.remark and request.is_open else None,
        not_done=line(listed.not_done, SENTENCE),
        risk=request.risk,
        state=request.state,
        requested_by=line(request.requested_by),
        namesake=visible(listed.namesake) if listed.namesake else None,
        requested_at=request.opened_at,
        expires_at=request.expires_at,
        finished_at=request.finished_at,
        approvers=request.approvers,
        approvals_needed=request.approvals,
        approvals_given=[line(name) for name in listed.given],
        notice=_sentence(request.notice),
        thread_id=request.thread_id,
        revision=request.revision,
        digest=request.digest,
        rule=line(request.rule),
    )


def shown(reading: Reading, listed: Listed) -> Shown:
    """Write all that there is to show of one request."""
    detail, now = reading.detail, reading.now
    activity = reading.stands.activity if reading.stands else None
    is_there = reading.is_thread_there
    return Shown(
        request=entry(listed),
        disagreements=[line(one) for one in detail.disagreements],
        look_first=[_look(one) for one in reading.concerns],
        review=_review(reading.review, reading.arguments, reading.changes, reading.known,
                       heading(reading.request, reading.review), now if reading.stands else None),
        answers=_answers(reading.panel),
        activity=_activity(activity, now) if activity else None,
        talk=[_said(one) for one in reading.talk.led],
        earlier=[_said(one) for one in reading.talk.earlier],
        payload=approval.payload(detail.question),
        receipt=outcome(detail.receipt),
        history=[event(row) for row in detail.events],
        thread="unknown" if is_there is None else "there" if is_there else "gone",
    )  # fmt: skip


def checked(found: Checked, changed: ShownFacts, now: datetime) -> CheckedShape:
    """Write what an edit would come to, in words as if it were asked for so."""
    judged, demand = found.judged, found.demand
    known = [(label, text, None) for _, label, text in changed.known]
    review, called = changed.review, read_arguments(type(judged.action), judged.arguments)
    return CheckedShape(
        sentence=line(judged.sentence, SENTENCE),
        review=_review(review, called, [Changed(one) for one in review.changes], known, review.verb, now),
        facts=[{"label": label, "text": text} for label, text in approval.facts_for_people(judged.facts)],
        rule=line(demand["rule"]) if "rule" in demand else line(judged.verdict.rule),
        risk=demand.get("risk", judged.verdict.risk),
        approvers=demand["approvers"],
        approvals_needed=demand["approvals"],
        is_enough=found.counts,
    )


def standing(decided: Decided, listed: Listed) -> Standing:
    """Write how a request stands."""
    return Standing(
        request=entry(listed),
        receipt=outcome(decided.receipt),
        waits_for=[one.request_id for one in decided.waits_for],
        approvals_missing=decided.approvals_missing,
        sentence=_in_words(decided),
    )


def event(row: dict[str, Any]) -> Event:
    """Write an audit row."""
    named = {name: row[name] for name in ("seq", "at", "event", "actor", "thread_id", "turn_id", "request_id")}
    return Event(**named, details=json.loads(row["details"]))


def outcome(receipt: Receipt | None) -> Outcome | None:
    """Write how a request ended, if it did."""
    if receipt is None:
        return None
    return Outcome(
        outcome=receipt.outcome,
        sentence=_sentence(receipt.sentence),
        finished_at=receipt.finished_at,
        revision=receipt.revision,
    )


def statistics(found: counted.Statistics) -> Statistics:
    """Write how awake reviewers are."""
    return Statistics(
        since=found.since,
        hasty_s=counted.HASTY.total_seconds(),
        reviewers=[
            Reviewer(
                person=line(one.person),
                decisions=one.decisions,
                approved=one.approved,
                edited=one.edited,
                rejected=one.rejected,
                median_s=round(one.median.total_seconds(), 1),
                hasty=one.hasty,
            )
            for one in found.reviewers
        ],
        verdicts={line(action): words for action, words in found.verdicts.items()},
    )


def freeze(switch: Switch, counts: dict[str, int], now: datetime) -> Freeze:
    """Write whether effects may run."""
    ahead = switch.ahead(now)
    return Freeze(
        frozen=switch.frozen_by is not None,
        by=_line(switch.frozen_by),
        reason=_sentence(switch.frozen_reason),
        since=switch.frozen_at,
        ahead_s=int(ahead.total_seconds()) if ahead else None,
        open=counts,
    )


def _in_words(decided: Decided) -> str:
    """Say how a request stands, in one sentence."""
    if decided.receipt is not None:
        return line(decided.receipt.sentence or "It is over; what it said was erased.", SENTENCE)
    if decided.request.state == "asked":
        if decided.request.notice:
            return f"It is asked again: {line(decided.request.notice, SENTENCE)}"
        more = decided.approvals_missing
        return f"Your answer is recorded; {more} more {'person has' if more == 1 else 'people have'} to approve it."
    if decided.waits_for:
        more = len(decided.waits_for)
        others = "one more request" if more == 1 else f"{more} more requests"
        return f"Your answer is recorded; it is carried out when {others} of this turn {_are(more)} decided."
    return "Your answer is recorded; its run has not come to it yet."


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _sentence(text: str | None) -> str | None:
    return None if text is None else line(text, SENTENCE)


def _remark(concern: Concern) -> Look:
    return Look(text=plain(concern.title), is_bad=concern.is_bad)


def _look(concern: Concern) -> Look:
    said = f"{plain(concern.title)}{concern.stop} {plain(concern.text)}"
    return Look(text=said.strip(), is_bad=concern.is_bad)


def _review(
    review: Review,
    called: Sequence[Called],
    changes: Sequence[Changed],
    known: Sequence[tuple[str, str, str | None]],
    verb: str,
    read_at: datetime | None,
) -> ReviewShape:
    return ReviewShape(
        verb=review.verb,
        what=plain(review.what),
        who=plain(review.who),
        heading=verb,
        arguments=[Argument(name=line(one.name), label=line(one.label), text=whole(one.text)) for one in called],
        changes=[_change(one) for one in changes],
        facts=[Fact(label=line(label), text=line(text), was=_line(was)) for label, text, was in known],
        read_at=read_at,
        confirm=line(review.confirm),
        confirm_is=review.confirm_is,
    )


def _change(changed: Changed) -> Change:
    one = changed.change
    return Change(
        label=plain(one.label),
        of=plain(one.of),
        before=line(one.before),
        after=line(one.after),
        change=line(one.change),
        was=_line(changed.was),
    )


def _line(text: str | None) -> str | None:
    return None if text is None else line(text)


def _answers(panel: Panel) -> Answers:
    return Answers(
        may_approve=panel.may_approve,
        may_reject=panel.may_reject,
        may_edit=panel.may_edit,
        may_close=panel.may_close,
        why_not=plain(panel.why_not),
        hint=panel.hint,
        button=f"{plain(panel.button)}{panel.button_of}",
        after_press=panel.after_press,
    )


def _activity(activity: Activity, now: datetime) -> ActivityShape:
    days = [Day(day=day, value=value, text=activity.to_text(value)) for day, value in activity.days]
    return ActivityShape(
        title=activity.title,
        of=plain(activity.of),
        days=days,
        this=Day(day=now.astimezone(UTC).date(), value=activity.this, text=activity.to_text(activity.this)),
        summary=activity.summary,
    )


def _said(said: talk.Said) -> Said:
    return Said(kind=said.kind, by=line(said.by), text=words(said.text), at=said.at)
