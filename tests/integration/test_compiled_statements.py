"""What the driver is given and gives is what SQLAlchemy would have sent and read; and so is what fails."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.compiled import rows_of
from clearance.db.tables import requests
from clearance.journal import decisions, plans, questions, receipts, turns
from clearance.journal import requests as asked
from clearance.journal.statements import among, param
from tests.support.scripted_model import calls
from tests.support.world import ANA, World

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
_BY_IDS = sa.select(requests.c.request_id, requests.c.arguments, requests.c.expires_at, requests.c.state).where(
    requests.c.request_id.in_(among("request_ids")), requests.c.state.in_(("asked", "approved"))
)
_BROKEN: sa.Select[Any] = (
    sa.select(sa.literal_column("no_such_column")).select_from(requests).where(requests.c.rule == param("rule"))
)


async def _asked(world: World, *wanted: tuple[str, dict[str, str]]) -> None:
    """Have two calls asked, or these, and the first one approved."""
    world.model.will_say(calls(*(wanted or (PAY, PAY))))
    (question,) = (await world.say("pay"))["__interrupt__"]
    await world.answer({question.id: {"approved": True}}, by=ANA)


def _by_sqlalchemy(work: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
    def listened(connection: Connection) -> Any:
        # Whoever listens hears everything: then SQLAlchemy sends it.
        said: list[str] = []
        sa.event.listen(connection, "before_cursor_execute", lambda *args: said.append(args[2]))
        read = work(connection)
        assert said
        return read

    return listened


async def test_what_is_read_is_what_sqlalchemy_reads(world: World) -> None:
    await _asked(world)
    request, since = world.request(), world.clock() - timedelta(days=1)
    turn = world.read(lambda c: turns.read_turn(c, request.turn_id))
    ids = [one.request_id for one in world.requests()]
    reads: list[Callable[[Connection], Any]] = [
        lambda c: turns.turns_of(c, "thread"),
        lambda c: turns.open_turns_of(c, "thread"),
        lambda c: plans.plans_of_turns(c, [request.turn_id]),
        lambda c: plans.plans_around(c, "thread", ["a", "b", "c"], request.turn_id),
        lambda c: plans.read_plan_and_turn(c, "thread", plans.plans_of_turn(c, request.turn_id)[0].message_id),
        lambda c: asked.read_request(c, request.request_id),
        lambda c: asked.requests_of_plan(c, request.plan_id),
        lambda c: asked.first_no(c, turn),
        lambda c: asked.read_earlier(
            c, [request.action], request.number + 1, request.plan_id, external=[request.action]
        ),
        lambda c: asked.same_calls(c, [str(request.digest)], since),
        lambda c: decisions.decisions_on(c, ids),
        lambda c: questions.questions_of(c, "thread"),
        lambda c: questions.asking_in(c, "thread"),
        lambda c: receipts.ended_of_turn(c, request.turn_id),
        lambda c: receipts.ended_of_plans(c, [request.plan_id]),
    ]

    for read in reads:
        found = world.read(read)
        assert found == world.read(_by_sqlalchemy(read))
    assert world.read(reads[5]) == request
    assert len(world.read(reads[10])) == 1


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 1030])
async def test_a_list_of_any_length_is_compared_with_all_of_it(world: World, length: int) -> None:
    await _asked(world)
    ids = [one.request_id for one in world.requests()]
    given = {"request_ids": [f"none {number}" for number in range(length - 1)] + ids[:1] if length else []}

    found = world.read(lambda c: [tuple(row) for row in rows_of(c, _BY_IDS, given)])

    assert [row[0] for row in found] == (ids[:1] if length else [])
    assert found == world.read(_by_sqlalchemy(lambda c: [tuple(row) for row in rows_of(c, _BY_IDS, given)]))


async def test_what_is_written_is_what_sqlalchemy_writes(world: World) -> None:
    await _asked(world)
    request = world.request()
    changes: dict[str, Any] = {"facts": {"note": None, "word": "ü"}, "notice": None,
                               "expires_at": world.clock(), "refused_answers": 7}  # fmt: skip

    def stored(connection: Connection) -> Any:
        query = sa.text("SELECT facts, approvers, notice, expires_at, refused_answers FROM requests WHERE number = :it")
        return connection.execute(query, {"it": request.number}).one()

    def write(connection: Connection) -> Any:
        asked.change_request(connection, request.request_id, **changes)
        return stored(connection)

    assert tuple(world.database.write_now(write)) == tuple(world.database.write_now(_by_sqlalchemy(write)))
    changed = world.request(request.tool_call_id)
    assert {name: getattr(changed, name) for name in changes} == changes


async def test_what_the_database_refuses_is_told_as_by_sqlalchemy(world: World) -> None:
    await _asked(world, PAY)
    (receipt,) = [one for _, one in world.read(lambda c: receipts.ended_of_turn(c, world.request().turn_id)) if one]

    with pytest.raises(sa.exc.IntegrityError):
        world.database.write_now(lambda c: receipts.add_receipt(c, receipt))
    with pytest.raises(sa.exc.DBAPIError, match="no_such_column") as told:
        world.read(lambda c: rows_of(c, _BROKEN, {"rule": "any"}))
    assert not told.value.connection_invalidated


async def test_a_connection_that_is_lost_between_two_statements_is_known_as_lost(world: World) -> None:
    """The work is tried again as a whole, and on another connection."""
    await _asked(world)
    request = world.request()
    tries: list[int] = []

    def work(connection: Connection) -> str:
        tries.append(1)
        found = asked.read_request(connection, request.request_id)
        assert found is not None
        if len(tries) == 1:
            _lose(world, connection)
        asked.change_request(connection, request.request_id, notice=f"try {len(tries)}")
        return f"try {len(tries)}"

    assert world.database.write_now(work) == "try 2"
    assert world.request(request.tool_call_id).notice == "try 2"


def _lose(world: World, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.close()
        return
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    ended = sa.select(sa.func.pg_terminate_backend(pid, 5000))
    assert world.database._engine.connect().execute(ended).scalar_one()
