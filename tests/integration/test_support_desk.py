"""The support desk of the examples on both databases: its tables come by its own migrations, its limits hold."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from clearance import Clearance
from clearance.graph.guard import guarded
from clearance.settings import settings
from tests.support.world import AUDIT_KEY, OLGA, Person, question, results

FOLDER = Path(__file__).parents[2] / "examples" / "support_desk"
LEA, FINN = Person("lea", ("lead",)), Person("finn", ("finance",))


@pytest.fixture
def support(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the desk as its server would, over a database of this test."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(str(FOLDER / "src"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())
    settings.cache_clear()
    import support.graph  # type: ignore[import-not-found]  # the example's own

    yield support
    for name in [name for name in sys.modules if name.partition(".")[0] == "support"]:
        del sys.modules[name]


class Desk:
    """The desk in this process, and people at it, each thing in a thread of its own unless one is named."""

    def __init__(self, support: ModuleType) -> None:
        self.clearance: Clearance = support.app.clearance
        self.tables: Any = support.tables
        self.database = self.clearance.parts_now().database
        self.database.write_now(self.tables.fill)
        self.graph = guarded(support.graph.builder.compile(InMemorySaver()))

    async def run(self, given: Any, by: Person, thread: str) -> dict[str, Any]:
        run_id = uuid4()
        configurable = {"thread_id": thread, "run_id": str(run_id), "langgraph_auth_user": by}
        said: dict[str, Any] = await self.graph.ainvoke(given, {"run_id": run_id, "configurable": configurable})
        return said

    async def say(self, text: str, thread: str = "") -> dict[str, Any]:
        return await self.run({"messages": [("user", text)]}, OLGA, thread or uuid4().hex)

    def refunded(self) -> dict[str, int]:
        """Cents that went back, by order."""
        orders = self.tables.orders
        rows = self.database.read_now(lambda c: c.execute(sa.select(orders.c.order_id, orders.c.refunded)).all())
        return {row[0]: row[1] for row in rows if row[1]}


@pytest.fixture
def desk(support: ModuleType) -> Iterator[Desk]:
    """The desk with its example orders."""
    made = Desk(support)
    yield made
    made.database.close()


def test_its_migrations_make_the_tables_that_it_speaks_of(desk: Desk) -> None:
    metadata = desk.tables.metadata

    def differences(connection: sa.Connection) -> list[Any]:
        options = {"include_object": lambda _, name, kind, *more: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    assert desk.database.read_now(differences) == []


async def test_split_refunds_of_one_message_do_not_slip_under_the_limit(desk: Desk) -> None:
    once = await desk.say("refund order: order_id O-1003, amount 1200")
    split = await desk.say("refund order: order_id O-1002, amount 900; refund order: order_id O-1002, amount 900")

    assert results(once) == ["12.00 EUR went back for O-1003."]
    assert question(split)["facts"]["buyer_refunds_24h"] == 1200
    assert desk.refunded() == {"O-1003": 1200}


async def test_what_is_large_is_for_finance_and_a_lead_cannot_give_it(desk: Desk) -> None:
    asked = question(await desk.say("refund order: order_id O-1002, amount 48000", "thread"))
    again = question(await desk.run(Command(resume={"approved": True}), LEA, "thread"))
    done = await desk.run(Command(resume={"approved": True}), FINN, "thread")

    assert asked["approvers"] == ["finance"]
    assert "finance" in again["notice"]
    assert results(done) == ["480.00 EUR went back for O-1002."]
    assert desk.refunded() == {"O-1002": 48000}


async def test_a_lead_may_lower_a_refund_alone_and_not_raise_it(desk: Desk) -> None:
    await desk.say("refund order: order_id O-1001, amount 3000", "thread")
    raised = await desk.run(Command(resume={"approved": True, "edited_args": {"amount": 3500}}), LEA, "thread")
    await desk.say("refund order: order_id O-1001, amount 3000", "other")
    lowered = await desk.run(Command(resume={"approved": True, "edited_args": {"amount": 2500}}), LEA, "other")

    assert question(raised)["notice"] == "lea edited it."
    assert results(lowered) == ["25.00 EUR went back for O-1001."]


async def test_nobody_gets_back_more_than_was_paid(desk: Desk) -> None:
    refused = await desk.say("refund order: order_id O-1001, amount 4901")

    assert results(refused) == ["Not done: Of O-1001 49.00 EUR are left to refund."]
    with pytest.raises(sa.exc.IntegrityError):
        desk.database.write_now(lambda c: c.execute(desk.tables.orders.update().values(refunded=10**9)))
