"""A database that an earlier program wrote: its log verifies, its open requests go on, and what it binds is told."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import aiosqlite
import pytest
import sqlalchemy as sa
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from sqlalchemy.engine import Connection

from agent.bank import MIGRATIONS
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.desk.desk import Desk
from clearance.journal import audit
from clearance.journal.exported import check
from clearance.journal.signing import Keys
from clearance.journal.verification import Verification, verify
from clearance.principal import Principal
from tests.conftest import DIALECTS, copied
from tests.support.command import run
from tests.support.old_journal import write_old_checkpoints, write_old_journal, written_at
from tests.support.tampering import disarm
from tests.support.world import ANA, AUDIT_KEY, BEN, TOM, World

OPEN = ["asked", "asked", "approved", "asked", "approved", "asked"]


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give an empty database instead of a migrated one."""
    if request.param == "sqlite":
        (tmp_path / "old.db").touch(mode=0o600)
        yield f"sqlite:///{tmp_path / 'old.db'}"
        return
    with ExitStack() as stack:
        yield stack.enter_context(copied(request.getfixturevalue("postgres_server"), "template1"))


@pytest.fixture
async def old(database: Database) -> AsyncIterator[World]:
    """Give the agent over what an earlier program wrote, right after it, migrated by this one."""
    write_old_journal(database)
    migrate(database, MIGRATIONS)
    async with aiosqlite.connect(":memory:") as connection:
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        await write_old_checkpoints(connection)
        world = World(database, checkpointer=saver)
        world.clock.advance(seconds=(written_at() - datetime.now(UTC)).total_seconds() + 5)
        yield world


def _verify(world: World) -> Verification:
    actions, now = world.gate.judge.actions, world.clock()
    return world.database.read_now(lambda c: verify(c, AUDIT_KEY, actions=actions, now=now))


async def test_its_log_verifies_before_this_program_wrote_a_row(old: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counted as bound from row 1, and the journal as made up."""
    found = _verify(old)
    monkeypatch.setenv("DATABASE_URL", old.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())
    told = run("audit", "verify")

    assert (found.is_whole, found.bound_from, found.rows) == (True, None, 36), found.reason
    assert (told.code, "not bound yet" in told.out) == (0, True)


async def test_its_open_requests_go_on_and_what_they_become_is_bound(old: World) -> None:
    assert old.states()[-6:] == OPEN

    await old.answer(True, thread="asked")  # the first row of this program changes one of the other's
    begun = _verify(old)
    await old.answer(True, by=TOM, thread="half")
    await old.answer(True, thread="plan")
    await old.go_on(thread="cleared")
    await old.answer(True, by=BEN, thread="edited and open")
    await old.say("hello", thread="executed")

    assert (begun.is_whole, begun.bound_from) == (True, 37), begun.reason
    assert set(old.states()[-6:]) == {"executed"}
    found = _verify(old)
    assert (found.is_whole, found.bound_from) == (True, 37), found.reason
    desk, viewer = Desk(old.gate), Principal("ana", roles=frozenset(ANA.roles))
    for request in old.requests():
        assert (await desk.detail(viewer, request.request_id)).disagreements == []
    disarm(old.database)
    old.execute("UPDATE requests SET sentence = 'Transfer $1.00' WHERE thread_id = 'half'")
    assert "requests.sentence of " in str(_verify(old).reason)


async def test_its_export_is_in_order_and_claims_no_proof_that_it_does_not_hold(old: World) -> None:
    """What was changed by somebody and approved by another was told to be a wrong revision."""
    await old.answer(True, by=BEN, thread="edited and open")
    rows = [json.dumps(row) for row in old.read(lambda c: list(audit.rows(c)))]

    found = check(rows, Keys(AUDIT_KEY))

    assert (found.findings, found.proven, found.executed) == ([], 0, 5)


@pytest.mark.parametrize("binds", [True, False])
async def test_nobody_makes_the_log_begin_to_bind_again(old: World, binds: bool) -> None:
    """What SQL put in would have been counted as there before."""
    if binds:
        await old.answer(True, thread="asked")
    made_up = (
        "INSERT INTO turns (turn_id, thread_id, number, requested_by, requester_kind, requester_roles, message_id,"
        " messages, is_durable, state, opened_at, closed_at) SELECT 'made up', 'other', 1, 'tess', 'person', '[]', 'm',"
        " '[]', TRUE, 'answered', opened_at, opened_at FROM turns LIMIT 1"
    )
    old.execute(made_up)
    old.execute("UPDATE audit_head SET bound_from = NULL" if binds else "UPDATE audit_head SET bound_from = 1")
    before = _verify(old)
    await old.answer(True, by=TOM, thread="half")
    after = _verify(old)

    assert not before.is_whole
    assert not after.is_whole
    if binds:
        assert "audit_head.bound_from is None, the log binds from row 37 on" in str(before.reason)
        assert "audit_head.bound_from was taken away" in str(after.reason)


def test_a_new_log_binds_from_its_first_row(database: Database) -> None:
    migrate(database, MIGRATIONS)

    def work(connection: Connection) -> None:
        with audit.locked(connection, AUDIT_KEY, lambda: datetime.now(UTC)) as log:
            log.append("unfrozen", "ops")

    database.write_now(work)
    found = database.read_now(lambda c: verify(c, AUDIT_KEY))
    assert (found.is_whole, found.bound_from) == (True, 1)
    database.write_now(lambda c: c.execute(sa.text("UPDATE audit_head SET bound_from = NULL")))
    assert database.read_now(lambda c: verify(c, AUDIT_KEY)).bound_from is None
