"""`clearance pending`, `show`, `approve`, `edit` where people are told apart: who sees what, and may do what."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from langgraph_sdk import get_sync_client

from clearance.cli import requests
from clearance.cli.approvals import Approvals, Unreachable
from tests.support.command import Ran, run
from tests.support.server import Server
from tests.support.tokens import bearer, token
from tests.support.world import ANA, BEN, OLGA, Person

NORA = Person("nora")


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server as it is deployed, with authentication."""
    made = make_server()
    made.auth = "on"
    yield made.start()
    made.stop()


@pytest.fixture
def by(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run the command as somebody, or with no token."""

    def run_as(person: Person | None, *arguments: str) -> Ran:
        monkeypatch.setenv("CLEARANCE_TOKEN", token(person) if person else "")
        return run("--url", server.url, *arguments)

    return run_as


def _say(server: Server, sentence: str) -> str:
    """Let olga ask for something; give the thread."""
    said: dict[str, Any] = {"messages": [{"role": "user", "content": sentence}]}
    with get_sync_client(url=server.url, api_key=None, headers=bearer(OLGA)) as client:
        thread_id: str = client.threads.create()["thread_id"]
        client.runs.wait(thread_id, "clearance", input=said)
    return thread_id


def _hold(server: Server, by: Callable[..., Ran], sentence: str) -> dict[str, Any]:
    """Let olga ask for something that is held; give its entry."""
    thread_id = _say(server, sentence)
    (held,) = [one for one in by(OLGA, "pending", "--json").json if one["thread_id"] == thread_id]
    return dict(held)


def test_an_approver_decides_what_somebody_else_asked_for(server: Server, by: Callable[..., Ran]) -> None:
    held = _hold(server, by, "transfer 1,601 from A-2001 to A-2003")
    olgas, anas = (by(person, "pending", "--mine", "--json").json for person in (OLGA, ANA))

    done = by(ANA, "approve", held["id"][:8])

    assert (done.code, done.err) == (0, "")
    assert "Transferred $1,601.00 from A-2001 to A-2003 (T-" in done.out
    assert held["id"] in [one["id"] for one in anas]
    assert olgas == []
    assert held["id"] not in [one["id"] for one in by(ANA, "pending", "--json").json]


def test_what_is_decided_is_shown_with_its_receipt_by_a_prefix(server: Server, by: Callable[..., Ran]) -> None:
    done = _hold(server, by, "transfer 1,602 from A-2001 to A-2003")
    rejected = _hold(server, by, "transfer 1,603 from A-2001 to A-2003")
    by(ANA, "approve", done["id"])
    by(ANA, "reject", rejected["id"], "--reason", "the invoice is paid")

    shown = [by(OLGA, "show", one["id"][:10]) for one in (done, rejected)]
    as_json = by(OLGA, "show", done["id"][:10].upper(), "--json").json

    assert [ran.code for ran in shown] == [0, 0]
    assert "Transferred $1,602.00" in shown[0].out
    assert "given by ana" in shown[0].out
    assert "UTC, executed" in shown[0].out
    assert "Not done: ana rejected it: the invoice is paid" in shown[1].out
    assert not [word for word in ("Until", "none given yet") if word in shown[0].out + shown[1].out]
    assert (as_json["request"]["id"], as_json["receipt"]["outcome"]) == (done["id"], "executed")


def test_what_is_out_of_the_ordinary_stands_on_the_card(server: Server, by: Callable[..., Ran]) -> None:
    held = _hold(server, by, "transfer 12,000 from A-2002 to A-2003")

    to_ana, to_olga = by(ANA, "show", held["id"]).out, by(OLGA, "show", held["id"]).out

    assert "of what A-2002 holds" in to_ana
    assert "You asked for this, so others decide." not in to_ana
    assert "You asked for this, so others decide." in to_olga
    by(ANA, "reject", held["id"], "--reason", "enough")


def test_who_holds_no_role_decides_nothing_and_sees_only_their_own(server: Server, by: Callable[..., Ran]) -> None:
    held = _hold(server, by, "transfer 1,604 from A-2001 to A-2003")

    own = by(OLGA, "approve", held["id"])
    other = [by(NORA, *command) for command in (("show", held["id"]), ("approve", held["id"]))]
    listed = by(NORA, "pending")

    assert own.code == 4
    assert "olga does not have the role approver" in own.out
    assert [ran.code for ran in other] == [3, 3]
    assert all("There is no request that you may see" in ran.err and ran.err.count("\n") == 1 for ran in other)
    assert listed.out == "Nothing waits for an answer.\n"
    assert by(ANA, "approve", held["id"]).code == 0


@pytest.mark.parametrize("command", [("pending",), ("show", "a"), ("approve", "a")], ids=" ".join)
def test_without_a_token_it_is_said_that_one_is_needed(by: Callable[..., Ran], command: tuple[str, ...]) -> None:
    ran = by(None, *command)

    assert ran.code == 1
    assert "You are not signed in" in ran.err
    assert ran.err.count("\n") == 1


def test_what_was_edited_since_it_was_shown_is_not_approved(server: Server, by: Callable[..., Ran]) -> None:
    held = _hold(server, by, "transfer 1,605 from A-2001 to A-2003")
    seen = by(ANA, "show", held["id"], "--json").json["request"]
    by(BEN, "edit", held["id"], "--set", "amount=1,705")

    refused = by(ANA, "approve", held["id"], "--digest", seen["digest"])
    unset = by(ANA, "approve", held["id"], "--digest", "")
    now = by(ANA, "show", held["id"], "--json").json
    done = by(ANA, "approve", held["id"], "--digest", now["request"]["digest"], "--revision", "2")

    assert (refused.code, unset.code) == (4, 4)
    assert "other arguments than the ones asked for now" in refused.out
    assert (now["request"]["state"], now["request"]["approvals_given"]) == ("asked", [])
    assert done.code == 0
    assert "Transferred $1,705.00" in done.out


def test_what_was_asked_again_since_it_was_shown_is_not_approved(server: Server, by: Callable[..., Ran]) -> None:
    held = _hold(server, by, "transfer 1,606 from A-2001 to A-2010")
    by(ANA, "approve", _hold(server, by, "transfer 1,206 from A-2001 to A-2010")["id"])
    seen = by(ANA, "show", held["id"], "--json").json["request"]
    asked_again = by(BEN, "approve", held["id"])  # it is no new payee any more

    about = ("--digest", seen["digest"], "--revision")
    refused = by(ANA, "approve", held["id"], *about, str(seen["revision"]))
    done = by(ANA, "approve", held["id"], *about, str(seen["revision"] + 1))

    assert asked_again.code == 5
    assert refused.code == 4
    assert "changed after this question was put" in refused.out
    assert done.code == 0


def test_an_edit_is_told_with_what_it_needs_before_it_is_made(server: Server, by: Callable[..., Ran]) -> None:
    held = _hold(server, by, "transfer 6,007 from A-2001 to A-2003")

    more = by(ANA, "edit", held["id"], "--set", "amount=6,107")
    less = by(BEN, "edit", held["id"], "--set", "amount=1,607")

    assert (more.code, less.code) == (0, 0)
    assert "It becomes: Transfer $6,107.00 from A-2001" in more.out
    assert "Your change is not enough: it needs 1 × approver" in more.out
    assert "It waits for somebody else: it needs 1 × approver" in more.out
    assert "It becomes: Transfer $1,607.00 from A-2001" in less.out
    assert "Your change is enough" in less.out
    assert "Transferred $1,607.00" in less.out


def test_a_beginning_of_several_ids_lists_them_and_decides_nothing(server: Server, by: Callable[..., Ran]) -> None:
    # 17 ids: two of them begin with the same digit.
    held = [_hold(server, by, "transfer 1,608 from A-2001 to A-2003") for _ in range(17)]
    firsts = [one["id"][0] for one in held]
    first = next(one for one in firsts if firsts.count(one) > 1)
    alike = [one["id"] for one in held if one["id"].startswith(first)]

    ran = by(ANA, "approve", first)

    assert ran.code == 2
    assert [one for one in alike if one not in ran.err] == []
    assert "asked: Transfer $1,608.00" in ran.err
    assert {one["id"] for one in held} <= {one["id"] for one in by(ANA, "pending", "--json").json}


def test_pending_reads_every_page_first_to_expire_first_and_tells_where_it_stops(
    server: Server, by: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        _say(server, "transfer 1,609 from A-2001 to A-2003")
    whole = by(ANA, "pending", "--json")

    monkeypatch.setattr(requests, "_PAGE", 2)
    paged = by(ANA, "pending", "--json")
    monkeypatch.setattr(requests, "_MOST", 4)
    cut = by(ANA, "pending", "--json")

    assert paged.json == whole.json
    assert [one["expires_at"] for one in whole.json] == sorted(one["expires_at"] for one in whole.json)
    assert (whole.err, paged.err) == ("", "")
    assert cut.json == whole.json[:4]
    assert "There are more than these: the first 4 to expire are listed." in cut.err


def test_a_server_that_is_lost_while_it_decides_leaves_open_what_became_of_it(
    server: Server, by: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = _hold(server, by, "transfer 1,610 from A-2001 to A-2003")

    async def lost(*_: Any, **__: Any) -> None:
        raise Unreachable("The server does not answer in time.")

    monkeypatch.setattr(Approvals, "decide", lost)

    ran = by(ANA, "approve", held["id"])

    assert ran.code == 1
    assert "Whether your answer was recorded is not known" in ran.err


def test_a_material_fact_that_changed_since_it_was_asked_stands_on_the_card(
    server: Server, by: Callable[..., Ran]
) -> None:
    """Balances move all day: they are read afresh, and not told as a change."""
    held = _hold(server, by, "transfer 1,611 from A-2001 to A-2006")
    before = by(ANA, "show", held["id"]).out
    by(ANA, "approve", _hold(server, by, "transfer 1,612 from A-2001 to A-2004")["id"])

    moved = by(ANA, "show", held["id"]).out
    owner = _owner_of(server, "A-2006", "C-1001")
    after = by(ANA, "show", held["id"]).out
    _owner_of(server, "A-2006", owner)

    assert "Changed since it was asked" not in before
    assert "Changed since it was asked" not in moved
    (line,) = [
        line for line in after.split("Changed since it was asked")[1].splitlines() if "Receives, customer" in line
    ]
    assert line.rstrip(" │").split("customer")[-1].split() == [owner, "→", "C-1001"]


def _owner_of(server: Server, account_id: str, customer_id: str) -> str:
    """Give an account to another customer, past the gate; give whose it was."""
    with closing(sqlite3.connect(server.database_url.removeprefix("sqlite:///"), timeout=60)) as connection, connection:
        query = "SELECT customer_id FROM accounts WHERE account_id = ?"
        was = str(connection.execute(query, [account_id]).fetchone()[0])
        connection.execute("UPDATE accounts SET customer_id = ? WHERE account_id = ?", [customer_id, account_id])
    return was
