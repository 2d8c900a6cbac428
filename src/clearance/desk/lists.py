"""Lists of requests for people: keyset pages, so that a page costs the same however many requests there are.

Open ones first to expire first, what is in flight oldest first, decided ones last first. One order each, and an index
for it and for each filter; what is in flight is little.
"""

import base64
import binascii
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import clean
from clearance.contract import Tab
from clearance.db.compiled import rows_of
from clearance.db.tables import IN_FLIGHT_STATES, OPEN_STATES, decisions, requests
from clearance.db.types import from_text, to_text
from clearance.journal.requests import Request
from clearance.journal.statements import among, param, read_all, written_out
from clearance.principal import Principal

#: Counts stop here: beyond it nobody counts, they read "999+".
MOST_COUNTED = 1_000
#: So many requesters are offered to narrow a list to; others can be typed.
MOST_REQUESTERS = 50
#: More sets of roles than a policy names.
_MOST_NEEDS = 1_000

# By the words of the indexes' conditions, or they would not be used.
_is_open = requests.c.state.in_(written_out(OPEN_STATES))
_may_be_begun = sa.text("(requests.state <> 'asked' OR requests.approvals > 1)")
_counts = sa.text("decisions.counts")
_is_in_flight = requests.c.state.in_(written_out(IN_FLIGHT_STATES))
_is_decided = requests.c.finished_at.is_not(None)
#: By list, what is in it and by which moment it is in order; of the others what is open, by deadline.
_HOLDS = {"in_flight": _is_in_flight, "decided": _is_decided}
_BY = {"in_flight": requests.c.opened_at, "decided": requests.c.finished_at}
#: By which a list is narrowed to what has a value; parts of `Wanted`, and columns.
_NAMED = ("action", "risk", "requested_by", "thread_id")


