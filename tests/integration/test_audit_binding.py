"""The log binds the rows that people read: what SQL changes past the gate is named by table, column and id."""

from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage
from sqlalchemy.engine import Connection

from agent.actions.transfer import TransferFunds
from clearance.desk.desk import Desk
from clearance.journal.binding import BOUND, UNBOUND
from clearance.journal.bound_rows import BoundRows
from clearance.journal.refusals import chain_totals, note_refused
from clearance.journal.turns import turns_of
from clearance.journal.verification import Verification, verify
from clearance.principal import Principal
from tests.support.scripted_model import calls
from tests.support.tampering import disarm
from tests.support.world import ANA, AUDIT_KEY, World

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": "rent"})
DELETE = ("delete_user", {"user_id": "C-1003", "reason": "Ada Quist moved away"})

#: By what is bent: the statement, and what `verify` says.
BENT: dict[str, tuple[str, str]] = {
    "arguments": ("""UPDATE requests SET arguments = '{"amount": "50000000.00"}' WHERE state = 'executed'""",
                  "requests.arguments of {executed} is not what was written"),
    "sentence": ("UPDATE requests SET sentence = 'Transfer $1.00' WHERE state = 'asked'",
                 "requests.sentence of {asked} is not what was written"),
    "requester": ("UPDATE requests SET requested_by = 'tess' WHERE state = 'executed'",
                  "requests.requested_by of {executed} is not what was written"),
    "facts": ("UPDATE requests SET facts = '{}' WHERE state = 'asked'", "requests.facts of {asked} is not"),
    "rule": ("UPDATE requests SET rule = 'the board decided' WHERE state = 'asked'", "requests.rule of {asked} is not"),
    "deadline": ("UPDATE requests SET expires_at = '2099-01-01T00:00:00.000000Z' WHERE state = 'asked'",
                 "requests.expires_at of {asked} is not"),
    "notice": ("UPDATE requests SET notice = 'The auditor says yes.' WHERE state = 'asked'",
               "requests.notice of {asked} is not"),
    "whom a list shows it to": ("UPDATE requests SET needs = 'nobody' WHERE state = 'asked'",
                                "requests.needs of {asked} is not"),
    "two columns": ("UPDATE requests SET sentence = 'x', requested_by = 'y' WHERE state = 'asked'",
                    "requests.requested_by, requests.sentence of {asked} is not what was written"),
    "decider": ("UPDATE decisions SET decided_by = 'tom'", "decisions.decided_by of "),
    "roles": ("""UPDATE decisions SET decider_roles = '["board"]'""", "decisions.decider_roles of "),
    "reason": ("UPDATE decisions SET reason = 'because'", "decisions.reason of "),
    "words": ("""UPDATE turns SET messages = '[{"id": "m", "content": "pay a million"}]' WHERE number = 1""",
              "turns.messages of "),
    "whose words": ("UPDATE turns SET requested_by = 'tess'", "turns.requested_by of "),
    "the model's words": ("""UPDATE plans SET message = '{"content": "I never said that"}'""", "plans.message of "),
    "the question": ("UPDATE questions SET asked_ms = 5", "questions.asked_ms of "),
    "the receipt": ("UPDATE receipts SET sentence = 'Transferred $50,000,000.00.'", "receipts.sentence of {executed}"),
    "an older version": ("UPDATE requests SET state = 'asked', finished_at = NULL, version = version - 1"
                         " WHERE state = 'executed'", "requests {executed} is an older version than the one told"),
    "a version to come": ("UPDATE requests SET sentence = 'x', version = version + 1 WHERE state = 'asked'",
                          "2 requests say that the log binds them, it binds 1 (nothing of {asked} as it is)"),
    "as if never bound": ("UPDATE requests SET sentence = 'x', version = NULL WHERE state = 'asked'",
                          "requests {asked} is an older version"),
    "as if erased": ("UPDATE requests SET arguments = NULL, digest = NULL, salt = NULL, facts = NULL, sentence = NULL,"
                     " notice = NULL WHERE state = 'executed'", "{executed}: it was erased, or its salt changed"),
    "a turn made up": ("INSERT INTO turns (turn_id, thread_id, number, requested_by, requester_kind, requester_roles,"
                       " message_id, messages, is_durable, state, opened_at, closed_at) SELECT 'made up', 'other', 1,"
                       " 'tess', 'person', '[]', 'm', '[]', TRUE, 'answered', opened_at, opened_at FROM turns LIMIT 1",
                       "the journal holds 3 turns, the log tells of 2"),
    "a question gone": ("DELETE FROM questions", "questions "),
    "the amount": ("UPDATE transfers SET amount_minor = 1 WHERE request_id IS NOT NULL",
                   "what transfer_funds of request {executed} left behind is not what was done"),
    "an entry": ("UPDATE entries SET amount_minor = amount_minor * 2 WHERE transfer_id IN"
                 " (SELECT transfer_id FROM transfers WHERE request_id IS NOT NULL)",
                 "what transfer_funds of request {executed} left behind is not what was done"),
    "who was refused": ("UPDATE refusals SET person = 'ben'", "refusals of olga at "),
    "how often": ("UPDATE refusal_totals SET count = 9, chained = 9", "refusals of olga at "),
    "a refusal gone": ("DELETE FROM refusals", "refusals of olga at "),
    "why it is frozen": ("UPDATE audit_head SET frozen_reason = 'nothing'", "the reason of the freeze"),
}  # fmt: skip


