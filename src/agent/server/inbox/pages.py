"""Routes of the inbox: pages to read, forms to send, and a redirect after each. What may be done is the desk's.

Every route has one of three dependencies: `session`, `posted`, or for signing in `signing_in`; files have none.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from sqlalchemy.engine import Connection
from starlette.responses import HTMLResponse, RedirectResponse

from agent.clearance import journal, listing, reviewing, statistics
from agent.clearance.answering import Checked, Refusal
from agent.clearance.answers import MAX_REASON, Answer
from agent.clearance.approval import shown_arguments
from agent.clearance.desk import MAX_FREEZE_REASON, Detail, Seen, WrongInputError, read_decision
from agent.clearance.journal import Request as Asked
from agent.clearance.journal import Switch
from agent.clearance.listing import MOST_COUNTED, CursorError, Tab, Wanted
from agent.clearance.panel import given, is_confirmed
from agent.clearance.review import Id, Review
from agent.clearance.reviewing import as_asked
from agent.server.deciding import close_lost, decide_and_wake, found
from agent.server.inbox import assets, chart, forms, view
from agent.server.inbox.route import PageRoute
from agent.server.inbox.session import (
    COOKIE,
    KEPT,
    Form,
    InSession,
    Session,
    SignInError,
    SignInForm,
    drop,
    safe_next,
    session_of,
    set_cookie,
    typed_before,
)
from agent.server.inbox.view import Around, Report, RequestView, Row
from agent.server.people import OfDesk
from agent.server.request import read_request
from agent.server.wall import wall
from agent.wiring import Wiring

router = APIRouter(prefix="/inbox", route_class=PageRoute, include_in_schema=False)

_ON_A_PAGE = 50
_MOST_LIVE = 60
_AGES = {"15m": ("over 15 min", 15), "1h": ("over 1 h", 60), "8h": ("over 8 h", 480)}
_RISKS = ("critical", "high", "medium", "low")
#: A longer log is verified when somebody asks for it.
_MOST_VERIFIED = 20_000


async def _frame(session: Session, desk: OfDesk, *, here: str) -> dict[str, Any]:
    """Give what every signed-in page shows: who, the switch, how much waits."""
    now = datetime.now(UTC)
    switch, counts = await desk.switch()
    return {
        "session": session,
        "here": here,
        "now": now,
        "clock": view.clock(now, now, seconds=True),
        "switch": switch,
        "frozen_for": view.span(now - switch.frozen_at) if switch.frozen_at else "",
        "frozen_since": view.clock(switch.frozen_at, now) if switch.frozen_at else "",
        "open_counts": counts,
        "mine": _capped(await desk.count(session.person, Wanted("mine"))),
    }


def _capped(number: int) -> str:
    return f"{MOST_COUNTED - 1}+" if number >= MOST_COUNTED else str(number)


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(assets.render(template, **values), status)


# The list


class Filters:
    """What a list is narrowed to, as its address says."""

    def __init__(
        self,
        tab: Tab = "mine",
        action: str = "",
        risk: str = "",
        requester: str = "",
        thread: str = "",
        age: str = "",
    ) -> None:
        self.tab: Tab = tab
        self.action, self.requester, self.thread = action[:100], requester.strip()[:200], thread.strip()[:200]
        self.risk = risk if risk in _RISKS else ""
        self.age = age if age in _AGES else ""

    @property
    def wanted(self) -> Wanted:
        before = datetime.now(UTC) - timedelta(minutes=_AGES[self.age][1]) if self.age else None
        return Wanted(self.tab, self.action or None, self.risk or None, self.requester or None,
                      self.thread or None, before)  # fmt: skip

    @property
    def is_set(self) -> bool:
        return any((self.action, self.risk, self.requester, self.thread, self.age))

    @property
    def in_words(self) -> str:
        said = [("action", self.action), ("risk", self.risk), ("asked by", self.requester),
                ("thread", self.thread), ("waits", _AGES[self.age][0] if self.age else "")]  # fmt: skip
        return ", ".join(f"{label} {value}" for label, value in said if value)

    def address(self, **more: str) -> str:
        values = {"tab": self.tab, "action": self.action, "risk": self.risk, "requester": self.requester,
                  "thread": self.thread, "age": self.age, **more}  # fmt: skip
        return urlencode({name: value for name, value in values.items() if value})


Narrowed = Annotated[Filters, Depends()]
After = Annotated[str | None, Query(max_length=400)]


@router.get("")
async def show_list(
    session: InSession,
    desk: OfDesk,
    filters: Narrowed,
    after: After = None,
) -> Response:
    """Show who must decide what, by when."""
    tab = filters.tab
    frame = await _frame(session, desk, here="inbox")
    try:
        page = await desk.page(session.person, filters.wanted, after=after, limit=_ON_A_PAGE)
    except CursorError as exc:
        raise HTTPException(422, "This page of the list is none of ours.") from exc
    parts = (await wall()).parts
    rows = await _rows(parts, session, page.requests, frame["now"])
    own = await _approved_rows(parts, session, frame["now"]) if tab == "mine" and not after else []
    counted = {"mine": frame["mine"], "open": _capped(await desk.count(session.person, Wanted("open")))}
    total = _capped(await desk.count(session.person, filters.wanted)) if filters.is_set else counted.get(tab, "")
    return _page(
        "list.html",
        **frame,
        filters=filters,
        rows=rows,
        own=own,
        total=total,
        counted=counted,
        actions=[cls.tool_name() for cls in parts.gate.judge.actions],
        risks=_RISKS,
        ages=_AGES,
        older=filters.address(after=page.next) if page.next else "",
        is_first=after is None,
        since=frame["now"].isoformat(),
        is_live=session.is_decider or tab != "decided",
    )


async def _rows(
    parts: Wiring, session: Session, requests: list[Asked], now: datetime, *, gone: bool = False
) -> list[Row]:
    def work(connection: Connection) -> Around:
        plans: dict[str, list[Asked]] = {}
        for one in journal.requests_of_plans(connection, sorted({one.plan_id for one in requests})):
            plans.setdefault(one.plan_id, []).append(one)
        made: dict[str, list[journal.Decision]] = {}
        for decision in journal.decisions_on(connection, [one.request_id for one in requests]):
            made.setdefault(decision.request_id, []).append(decision)
        return Around(plans, made)

    around = await parts.database.read(work)
    actions = parts.gate.judge.actions
    return [view.row(one, as_asked(actions, one), around, session.person, now, is_gone=gone) for one in requests]


async def _approved_rows(parts: Wiring, session: Session, now: datetime) -> list[Row]:
    """List what the viewer approved and what has not run yet."""
    found = await parts.database.read(lambda c: listing.approved_by(c, session.person.id, limit=20))
    return await _rows(parts, session, found, now)


@router.get("/live")
async def show_live(
    request: Request,
    session: InSession,
    desk: OfDesk,
    filters: Narrowed,
    since: datetime,
    ids: Annotated[str, Query(max_length=4_000)] = "",
) -> Response:
    """Tell what became of a list since it was shown: how many are new, and which rows are decided."""
    tab = filters.tab
    shown = [one for one in ids.split(",") if one][:_MOST_LIVE]
    new = 0
    if tab != "decided" and since.tzinfo is not None:
        new = await desk.count(session.person, replace(filters.wanted, opened_after=since))
    found = await desk.some(session.person, shown)
    changed = [one for one in found if not one.is_open] if tab != "decided" else []
    now = datetime.now(UTC)
    rows = await _rows((await wall()).parts, session, changed, now, gone=True)
    switch, _ = await desk.switch()
    return _page(
        "live.html",
        new=new,
        new_words=_capped(new),
        rows=rows,
        clock=view.clock(now, now, seconds=True),
        address=filters.address(),
        switch=switch,
        was_frozen=request.query_params.get("frozen") == "1",
    )


# One request


@router.get("/requests/{request_id}")
async def show_request(request: Request, session: InSession, desk: OfDesk, request_id: str) -> Response:
    """Show one question, or what became of it."""
    typed = typed_before(request, request_id)
    reports = [_KEPT_REPORT] if typed else []
    response = await _request_page(session, desk, request_id, typed=typed, reports=reports, focus=bool(typed))
    if typed:
        drop(response, KEPT)
    return response


_KEPT_REPORT = Report(("Your answer was not taken yet",), ("What you had typed is still here.",), icon="clock")


async def _request_page(
    session: Session,
    desk: OfDesk,
    request_id: str,
    *,
    typed: dict[str, str] | None = None,
    reports: list[Report] | None = None,
    errors: dict[str, str] | None = None,
    checked: view.Checked | None = None,
    now_shown: reviewing.Now | None = None,
    open_form: str = "",
    status: int = 200,
    focus: bool = True,
) -> HTMLResponse:
    detail = await found(desk, session.person, request_id)
    parts = (await wall()).parts
    frame = await _frame(session, desk, here="inbox")
    shown, drawn = await _view(parts, detail, session, frame["now"], typed=typed or {}, errors=errors or {},
                               changed=now_shown)  # fmt: skip
    told = [*(reports or []), *([] if reports else _standing(detail, session, frame["now"], shown.review))]
    following = await _following(desk, session, request_id)
    return _page(
        "request.html",
        status,
        **frame,
        v=shown,
        drawn=drawn,
        typed=typed or {},
        errors=errors or {},
        checked=checked,
        reports=told,
        has_errors=bool(errors) or status in (409, 422),
        focus=focus and bool(told),
        open_form=open_form,
        following=following,
        following_title=reviewing.title(as_asked(parts.gate.judge.actions, following).review) if following else "",
        max_reason=MAX_REASON,
        digest=detail.request.digest or "",
        revision=detail.request.revision,
    )


async def _view(
    parts: Wiring,
    detail: Detail,
    session: Session,
    now: datetime,
    *,
    typed: dict[str, str],
    errors: dict[str, str],
    changed: reviewing.Now | None,
) -> tuple[RequestView, chart.Chart | None]:
    """Put together what the page of a request shows; `changed` is how a change would be, in place of what stands."""
    request, actions = detail.request, parts.gate.judge.actions
    reading = await read_request(parts, detail, session.person, now, changed=changed)
    cls = actions.get(request.action)
    fields: Sequence[view.Field] = []
    if reading.panel.may_edit and cls is not None and request.arguments is not None:
        fields = forms.with_errors(forms.typed_into(forms.fields(cls, request.arguments), typed), errors)
    reviews = {one.request_id: as_asked(actions, one).review for one in detail.question.plan}
    activity = reading.stands.activity if reading.stands else None
    shown = view.request_view(reading, reviews, fields, is_change=changed is not None)
    return shown, chart.draw(activity) if activity else None


async def _following(desk: OfDesk, session: Session, request_id: str) -> Asked | None:
    """Give the next request for the viewer, other than this one."""
    page = await desk.page(session.person, Wanted("mine"), after=None, limit=2)
    return next((one for one in page.requests if one.request_id != request_id), None)


def _standing(detail: Detail, session: Session, now: datetime, review: Review) -> list[Report]:
    """Say on top how a request stands that needs no answer of the viewer any more."""
    request, receipt, made = detail.request, detail.receipt, detail.question.decisions
    if receipt is not None:
        when = view.moment(receipt.finished_at, now, seconds=True)
        said = receipt.sentence or "What it said was erased."
        look, icon = {"executed": ("good", "check"), "expired": ("caution", "clock"), "failed": ("danger", "warn"),
                      "rejected": ("", "cross")}.get(receipt.outcome, ("caution", "warn"))  # fmt: skip
        title: list[str] = [reviewing.STATES[receipt.outcome]]
        if receipt.outcome == "executed":
            title = [f"{review.past or 'Done'}, once"]
        elif receipt.outcome == "rejected" and made:
            title = ["Rejected by", Id(made[-1].decided_by), "– nothing was done"]
        elif receipt.outcome == "expired":
            title = ["Expired, nothing was done"]
        told: list[str] = [said]
        approvers = [one.decided_by for one in made if one.counts]
        if receipt.outcome == "executed" and approvers:
            told += ["Approved by", *[word for one in approvers for word in (",", Id(one))][1:], "."]
        told.append(f"{when.words[:1].upper()}{when.words[1:]}, {when.at} UTC.")
        return [Report(title, told, look, icon)]
    if request.expires_at <= now:
        return [_late(request, now)]
    if request.state in ("approved", "allowed"):
        own = any(one.counts and one.decided_by == session.person.id for one in made)
        others = sum(one.state == "asked" for one in detail.question.plan)
        waits = f"{others} more {'request' if others == 1 else 'requests'} of this turn must be decided first."
        text = waits if others else "Its turn goes on now."
        until = view.moment(request.expires_at, now)
        late = f"If it has not run by {until.at} UTC, {until.words}, it does not run."
        title = ["Your approval is recorded" if own else "Approved"]
        return [Report(title, (f"Nothing has been done yet. {text} {late}",), "good", "check")]
    if any(one.counts and one.decided_by == session.person.id for one in made):
        counted = f"{given(made)} of {request.approvals}"
        return [Report((f"Your approval is recorded, {counted}",), ("Nothing runs before enough people approved it.",),
                       "good", "check")]  # fmt: skip
    return []


@router.get("/requests/{request_id}/status")
async def show_status(
    session: InSession,
    desk: OfDesk,
    request_id: str,
    digest: Annotated[str, Query(max_length=100)] = "",
    revision: int = 0,
    state: Annotated[str, Query(max_length=20)] = "asked",
    frozen: str = "",
) -> Response:
    """Tell whether a request is still what the page shows; then nothing, or a report in place of the forms."""
    detail = await found(desk, session.person, request_id)
    request, now = detail.request, datetime.now(UTC)
    until = view.moment(request.expires_at, now)
    is_same = (request.digest or "", request.revision, request.state) == (digest, revision, state)
    is_late = request.is_open and request.expires_at <= now
    reports: list[Report] = []
    if is_late:
        reports = [_late(request, now)]
    elif not is_same:
        actions = (await wall()).parts.gate.judge.actions
        reports = _standing(detail, session, now, as_asked(actions, request).review) or [_CHANGED]
    elif ("1" if detail.switch.frozen_by else "") != frozen:
        reports = [_switched(detail.switch)]
    return _page("status.html", reports=reports, until=until, id=request_id, closes=is_late or not is_same,
                 is_open=request.is_open, is_soon=request.expires_at - now < timedelta(hours=1))  # fmt: skip


def _late(request: Asked, now: datetime) -> Report:
    title = f"Expired {view.moment(request.expires_at, now).words}"
    return Report((title,), ("The deadline has passed, so no answer counts any more.",), "caution", "clock")


_CHANGED = Report(("It changed while you were reading",), ("Load it again and decide on what it is now.",), "caution")


def _switched(switch: Switch) -> Report:
    if switch.frozen_by is None:
        return Report(("Effects are on again",), ("You can approve again: load the page.",), "good", "check")
    return Report(("All effects are frozen by", Id(switch.frozen_by)), ("Approving is not possible now.",), "caution")


def _back(request_id: str) -> RedirectResponse:
    return RedirectResponse(f"/inbox/requests/{request_id}#report", 303)


def _seen(form: Form) -> Seen:
    revision = form.get("revision")
    return Seen(form.get("digest"), int(revision) if revision.isascii() and revision.isdecimal() else 0)


@router.post("/requests/{request_id}/approve")
async def approve(form: Form, desk: OfDesk, request_id: str) -> Response:
    """Approve exactly what was shown."""
    session = form.session
    detail = await found(desk, session.person, request_id)
    if detail.request.state == "asked" and detail.request.risk == "critical":
        review = as_asked((await wall()).parts.gate.judge.actions, detail.request).review
        if not is_confirmed(form.get("confirm"), review.confirm):
            error = _not_confirmed(form.get("confirm"), review)
            report = Report(("Not approved: 1 thing to correct",), (), "danger", errors=[("confirm", error)])
            return await _request_page(session, desk, request_id, typed=form.fields, reports=[report],
                                       errors={"confirm": error}, status=422)  # fmt: skip
    return await _decide(form, desk, detail, read_decision("approve", _seen(form)), "approval")


def _not_confirmed(typed: str, review: Review) -> str:
    if not typed.strip():
        return f"To approve it type {review.confirm_is}, {review.confirm}"
    return f"You typed {typed.strip()[:60]}; {review.confirm_is} is {review.confirm}"


@router.post("/requests/{request_id}/reject")
async def reject(form: Form, desk: OfDesk, request_id: str) -> Response:
    """Reject it, with a reason."""
    detail = await found(desk, form.session.person, request_id)
    try:
        answer = read_decision("reject", _seen(form), form.get("reason"))
    except WrongInputError:
        error = f"A reason is text of at most {MAX_REASON:,} characters"
        report = Report(("Not rejected: 1 thing to correct",), (), "danger", errors=[("reason", error)])
        return await _request_page(form.session, desk, request_id, typed=form.fields, reports=[report],
                                   errors={"reason": error}, open_form="reject", status=422)  # fmt: skip
    return await _decide(form, desk, detail, answer, "rejection")


async def _decide(form: Form, desk: OfDesk, detail: Detail, answer: Answer, what: str) -> Response:
    """Send a decision on its way; when it is not taken, say why and keep what was typed."""
    try:
        await decide_and_wake(desk, form.session.person, detail.request.request_id, answer, _seen(form))
    except HTTPException as exc:
        if exc.status_code == 404:
            raise
        return await _refused(form, desk, detail.request.request_id, str(exc.detail), exc.status_code, what)
    return _back(detail.request.request_id)


async def _refused(form: Form, desk: OfDesk, request_id: str, said: str, status: int, what: str) -> Response:
    detail = await found(desk, form.session.person, request_id)
    now = datetime.now(UTC)
    if detail.request.state == "asked":
        report = Report((f"Your {what} was not recorded",), (said.removeprefix("Not recorded: "),), "danger")
    else:
        report = _too_late(detail, now, what)
    opened = {"rejection": "reject", "change": "edit"}.get(what, "")
    return await _request_page(form.session, desk, request_id, typed=form.fields, reports=[report],
                               open_form=opened, status=status)  # fmt: skip


def _too_late(detail: Detail, now: datetime, what: str) -> Report:
    """Say who was faster."""
    made = [one for one in detail.question.decisions if one.counts or one.decision == "reject"]
    text = f"Your {what} came at {view.clock(now, now, seconds=True)} UTC and was not used."
    receipt = detail.receipt
    if receipt is not None and receipt.sentence:
        text += f" {receipt.sentence}"
    if not made or (receipt is not None and receipt.outcome == "expired"):
        return Report((f"Already over: {reviewing.STATES[detail.request.state].lower()}",), (text,), "caution")
    last = made[-1]
    word = {"approve": "approved", "edit": "changed and approved", "reject": "rejected"}[last.decision]
    seconds = max(int((now - last.decided_at).total_seconds()), 0)
    ago = f"{seconds} s" if seconds < 120 else view.span(now - last.decided_at)
    return Report(("Already decided:", Id(last.decided_by), f"{word} it {ago} before you"), (text,), "caution")


@router.post("/requests/{request_id}/check")
async def check(form: Form, desk: OfDesk, request_id: str) -> Response:
    """Show what a change would come to. Nothing is recorded."""
    return await _change(form, desk, request_id, is_made=False)


@router.post("/requests/{request_id}/edit")
async def edit(form: Form, desk: OfDesk, request_id: str) -> Response:
    """Make a change that was checked."""
    return await _change(form, desk, request_id, is_made=True)


async def _change(form: Form, desk: OfDesk, request_id: str, *, is_made: bool) -> Response:
    session = form.session
    detail = await found(desk, session.person, request_id)
    request, judge = detail.request, (await wall()).parts.gate.judge
    cls = judge.actions.get(request.action)
    if request.state != "asked" or cls is None or request.arguments is None:
        return await _refused(form, desk, request_id, "It cannot be changed any more.", 409, "change")
    current = forms.fields(cls, request.arguments)
    changes, errors = forms.read_changes(current, form.fields)
    if not changes and not errors:
        errors = {"": "Nothing is changed yet"}
    errors = errors or forms.check_fields(cls, request.arguments, changes)
    if errors:
        return await _not_changed(form, desk, request_id, errors)
    try:
        answer = read_decision("edit", _seen(form), changes=changes)
    except WrongInputError as exc:
        return await _not_changed(form, desk, request_id, {"": str(exc)})
    became = await desk.check_edit(session.person, request_id, changes, _seen(form))
    if isinstance(became, Refusal):
        if became.cause == "edit":
            said = became.sentence
            return await _not_changed(form, desk, request_id, {forms.blame(current, changes, said): said})
        return await _refused(form, desk, request_id, became.sentence, 409, "change")
    if is_made and _is_confirmed(form, detail, became):
        return await _decide(form, desk, detail, answer, "change")
    return await _checked(form, desk, detail, became, changes, is_made=is_made)


def _needs_confirming(detail: Detail, became: Checked) -> bool:
    """Tell whether a change approves something of critical risk: that takes what an approval takes."""
    return became.counts and became.demand.get("risk", detail.request.risk) == "critical"


def _is_confirmed(form: Form, detail: Detail, became: Checked) -> bool:
    review = reviewing.show(became.judged.action, became.judged.facts).review
    return not _needs_confirming(detail, became) or is_confirmed(form.get("confirm"), review.confirm)


async def _not_changed(form: Form, desk: OfDesk, request_id: str, errors: dict[str, str]) -> Response:
    count = f"{len(errors)} {'thing' if len(errors) == 1 else 'things'} to correct"
    listed = [(name or "edit", text) for name, text in errors.items()]
    report = Report((f"Not changed: {count}",), (), "danger", errors=listed)
    return await _request_page(form.session, desk, request_id, typed=form.fields, reports=[report], errors=errors,
                               open_form="edit", status=422)  # fmt: skip


async def _checked(
    form: Form, desk: OfDesk, detail: Detail, became: Checked, changes: dict[str, Any], *, is_made: bool
) -> Response:
    """Show a change with its own sentence and facts, and the button that makes it; `is_made`: it was not confirmed."""
    request, judged, parts = detail.request, became.judged, (await wall()).parts
    shown = reviewing.show(judged.action, judged.facts)
    errors = {"confirm": _not_confirmed(form.get("confirm"), shown.review)} if is_made else {}
    report = Report(("Not changed: 1 thing to correct",), (), "danger", errors=list(errors.items()))
    changed = replace(
        request, arguments=judged.arguments, facts=judged.facts.model_dump(mode="json"), sentence=judged.sentence
    )
    turn, judge, now = detail.question.turn, parts.gate.judge, datetime.now(UTC)
    stands = await parts.database.read(lambda c: reviewing.as_it_stands(c, judge, changed, turn, now))
    return await _request_page(
        form.session,
        desk,
        request.request_id,
        typed=form.fields,
        checked=_change_shown(form, detail, became, shown.review),
        now_shown=stands or reviewing.Now(shown, "", [], None),
        reports=[report] if errors else [],
        errors=errors,
        status=422 if errors else 200,
    )


def _change_shown(form: Form, detail: Detail, became: Checked, review: Review) -> view.Checked:
    before, demand = shown_arguments(detail.request.arguments or {}), became.demand
    differences = [
        (name.replace("_", " ").capitalize(), str(before.get(name, "")), str(value))
        for name, value in shown_arguments(became.judged.arguments).items()
        if before.get(name) != value
    ]
    if became.counts:
        about = "One approval is enough for this, and that is yours."
        button = (review.verb, *review.what, "instead")
    else:
        roles = " and ".join(demand["approvers"] or [])
        about = f"Then {demand['approvals']} × {roles} must approve the change; who changes it does not count."
        button = ("Ask for", review.verb.lower(), *review.what, "instead")
    needs_it = _needs_confirming(detail, became)
    return view.Checked(
        differences=differences,
        # As they were typed: they are read again when the button is pressed.
        values={name: value for name, value in form.fields.items() if name.startswith("arg.")},
        button=button,
        about=(about, f"By the rule {demand.get('rule', became.judged.verdict.rule)}."),
        confirm=review.confirm if needs_it else "",
        confirm_is=review.confirm_is,
    )


@router.post("/requests/{request_id}/close")
async def close(form: Form, desk: OfDesk, request_id: str) -> Response:
    """Close a request whose thread is gone."""
    if not form.session.is_decider:
        raise HTTPException(403, "Who holds a role of the policy can close it.")
    await close_lost(desk, form.session.person, request_id)
    return _back(request_id)


# The switch and the log


@router.get("/freeze")
async def show_freeze(session: InSession, desk: OfDesk) -> Response:
    """Show the switch that stops every effect."""
    return _page("freeze.html", **await _frame(session, desk, here="freeze"), error="", typed="")


def _deciders_only(session: Session) -> None:
    if not session.is_decider:
        raise HTTPException(403, "This takes a role of the policy; your token has none.")


@router.post("/freeze")
async def freeze(form: Form, desk: OfDesk) -> Response:
    """Stop every effect."""
    _deciders_only(form.session)
    try:
        await desk.freeze(form.session.person.id, form.get("reason"), via="inbox")
    except WrongInputError:
        said = "Say why" if not form.get("reason").strip() else "Say it shorter"
        error = f"{said}: a sentence of at most {MAX_FREEZE_REASON} characters"
        frame = await _frame(form.session, desk, here="freeze")
        return _page("freeze.html", 422, **frame, error=error, typed=form.get("reason"))
    return RedirectResponse("/inbox/freeze", 303)


@router.post("/unfreeze")
async def unfreeze(form: Form, desk: OfDesk) -> Response:
    """Let effects run again."""
    _deciders_only(form.session)
    if not is_confirmed(form.get("confirm"), "effects on"):
        frame = await _frame(form.session, desk, here="freeze")
        error = "Type “effects on” to turn them on"
        return _page("freeze.html", 422, **frame, error=error, typed=form.get("confirm"))
    await desk.unfreeze(form.session.person.id, via="inbox")
    return RedirectResponse("/inbox/freeze", 303)


@router.get("/audit")
async def show_audit(
    session: InSession,
    desk: OfDesk,
    before: Annotated[int | None, Query(ge=1)] = None,
    event: Annotated[str, Query(max_length=40)] = "",
    who: Annotated[str, Query(max_length=200)] = "",
    request: Annotated[str, Query(max_length=100)] = "",
    check: str = "",
) -> Response:
    """Show the audit log, and whether it is whole."""
    _deciders_only(session)
    frame = await _frame(session, desk, here="audit")
    now = frame["now"]
    only = {"event": event, "actor": who.strip(), "request_id": request.strip()}
    rows = await desk.events(before=before, limit=_ON_A_PAGE, only={k: v for k, v in only.items() if v})
    head = await desk.head()
    found, took = None, 0.0
    if check or head.seq <= _MOST_VERIFIED:
        began = asyncio.get_running_loop().time()
        found = await desk.verify()
        took = asyncio.get_running_loop().time() - began
    events = [
        {**row, "happened": view.happened([row], now)[0], "look": view.EVENTS.get(row["event"], ("", ""))[1]}
        for row in rows
    ]
    about = await desk.some(session.person, sorted({row["request_id"] for row in rows if row["request_id"]}))
    actions = (await wall()).parts.gate.judge.actions
    words = {one.request_id: as_asked(actions, one).review for one in about}
    older = {**{k: v for k, v in (("event", event), ("who", who), ("request", request)) if v}}
    return _page("audit.html", **frame, rows=events, words=words, head=head, found=found, took=f"{took:.2f} s",
                 kinds={name: word for name, (word, _) in view.EVENTS.items()}, event=event, who=who,
                 about=request, is_filtered=any(only.values()),
                 older=urlencode({**older, "before": rows[-1]["seq"]}) if len(rows) == _ON_A_PAGE else "")  # fmt: skip


_PERIODS = {"1": "24 hours", "7": "7 days", "30": "30 days"}


@router.get("/statistics")
async def show_statistics(session: InSession, desk: OfDesk, days: str = "7") -> Response:
    """Show how long decisions took, how many were hasty, and how much policy asks."""
    _deciders_only(session)
    chosen = days if days in _PERIODS else "7"
    frame = await _frame(session, desk, here="statistics")
    since = frame["now"] - timedelta(days=int(chosen))
    database = (await wall()).parts.database
    found = await database.read(lambda connection: statistics.read_statistics(connection, since))
    return _page("statistics.html", **frame, found=found, chosen=chosen, periods=_PERIODS,
                 hasty_s=int(statistics.HASTY.total_seconds()), span=_seconds)  # fmt: skip


def _seconds(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.1f} s" if seconds < 120 else view.span(length)


# Signing in


@router.get("/sign-in")
async def show_sign_in(request: Request, next: str = "/inbox", ended: str = "") -> Response:
    """Ask for a token; who is signed in goes on."""
    here, onward = await wall(), safe_next(next)
    if here.parts.settings.auth == "off":
        return RedirectResponse(onward, 303)
    if request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies:
        # A link from elsewhere: browsers hold the cookie back until we ask once more from here.
        return _page("again.html", address=f"/inbox/sign-in?{urlencode({'next': onward})}")
    if token := request.cookies.get(COOKIE, ""):
        try:
            await session_of(here, token)
            return RedirectResponse(onward, 303)
        except SignInError:
            pass
    kept = KEPT in request.cookies
    return _page("signin.html", next=onward, ended=bool(ended), kept=kept, error="",
                 is_development=not here.parts.settings.auth_jwks_url)  # fmt: skip


@router.post("/sign-in")
async def sign_in(request: Request, form: SignInForm) -> Response:
    """Keep a valid token in a cookie."""
    here, onward = await wall(), safe_next(form.get("next", "/inbox"))
    token = form.get("token", "").strip()
    try:
        await session_of(here, token)
    except SignInError:
        return _page("signin.html", 401, next=onward, ended=False, kept=False,
                     error="This token is not valid here. Ask whoever gave it to you for a new one.",
                     is_development=not here.parts.settings.auth_jwks_url)  # fmt: skip
    response = RedirectResponse(onward, 303)
    set_cookie(request, response, token)
    return response


@router.post("/sign-out")
async def sign_out(form: Form) -> Response:
    """Forget the token."""
    response = RedirectResponse("/inbox/sign-in", 303)
    drop(response, COOKIE, KEPT)
    return response


# Files


@router.get("/static/{name}")
async def show_file(request: Request, name: str) -> Response:
    """Give a file of these pages: the style sheet, htmx, the keys."""
    file = assets.files().get(name)
    if file is None:
        raise HTTPException(404, "There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.body, media_type=file.media_type, headers=headers)