class CursorError(ValueError):
    """A cursor is none of ours."""

    def __init__(self) -> None:
        super().__init__("after: this is no cursor of a page; take it from `next` of the page before")


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to; None does not narrow."""

    tab: Tab = "open"
    action: str | None = None
    risk: str | None = None
    requested_by: str | None = None
    thread_id: str | None = None
    #: Opened before this moment.
    opened_before: datetime | None = None
    #: Opened after this moment: what is new to somebody.
    opened_after: datetime | None = None


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    requests: list[Request]
    #: Where the next page begins; None when this is the last.
    next: str | None


def read_page(
    connection: Connection, viewer: Principal, wanted: Wanted, *, sees_all: bool, after: str | None = None, limit: int
) -> Page:
    """Read one page of at most `limit` requests.

    `mine` is what waits for the viewer: asked, of roles they hold, not asked for or decided by themselves. Who does not
    see all sees what they asked for themselves.

    Raises:
        CursorError: `after` is no cursor.
    """
    place = _at(_read_cursor(after)) if after is not None else {}
    shape = _shape(viewer, wanted, sees_all=sees_all)
    query = _paging(shape, has_place=bool(place))
    found = [
        # One more than asked for tells of a next page.
        read_all(connection, query, Request, **given, **place, most=limit + 1)
        for given in _values(connection, viewer, wanted, shape)
    ]
    # Each query is in order: what they hold together is, too.
    merged = heapq.merge(*found, key=lambda one: _key(one, wanted.tab), reverse=wanted.tab == "decided")
    page = [one for one, _ in zip(merged, range(limit + 1), strict=False)]
    following = _cursor(page[limit - 1], wanted.tab) if len(page) > limit else None
    return Page(page[:limit], following)


def read_neighbours(
    connection: Connection, viewer: Principal, wanted: Wanted, request: Request, *, sees_all: bool
) -> tuple[Request | None, Request | None]:
    """Read what stands right before and right after a request in a list, also where it is not in the list any more.

    Neither, where the list has no place for it: among the decided ones while it is open.
    """
    if wanted.tab == "decided" and request.finished_at is None:
        return None, None
    shape, place = _shape(viewer, wanted, sees_all=sees_all), _at(_key(request, wanted.tab))
    values = _values(connection, viewer, wanted, shape)

    def nearest(*, is_back: bool) -> Request | None:
        query = _paging(shape, has_place=True, is_back=is_back)
        found = [one for given in values for one in read_all(connection, query, Request, **given, **place, most=1)]
        first = max if (wanted.tab == "decided") is not is_back else min
        return first(found, key=lambda one: _key(one, wanted.tab), default=None)

    return nearest(is_back=True), nearest(is_back=False)


def read_requesters(connection: Connection, tab: Tab) -> list[str]:
    """Read who asked for what a list may hold, by name; at most `MOST_REQUESTERS` of them."""
    return [row[0] for row in rows_of(connection, _REQUESTERS.get(tab, _REQUESTERS_OF_OPEN), {})]


def read_some(connection: Connection, request_ids: Sequence[str]) -> list[Request]:
    """Read these requests, in no order; those that are not there are left out."""
    return read_all(connection, _SOME, Request, request_ids=request_ids) if request_ids else []


def read_beginning(connection: Connection, prefix: str, *, requested_by: str | None, limit: int) -> list[Request]:
    """Read at most `limit` requests whose id begins with these hexadecimal digits, by id.

    Only those that `requested_by` asked for, where told.
    """
    # As a range: LIKE uses no index in most collations. Ids are hexadecimal, and g comes after f in all of them.
    query = sa.select(requests).where(requests.c.request_id >= prefix, requests.c.request_id < f"{prefix}g")
    if requested_by is not None:
        query = query.where(requests.c.requested_by == requested_by)
    return [Request(*row) for row in connection.execute(query.order_by(requests.c.request_id).limit(limit))]


def approved_by(connection: Connection, person: str, *, limit: int) -> list[Request]:
    """Read what somebody approved and what is not carried out yet, first to expire first."""
    return read_all(connection, _APPROVED_BY, Request, person=person, most=limit)


def count(connection: Connection, viewer: Principal, wanted: Wanted, *, sees_all: bool) -> int:
    """Count what a list holds, up to `MOST_COUNTED`."""
    shape, total = _shape(viewer, wanted, sees_all=sees_all), 0
    for given in _values(connection, viewer, wanted, shape):
        if total >= MOST_COUNTED:
            break
        ((more,),) = rows_of(connection, _counting(shape), {**given, "most": MOST_COUNTED})
        total += more
    return min(total, MOST_COUNTED)


class _Shape(NamedTuple):
    """What the statement for a list depends on; the values are given to it."""

    tab: Tab
    #: Columns that are to be equal to a value.
    named: tuple[str, ...]
    is_opened_before: bool
    is_opened_after: bool
    #: Whether it holds what the viewer asked for alone, and what others asked for alone.
    is_own: bool
    is_of_others: bool


def _shape(viewer: Principal, wanted: Wanted, *, sees_all: bool) -> _Shape:
    return _Shape(
        wanted.tab,
        tuple(name for name in _NAMED if getattr(wanted, name) is not None),
        wanted.opened_before is not None,
        wanted.opened_after is not None,
        is_own=not sees_all,
        is_of_others=wanted.tab == "mine" and not viewer.may_approve_own,
    )


def _values(connection: Connection, viewer: Principal, wanted: Wanted, shape: _Shape) -> list[dict[str, Any]]:
    """Give what is given to a statement of this shape, each time that it is asked: together that is the list."""
    given: dict[str, Any] = {name: getattr(wanted, name) for name in shape.named}
    if shape.is_opened_before:
        given["opened_before"] = wanted.opened_before
    if shape.is_opened_after:
        given["opened_after"] = wanted.opened_after
    if shape.is_own or wanted.tab == "mine":
        given["viewer"] = viewer.id
    if wanted.tab != "mine":
        return [given]
    needed = [needs for needs in _needs(connection) if all(viewer.has_role(role) for role in needs.split())]
    return [{**given, "needs": needs} for needs in needed]


@lru_cache(maxsize=500)
def _paging(shape: _Shape, *, has_place: bool, is_back: bool = False) -> sa.Select[Any]:
    """Make the statement for some of a list in its order, or in the opposite one, after a place or from its start."""
    return _from(_narrowed(shape), shape.tab, has_place=has_place, is_back=is_back).limit(param("most"))


@lru_cache(maxsize=500)
def _counting(shape: _Shape) -> sa.Select[Any]:
    """Make the statement that counts a list, up to `most`."""
    counted = _narrowed(shape).with_only_columns(requests.c.request_id)
    if not shape.is_opened_after:  # else the index of that is the one to go along
        # In order, which is along an index: in none PostgreSQL reads all decisions for those of one person.
        counted = _from(counted, shape.tab, has_place=False)
    return sa.select(sa.func.count()).select_from(counted.limit(param("most")).subquery())


def _narrowed(shape: _Shape) -> sa.Select[Any]:
    query = sa.select(requests).where(_HOLDS.get(shape.tab, _is_open))
    for name in shape.named:
        query = query.where(requests.c[name] == param(name))
    if shape.is_opened_before:
        # Not by an index: most of what is open is older than that, and would be put in order each time.
        opened_at = sa.func.coalesce(requests.c.opened_at, requests.c.opened_at)
        query = query.where(opened_at < param("opened_before"))
    if shape.is_opened_after:
        query = query.where(requests.c.opened_at > param("opened_after"))
    if shape.is_own:
        query = query.where(requests.c.requested_by == param("viewer"))
    if shape.tab != "mine":
        return query
    query = query.where(requests.c.state == "asked", requests.c.needs == param("needs"))
    if shape.is_of_others:
        query = query.where(requests.c.requested_by != param("viewer"))
    decided = sa.exists().where(
        decisions.c.request_id == requests.c.request_id,
        decisions.c.decided_by == param("viewer"),
        decisions.c.counts | (decisions.c.decision == "edit"),
    )
    # Of one that takes one approval and was never edited nobody did: there is nothing to look up.
    return query.where(~(((requests.c.approvals > 1) | (requests.c.revision > 1)) & decided))


def _needs(connection: Connection) -> list[str]:
    """Read what open requests need, each once: there are few."""
    return [row[0] for row in rows_of(connection, _NEEDED, {})]


def _each(column: sa.Column[str], condition: sa.ColumnElement[bool], most: int) -> sa.Select[Any]:
    """Give the query for the first `most` values of a column, each once and in order, without empty ones.

    One step along an index for each value, however many rows have it; `SELECT DISTINCT` would read them all.
    """
    first = sa.select(sa.func.min(column).label("value"), sa.literal(1).label("number")).where(condition, column > "")
    found = first.cte("found", recursive=True)
    following = sa.select(sa.func.min(column)).where(condition, column > found.c.value).scalar_subquery()
    is_more = found.c.value.is_not(None) & (found.c.number < most)
    found = found.union_all(sa.select(following, found.c.number + 1).where(is_more))
    return sa.select(found.c.value).where(found.c.value.is_not(None)).order_by(found.c.number)


#: Made once: statements are kept compiled.
_NEEDED = _each(requests.c.needs, _is_open, _MOST_NEEDS)
_REQUESTERS_OF_OPEN = _each(requests.c.requested_by, _is_open, MOST_REQUESTERS)
_REQUESTERS = {tab: _each(requests.c.requested_by, held, MOST_REQUESTERS) for tab, held in _HOLDS.items()}
_SOME = sa.select(requests).where(requests.c.request_id.in_(among("request_ids")))
_APPROVED_BY = (
    sa.select(requests)
    .where(
        _is_open,
        _may_be_begun,
        sa.exists().where(
            decisions.c.request_id == requests.c.request_id, decisions.c.decided_by == param("person"), _counts
        ),
    )
    .order_by(requests.c.expires_at, requests.c.request_id)
    .limit(param("most"))
)


def _from(query: sa.Select[Any], tab: Tab, *, has_place: bool, is_back: bool = False) -> sa.Select[Any]:
    """Put a query in the order of its list, or in the opposite one, and let it begin after a place, see `_at`."""
    moment = _BY.get(tab, requests.c.expires_at)
    is_down = (tab == "decided") is not is_back
    if has_place:
        here = sa.tuple_(sa.bindparam("place_at", type_=moment.type), sa.bindparam("place_id", type_=sa.Text))
        there = sa.tuple_(moment, requests.c.request_id)
        query = query.where(there < here if is_down else there > here)
    if is_down:
        return query.order_by(moment.desc(), requests.c.request_id.desc())
    return query.order_by(moment, requests.c.request_id)


def _key(request: Request, tab: Tab) -> tuple[datetime, str]:
    moment: datetime | None = getattr(request, _BY.get(tab, requests.c.expires_at).name)
    assert moment is not None
    return moment, request.request_id


def _at(place: tuple[datetime, str]) -> dict[str, Any]:
    """Give a place to a statement."""
    return {"place_at": place[0], "place_id": place[1]}


def _cursor(request: Request, tab: Tab) -> str:
    at, request_id = _key(request, tab)
    return base64.urlsafe_b64encode(json.dumps([to_text(at), request_id]).encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        at, request_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return from_text(at).astimezone(UTC), clean(str(request_id))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as exc:
        raise CursorError from exc
