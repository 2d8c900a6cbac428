"""Promise 10: the audit log is complete, holds nothing personal, and shows what was done to it."""

import json

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage, HumanMessage

from clearance.db.tables import decisions, erasures, plans, receipts, requests, turns
from clearance.gate.transitions import salted
from clearance.journal import audit
from clearance.journal.receipts import read_receipt
from clearance.journal.verification import Verification, verify
from tests.support.scripted_model import calls
from tests.support.tampering import disarm
from tests.support.world import ANA, AUDIT_KEY, OLGA, World, question

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": "secret memo"})
DELETE = ("delete_user", {"user_id": "C-1003", "reason": "Ada Quist wrote to us"})
ROW = "INSERT INTO audit (seq, at, event, actor, details, mac) VALUES"


async def test_the_log_tells_the_whole_story(world: World) -> None:
    world.model.will_say(calls(PAY, PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer("nonsense")
    await world.answer(True)
    await world.answer({"approved": True, "edited_args": {"amount": "4000"}})
    await world.freeze()
    await world.unfreeze()

    assert world.events() == [
        "requested", "requested", "answer_refused", "approved", "edited", "executed", "executed", "frozen", "unfrozen",
    ]  # fmt: skip
    rows = world.audit()
    assert [row["seq"] for row in world.whole_log()] == list(range(1, 17))
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert [row["actor"] for row in rows] == ["olga"] * 2 + ["ana"] * 3 + ["system"] * 2 + ["ops"] * 2
    assert {row["thread_id"] for row in rows[:7]} == {"thread"}
    assert world.audit_is_whole()


async def test_what_was_decided_on_can_be_proved_from_the_log(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await world.answer(True)

    request = world.request()
    requested, approved, executed = world.audit()
    assert requested["details"]["arguments"] == salted(request, request.arguments)
    assert approved["details"]["digest"] == salted(request, request.digest)
    assert executed["details"]["arguments"] == salted(request, request.arguments)


async def test_nothing_personal_stands_in_the_log(world: World) -> None:
    world.model.will_say(calls(PAY, DELETE), AIMessage("Done."))
    await world.say("Please pay Tom Becker his secret rent")
    await world.answer({"approved": False, "reason": "private reason"})
    await world.answer("Tom said yes")
    await world.answer({"approved": True, "reason": "another reason"})
    await world.freeze(reason="private freeze reason")

    text = json.dumps(world.audit())

    words = (
        "secret",
        "Becker",
        "Tom",
        "Ada",
        "Quist",
        "Priya",
        "private",
        "another reason",
        "rent",
        "5000.00",
        "5,000",
    )
    assert [word for word in words if word in text] == []


TAMPERINGS: dict[str, tuple[list[str], str]] = {
    "change": (["UPDATE audit SET actor = 'nobody' WHERE seq = 3"], "row 3 is not what was written"),
    "change of time": (["UPDATE audit SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 2"], "row 2 is not"),
    "change of details": (["UPDATE audit SET details = '{}' WHERE seq = 4"], "row 4 is not"),
    "change of mac": (["UPDATE audit SET mac = 'x' WHERE seq = 4"], "row 4 is not"),
    "delete": (["DELETE FROM audit WHERE seq = 3"], "row 3 is missing"),
    "delete first": (["DELETE FROM audit WHERE seq = 1"], "row 1 is missing"),
    "delete and renumber": (
        ["DELETE FROM audit WHERE seq = 3", "UPDATE audit SET seq = 3 WHERE seq = 4"],
        "row 3 is not what was written",
    ),
    "insert": ([f"{ROW} (13, '2026', 'executed', 'x', '{{}}', 'y')"], "row 13 is not what was written"),
    "insert below": ([f"{ROW} (0, '2026', 'executed', 'x', '{{}}', 'y')"], "row 0 was put in before the first"),
    "insert far below": ([f"{ROW} (-7, '2026', 'executed', 'x', '{{}}', 'y')"], "row -7 was put in before the first"),
    "insert above a gap": ([f"{ROW} (19, '2026', 'executed', 'x', '{{}}', 'y')"], "row 13 is missing"),
    "reorder": (
        [
            "UPDATE audit SET seq = 100 WHERE seq = 3",
            "UPDATE audit SET seq = 3 WHERE seq = 4",
            "UPDATE audit SET seq = 4 WHERE seq = 100",
        ],
        "row 3 is not what was written",
    ),
    "cut tail": (["DELETE FROM audit WHERE seq = 12"], "the log ends at row 11, its head says 12"),
    "head moved": (["UPDATE audit_head SET seq = 11"], "the log ends at row 12, its head says 11"),
    "everything": (["DELETE FROM audit"], "the log ends at row 0, its head says 12"),
}


async def test_tampering_is_found_and_named(world: World) -> None:
    await _twelve_rows(world)
    disarm(world.database)

    for tampering, (statements, reason) in TAMPERINGS.items():
        verification = _after(world, statements)
        assert not verification.is_whole, tampering
        assert reason in str(verification.reason), tampering

    assert _verify(world).is_whole


async def test_a_tail_cut_together_with_its_head_shows_against_a_head_noted_before(world: World) -> None:
    await _twelve_rows(world)
    noted = world.read(audit.read_head)
    disarm(world.database)
    *_, before, rejected, _, _ = world.whole_log()
    cut, last = before["seq"], before
    world.execute(f"DELETE FROM audit WHERE seq > {cut}")
    world.execute(f"UPDATE audit_head SET seq = {cut}, mac = '{last['mac']}', at = '{last['at']}'")

    assert rejected["event"] == "rejected"
    request = world.request("call-1")
    alone = f"the log tells of 1 (nothing of request {request.request_id})"
    assert _verify(world).reason == f"the journal holds 2 decisions, {alone}; the journal holds 2 receipts, {alone}"
    # Everything that the tail told of has to go with it, to the last version of each row.
    for table in ("decisions", "receipts"):
        world.execute(f"DELETE FROM {table} WHERE request_id = '{request.request_id}'")
    world.execute("UPDATE requests SET state = 'asked', finished_at = NULL, version = version - 1"
                  f" WHERE request_id = '{request.request_id}'")  # fmt: skip
    world.execute("DELETE FROM plans WHERE position = 1")
    world.execute("UPDATE turns SET state = 'open', closed_at = NULL, version = version - 1")
    assert _verify(world).is_whole
    verification = _verify(world, noted)
    assert verification.reason == f"the log ends at row {cut}; row {cut + 3} was noted before"
    world.model.will_say(calls(PAY))
    await world.say("pay", thread="later")
    verification = _verify(world, noted)
    assert verification.reason == f"row {noted.seq} differs from the head noted before"


BENT: dict[str, tuple[str, str]] = {
    "outcome": ("UPDATE receipts SET outcome = 'failed' WHERE outcome = 'executed'",
                "receipts.outcome of {executed} is not what was written (row 9)"),
    "sentence": ("UPDATE receipts SET sentence = 'Transferred $9.' WHERE outcome = 'executed'",
                 "receipts.sentence of {executed} is not what was written (row 9)"),
    "time": ("UPDATE receipts SET finished_at = '2026-01-01T00:00:00.000000Z' WHERE outcome = 'rejected'",
             "receipts.finished_at of {rejected} is not what was written (row 6)"),
    "receipt gone": ("DELETE FROM receipts WHERE outcome = 'executed'",
                     "receipts {executed} is not there (row 9)"),
    "receipt made up": ("INSERT INTO receipts (request_id, outcome, revision, sentence, finished_at)"
                        " SELECT request_id, 'executed', 1, 'Done.', opened_at FROM requests WHERE state = 'asked'",
                        "the journal holds 3 receipts, the log tells of 2 (nothing of request {asked})"),
    "approval made up": ("INSERT INTO decisions (decision_id, number, request_id, revision, decision, decided_by,"
                         " decider_kind, decider_roles, counts, decided_at) SELECT 'made up', 1, request_id, 1,"
                         " 'approve', 'ana', 'person', '[]', TRUE, opened_at FROM requests WHERE state = 'asked'",
                         "the log tells of 2 (nothing of request {asked})"),
    "request gone": ("DELETE FROM requests WHERE state = 'asked'",
                     "requests {asked} is not there (row 14)"),
    "counter": ("UPDATE audit_head SET requests = 2", "the head counts 2 requests, the log 3"),
    "freeze lifted": ("UPDATE audit_head SET frozen = FALSE, frozen_by = NULL",
                      "the freeze switch is off, the log says on, by ops"),
    "freeze by another": ("UPDATE audit_head SET frozen_by = 'ana'",
                          "the freeze switch is on, by ana, the log says on, by ops"),
    "freeze at another time": ("UPDATE audit_head SET frozen_at = '2026-01-01T00:00:00.000000Z'",
                               "the freeze switch is on since 2026-01-01"),
    "clock": ("UPDATE audit_head SET at = '2099-01-01T00:00:00.000000Z'", "the head's time is 2099-01-01T00:00:00"),
}  # fmt: skip


async def test_a_journal_bent_past_the_gate_is_found_though_every_row_is_whole(world: World) -> None:
    world.model.will_say(calls(PAY, PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer(False)
    await world.answer(True)
    world.model.will_say(calls(PAY))
    await world.say("pay", thread="waiting")
    await world.freeze()
    disarm(world.database)
    ids = {request.state: request.request_id for request in world.requests()}
    assert _verify(world).is_whole

    free = [f"DELETE FROM {table} WHERE request_id = '{ids['asked']}'" for table in ("questions", "request_subjects")]
    for bent, (statement, reason) in BENT.items():
        verification = _after(
            world, [*(free if "FROM requests" in statement and "DELETE" in statement else []), statement]
        )
        assert reason.format(**ids) in str(verification.reason), bent
        assert (verification.rows, verification.broken_at) == (len(world.whole_log()), None), bent


async def test_a_freeze_flipped_on_past_the_gate_is_found(world: World) -> None:
    await world.freeze()
    await world.unfreeze()
    world.execute("UPDATE audit_head SET frozen = TRUE, frozen_by = 'ops'")

    assert _verify(world).reason == "the freeze switch is on, by ops, the log says off"


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", ["outcome", "finished_at", "sentence"])
async def test_a_receipt_that_is_not_even_text_is_found(world: World, column: str) -> None:
    """SQLite takes any bytes for text, PostgreSQL refuses them; they looked like a database that does not answer."""
    await _twelve_rows(world)
    disarm(world.database)
    world.execute("PRAGMA ignore_check_constraints = ON")
    world.execute(f"UPDATE receipts SET {column} = CAST(x'ff' AS TEXT)")

    assert "cannot be read" in str(_verify(world).reason)


async def test_another_key_verifies_nothing(world: World) -> None:
    await _twelve_rows(world)

    verification = world.read(lambda c: verify(c, b"another key"))

    assert verification.broken_at == 1


async def test_triggers_keep_ordinary_writers_out(world: World) -> None:
    await _twelve_rows(world)

    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "DELETE FROM receipts"):
        with pytest.raises(sa.exc.DBAPIError):
            world.execute(statement)
    assert _verify(world).is_whole


async def test_time_never_runs_backwards_in_the_log(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("No."))
    await world.say("pay")
    world.clock.advance(hours=-5)
    await world.answer(False)

    times = [row["at"] for row in world.audit()]
    assert times == sorted(times)
    assert len(set(times)) == 2


async def test_erasure_empties_the_journal_and_leaves_the_log_whole(world: World) -> None:
    pay = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2005", "amount": "5000", "memo": "to Ada"})
    world.model.will_say(calls(pay), AIMessage("Ada Quist was not paid."), calls(DELETE), AIMessage("Ada is deleted."))
    await world.say("Pay Ada Quist")
    await world.answer({"approved": False, "reason": "Ada left"})
    world.model.will_say()

    await world.say("Delete Ada Quist")
    await world.answer({"approved": True, "reason": "Ada asked"})

    tables = (turns, plans, requests, decisions, receipts)
    everything = str(world.read(lambda c: [c.execute(table.select()).all() for table in tables]))
    assert [word for word in ("Ada", "Quist") if word in everything] == []
    assert world.receipts()["call-0"] == "Deleted C-1003 and closed A-2005; the ledger entries stay."
    assert world.read(lambda c: c.execute(erasures.select()).one()).subject == "customer:C-1003"
    assert world.audit_is_whole()


async def test_a_thread_goes_on_after_erasure_and_asks_nothing_again(world: World) -> None:
    """Of two messages in one turn only the last was still known, so the first was heard anew, and stored again."""
    world.model.will_say(calls(DELETE), AIMessage("Deleted."), AIMessage("You are welcome."))
    await world.run({"messages": [HumanMessage("About Ada Quist:"), HumanMessage("delete her")]}, by=OLGA)
    await world.answer(True)

    done = await world.say("thanks")

    assert done["messages"][-1].content == "You are welcome."
    read = world.model.read[-1]
    assert [m.content for m in read if isinstance(m, HumanMessage)] == ["(erased)\n\n(erased)", "thanks"]
    assert "Ada" not in str(read)
    assert "Ada" not in str(world.read(lambda c: c.execute(turns.select()).all()))


async def test_what_waits_about_a_deleted_person_is_erased_when_its_turn_ends(world: World) -> None:
    pay = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2005", "amount": "5000", "memo": "to Ada"})
    world.model.will_say(calls(pay))
    await world.say("Pay Ada", thread="waiting")
    world.model.will_say(calls(DELETE), AIMessage("Deleted."), AIMessage("Refused."))
    await world.say("Delete Ada", thread="deleting")
    await world.answer(True, thread="deleting")

    assert world.requests()[0].arguments is not None
    await world.answer(True, thread="waiting")

    assert world.states()[0] == "refused"
    first = world.requests()[0]
    assert (first.arguments, first.facts, first.sentence, first.notice) == (None, None, None, None)
    assert world.read(lambda c: read_receipt(c, first.request_id)).sentence is None
    assert world.audit_is_whole()


async def test_forbidden_answers_are_counted_by_person(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.answer(True, by=OLGA))

    assert asked["refused_answers"] == 1
    assert world.audit()[-1]["details"] == {"cause": "role"}


async def _twelve_rows(world: World) -> None:
    world.model.will_say(calls(PAY, PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer(False)
    await world.answer("hm", by=ANA)
    await world.answer(False)
    assert len(world.whole_log()) == 12


def _verify(world: World, noted: audit.Head | None = None) -> Verification:
    verification: Verification = world.read(lambda c: verify(c, AUDIT_KEY, noted))
    return verification


def _after(world: World, statements: list[str]) -> Verification:
    """Verify after `statements`, and take them back."""
    found: list[Verification] = []

    def tamper(connection: sa.Connection) -> None:
        savepoint = connection.begin_nested()
        for statement in statements:
            connection.execute(sa.text(statement))
        found.append(verify(connection, AUDIT_KEY))
        savepoint.rollback()

    world.database.write_now(tamper)
    return found[0]
