"""One request as a page: what is asked, or what became of it, and whether it is still so."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request, Response
from starlette.responses import HTMLResponse

from clearance.desk import comparison, lists
from clearance.desk.comparison import as_asked
from clearance.desk.detail import Detail
from clearance.desk.lists import Wanted
from clearance.gate.answers import MAX_REASON
from clearance.journal.requests import Request as Asked
from clearance.parts import Parts
from clearance.principal import Principal
from clearance.server.api.dossier import read_dossier
from clearance.server.api.submission import found
from clearance.server.entry.dependencies import OfDesk
from clearance.server.entry.wall import wall
from clearance.server.inbox import chart, edit_form, reports, request_view
from clearance.server.inbox.filters import Filters, Narrowed
from clearance.server.inbox.frame import frame, page
from clearance.server.inbox.reports import Report
from clearance.server.inbox.request_view import RequestView
from clearance.server.inbox.route import pages_router
from clearance.server.inbox.session import KEPT, InSession, Session, drop, typed_before
from clearance.server.inbox.wording import SOON, moment

router = pages_router()


@dataclass(frozen=True)
class Draft:
    """A change that was checked and not made: the page shows the request as it would be then."""

    #: What the panel says of it.
    shown: request_view.Checked
    #: The request and the approvals of it, once it is changed.
    detail: Detail
    now: comparison.Now


@router.get("/requests/{request_id}")
async def show_request(request: Request, session: InSession, desk: OfDesk, came: Narrowed, request_id: str) -> Response:
    """Show one question, or what became of it; `came` is the list from which somebody opened it."""
    typed = typed_before(request, request_id)
    told = [reports.KEPT] if typed else []
    response = await request_page(session, desk, came, request_id, typed=typed, told=told, focus=bool(typed))
    if typed:
        drop(response, KEPT)
    return response


async def request_page(
    session: Session,
    desk: OfDesk,
    came: Filters,
    request_id: str,
    *,
    typed: dict[str, str] | None = None,
    told: list[Report] | None = None,
    errors: dict[str, str] | None = None,
    change: Draft | None = None,
    open_form: str = "",
    status: int = 200,
    focus: bool = True,
) -> HTMLResponse:
    """Show a request with what somebody typed, what is told of it, and what is to be corrected."""
    detail = await found(desk, session.person, request_id)
    parts = (await wall()).parts
    around = await frame(session, desk, here="inbox")
    shown, drawn = await _view(parts, detail, session, around["now"], typed=typed or {}, errors=errors or {},
                               change=change)  # fmt: skip
    told = told or reports.standing(detail, session.person, around["now"], shown.review)
    neighbours = await _neighbours(parts, desk, session, came, detail)
    return page(
        "request.html",
        status,
        **around,
        v=shown,
        drawn=drawn,
        typed=typed or {},
        errors=errors or {},
        checked=change.shown if change else None,
        reports=told,
        has_errors=bool(errors) or status in (409, 422),
        focus=focus and bool(told),
        open_form=open_form,
        came=came.suffix,
        neighbours=neighbours,
        max_reason=MAX_REASON,
        # Of the request as it stands, also where a change is shown: a form is about what it was made from.
        digest=detail.request.digest or "",
        revision=detail.request.revision,
    )


async def _view(
    parts: Parts,
    detail: Detail,
    session: Session,
    now: datetime,
    *,
    typed: dict[str, str],
    errors: dict[str, str],
    change: Draft | None,
) -> tuple[RequestView, chart.Chart | None]:
    """Put together what the page of a request shows, or of a change to it in its place."""
    shown, actions = change.detail if change else detail, parts.gate.judge.actions
    dossier = await read_dossier(parts, shown, session.person, now, changed=change.now if change else None)
    request, cls = shown.request, actions.get(shown.request.action)
    fields: Sequence[request_view.Field] = []
    if dossier.panel.may_edit and cls is not None and request.arguments is not None:
        fields = edit_form.with_errors(edit_form.typed_into(edit_form.fields(cls, request.arguments), typed), errors)
    reviews = {one.request_id: as_asked(actions, one).review for one in shown.question.plan}
    before = request_view.Before(detail, as_asked(actions, detail.request).review) if change else None
    activity = dossier.stands.activity if dossier.stands else None
    made = request_view.view_of(dossier, reviews, fields, before)
    return made, chart.draw(activity) if activity else None


@dataclass(frozen=True)
class Neighbour:
    """A request beside the one that is shown."""

    request: Asked
    title: str
    #: With the list that one is in.
    href: str


@dataclass(frozen=True)
class Neighbours:
    """Where one can go from a request."""

    #: Right before and right after it in the list that one came from.
    previous: Neighbour | None
    following: Neighbour | None
    #: What waits for the viewer next: of the same turn, as that holds this one back; else after it, else the first.
    waiting: Neighbour | None
    #: Whether `waiting` is of the same turn.
    holds_back: bool = False


async def _neighbours(parts: Parts, desk: OfDesk, session: Session, came: Filters, detail: Detail) -> Neighbours:
    request, person = detail.request, session.person
    sees_all, actions, mine = desk.sees_all(session.person), parts.gate.judge.actions, came
    previous, following = await parts.database.read(
        lambda c: lists.read_neighbours(c, session.person, came.wanted, request, sees_all=sees_all)
    )

    def shown(one: Asked | None, of: Filters) -> Neighbour | None:
        if one is None:
            return None
        href = f"/inbox/requests/{one.request_id}{of.suffix}"
        return Neighbour(one, comparison.title(as_asked(actions, one).review), href)

    siblings = [one for one in detail.question.plan if one.request_id != request.request_id]
    waiting = next((one for one in siblings if _waits_for(one, person)), None)
    if waiting is not None:
        return Neighbours(shown(previous, came), shown(following, came), shown(waiting, came), holds_back=True)
    waiting = following
    if came.tab != "mine":
        mine = Filters()
        _, waiting = await parts.database.read(
            lambda c: lists.read_neighbours(c, session.person, Wanted("mine"), request, sees_all=sees_all)
        )
    if waiting is None:
        first = await desk.page(session.person, mine.wanted, after=None, limit=2)
        waiting = next((one for one in first.requests if one.request_id != request.request_id), None)

    return Neighbours(shown(previous, came), shown(following, came), shown(waiting, mine))


def _waits_for(request: Asked, person: Principal) -> bool:
    """Tell whether somebody may decide a request: the gate has the last word."""
    is_own = request.requested_by == person.id and not person.may_approve_own
    return request.state == "asked" and not is_own and all(person.has_role(role) for role in request.approvers or [])


@router.get("/requests/{request_id}/status")
async def show_status(
    session: InSession,
    desk: OfDesk,
    came: Narrowed,
    request_id: str,
    digest: Annotated[str, Query(max_length=100)] = "",
    revision: int = 0,
    state: Annotated[str, Query(max_length=20)] = "asked",
    frozen: str = "",
) -> Response:
    """Tell whether a request is still what the page shows; then nothing, or a report in place of the forms."""
    detail = await found(desk, session.person, request_id)
    request, now = detail.request, datetime.now(UTC)
    until = moment(request.expires_at, now)
    is_same = (request.digest or "", request.revision, request.state) == (digest, revision, state)
    is_late = request.is_open and request.expires_at <= now
    told: list[Report] = []
    if is_late:
        told = [reports.expired(request, now)]
    elif not is_same:
        actions = (await wall()).parts.gate.judge.actions
        told = reports.standing(detail, session.person, now, as_asked(actions, request).review) or [reports.CHANGED]
    elif ("1" if detail.switch.frozen_by else "") != frozen:
        told = [reports.switched(detail.switch)]
    return page(
        "status.html",
        reports=told,
        until=until,
        id=request_id,
        came=came.suffix,
        closes=is_late or not is_same,
        is_open=request.is_open,
        is_soon=request.expires_at - now < SOON,
    )
