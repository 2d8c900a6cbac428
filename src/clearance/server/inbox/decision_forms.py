"""The forms on a request: approve, reject, change, close, settle. A redirect follows each that is taken."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Response
from starlette.responses import HTMLResponse, RedirectResponse

from clearance.actions.review import Id, Review
from clearance.desk import comparison
from clearance.desk.choices import is_confirmed
from clearance.desk.comparison import as_asked
from clearance.desk.desk import Seen, WrongInputError, read_decision
from clearance.desk.detail import Detail
from clearance.gate.answers import MAX_REASON, Answer
from clearance.gate.decision import Checked, Refusal
from clearance.server.api.submission import close_lost, decide_and_wake, found, settle_request
from clearance.server.entry.dependencies import OfDesk
from clearance.server.entry.wall import wall
from clearance.server.inbox import edit_form, reports, request_view
from clearance.server.inbox.filters import Narrowed
from clearance.server.inbox.reports import Report
from clearance.server.inbox.request_page import Draft, request_page
from clearance.server.inbox.route import pages_router
from clearance.server.inbox.session import Form

router = pages_router()


class SentForm:
    """A form on a request: who sent it, to which desk, and from which list they came."""

    def __init__(self, form: Form, desk: OfDesk, came: Narrowed, request_id: str) -> None:
        self.form, self.desk, self.came, self.request_id = form, desk, came, request_id
        self.person = form.session.person

    @property
    def seen(self) -> Seen:
        """Give what it is about, as it was shown."""
        revision = self.form.get("revision")
        return Seen(self.form.get("digest"), int(revision) if revision.isascii() and revision.isdecimal() else 0)

    async def found(self) -> Detail:
        """Read the request.

        Raises:
            HTTPException: 404 where there is none, or none that this person may see.
        """
        return await found(self.desk, self.person, self.request_id)

    def taken(self) -> Response:
        """Lead back to the request, where a report says what became of it."""
        return RedirectResponse(f"/inbox/requests/{self.request_id}{self.came.suffix}#report", 303)

    async def page(self, *told: Report, **more: Any) -> HTMLResponse:
        """Show the request again with what was typed, and what is told of it."""
        return await request_page(
            self.form.session, self.desk, self.came, self.request_id, typed=self.form.fields, told=list(told), **more
        )


Sent = Annotated[SentForm, Depends()]


@router.post("/requests/{request_id}/approve")
async def approve(sent: Sent) -> Response:
    """Approve exactly what was shown."""
    detail, typed = await sent.found(), sent.form.get("confirm")
    if detail.request.state == "asked" and detail.request.risk == "critical":
        review = await _review_shown(detail)
        if not is_confirmed(typed, review.confirm):
            error = _not_confirmed(typed, review)
            report = Report(("Not approved: 1 thing to correct",), (), "danger", errors=[("confirm", error)])
            return await sent.page(report, errors={"confirm": error}, status=422)
    return await _decide(sent, read_decision("approve", sent.seen), "approval")


async def _review_shown(detail: Detail) -> Review:
    """Give the words in which the page shows a request, whose field says what to type."""
    parts, now = (await wall()).parts, datetime.now(UTC)
    judge, turn = parts.gate.judge, detail.question.turn
    stands = await parts.gate.read(lambda c: comparison.as_it_stands(c, judge, detail.request, turn, now))
    shown = stands.shown if stands and stands.shown else as_asked(judge.actions, detail.request)
    return shown.review


def _not_confirmed(typed: str, review: Review) -> str:
    if not typed.strip():
        return f"To approve it type {review.confirm_is}, {review.confirm}"
    return f"You typed {typed.strip()[:60]}; {review.confirm_is} is {review.confirm}"


@router.post("/requests/{request_id}/reject")
async def reject(sent: Sent) -> Response:
    """Reject it, with a reason."""
    await sent.found()
    try:
        answer = read_decision("reject", sent.seen, sent.form.get("reason"))
    except WrongInputError:
        error = f"A reason is text of at most {MAX_REASON:,} characters"
        report = Report(("Not rejected: 1 thing to correct",), (), "danger", errors=[("reason", error)])
        return await sent.page(report, errors={"reason": error}, open_form="reject", status=422)
    return await _decide(sent, answer, "rejection")


@router.post("/requests/{request_id}/settle")
async def settle(sent: Sent) -> Response:
    """Say what became of a request of which nobody knows."""
    await sent.found()
    if not sent.form.get("reason").strip():
        error = "Say how you know: a sentence"
        report = Report(("Not recorded: 1 thing to correct",), (), "danger", errors=[("reason", error)])
        return await sent.page(report, errors={"reason": error}, status=422)
    happened = sent.form.get("happened")
    if happened not in ("yes", "no"):
        raise HTTPException(422, "happened: must be yes or no")
    try:
        await settle_request(
            sent.desk, sent.person, sent.request_id, happened=happened == "yes", reason=sent.form.get("reason")
        )
    except HTTPException as exc:
        if exc.status_code == 404:
            raise
        said = str(exc.detail).removeprefix("Not recorded: ").removeprefix("reason: ")
        report = Report(("Your word was not recorded",), (f"{said[:1].upper()}{said[1:]}",), "danger")
        return await sent.page(report, status=exc.status_code)
    return sent.taken()


async def _decide(sent: SentForm, answer: Answer, what: str) -> Response:
    """Send a decision on its way; when it is not taken, say why and keep what was typed."""
    try:
        await decide_and_wake(sent.desk, sent.person, sent.request_id, answer, sent.seen)
    except HTTPException as exc:
        if exc.status_code == 404:
            raise
        return await _refused(sent, str(exc.detail), exc.status_code, what)
    return sent.taken()


async def _refused(sent: SentForm, said: str, status: int, what: str) -> Response:
    detail = await sent.found()
    if detail.request.state == "asked":
        report = Report((f"Your {what} was not recorded",), (said.removeprefix("Not recorded: "),), "danger")
    else:
        report = reports.too_late(detail, datetime.now(UTC), what)
    opened = {"rejection": "reject", "change": "edit"}.get(what, "")
    return await sent.page(report, open_form=opened, status=status)


@router.post("/requests/{request_id}/check")
async def check(sent: Sent) -> Response:
    """Show what a change would come to. Nothing is recorded."""
    return await _change(sent, is_made=False)


@router.post("/requests/{request_id}/edit")
async def edit(sent: Sent) -> Response:
    """Make a change that was checked."""
    return await _change(sent, is_made=True)


async def _change(sent: SentForm, *, is_made: bool) -> Response:
    detail = await sent.found()
    request, judge = detail.request, (await wall()).parts.gate.judge
    cls = judge.actions.get(request.action)
    if request.state != "asked" or cls is None or request.arguments is None:
        return await _refused(sent, "It cannot be changed any more.", 409, "change")
    current = edit_form.fields(cls, request.arguments)
    changes, errors = edit_form.read_changes(current, sent.form.fields)
    if not changes and not errors:
        errors = {"": "Nothing is changed yet"}
    errors = errors or edit_form.check_fields(cls, request.arguments, changes)
    if errors:
        return await _not_changed(sent, errors)
    try:
        answer = read_decision("edit", sent.seen, changes=changes)
        became = await sent.desk.check_edit(sent.person, sent.request_id, changes, sent.seen)
    except WrongInputError as exc:
        said = str(exc).partition(": ")[2]
        return await _not_changed(sent, {"": f"{said[:1].upper()}{said[1:]}"})
    if isinstance(became, Refusal):
        if became.cause == "edit":
            said = became.sentence
            return await _not_changed(sent, {edit_form.blame(current, changes, said): said})
        return await _refused(sent, became.sentence, 409, "change")
    if is_made and _is_confirmed(sent, detail, became):
        return await _decide(sent, answer, "change")
    return await _checked(sent, detail, became, is_made=is_made)


def _needs_confirming(detail: Detail, became: Checked) -> bool:
    """Tell whether a change approves something of critical risk: that takes what an approval takes."""
    return became.counts and became.demand.get("risk", detail.request.risk) == "critical"


def _is_confirmed(sent: SentForm, detail: Detail, became: Checked) -> bool:
    review = comparison.show(became.judged.action, became.judged.facts).review
    return not _needs_confirming(detail, became) or is_confirmed(sent.form.get("confirm"), review.confirm)


async def _not_changed(sent: SentForm, errors: dict[str, str]) -> Response:
    count = f"{len(errors)} {'thing' if len(errors) == 1 else 'things'} to correct"
    listed = [(name or "edit", text) for name, text in errors.items()]
    report = Report((f"Not changed: {count}",), (), "danger", errors=listed)
    return await sent.page(report, errors=errors, open_form="edit", status=422)


async def _checked(sent: SentForm, detail: Detail, became: Checked, *, is_made: bool) -> Response:
    """Show a change with its own sentence and facts, and the button that makes it; `is_made`: it was not confirmed."""
    judged, parts = became.judged, (await wall()).parts
    shown = comparison.show(judged.action, judged.facts)
    changed, turn, now = _as_changed(detail, became), detail.question.turn, datetime.now(UTC)
    stands = await parts.gate.read(lambda c: comparison.as_it_stands(c, parts.gate.judge, changed.request, turn, now))
    change = Draft(
        _change_shown(sent, detail, became, shown.review), changed, stands or comparison.Now(shown, "", [], None)
    )
    if not is_made:
        return await sent.page(change=change)
    error = _not_confirmed(sent.form.get("confirm"), shown.review)
    report = Report(("Not changed: 1 thing to correct",), (), "danger", errors=[("confirm", error)])
    return await sent.page(report, change=change, errors={"confirm": error}, status=422)


def _as_changed(detail: Detail, became: Checked) -> Detail:
    """Give the request as it would be once it is changed: what it asks for, of whom, and no approval left."""
    judged, question = became.judged, detail.question
    facts = judged.facts.model_dump(mode="json")
    changed = replace(
        detail.request, arguments=judged.arguments, facts=facts, sentence=judged.sentence, notice=None, **became.demand
    )
    plan = [changed if one.request_id == changed.request_id else one for one in question.plan]
    decisions = [replace(one, counts=False) for one in question.decisions]
    return replace(detail, question=replace(question, request=changed, plan=plan, decisions=decisions))


def _change_shown(sent: SentForm, detail: Detail, became: Checked, review: Review) -> request_view.Checked:
    judged, demand, verdict = became.judged, became.demand, became.judged.verdict
    approvers = [one.decided_by for one in detail.question.decisions if one.counts]
    lapsing = [word for one in approvers for word in (Id(one), "approved what stands; that does not count then.")]
    if became.counts:
        about = "One approval is enough for this, and that is yours."
        button = (review.verb, *review.what, "instead")
    else:
        roles = " and ".join(demand["approvers"] or [])
        about = f"Then {demand['approvals']} × {roles} must approve the change; who changes it does not count."
        button = ("Ask for", review.verb.lower(), *review.what, "instead")
    by_rule = f"By the rule {verdict.rule}." if verdict.word == "ask" else f"Policy allows it as such: {verdict.rule}."
    needs_it = _needs_confirming(detail, became)
    return request_view.Checked(
        differences=edit_form.differences(type(judged.action), detail.request.arguments or {}, judged.arguments),
        # As they were typed: they are read again when the button is pressed.
        values={name: value for name, value in sent.form.fields.items() if name.startswith("arg.")},
        button=button,
        about=(about, by_rule, *lapsing),
        confirm=review.confirm if needs_it else "",
        confirm_is=review.confirm_is,
    )


@router.post("/requests/{request_id}/close")
async def close(sent: Sent) -> Response:
    """Close a request whose thread is gone."""
    if not sent.form.session.is_decider:
        raise HTTPException(403, "Who holds a role of the policy can close it.")
    await close_lost(sent.desk, sent.person, sent.request_id)
    return sent.taken()