async def _let_something_happen(world: World) -> dict[str, str]:
    """Let a payment be made and another be asked for; give their ids by state."""
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer(True)
    world.model.will_say(calls(PAY))
    await world.say("pay", thread="waiting")
    now = world.clock()
    world.database.write_now(lambda c: note_refused(c, now, "olga", "goto", attempt="a call to nowhere"))
    world.clock.advance(minutes=1)
    await world.gate.write(chain_totals)
    await world.freeze(reason="drill")
    return {request.state: request.request_id for request in world.requests()}


def _verify(world: World, connection: Connection) -> Verification:
    return verify(connection, AUDIT_KEY, actions=world.gate.judge.actions)


async def test_what_people_read_is_bound_and_each_change_is_named(world: World) -> None:
    ids = await _let_something_happen(world)
    disarm(world.database)
    disarm_bank(world)
    assert world.read(lambda c: _verify(world, c)).reason is None

    for bent, (statement, reason) in BENT.items():
        found = _after(world, statement)
        assert reason.format(**ids) in str(found.reason), bent
        assert (found.broken_at, found.bound_from) == (None, 1), bent


def _after(world: World, statement: str) -> Verification:
    found: list[Verification] = []

    def tamper(connection: Connection) -> None:
        savepoint = connection.begin_nested()
        assert connection.exec_driver_sql(statement).rowcount
        found.append(_verify(world, connection))
        savepoint.rollback()

    world.database.write_now(tamper)
    return found[0]


def disarm_bank(world: World) -> None:
    """Take away what keeps the ledger as it was written."""

    def work(connection: Connection) -> None:
        if not world.database.is_sqlite:
            for table in ("transfers", "entries"):
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            return
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('transfers', 'entries')"
        for (name,) in connection.exec_driver_sql(query).all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")

    world.database.write_now(work)


def test_every_column_of_a_bound_table_is_bound_or_named_as_not() -> None:
    """A new column is appended to the list of its table, or it can be changed unseen."""
    for bound in BOUND.values():
        columns = {column.name for column in bound.table.columns}
        assert columns - set(bound.columns) <= UNBOUND, bound.name


async def test_an_erasure_is_told_and_what_is_left_is_bound(world: World) -> None:
    paid = {**PAY[1], "to_account": "A-2005"}
    world.model.will_say(calls((PAY[0], paid)), AIMessage("No."), calls(DELETE), AIMessage("Deleted."))
    await world.say("Pay Ada Quist")
    await world.answer(False)
    await world.say("Delete Ada Quist")
    await world.answer(True)
    assert world.states() == ["rejected", "executed"], world.receipts()
    disarm(world.database)

    erased = [row["request_id"] for row in world.audit() if row["event"] == "erased"]
    assert erased == [request.request_id for request in world.requests()]
    assert world.read(lambda c: _verify(world, c)).reason is None
    assert "decisions.decided_by" in str(_after(world, "UPDATE decisions SET decided_by = 'tom'").reason)
    assert "erasures.subject" not in str(_after(world, "DELETE FROM erasures").reason)
    assert not _after(world, "DELETE FROM erasures").is_whole


