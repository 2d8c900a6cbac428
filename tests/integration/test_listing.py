"""Lists of requests: what is mine, open, decided; filters, and pages that neither lose nor repeat a request."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.actions.action import Actions
from clearance.contract import Tab
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.tables import audit, decisions, plans, requests, turns
from clearance.desk import lists, statistics
from clearance.desk.lists import CursorError, Page, Wanted
from clearance.desk.statistics import read_statistics
from clearance.journal.audit import some_rows
from clearance.journal.requests import count_open, read_earlier
from clearance.journal.signing import Keys
from clearance.journal.witness import disagreements
from clearance.principal import Principal

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
    return database.read_now(lambda c: lists.read_page(c, viewer, wanted, sees_all=sees_all, after=after, limit=limit))


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
    assert filled.read_now(lambda c: lists.count(c, TESS, wanted, sees_all=True)) == len(numbers(of=of))


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


# Before, after, and whom one can narrow it to


@pytest.mark.parametrize("wanted", [Wanted("mine"), Wanted("open"), Wanted("open", risk="critical"), Wanted("decided")])
def test_from_each_request_one_goes_on_and_back_in_the_order_of_its_list(filled: Database, wanted: Wanted) -> None:
    listed = everything(filled, TESS, wanted)

    found = [beside(filled, TESS, wanted, one) for one in listed]

    assert found == list(zip([None, *listed], [*listed[1:], None], strict=False))


def beside(database: Database, viewer: Principal, wanted: Wanted, request_id: str) -> tuple[str | None, str | None]:
    """Give what stands before and after a request in a list."""

    def work(connection: Connection) -> tuple[str | None, str | None]:
        (request,) = lists.read_some(connection, [request_id])
        before, after = lists.read_neighbours(connection, viewer, wanted, request, sees_all=True)
        return before.request_id if before else None, after.request_id if after else None

    return database.read_now(work)


def test_a_request_that_left_its_list_keeps_its_place_there(filled: Database) -> None:
    before, gone, after = everything(filled, ANA, Wanted("mine"))[4:7]
    decided = sa.update(requests).where(requests.c.request_id == gone).values(state="rejected", finished_at=NOW)
    filled.write_now(lambda c: c.execute(decided))

    assert beside(filled, ANA, Wanted("mine"), gone) == (before, after)


def test_an_open_request_has_no_place_among_the_decided(filled: Database) -> None:
    assert beside(filled, ANA, Wanted("decided"), "r00001") == (None, None)


def test_known_requesters_are_each_listed_once_and_not_more_than_some(filled: Database) -> None:
    names = [f"person-{number:03}" for number in range(lists.MOST_REQUESTERS + 10)]

    def known(tab: Tab) -> list[str]:
        return filled.read_now(lambda c: lists.read_requesters(c, tab))

    few = known("open")
    only_done = sa.update(requests).where(requests.c.requested_by == "ana").values(state="executed", finished_at=NOW)
    filled.write_now(lambda c: c.execute(only_done))
    fewer, done = known("open"), known("decided")
    for number, name in enumerate(names, 100):
        filled.write_now(partial(add, number=number, requested_by=name))
    many = known("open")

    assert (few, fewer, done) == (["ana", "olga"], ["olga"], ["ana", "olga"])
    assert many == ["olga", *names][: lists.MOST_REQUESTERS]


# What it costs


FEW, MANY = 200, 20_000


def fill(connection: Connection, first: int, last: int) -> None:
    """Add requests and rows of the log: half of the requests open, a few of everything unlike the others."""
    if first == 0:
        add(connection, 0)
    random, asked, happened = Random(first), [], []
    some: dict[str, Any] = dict(connection.execute(sa.select(requests).limit(1)).mappings().one())
    for n in range(first + 1, last + 1):
        is_open, is_rare = n % 2 == 0, n <= FEW and n % 4 < 2
        asked.append(some | {
            "request_id": f"{n:06}", "number": n, "tool_call_id": f"c{n}", "position": n,
            "state": "approved" if n in (50, 150) else "asked" if is_open else "executed",
            "expires_at": NOW + timedelta(seconds=random.randrange(10**6)),
            "finished_at": None if is_open else NOW + timedelta(seconds=random.randrange(10**6)),
            "requested_by": f"rare-{n}" if is_rare else "olga",
            "action": "delete_user" if is_rare else "transfer_funds", "risk": "low" if is_rare else "high",
        })  # fmt: skip
        happened.append(
            {"seq": n, "at": "t", "event": "frozen" if n == 2 else "requested", "actor": "ana" if n <= 4 else "olga",
             "thread_id": None, "turn_id": None, "request_id": f"{n:06}", "details": "{}", "mac": "m" * 64}
        )  # fmt: skip
    connection.execute(sa.insert(requests), asked)
    connection.execute(sa.insert(audit), happened)


def cost(connection: Connection, work: Callable[[Connection], Any]) -> int:
    """Count what reading takes: steps of SQLite's machine, blocks of PostgreSQL's tables and indexes."""
    if connection.dialect.name == "sqlite":
        steps: list[None] = []
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: steps.append(None), 1)
        work(connection)
        driver.set_progress_handler(None, 1)
        return len(steps)
    said: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    sa.event.listen(connection, "before_cursor_execute", hear)
    work(connection)
    sa.event.remove(connection, "before_cursor_execute", hear)
    found = 0
    for statement, parameters in said:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        (plan,) = connection.exec_driver_sql(explained, parameters).scalar_one()
        found += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return found


def looks() -> dict[str, Callable[[Connection], Any]]:
    """Name everything that pages read of lists and of the log, and what is counted before each effect."""
    found: dict[str, Callable[[Connection], Any]] = {}
    tabs: list[Tab] = ["mine", "open", "decided"]
    for tab in tabs:
        narrowed = [
            Wanted(tab, action="delete_user"), Wanted(tab, risk="low"), Wanted(tab, requested_by="rare-4")
        ]  # fmt: skip
        # `mine` with a filter reads along the index of one of the two.
        for wanted in [Wanted(tab), *(narrowed if tab != "mine" else [])]:
            found[f"a page of {wanted}"] = partial(read_page, wanted=wanted)
            found[f"beside one in {wanted}"] = partial(read_beside, wanted=wanted)
        found[f"requesters of {tab}"] = partial(lists.read_requesters, tab=tab)
    for only in ({"event": "frozen"}, {"actor": "ana"}, {"actor": "nobody"}, {"event": "frozen", "actor": "olga"},
                 {"event": "requested", "actor": "nobody"}, {"request_id": "000004"},
                 {"request_id": "000004", "event": "frozen"}, {"request_id": "000004", "actor": "olga"},
                 {"request_id": "000004", "event": "requested", "actor": "olga"}):  # fmt: skip
        found[f"the log of {only}"] = partial(some_rows, before=None, after=None, limit=50, only=only)
    for external in ([], ["transfer_funds"]):
        found[f"what counts before an effect, and {external} in flight"] = partial(count_earlier, external=external)
    return found


def count_earlier(connection: Connection, external: list[str]) -> None:
    found = read_earlier(connection, ["transfer_funds", "delete_user"], 10**9, "p1", external=external)
    assert len(found) == 2


def read_page(connection: Connection, wanted: Wanted) -> None:
    lists.read_page(connection, TESS, wanted, sees_all=True, limit=20)


def read_beside(connection: Connection, wanted: Wanted) -> None:
    (request,) = lists.read_some(connection, ["000051" if wanted.tab == "decided" else "000052"])
    lists.read_neighbours(connection, TESS, wanted, request, sees_all=True)


def test_what_pages_and_effects_read_costs_the_same_however_much_there_is(database: Database) -> None:
    """Otherwise a page of a hundred thousand requests would read them all, or sort them."""

    def grow(first: int, last: int) -> dict[str, int]:
        database.write_now(lambda c: fill(c, first, last), is_long=True)
        if not database.is_sqlite:
            database.write_now(lambda c: c.exec_driver_sql("ANALYZE requests, audit"))
        # One by one: on a busy machine all of them together take longer than one reading may.
        return {name: database.read_now(partial(cost, work=look)) for name, look in looks().items()}

    few = grow(0, FEW)
    many = grow(FEW, MANY)

    # To PostgreSQL's blocks a larger tree adds some at each step down; what is read whole would be hundreds.
    more = 0 if database.is_sqlite else 60
    assert {name: (few[name], now) for name, now in many.items() if now > few[name] + more} == {}


def explain(connection: Connection, shown: list[tuple[str, Any]]) -> str:
    """Say how SQLite reads for some statements."""
    told = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values) for sql, values in shown]
    return "\n".join(row[3] for rows in told for row in rows)


@pytest.mark.parametrize("tab", ["open", "decided"])
def test_several_filters_look_at_no_row_that_one_of_them_leaves_out(tmp_path: Path, tab: Tab) -> None:
    """SQLite alone. What both `delete_user` and `high` match may be none of ten thousand: each was read for that."""
    empty = Database(f"sqlite:///{tmp_path}/journal.db")
    migrate(empty)
    for wanted, name in {
        Wanted(tab, action="delete_user", risk="high"): "action",
        Wanted(tab, action="delete_user", requested_by="olga"): "requested_by",
        Wanted(tab, risk="high", requested_by="olga"): "requested_by",
        Wanted(tab, action="delete_user", risk="high", requested_by="olga"): "requested_by",
    }.items():
        shown: list[tuple[str, Any]] = []

        def look(connection: Connection, wanted: Wanted = wanted, shown: list[Any] = shown) -> str:
            sa.event.listen(connection, "before_cursor_execute", lambda *told: shown.append(told[2:4]))
            lists.count(connection, TESS, wanted, sees_all=True)
            read_page(connection, wanted)
            return explain(connection, shown[:])

        plans = empty.read_now(look)

        assert f"SEARCH requests USING COVERING INDEX ix_requests_{tab}_{name} ({name}=?" in plans, wanted
        assert f"SEARCH requests USING INDEX ix_requests_{tab}_{name} ({name}=?" in plans
    empty.close()


def test_what_is_read_at_every_look_is_found_by_an_index(tmp_path: Path) -> None:
    """SQLite alone: PostgreSQL plans by the size of its tables, which are small here."""
    filled = Database(f"sqlite:///{tmp_path}/journal.db")
    migrate(filled)
    for number in range(3):
        filled.write_now(partial(add, number=number))
    shown: list[tuple[str, Any]] = []
    one = filled.read_now(lambda c: lists.read_some(c, ["r00001"]))

    def look(connection: Connection) -> None:
        sa.event.listen(connection, "before_cursor_execute", lambda *told: shown.append(told[2:4]))
        count_open(connection)
        lists.approved_by(connection, "ana", limit=20)
        lists.count(connection, TESS, Wanted("mine"), sees_all=True)
        lists.count(connection, ANA, Wanted("open", opened_after=NOW), sees_all=True)
        lists.read_page(connection, ANA, Wanted("in_flight"), sees_all=True, limit=10)
        read_statistics(connection, NOW)
        disagreements(connection, Keys(b"k" * 32), one, Actions([]))

    filled.read_now(look)

    plans = filled.read_now(partial(explain, shown=shown))
    assert len(shown) > 12
    assert not [line for line in plans.splitlines() if line.startswith("SCAN requests") and "USING" not in line]
    for name in ("ix_requests_open_opened", "ix_requests_open_begun", "ix_requests_opened", "ix_requests_thread",
                 "uq_requests_in_flight"):  # fmt: skip
        assert name in plans
    assert plans.count("ix_requests_opened") == 1  # by statistics
    assert "INDEX ix_requests_open_opened (opened_at>?)" in plans  # how many are new
    assert "COVERING INDEX ix_requests_open_needs" in plans  # how many wait for somebody
    # What somebody approved and did not run yet.
    assert "SCAN requests USING INDEX ix_requests_open_begun" in plans
    assert "USING INDEX uq_decisions_one_approval_each (request_id=? AND decided_by=?)" in plans
    assert "SEARCH decisions USING INDEX ix_decisions_decided" in plans
    assert "SCAN erasures" not in plans
    filled.close()


def test_of_many_decisions_the_newest_are_counted_and_since_when_is_told(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MOST_DECISIONS", 3)
    approval = {"number": 1, "revision": 1, "digest": "d", "decision": "approve", "decided_by": "tess",
                "decider_kind": "person", "decider_roles": [], "counts": True}  # fmt: skip
    rows = [{**approval, "decision_id": f"{n}", "request_id": f"r{n:05}", "decided_at": NOW + timedelta(minutes=n)}
            for n in range(1, 8)]  # fmt: skip
    filled.write_now(lambda c: c.execute(sa.insert(decisions), rows))

    found = filled.read_now(lambda c: read_statistics(c, NOW))

    assert (found.since, found.reviewers[0].decisions) == (NOW + timedelta(minutes=5), 3)
    monkeypatch.setattr(statistics, "MOST_DECISIONS", 7)
    assert filled.read_now(lambda c: read_statistics(c, NOW)).since == NOW + timedelta(minutes=1)
    monkeypatch.setattr(statistics, "MOST_DECISIONS", 8)
    assert filled.read_now(lambda c: read_statistics(c, NOW)).since == NOW
