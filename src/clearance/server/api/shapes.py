"""Our values in the shapes of the contract. Text from outside is made safe to show here, once."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from clearance import contract
from clearance.actions.action import Argument, read_arguments
from clearance.actions.review import Activity, Concern, Review
from clearance.desk import flights
from clearance.desk import statistics as counted
from clearance.desk.choices import Panel
from clearance.desk.comparison import Appearance, Changed, heading, plain
from clearance.desk.desk import Standing
from clearance.desk.entries import Listed
from clearance.gate.decision import Checked
from clearance.gate.question import facts_for_people, payload
from clearance.journal.attempts import Attempt
from clearance.journal.receipts import Receipt
from clearance.journal.switch import Switch
from clearance.journal.tools import SeenTool
from clearance.server.api import conversation
from clearance.server.api.dossier import Dossier
from clearance.text.rendering import SENTENCE, line, visible, whole, words


def entry(listed: Listed) -> contract.Entry:
    """Write a request as a list shows it."""
    request, review = listed.request, listed.review
    return contract.Entry(
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
        flight=_flight(listed.attempt) if listed.attempt and request.is_in_flight else None,
    )


def _flight(attempt: Attempt) -> contract.Flight:
    return contract.Flight(
        started_at=attempt.started_at,
        sentence=flights.in_words(attempt),
        next_look_at=attempt.next_look_at,
        waits_for_person=flights.waits_for_person(attempt),
    )


def _attempt(one: Attempt) -> contract.Attempt:
    return contract.Attempt(
        number=one.number,
        state=one.state,
        started_at=one.started_at,
        ended_at=one.ended_at,
        cause=_line(one.cause),
        looks=one.looks,
        last_look=_line(one.last_look),
        next_look_at=one.next_look_at,
        absent_at=one.absent_at,
        idempotency_key=one.idempotency_key,
        settled_by=_line(one.settled_by),
        reason=_sentence(one.reason),
    )


def detail(dossier: Dossier, listed: Listed) -> contract.Detail:
    """Write all that there is to show of one request."""
    detail, now = dossier.detail, dossier.now
    activity = dossier.stands.activity if dossier.stands else None
    is_there = dossier.is_thread_there
    return contract.Detail(
        request=entry(listed),
        contradictions=[flights.contradiction(one) for one in detail.contradictions],
        disagreements=[line(one) for one in detail.disagreements],
        look_first=[_look(one) for one in dossier.concerns],
        review=_review(dossier.review, dossier.arguments, dossier.changes, dossier.known,
                       heading(dossier.request, dossier.review), now if dossier.stands else None),
        answers=_answers(dossier.panel),
        activity=_activity(activity, now) if activity else None,
        talk=[_said(one) for one in dossier.talk.led],
        earlier=[_said(one) for one in dossier.talk.earlier],
        payload=payload(detail.question),
        receipt=receipt(detail.receipt, detail.attempt),
        attempts=[_attempt(one) for one in detail.attempts],
        history=[event(row) for row in detail.events],
        thread="unknown" if is_there is None else "there" if is_there else "gone",
    )  # fmt: skip


def checked(found: Checked, changed: Appearance, now: datetime) -> contract.Checked:
    """Write what an edit would come to, in words as if it were asked for so."""
    judged, demand = found.judged, found.demand
    known = [(label, text, None) for _, label, text in changed.known]
    review, called = changed.review, read_arguments(type(judged.action), judged.arguments)
    return contract.Checked(
        sentence=line(judged.sentence, SENTENCE),
        review=_review(review, called, [Changed(one) for one in review.changes], known, review.verb, now),
        facts=[{"label": label, "text": text} for label, text in facts_for_people(judged.facts)],
        rule=line(demand["rule"]) if "rule" in demand else line(judged.verdict.rule),
        risk=demand.get("risk", judged.verdict.risk),
        approvers=demand["approvers"],
        approvals_needed=demand["approvals"],
        is_enough=found.counts,
    )


def standing(decided: Standing, listed: Listed) -> contract.Standing:
    """Write how a request stands."""
    return contract.Standing(
        request=entry(listed),
        receipt=receipt(decided.receipt, decided.attempt),
        waits_for=[one.request_id for one in decided.waits_for],
        approvals_missing=decided.approvals_missing,
        sentence=_in_words(decided),
    )


def event(row: dict[str, Any]) -> contract.Event:
    """Write an audit row."""
    named = {name: row[name] for name in ("seq", "at", "event", "actor", "thread_id", "turn_id", "request_id")}
    return contract.Event(**named, details=json.loads(row["details"]))


def receipt(receipt: Receipt | None, last: Attempt | None) -> contract.Receipt | None:
    """Write how a request ended, if it did; `last` is its last start elsewhere."""
    if receipt is None:
        return None
    return contract.Receipt(
        outcome=receipt.outcome,
        sentence=_sentence(receipt.sentence),
        finished_at=receipt.finished_at,
        revision=receipt.revision,
        settled_by=_line(last.settled_by) if last else None,
    )


def tool(seen: SeenTool) -> contract.Tool:
    """Write a definition of an MCP server's tool."""
    read = seen.read()
    return contract.Tool(
        server=line(seen.server),
        tool=line(seen.name),
        digest=seen.digest,
        state=seen.state,  # type: ignore[arg-type]  # one of these, the schema sees to it
        description=whole(read.description),
        arguments=json.dumps(read.schema, sort_keys=True),
        hints=read.hints,
        seen_at=seen.seen_at,
        decided_at=seen.decided_at,
        decided_by=line(seen.decided_by) if seen.decided_by else None,
    )