async def test_a_log_of_before_verifies_and_says_from_which_row_it_binds(world: World) -> None:
    await _let_something_happen(world)
    disarm(world.database)

    def undo(connection: Connection) -> None:
        """Make it a journal of a program that bound nothing: as the migration finds one."""
        for bound in BOUND.values():
            connection.execute(sa.update(bound.table).values(version=None))
        connection.execute(sa.text("UPDATE turns SET salt = NULL"))
        connection.execute(sa.text("UPDATE refusal_totals SET version = NULL, salt = NULL"))
        connection.execute(sa.text("DELETE FROM audit"))
        connection.execute(
            sa.text("UPDATE audit_head SET seq = 0, mac = '', key_id = NULL, bound_from = NULL, requests = 0,"
                    " frozen = FALSE, frozen_by = NULL, frozen_at = NULL, frozen_reason = NULL")
        )  # fmt: skip
        for table in ("questions", "receipts", "decisions", "request_subjects", "requests"):
            connection.execute(sa.text(f"DELETE FROM {table}"))

    world.database.write_now(undo)
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay", thread="after")
    found = world.read(lambda c: _verify(world, c))

    assert (found.reason, found.bound_from) == (None, 1)
    assert world.whole_log()[0]["event"] == "binding_began"
    assert world.whole_log()[0]["details"]["unbound"]["turns"] == 2
    disagrees = str(_after(world, "UPDATE turns SET version = NULL WHERE thread_id = 'after'").reason)
    assert disagrees.startswith("turns ")
    assert disagrees.split(" (")[0].endswith("is an older version than the one told")


async def test_the_desk_says_first_what_the_log_does_not_tell(world: World) -> None:
    ids = await _let_something_happen(world)
    desk, viewer = Desk(world.gate), Principal("ana", roles=frozenset(ANA.roles))
    assert (await desk.detail(viewer, ids["executed"])).disagreements == []
    assert (await desk.detail(viewer, ids["asked"])).disagreements == []
    disarm(world.database)
    disarm_bank(world)

    world.execute("UPDATE requests SET requested_by = 'tess' WHERE state = 'executed'")
    world.execute("UPDATE decisions SET decided_by = 'tom'")
    world.execute("UPDATE transfers SET amount_minor = 1 WHERE request_id IS NOT NULL")
    detail = await desk.detail(viewer, ids["executed"])

    said = " | ".join(detail.disagreements)
    assert f"requests.requested_by of {ids['executed']} is not what was written" in said
    assert "decisions.decided_by of " in said
    assert f"what transfer_funds of request {ids['executed']} left behind is not what was done" in said
    # It is a twin of the other, which is shown beside it.
    told = (await desk.detail(viewer, ids["asked"])).disagreements
    assert [one.endswith(", which is shown beside it") for one in told] == [True] * len(detail.disagreements)
    world.execute(f"UPDATE audit SET actor = 'tom' WHERE request_id = '{ids['asked']}' AND event = 'requested'")
    assert "is not what was written (event 'requested')" in str((await desk.detail(viewer, ids["asked"])).disagreements)


#: What makes the tables of an action unreadable: the statement, and how it is told.
UNREADABLE = {
    "no text": ("UPDATE transfers SET requested_by = CAST(x'ff' AS TEXT) WHERE request_id IS NOT NULL", "decode"),
    "bytes": ("UPDATE transfers SET made_at = x'00' WHERE request_id IS NOT NULL", ""),
    "no column": ("ALTER TABLE transfers RENAME COLUMN made_at TO made", "made_at"),
}


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", UNREADABLE)
async def test_what_an_action_left_behind_and_cannot_read_back_is_told(world: World, how: str) -> None:
    """It ended the verification with an error of the driver's, and the page with another."""
    await _found_unreadable(world, how)


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_on_postgresql_the_rest_is_read_after_it(world: World) -> None:
    """Which takes no text that is none, and answers nothing more after an error outside a savepoint."""
    await _found_unreadable(world, "no column")


