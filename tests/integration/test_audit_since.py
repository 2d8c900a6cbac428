"""The log verified from a head noted before: what came since, and nothing that was read then."""

import pytest
from langchain_core.messages import AIMessage

from clearance.journal import audit
from clearance.journal.audit import Head
from clearance.journal.signing import Keys
from clearance.journal.verification import Verification, verify
from tests.support.command import run
from tests.support.scripted_model import calls
from tests.support.tampering import disarm
from tests.support.world import AUDIT_KEY, World

pytestmark = pytest.mark.own_graph("the log is of what the gate writes, whatever graph runs it")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": "rent"})
OTHER = b"another key, long enough to be one of the log"


async def _pay(world: World) -> None:
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")
    await world.answer(True)


@pytest.fixture(autouse=True)
def environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())


def _since(world: World, head: Head, keys: Keys = Keys(AUDIT_KEY)) -> Verification:  # noqa: B008  never changed
    found: Verification = world.read(lambda c: verify(c, keys, actions=world.gate.judge.actions, since=head))
    return found


#: By what is bent after the head was noted: the statement, and what is said of it.
BENT = {
    "a row since": ("UPDATE audit SET actor = 'x' WHERE event = 'executed'", "is not what was written"),
    "the last row of before": ("UPDATE audit SET actor = 'x' WHERE seq = {seq}", "row {seq} is not what was written"),
    "its mac": ("UPDATE audit SET mac = 'x' WHERE seq = {seq}", "row {seq} differs from the head noted before"),
    "it is gone": ("DELETE FROM audit WHERE seq = {seq}", "row {seq} is missing"),
    "one since is gone": ("DELETE FROM audit WHERE event = 'approved'", "is missing"),
    "what was told since": ("UPDATE requests SET rule = 'x' WHERE state = 'executed'", "requests.rule of "),
    "what was done since": ("UPDATE transfers SET amount_minor = 1 WHERE request_id IS NOT NULL", "left behind"),
    "the switch": ("UPDATE audit_head SET frozen_by = 'tess'", "the freeze switch is on, by tess"),
    "its reason": ("UPDATE audit_head SET frozen_reason = 'x'", "the reason of the freeze"),
    "when it was switched": ("UPDATE audit SET at = '2026-01-01T00:00:00.000000Z' WHERE event = 'frozen'",
                             "is not what was written (event 'frozen')"),
    "its key": ("UPDATE audit_head SET key_id = 'x'", "audit_head.key_id is x"),
    "its time": ("UPDATE audit_head SET at = '2026-01-01T00:00:00.000000Z'", "the head's time is"),
}  # fmt: skip


@pytest.mark.parametrize("bent", BENT)
async def test_what_is_bent_after_a_noted_head_is_named(world: World, bent: str) -> None:
    await world.freeze()
    await world.unfreeze()
    is_of_switch = bent in ("the switch", "its reason", "when it was switched")
    if is_of_switch:
        await world.freeze()  # before the head: it is looked up
    world.model.will_say(calls(PAY), AIMessage("Done."))
    await world.say("pay")
    head = world.read(audit.read_head)
    if not is_of_switch:
        await world.answer(True)
    assert _since(world, head).is_whole
    statement, said = BENT[bent]
    disarm(world.database)
    if not world.database.is_sqlite and "transfers" in statement:
        world.execute("ALTER TABLE transfers DISABLE TRIGGER ALL")
    elif "transfers" in statement:
        world.execute("DROP TRIGGER transfers_no_update")

    world.execute(statement.format(seq=head.seq))

    found = _since(world, head)
    assert not found.is_whole
    assert said.format(seq=head.seq) in str(found.reason)
    whole = world.read(lambda c: verify(c, AUDIT_KEY, actions=world.gate.judge.actions))
    assert not whole.is_whole


async def test_only_what_came_since_is_read_and_the_end_is_the_same(world: World) -> None:
    await _pay(world)
    head = world.read(audit.read_head)
    await world.freeze()
    disarm(world.database)
    world.execute("UPDATE audit SET actor = 'x' WHERE seq = 2")

    found = _since(world, head)

    assert (found.is_whole, found.since, found.rows, found.head) == (
        True,
        head.seq,
        head.seq + 1,
        world.read(audit.read_head),
    )
    assert not world.audit_is_whole()
    ran = run("audit", "verify", "--since", f"{head.seq}:{head.mac}")
    assert (ran.code, f"Whole: 1 rows after row {head.seq}" in ran.out) == (0, True)
    ran = run("audit", "verify", "--since", f"{head.seq}:{'0' * 64}")
    assert (ran.code, "differs from the head noted before" in ran.out) == (6, True)


async def test_a_head_that_was_noted_before_the_one_to_begin_after_is_compared_too(world: World) -> None:
    await world.freeze()
    noted = world.read(audit.read_head)
    await world.unfreeze()
    await world.freeze()
    since = world.read(audit.read_head)

    def check(head: Head) -> str | None:
        found: Verification = world.read(lambda c: verify(c, AUDIT_KEY, head, since=since))
        return found.reason

    assert check(noted) is None
    assert check(Head(noted.seq, "0" * 64)) == f"row {noted.seq} differs from the head noted before"
    disarm(world.database)
    world.execute(f"DELETE FROM audit WHERE seq = {noted.seq}")
    assert check(noted) == f"row {noted.seq} is missing"


@pytest.mark.parametrize("noted", ["before the change", "at the change", "after the change"])
async def test_a_change_of_key_is_passed_wherever_the_head_was_noted(world: World, noted: str) -> None:
    await world.freeze()
    head = world.read(audit.read_head)
    world.gate.write_now(lambda log: log.rotate_key("os:ops", OTHER))
    world.gate.keys = Keys(OTHER, (AUDIT_KEY,))
    if noted == "at the change":
        head = world.read(audit.read_head)
    await world.unfreeze()
    if noted == "after the change":
        head = world.read(audit.read_head)
    await world.freeze()

    assert _since(world, head, world.gate.keys).is_whole
    assert not _since(world, head, Keys(AUDIT_KEY)).is_whole
    if noted == "before the change":
        assert not _since(world, head, Keys(OTHER)).is_whole


async def test_a_process_goes_on_from_where_it_found_the_log_whole(world: World) -> None:
    await _pay(world)
    assert (await world.gate.verify()).is_whole
    checked = world.gate.checked
    assert checked is not None
    await _pay(world)

    found = await world.gate.verify_on(checked)

    assert (found.is_whole, found.since, found.rows) == (True, checked.head.seq, len(world.whole_log()))
    assert world.gate.checked is not None
    assert (world.gate.checked.head.seq, world.gate.checked.at) == (found.rows, checked.at)
    disarm(world.database)
    world.execute("UPDATE audit SET actor = 'x' WHERE seq = 2")
    assert (await world.gate.verify_on(world.gate.checked)).is_whole, "only all of it tells"
    assert (await world.gate.verify()).broken_at == 2
    assert world.gate.checked is None, "what was found broken is not gone on from"
