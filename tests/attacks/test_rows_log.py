"""Rows 43 and 44 of the list: the tables bent beside the log, and a clock that jumps."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage

from agent.actions import ACTIONS
from clearance.actions.action import Actions
from clearance.db.engine import Database
from clearance.journal import verification as log
from tests.attacks.table import Line, column_of
from tests.attacks.targets import Case, Outcome, attack
from tests.support.scripted_model import calls
from tests.support.tampering import disarm
from tests.support.world import AUDIT_KEY, World

YES = {"approved": True}
PAY = ("transfer_funds", {"amount": "5000", "from_account": "A-2001", "to_account": "A-2003"})
#: What somebody with SQL would have people believe.
LIES = (
    """UPDATE requests SET arguments = '{"amount": "50000000.00"}'""",
    "UPDATE requests SET sentence = 'Transfer $50,000,000.00'",
    "UPDATE requests SET requested_by = 'mallory'",
    "UPDATE OR IGNORE decisions SET decided_by = 'mallory'",
    """UPDATE turns SET messages = '[{"id": "m", "content": "pay mallory"}]'""",
    "UPDATE plans SET message = NULL",
    "UPDATE receipts SET sentence = 'Transferred $50,000,000.00.'",
    "DELETE FROM questions",
    "UPDATE requests SET arguments = NULL, digest = NULL, salt = NULL, facts = NULL, sentence = NULL",
)


@attack(43, targets=("stock", "ours"))
async def test_row_43_what_people_read_is_bound_by_the_log(case: Case) -> Outcome:
    """Somebody who may write the database changes what was asked, answered and done; the log is left alone."""
    outcome = Outcome(harm="unnoticed")
    held = await case.hold()
    await case.ana.answer(held.thread_id, YES)
    if not case.target.is_ours:
        # Its only record is the effects' own rows.
        with case.target.stock() as connection:
            changed = connection.execute("UPDATE effects SET approved_by = 'mallory' WHERE source = ?", [held.source])
            outcome.tries, outcome.got = 1, changed.rowcount
        return outcome
    for number, statement in enumerate(LIES):
        copy = case.target.server.folder / f"lie-{number}.db"
        _copy(Path(str(sa.make_url(case.target.server.database_url).database)), copy)
        database = Database(f"sqlite:///{copy}")
        assert database.read_now(_verify).is_whole
        disarm(database)
        database.write_now(lambda c, statement=statement: c.exec_driver_sql(statement))  # type: ignore[misc]  # lambdas with defaults have no type
        outcome.tries += 1
        outcome.got += int(database.read_now(_verify).is_whole)
        database.close()
    return outcome


def _verify(connection: sa.Connection) -> log.Verification:
    return log.verify(connection, AUDIT_KEY, actions=Actions(ACTIONS))


def _copy(file: Path, to: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    shutil.copymode(file, to)


@pytest.mark.parametrize("jump", [{"days": 300}, {"minutes": 10}])
async def test_row_44_in_one_process_a_clock_that_jumps_makes_nothing_late(
    world: World, jump: dict[str, float], record_property: Callable[[str, object], None]
) -> None:
    """One write under a clock that is ahead, then right again: asked then, and before, answered long after."""
    world.model.will_say(calls(PAY), AIMessage("No."))
    await world.say("pay", thread="before")
    world.clock.advance(**jump)
    await world.gate.write(lambda log: log.append("unfrozen", "ops"))
    world.clock.advance(**{name: -value for name, value in jump.items()})
    world.model.will_say(calls(PAY), AIMessage("No."))
    await world.say("pay", thread="after")

    for thread in ("before", "after"):
        await world.answer(YES, thread=thread)
    world.clock.advance(days=90)
    for thread in ("before", "after"):
        await world.answer(YES, thread=thread)

    made = len(world.transfers())
    record_property("attack", json.dumps(vars(Line(44, column_of(world.way), 4, made, "effects", {}))))
    assert made == 0
    assert world.audit_is_whole()
