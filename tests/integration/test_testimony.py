"""What a person says became of an action of which nobody knows: who may, when, and that it stays theirs for ever."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from agent.actions import ACTIONS
from clearance.actions.external import Done, NotDone
from clearance.desk.desk import Desk, Standing
from clearance.desk.lists import Wanted
from clearance.gate.decision import Refusal
from clearance.gate.settling import looked_up, settle
from clearance.gate.testimony import take_testimony
from clearance.journal import audit, notifications
from clearance.journal.attempts import attempts_on
from clearance.journal.exported import check
from clearance.principal import SYSTEM, Principal
from tests.integration.test_audit_document import OF_STARTS, _documented
from tests.integration.test_external import PAID, PAY, woken
from tests.support.outside import OUTSIDE, POLICY, PayOutBlindly
from tests.support.payments import Provider
from tests.support.scripted_model import calls
from tests.support.waiting import until
from tests.support.world import ANA, BEN, OLGA, TESS, Person, World, question, results
from tests.support.world import POLICY as BANK_POLICY

BLIND = ("pay_out_blindly", PAY[1])


@pytest.fixture
def outside(world: World, provider: Provider) -> World:
    world.actions = (*ACTIONS, *OUTSIDE)
    world.use_policy(BANK_POLICY + POLICY)
    return world


def person(of: Person) -> Principal:
    return Principal(of.identity, roles=frozenset(of.roles))


async def unknown(world: World, provider: Provider, *more: Any) -> str:
    """Let a payment be approved by ana, and its answer be lost; give its request."""
    provider.next = ["breaks after"]
    world.model.will_say(calls(BLIND, *more), AIMessage("Done."))
    await world.say("pay")
    await world.answer(True, by=ANA)
    for _ in more:
        await world.answer(True, by=ANA)
    await until(lambda: world.states()[0] == "unknown")
    return world.request().request_id


async def settled(
    world: World, by: Principal, *, happened: bool, reason: str = "their books say so", request_id: str | None = None
) -> Standing | Refusal:
    wanted = request_id or world.request().request_id
    return await Desk(world.gate).settle(by, wanted, happened=happened, reason=reason)


async def early_is_over(world: World) -> None:
    world.clock.advance(seconds=5)


async def test_somebody_says_that_it_happened_and_the_thread_hears_who_said_so(
    outside: World, provider: Provider
) -> None:
    request_id = await unknown(outside, provider)

    became = await settled(outside, person(BEN), happened=True, reason="the statement has it: P-1")
    told = await woken(outside)

    assert isinstance(became, Standing)
    assert became.receipt is not None
    assert became.receipt.outcome == "executed"
    said = "Nobody could look it up; ben says that it happened: the statement has it: P-1."
    assert (became.receipt.sentence, results(told)) == (said, [said])
    assert outside.events()[-2:] == ["settled", "executed"]
    assert [row["actor"] for row in outside.audit()[-2:]] == ["ben", "ben"]
    (attempt,) = outside.read(partial(attempts_on, request_id=request_id))
    assert (attempt.settled_by, attempt.reason) == ("ben", "the statement has it: P-1")
    assert outside.audit_is_whole()


async def test_that_it_did_not_happen_can_be_said_once_it_cannot_arrive_any_more(
    outside: World, provider: Provider
) -> None:
    await unknown(outside, provider)
    outside.clock.stop()
    (attempt,) = outside.read(partial(attempts_on, request_id=outside.request().request_id))
    outside.clock.advance(seconds=-(outside.clock() - attempt.started_at).total_seconds())

    early = await settled(outside, person(BEN), happened=False)
    outside.clock.advance(seconds=3600)
    became = await settled(outside, person(BEN), happened=False)

    assert isinstance(early, Refusal)
    assert early.cause == "too early"
    assert "can be said from" in early.sentence
    assert isinstance(became, Standing)
    assert outside.states() == ["failed"]
    assert outside.receipts()["call-0"].startswith("Not done: Nobody could look it up; ben says that it did not happen")


@pytest.mark.parametrize(
    ("who", "cause"),
    [
        (Principal("olga", roles=frozenset({"approver"})), "own"),
        (Principal("o1ga", roles=frozenset({"approver"})), "look-alike"),
        (Principal("ben"), "role"),
        (SYSTEM, "system"),
    ],
)
async def test_who_may_not_decide_it_may_not_settle_it(
    outside: World, provider: Provider, who: Principal, cause: str
) -> None:
    await unknown(outside, provider)

    work = partial(take_testimony, judge=outside.gate.judge, request=outside.request(), principal=who)
    refused = await outside.gate.write(partial(work, happened=True, reason="I know"))

    assert isinstance(refused, Refusal)
    assert refused.cause == cause
    assert outside.states() == ["unknown"]
    assert outside.request().refused_answers == 1
    last = outside.audit()[-1]
    assert (last["event"], last["actor"], last["details"]["cause"]) == ("answer_refused", who.id, cause)


async def test_who_changed_it_does_not_settle_it(outside: World, provider: Provider) -> None:
    provider.next = ["breaks after"]
    outside.model.will_say(calls(BLIND), AIMessage("Done."))
    await outside.say("pay")
    await outside.answer({"approved": True, "edited_args": {"amount": 4000}}, by=TESS)
    await outside.answer(True, by=ANA)
    await until(lambda: outside.states() == ["unknown"])

    refused = await settled(outside, person(TESS), happened=True)

    assert isinstance(refused, Refusal)
    assert refused.cause == "own"


@pytest.mark.parametrize("reason", ["", "  \n ", "x" * 2_001, "a\0b"])
async def test_it_takes_a_reason(outside: World, provider: Provider, reason: str) -> None:
    await unknown(outside, provider)

    refused = await settled(outside, person(BEN), happened=True, reason=reason)

    assert isinstance(refused, Refusal)
    assert refused.cause == "unclear"
    assert outside.states() == ["unknown"]


async def test_what_is_known_is_not_settled(outside: World, provider: Provider) -> None:
    await unknown(outside, provider)
    await settled(outside, person(BEN), happened=True)

    again = await settled(outside, person(ANA), happened=False)

    assert isinstance(again, Refusal)
    assert again.cause == "closed"
    assert outside.states() == ["executed"]


async def test_of_what_policy_allowed_the_default_approvers_say_it(outside: World, provider: Provider) -> None:
    provider.next, provider.is_blind = ["breaks after"], True
    outside.model.will_say(calls(("pay_out", {"account": "X-1", "amount": 60})), AIMessage("Paid."))
    await outside.say("pay")
    await until(lambda: outside.states() == ["unknown"])

    refused = await settled(outside, Principal("ben", roles=frozenset({"treasurer"})), happened=True)
    became = await settled(outside, person(BEN), happened=True)

    assert isinstance(refused, Refusal)
    assert refused.cause == "role"
    assert isinstance(became, Standing)
    assert outside.states() == ["executed"]


async def test_it_is_taken_while_frozen_and_the_rest_goes_on_after_it(outside: World, provider: Provider) -> None:
    await unknown(outside, provider, ("pay_out", {"account": "X-2", "amount": 700}))

    held = outside.states()
    await settled(outside, person(BEN), happened=True)
    await until(lambda: outside.states() == ["executed", "executed"])

    assert held == ["unknown", "approved"]
    assert provider.paid() == [("X-1", 5000), ("X-2", 700)]


async def test_frozen_it_is_only_a_record(outside: World, provider: Provider) -> None:
    await unknown(outside, provider, ("pay_out", {"account": "X-2", "amount": 700}))
    await outside.freeze()

    became = await settled(outside, person(BEN), happened=True)
    await until(lambda: outside.states() == ["executed", "refused"])

    assert isinstance(became, Standing)
    assert provider.paid() == [("X-1", 5000)]


async def test_the_freeze_names_what_is_in_flight(outside: World, provider: Provider) -> None:
    request_id = await unknown(outside, provider)

    await outside.freeze()

    frozen = next(row for row in outside.audit() if row["event"] == "frozen")
    assert frozen["details"]["in_flight"] == [request_id]


@pytest.mark.parametrize(("happened", "late"), [(False, Done("Paid.")), (True, NotDone("It was refused."))])
async def test_what_contradicts_a_person_is_told_and_changes_no_receipt(
    outside: World, provider: Provider, happened: bool, late: Done | NotDone
) -> None:
    request_id = await unknown(outside, provider)
    outside.clock.advance(seconds=3600)
    await settled(outside, person(BEN), happened=happened)
    before = outside.receipts()
    (attempt,) = outside.read(partial(attempts_on, request_id=request_id))

    await outside.gate.write(partial(settle, attempt_id=attempt.attempt_id, outcome=late, kind=PayOutBlindly))
    detail = await Desk(outside.gate).detail(person(ANA), request_id)

    assert outside.receipts() == before
    assert outside.events()[-1] == "contradicted"
    (found,) = detail.contradictions
    assert {found.says, found.receipt} == {"executed", "failed"}
    assert detail.disagreements == []
    assert outside.audit_is_whole()


async def test_a_look_up_that_comes_after_a_person_said_otherwise_is_a_contradiction(
    outside: World, provider: Provider
) -> None:
    request_id = await unknown(outside, provider)
    outside.clock.advance(seconds=3600)
    await settled(outside, person(BEN), happened=False)
    (attempt,) = outside.read(partial(attempts_on, request_id=request_id))

    await outside.gate.write(partial(looked_up, attempt_id=attempt.attempt_id, found=Done("Paid.")))

    assert outside.states() == ["failed"]
    assert outside.events()[-1] == "contradicted"


async def test_lists_and_counts_have_what_is_in_flight(outside: World, provider: Provider) -> None:
    request_id = await unknown(outside, provider)
    desk, ana, olga, noah = Desk(outside.gate), person(ANA), person(OLGA), Principal("noah")

    pages = [await desk.page(who, Wanted("in_flight"), after=None, limit=5) for who in (ana, olga, noah)]
    (listed,) = await desk.in_flight(ana)

    assert [[one.request_id for one in page.requests] for page in pages] == [[request_id], [request_id], []]
    assert [await desk.count(ana, Wanted(tab)) for tab in ("open", "in_flight", "decided")] == [0, 1, 0]
    assert listed.attempt is not None
    assert listed.attempt.state == "unknown"


async def test_who_is_asked_for_the_same_sees_that_it_is_in_flight(outside: World, provider: Provider) -> None:
    provider.next, provider.is_blind = ["breaks after"], True
    outside.model.will_say(calls(PAY), calls(("pay_out", {"account": "X-1", "amount": 1200})))
    await outside.say("pay", thread="one")
    await outside.answer(True, thread="one")
    flying = outside.request()

    asked = question(await outside.say("pay", thread="two"))
    desk = Desk(outside.gate)
    detail = await desk.detail(person(ANA), outside.request().request_id)
    (listed,) = await desk.listed([outside.request()])

    assert "in flight" in str(asked)
    (concern,) = detail.question.concerns
    assert concern.is_bad
    assert flying.request_id[:8] in concern.title
    assert "pay:X-1" in str(concern.text)
    assert listed.remark == concern
    assert detail.disagreements == []


async def test_notifications_tell_of_it(outside: World, provider: Provider) -> None:
    await outside.gate.write(notifications.collect)
    request_id = await unknown(outside, provider)
    outside.clock.advance(seconds=3600)
    await settled(outside, person(BEN), happened=False)
    (attempt,) = outside.read(partial(attempts_on, request_id=request_id))
    await outside.gate.write(partial(settle, attempt_id=attempt.attempt_id, outcome=Done("Paid."), kind=PayOutBlindly))
    while await outside.gate.write(notifications.collect):
        pass

    found = outside.read(lambda c: notifications.due(c, outside.clock(), 50))
    told = {one.event: outside.read(partial(notifications.content, notification=one)) for one in found}

    assert {"unknown", "settled", "failed", "contradicted"} <= told.keys()
    assert told["unknown"]["details"]["cause"] == "error"
    assert (told["settled"]["actor"], told["settled"]["details"]["happened"]) == ("ben", False)
    assert told["contradicted"]["details"]["says"] == "executed"


async def test_what_settled_it_is_erased_with_the_rest(outside: World, provider: Provider) -> None:
    """The words of whoever settled it may be personal: they stand in the receipt and with the attempt."""
    request_id = await unknown(outside, provider)
    await settled(outside, person(BEN), happened=True, reason="Ada Quist told me")
    await woken(outside)

    detail = await Desk(outside.gate).detail(person(ANA), request_id)

    assert detail.attempts[0].settled_by == "ben"
    assert PAID not in str(detail.receipt)
    await asyncio.sleep(0)


async def test_what_is_started_elsewhere_is_told_as_the_document_says(outside: World, provider: Provider) -> None:
    """Each event of a start has the keys that docs/audit.md says."""
    request_id = await unknown(outside, provider)
    outside.clock.advance(seconds=3600)
    await settled(outside, person(BEN), happened=False)
    (attempt,) = outside.read(partial(attempts_on, request_id=request_id))
    await outside.gate.write(partial(settle, attempt_id=attempt.attempt_id, outcome=Done("Paid."), kind=PayOutBlindly))
    await woken(outside)
    provider.next = ["breaks before"]
    outside.model.will_say(calls(PAY, ids=["again"]))
    await outside.say("pay", thread="two")
    await outside.answer(True, thread="two")
    await asyncio.sleep(1)
    outside.clock.advance(seconds=3600)
    await until(lambda: outside.request("again").state == "executed")
    provider.next = ["breaks after"]
    outside.model.will_say(calls(PAY, ids=["third"]))
    await outside.say("pay", thread="three")
    await outside.answer(True, thread="three")
    await until(lambda: outside.request("third").state == "executed")

    documented, seen = _documented(), set()
    for row in outside.audit():
        if row["event"] in (*OF_STARTS, "executed", "failed"):
            seen.add(row["event"])
            keys = documented[row["event"]]
            assert {key for key in keys if not key.endswith("?")} <= row["details"].keys(), row
            assert row["details"].keys() <= {key.rstrip("?") for key in keys}, row
    assert seen == {*OF_STARTS, "executed", "failed"}


def _bent(rows: list[dict[str, Any]], of: str, **changed: Any) -> list[str]:
    made = []
    for row in rows:
        if row["event"] == of:
            details = {**json.loads(row["details"]), **changed.get("details", {})}
            row = {**row, **{name: value for name, value in changed.items() if name != "details"}}
            row["details"] = json.dumps(details)
        made.append(json.dumps(row))
    return [finding.text for finding in check(made, None).findings]


async def test_an_export_shows_whose_word_an_outcome_rests_on(outside: World, provider: Provider) -> None:
    await unknown(outside, provider)
    await settled(outside, person(BEN), happened=True)
    rows = outside.read(lambda c: list(audit.rows(c)))

    assert _bent(rows, "none") == []
    assert "olga asked for it or edited it, and said what became of it" in _bent(rows, "settled", actor="olga")
    assert _bent(rows, "settled", details={"happened": False}) == [
        "its outcome rests on the word of ben, who did not say so"
    ]
    assert "ben said what became of it, and it was never started" in _bent(rows, "started", event="recorded")
    assert "its outcome rests on the word of ben, who did not say so" in _bent(rows, "settled", event="recorded")
