"""Lists of requests: what is mine, open, decided; filters, and pages that neither lose nor repeat a request."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance import listing
from agent.clearance.listing import CursorError, Page, Tab, Wanted
from agent.clearance.principal import Principal
from agent.db.engine import Database
from agent.db.tables import decisions, plans, requests, turns

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANA = Principal("ana", roles=frozenset(["approver"]))
TESS = Principal("tess", roles=frozenset(["approver", "treasurer"]))
OLGA = Principal("olga")


def add(connection: Connection, number: int, **columns: Any) -> None:
    """Insert a request of its own plan, asked of approvers unless `columns` say otherwise."""
    if number == 0:
        turn = {"turn_id": "t", "thread_id": "thread", "number": 1, "run_id": None, "requested_by": "olga",
                "requester_kind": "person", "requester_roles": [], "message_id": "m", "messages": [],
                "is_durable": True, "state": "open", "opened_at": NOW, "closed_at": None}  # fmt: skip
        connection.execute(sa.insert(turns), turn)
    plan = {"plan_id": f"p{number}", "turn_id": "t", "position": number, "thread_id": "thread",
            "message_id": f"m{number}", "message": {}, "digest": "", "opened": True, "stored_at": NOW}  # fmt: skip
    connection.execute(sa.insert(plans), plan)
    row = {
        "request_id": f"r{number:05}", "number": number, "plan_id": f"p{number}", "turn_id": "t",
        "thread_id": f"thread-{number}", "tool_call_id": "c", "position": 0, "requested_by": "olga",
        "action": "transfer_funds", "arguments": {"n": number}, "digest": "d", "salt": "s", "facts": {},
        "sentence": f"Transfer {number}", "verdict": "ask", "rule": "r", "risk": "high", "approvers": ["approver"],
        "needs": "approver", "approvals": 1, "state": "asked", "revision": 1, "notice": None, "opened_at": NOW,
        "expires_at": NOW + timedelta(minutes=number * 7 % 1000), "asked_ms": None, "refused_answers": 0,
        "finished_at": None,
    }  # fmt: skip
    connection.execute(sa.insert(requests), {**row, **columns})


@pytest.fixture
def filled(database: Database) -> Database:
    """A journal with 90 requests of all kinds."""

    def work(connection: Connection) -> None:
        for number in range(90):
            kind: dict[str, Any] = {}
            if number % 3 == 0:
                kind = {"state": "executed", "finished_at": NOW + timedelta(minutes=number * 11 % 100)}
            if number % 5 == 0:
                kind |= {"approvers": ["treasurer"], "needs": "treasurer", "risk": "critical", "approvals": 2}
            if number % 7 == 0:
                kind |= {"requested_by": "ana", "action": "delete_user"}
            add(connection, number, **kind)

    database.write_now(work)
    return database


def page(database: Database, viewer: Principal, wanted: Wanted, *, after: str | None = None, limit: int = 10) -> Page:
    """Read one page as somebody who holds a role, or none."""
    sees_all = bool(viewer.roles)
    return database.read_now(
        lambda c: listing.read_page(c, viewer, wanted, sees_all=sees_all, after=after, limit=limit)
    )


def everything(database: Database, viewer: Principal, wanted: Wanted) -> list[str]:
    """Read all pages."""
    found: list[str] = []
    after = None
    while True:
        one = page(database, viewer, wanted, after=after)
        found += [request.request_id for request in one.requests]
        if one.next is None:
            return found
        after = one.next


def numbers(*, of: Any) -> set[str]:
    """Give the ids of the requests whose number fits."""
    return {f"r{number:05}" for number in range(90) if of(number)}


def test_pages_hold_every_open_request_once_first_to_expire_first(filled: Database) -> None:
    found = everything(filled, ANA, Wanted("open"))

    expiry = [int(one[1:]) * 7 % 1000 for one in found]
    assert set(found) == numbers(of=lambda n: n % 3)
    assert len(found) == len(set(found))
    assert expiry == sorted(expiry)


def test_decided_requests_come_last_first(filled: Database) -> None:
    found = everything(filled, ANA, Wanted("decided"))

    finished = [int(one[1:]) * 11 % 100 for one in found]
    assert set(found) == numbers(of=lambda n: n % 3 == 0)
    assert finished == sorted(finished, reverse=True)


def test_mine_is_what_my_roles_may_decide_and_others_asked_for(filled: Database) -> None:
    assert set(everything(filled, ANA, Wanted("mine"))) == numbers(of=lambda n: n % 3 and n % 5 and n % 7)
    assert set(everything(filled, TESS, Wanted("mine"))) == numbers(of=lambda n: n % 3)
    assert everything(filled, OLGA, Wanted("mine")) == []


def test_what_i_approved_is_not_mine_any_more(filled: Database) -> None:
    approval = {"decision_id": "x", "number": 1, "request_id": "r00005", "revision": 1, "digest": "d",
                "decision": "approve", "decided_by": "tess", "decider_kind": "person", "decider_roles": ["treasurer"],
                "reason": None, "edited": None, "counts": True, "lapsed": None, "decided_at": NOW}  # fmt: skip
    filled.write_now(lambda c: c.execute(sa.insert(decisions), approval))

    assert "r00005" not in everything(filled, TESS, Wanted("mine"))
    assert "r00005" in everything(filled, TESS, Wanted("open"))


def test_who_holds_no_role_sees_what_they_asked_for(filled: Database) -> None:
    assert set(everything(filled, OLGA, Wanted("open"))) == numbers(of=lambda n: n % 3 and n % 7)


@pytest.mark.parametrize(
    ("wanted", "of"),
    [
        (Wanted("open", action="delete_user"), lambda n: n % 3 and n % 7 == 0),
        (Wanted("open", risk="critical"), lambda n: n % 3 and n % 5 == 0),
        (Wanted("open", requested_by="ana", risk="high"), lambda n: n % 3 and n % 5 and n % 7 == 0),
        (Wanted("decided", risk="critical"), lambda n: n % 15 == 0),
        (Wanted("open", thread_id="thread-8"), lambda n: n == 8),
        (Wanted("open", opened_before=NOW), lambda n: False),
        (Wanted("open", opened_before=NOW + timedelta(seconds=1)), lambda n: n % 3),
    ],
)
def test_filters_narrow(filled: Database, wanted: Wanted, of: Any) -> None:
    assert set(everything(filled, TESS, wanted)) == numbers(of=of)
    assert filled.read_now(lambda c: listing.count(c, TESS, wanted, sees_all=True)) == len(numbers(of=of))


def test_a_request_that_is_decided_between_two_pages_moves_no_other(filled: Database) -> None:
    first = page(filled, ANA, Wanted("open"))
    gone = first.requests[3].request_id
    decided = sa.update(requests).where(requests.c.request_id == gone).values(state="rejected", finished_at=NOW)
    filled.write_now(lambda c: c.execute(decided))

    second = page(filled, ANA, Wanted("open"), after=first.next)

    assert second.requests[0].request_id == everything(filled, ANA, Wanted("open"))[9]


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "WzEsMl0=", "🙂", "W10="])
def test_a_cursor_that_is_none_of_ours_is_refused(filled: Database, cursor: str) -> None:
    with pytest.raises(CursorError, match="after"):
        page(filled, ANA, Wanted("open"), after=cursor)


@pytest.mark.parametrize("tab", ["mine", "open", "decided"])
@pytest.mark.parametrize("filter", [{}, {"action": "delete_user"}, {"risk": "high"}, {"requested_by": "olga"}])
def test_a_page_reads_an_index_in_its_order(filled: Database, tab: Tab, filter: dict[str, Any]) -> None:
    """Otherwise a page of a hundred thousand requests would sort them all."""
    if not filled.is_sqlite:
        pytest.skip("the planner of PostgreSQL reads so few rows whole")
    plans_seen: list[str] = []

    def work(connection: Connection) -> None:
        for query in listing.page_queries(connection, TESS, Wanted(tab, **filter), sees_all=True, after=None, limit=9):
            compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
            plans_seen.append(str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()))

    filled.read_now(work)

    assert plans_seen
    for plan in plans_seen:
        assert "TEMP B-TREE" not in plan, plan
        assert "USING INDEX ix_requests_" in plan, plan