def statistics(found: counted.Statistics) -> contract.Statistics:
    """Write how awake reviewers are."""
    return contract.Statistics(
        since=found.since,
        hasty_s=counted.HASTY.total_seconds(),
        reviewers=[
            contract.Reviewer(
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


def switch(switch: Switch, counts: dict[str, int], in_flight: Sequence[Listed], now: datetime) -> contract.Switch:
    """Write whether effects may run, and what was started and has no outcome."""
    ahead = switch.ahead(now)
    return contract.Switch(
        frozen=switch.frozen_by is not None,
        by=_line(switch.frozen_by),
        reason=_sentence(switch.frozen_reason),
        since=switch.frozen_at,
        ahead_s=int(ahead.total_seconds()) if ahead else None,
        open=counts,
        in_flight=[entry(one) for one in in_flight],
    )


def _in_words(decided: Standing) -> str:
    """Say how a request stands, in one sentence."""
    if decided.receipt is not None:
        return line(decided.receipt.sentence or "It is over; what it said was erased.", SENTENCE)
    if decided.request.is_in_flight:
        assert decided.attempt is not None
        return f"Your answer is recorded. {flights.in_words(decided.attempt)}"
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


def _remark(concern: Concern) -> contract.Concern:
    return contract.Concern(text=plain(concern.title), is_bad=concern.is_bad)


def _look(concern: Concern) -> contract.Concern:
    said = f"{plain(concern.title)}{concern.stop} {plain(concern.text)}"
    return contract.Concern(text=said.strip(), is_bad=concern.is_bad)


def _review(
    review: Review,
    called: Sequence[Argument],
    changes: Sequence[Changed],
    known: Sequence[tuple[str, str, str | None]],
    verb: str,
    read_at: datetime | None,
) -> contract.Review:
    return contract.Review(
        verb=review.verb,
        what=plain(review.what),
        who=plain(review.who),
        heading=verb,
        arguments=[
            contract.Argument(name=line(one.name), label=line(one.label), text=whole(one.text)) for one in called
        ],
        changes=[_change(one) for one in changes],
        facts=[contract.Fact(label=line(label), text=line(text), was=_line(was)) for label, text, was in known],
        read_at=read_at,
        confirm=line(review.confirm),
        confirm_is=review.confirm_is,
    )


def _change(changed: Changed) -> contract.Change:
    one = changed.change
    return contract.Change(
        label=plain(one.label),
        of=plain(one.of),
        before=line(one.before),
        after=line(one.after),
        change=line(one.change),
        was=_line(changed.was),
    )


def _line(text: str | None) -> str | None:
    return None if text is None else line(text)


def _answers(panel: Panel) -> contract.Answers:
    return contract.Answers(
        may_approve=panel.may_approve,
        may_reject=panel.may_reject,
        may_edit=panel.may_edit,
        may_close=panel.may_close,
        why_not=plain(panel.why_not),
        hint=panel.hint,
        button=f"{plain(panel.button)}{panel.button_of}",
        after_press=panel.after_press,
        may_settle=panel.may_settle,
        not_happened_from=panel.not_happened_from,
    )


def _activity(activity: Activity, now: datetime) -> contract.Activity:
    days = [contract.Day(day=day, value=value, text=activity.to_text(value)) for day, value in activity.days]
    return contract.Activity(
        title=activity.title,
        of=plain(activity.of),
        days=days,
        this=contract.Day(day=now.astimezone(UTC).date(), value=activity.this, text=activity.to_text(activity.this)),
        summary=activity.summary,
    )


def _said(said: conversation.Said) -> contract.Said:
    return contract.Said(kind=said.kind, by=line(said.by), text=words(said.text), at=said.at)