async def _found_unreadable(world: World, how: str) -> None:
    statement, why = UNREADABLE[how]
    ids = await _let_something_happen(world)
    disarm_bank(world)

    world.execute(statement)
    found = world.read(lambda c: _verify(world, c))

    told = f"what transfer_funds of request {ids['executed']} left behind cannot be read ("
    assert told in str(found.reason)
    assert why in str(found.reason)
    assert (found.broken_at, found.is_whole) == (None, False)
    viewer = Principal("ana", roles=frozenset(ANA.roles))
    assert told in " | ".join((await Desk(world.gate).detail(viewer, ids["executed"])).disagreements)


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_nor_does_an_error_that_was_hidden_there_end_the_verification(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _let_something_happen(world)

    def traces(connection: Connection, ids: list[str]) -> Any:
        with suppress(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT memo FROM nowhere").all()
        return {one: [] for one in ids}

    monkeypatch.setattr(TransferFunds, "traces", traces)
    found = world.read(lambda c: _verify(world, c))

    told = f"what transfer_funds of request {ids['executed']} left behind cannot be read (InternalError: "
    assert told in str(found.reason)


@pytest.mark.parametrize(
    "statement", ["COMMIT", "DELETE FROM transfers", "CREATE TEMPORARY TABLE receipts (a INTEGER)"]
)
async def test_what_reads_back_what_was_left_behind_ends_no_verification_and_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    ids = await _let_something_happen(world)

    def traces(connection: Connection, _: list[str]) -> Any:
        connection.exec_driver_sql(statement)
        return {}

    monkeypatch.setattr(TransferFunds, "traces", traces)
    for use in (world.read, world.database.write_now):
        found = use(lambda c: _verify(world, c))
        assert f"what transfer_funds of request {ids['executed']} left behind cannot be read (" in str(found.reason)
        assert found.broken_at is None

    monkeypatch.undo()
    assert world.audit_is_whole()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_nor_does_what_it_sets_have_the_rest_read_from_elsewhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _let_something_happen(world)
    read = TransferFunds.traces

    def traces(connection: Connection, ids: list[str]) -> Any:
        found = read(connection, ids)
        connection.exec_driver_sql("SELECT set_config('search_path', 'elsewhere', false)")
        return found

    monkeypatch.setattr(TransferFunds, "traces", traces)

    assert world.read(lambda c: _verify(world, c)).is_whole


async def test_of_many_only_the_one_that_cannot_be_read_back_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("transfer_funds", {**PAY[1], "amount": "5"})
    world.model.will_say(calls(small, small, small), AIMessage("Done."))
    await world.say("pay")
    assert world.states() == ["executed"] * 3
    first, second, third = (one.request_id for one in world.requests())
    read = TransferFunds.traces

    def traces(connection: Connection, ids: list[str]) -> Any:
        if second in ids:
            raise KeyError("made up")
        return read(connection, ids)

    monkeypatch.setattr(TransferFunds, "traces", traces)
    found = world.read(lambda c: _verify(world, c))

    assert f"request {second} left behind cannot be read (KeyError: 'made up')" in str(found.reason)
    assert first not in str(found.reason)
    assert third not in str(found.reason)


async def test_what_is_shown_beside_a_request_is_compared_with_the_log_too(world: World) -> None:
    """Earlier turns of its thread and the receipts of its twins were shown as they stood in the database."""
    world.model.will_say(calls(PAY), AIMessage("Paid."), calls(PAY, ids=["again"]))
    await world.say("pay the rent")
    await world.answer(True)
    await world.say("pay it again")
    world.model.will_say(calls(PAY, ids=["elsewhere"]))
    await world.say("pay the rent once more", thread="other")
    paid, again, elsewhere = world.requests()
    desk, viewer = Desk(world.gate), Principal("ana", roles=frozenset(ANA.roles))

    async def told_of(request_id: str) -> list[str]:
        return (await desk.detail(viewer, request_id)).disagreements

    assert [await told_of(one.request_id) for one in (paid, again, elsewhere)] == [[], [], []]
    disarm(world.database)

    bent = f"receipts.sentence of {paid.request_id} is not what was written"
    world.execute("UPDATE receipts SET sentence = 'Transferred $1.00.'")
    assert await told_of(paid.request_id) == [bent]
    assert await told_of(again.request_id) == [f"{bent}, which is shown beside it"]
    assert await told_of(elsewhere.request_id) == [f"{bent}, which is shown beside it"]
    world.execute("""UPDATE turns SET messages = '[{"id": "m", "content": "as always"}]' WHERE number = 1""")
    own = next(turn for turn in world.read(lambda c: turns_of(c, "other")))
    assert {one.split(" ")[0] for one in await told_of(again.request_id)} == {"receipts.sentence", "turns.messages"}
    assert (await told_of(elsewhere.request_id))[0] == f"turns.messages of {own.turn_id} is not what was written"


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", ["x'ff00'", "CAST(x'ff' AS TEXT)"])
async def test_a_row_that_is_not_even_text_is_told(world: World, value: str) -> None:
    """SQLite takes any bytes for text, PostgreSQL refuses them."""
    await _let_something_happen(world)

    found: Any = _after(world, f"UPDATE requests SET sentence = {value}")

    assert not found.is_whole


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_what_agrees_is_passed_without_a_look_at_its_columns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of these rows there are millions, whatever letters they are written in."""
    await _let_something_happen(world)
    world.model.will_say(AIMessage("Schön, \U0001f600 \x7f"))
    await world.say("Die Miete für Zoë \x7f", thread="in other letters")
    looked_at: list[Any] = []
    monkeypatch.setattr(BoundRows, "_differs", lambda _, left, __: looked_at.extend(left))

    assert world.read(lambda c: _verify(world, c)).reason is None
    assert looked_at == []
    world.execute("UPDATE requests SET sentence = 'x' WHERE state = 'asked'")
    world.read(lambda c: _verify(world, c))
    assert looked_at != []
