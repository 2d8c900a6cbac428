"""What a cycle, pause → approve → effect → answer, asks of the database: not much, and nothing that reads a table."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage

from clearance.db.engine import Database
from tests.support.cutting import Cutting
from tests.support.scripted_model import calls
from tests.support.wire import heard
from tests.support.world import ANA, World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})


#: Of the journal, without those of the bank.
TABLES = {"turns", "plans", "requests", "request_subjects", "questions", "decisions", "receipts", "erasures", "notices",
          "tries", "refusals", "audit", "audit_head"}  # fmt: skip


class Sent:
    """What was sent to the database."""

    def __init__(self) -> None:
        #: Statements and their parameters, without BEGIN and COMMIT; None where they stand in the statement.
        self.statements: list[tuple[str, Any]] = []
        self.transactions = 0

    def statement(self, statement: str, parameters: Any) -> None:
        if not statement.startswith(("BEGIN", "COMMIT")):
            self.statements.append((statement, parameters))

    def transaction(self, _connection: Any) -> None:
        self.transactions += 1


@contextmanager
def sent(world: World) -> Iterator[Sent]:
    """Hear what is sent to the world's database."""
    sent = Sent()
    engines = {world.database._engine, world.database._reading}
    for engine in engines:
        sa.event.listen(engine, "begin", sent.transaction)
    with heard(world.database, sent.statement):
        yield sent
    for engine in engines:
        sa.event.remove(engine, "begin", sent.transaction)


async def _cycle(world: World, thread: str) -> None:
    world.model.will_say(calls(PAY))
    (asked,) = (await world.say("pay", thread=thread))["__interrupt__"]
    await world.answer({asked.id: {"approved": True}}, by=ANA, thread=thread)


async def test_a_cycle_takes_few_transactions(world: World) -> None:
    """In each of the nodes what belongs together is read at once, and commits together."""
    await _cycle(world, "first")

    with sent(world) as asked:
        await _cycle(world, "second")

    assert world.states() == ["executed", "executed"]
    # An agent of create_agent comes through dispatch before its model speaks, and before each call.
    is_own = world.way == "own"
    assert asked.transactions <= (7 if is_own else 10)
    of_journal = [one for one, _ in asked.statements if _tables(one)]
    assert len(of_journal) <= (59 if is_own else 68), "\n".join(one[:90] for one in of_journal)


async def test_a_cycle_in_which_nobody_is_asked_takes_fewer(world: World) -> None:
    world.use_policy(
        '[roles]\napprover = "x"\n[defaults]\napprovers = "approver"\n'
        '[[rule]]\naction = "transfer_funds"\nverdict = "allow"\n'
    )
    world.model.will_say(calls(PAY), AIMessage("Paid."), calls(PAY))
    await world.say("pay", thread="first")

    with sent(world) as asked:
        await world.say("pay", thread="second")

    assert world.states() == ["executed", "executed"]
    assert asked.transactions <= (6 if world.way == "own" else 9)


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_a_cycle_makes_few_round_trips(world: World) -> None:
    """What went wrong: a trip a statement; with the database a millisecond away each keeps the log's head from all."""
    cutting = Cutting(world.database.url).start()
    try:
        through = World(Database(cutting.url_through))
        for thread in ("first", "second"):  # with the connections, and what they are asked for at first
            before = cutting.trips
            await _cycle(through, thread)
        trips = cutting.trips - before
        through.database.close()
    finally:
        cutting.stop()

    assert world.states() == ["executed", "executed"]
    # What a transfer reads, three times, and does are 18 of these, each by itself.
    assert 20 < trips <= 53


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_nothing_in_a_cycle_reads_a_whole_table(world: World) -> None:
    """What went wrong: what a turn holds was found by looking at every request that ever was, three times a cycle."""
    await _cycle(world, "first")
    with sent(world) as asked:
        await _cycle(world, "second")

    scans: list[str] = []

    def explain(connection: sa.Connection) -> None:
        for statement, _ in asked.statements:
            if _tables(statement) and statement.startswith("SELECT"):
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"):
                    found = re.match(r"SCAN (\w+)", row[3])
                    if found and found[1] in TABLES - {"audit_head"}:
                        scans.append(f"{row[3]}: {statement[:200]}")

    world.database.write_now(explain)

    assert scans == []


def _tables(statement: str) -> list[str]:
    return [name for name in re.findall(r"(?:FROM|INTO|UPDATE) (\w+)", statement) if name in TABLES]
