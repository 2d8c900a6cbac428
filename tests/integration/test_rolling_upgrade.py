"""A new version migrates while servers of the version before go on, as in a rolling restart."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from clearance.db.chain import Migrations
from clearance.db.engine import Database
from clearance.db.migrate import VERSION_TABLE, NewerSchemaError, _run, migrate
from tests.support.crash_machines import ADDS
from tests.support.machines import next_version
from tests.support.scripted_model import calls
from tests.support.world import World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})


async def pay(world: World, thread: str) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay", thread=thread)


@pytest.mark.own_graph("the statements are the gate's, whatever graph runs it")
async def test_a_server_of_before_goes_on_beside_a_migration_that_adds(world: World, tmp_path: Path) -> None:
    """What it asked before is decided after, on connections that have prepared its statements already."""
    chain = Migrations(next_version(tmp_path, ADDS) / "clearance" / "db" / "migrations", VERSION_TABLE)
    newer = Database(world.database.url)
    for thread in ("before", "during", "after"):
        await pay(world, thread)
    for _ in range(6):  # a statement is prepared with its fifth use
        await world.answer("yes?", thread="before")
    await world.answer({"approved": True}, thread="before")

    await asyncio.gather(
        asyncio.to_thread(newer.write_now, lambda connection: _run(connection, chain, "head"), is_long=True),
        world.answer({"approved": True}, thread="during"),
    )
    await world.answer({"approved": True}, thread="after")
    await pay(world, "new")
    await world.answer({"approved": False}, thread="new")

    assert world.states() == ["executed", "executed", "executed", "rejected"]
    assert len(world.transfers()) == 3
    assert world.read(lambda c: c.scalar(sa.text("SELECT count(*) FROM requests WHERE urgency = 0"))) == 4
    assert world.audit_is_whole()
    newer.close()


def test_a_version_of_before_does_not_start_on_a_newer_database_and_says_so(database: Database, tmp_path: Path) -> None:
    chain = Migrations(next_version(tmp_path, ADDS) / "clearance" / "db" / "migrations", VERSION_TABLE)
    database.write_now(lambda connection: _run(connection, chain, "head"), is_long=True)

    with pytest.raises(NewerSchemaError, match="of a newer version: clearance_schema_version says '9999'"):
        migrate(database)
