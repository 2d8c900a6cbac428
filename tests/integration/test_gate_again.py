"""Promise 4: decided once, checked again. What changed since is asked again; nothing becomes laxer by waiting."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage

from clearance.db.tables import decisions
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, Person, World, question, results


def pay(amount: str, to: str = "A-2003", source: str = "A-2001") -> tuple[str, dict[str, Any]]:
    return ("transfer_funds", {"from_account": source, "to_account": to, "amount": amount})


RENAME = "UPDATE customers SET name = 'Mallory Evil' WHERE customer_id = 'C-1002'"
ASK_TWO = 'verdict = "ask"\napprovers = "treasurer"\napprovals = 2'
TWO = f'[[rule]]\nname = "two"\naction = "transfer_funds"\n{ASK_TWO}\n\n[[rule]]'
ALL = '[[rule]]\nname = "all"\naction = "transfer_funds"\nverdict = "allow"\n\n[[rule]]'
NONE = '[[rule]]\nname = "none"\naction = "transfer_funds"\nverdict = "deny"\n\n[[rule]]'


async def test_verdict_requester_and_roles_are_stored_as_they_were(world: World) -> None:
    world.model.will_say(calls(pay("5000")))
    await world.say("pay", by=Person("olga", ("clerk",)))

    request = world.request()
    assert (request.verdict, request.requested_by, request.approvals) == ("ask", "olga", 1)
    assert request.rule.startswith("transfer (policy.toml:")
    await world.answer(True, by=TESS)
    (decision,) = world.read(lambda c: c.execute(decisions.select()).all())
    assert (decision.decided_by, decision.decider_roles) == ("tess", ["approver", "treasurer"])
    assert decision.digest == request.digest


async def test_a_policy_that_became_stricter_before_the_answer_is_asked_for_again(world: World) -> None:
    world.model.will_say(calls(pay("5000")))
    await world.say("pay")
    world.use_policy(world.policy.replace("[[rule]]", TWO, 1))

    asked = question(await world.answer(True, by=ANA))

    assert "The policy now asks for it: two" in asked["notice"]
    assert asked["approvals_needed"] == 2
    assert asked["approvers"] == ["approver", "treasurer"]
    assert asked["approvals_given"] == []
    assert world.transfers() == []
    await world.answer(True, by=TESS)
    await world.answer(True, by=TOM)
    assert len(world.transfers()) == 1


async def test_a_policy_that_became_stricter_before_the_effect_is_asked_for_again(world: World) -> None:
    world.model.will_say(calls(pay("5000"), pay("6000")))
    await world.say("pay")
    await world.answer(True, by=ANA)
    world.use_policy(world.policy.replace("[[rule]]", TWO, 1))

    asked = question(await world.answer(True, by=ANA))

    assert world.states() == ["asked", "approved"]
    assert asked["action_request"]["args"]["amount"] == "5000.00"
    assert world.transfers() == []


async def test_approvals_that_satisfy_the_stricter_policy_count(world: World) -> None:
    world.model.will_say(calls(pay("30000"), pay("5000")))
    await world.say("pay")
    await world.answer(True, by=TESS)
    await world.answer(True, by=TOM)
    stricter = world.policy.replace("usd(25000)", "usd(20000)")
    world.use_policy(stricter)

    await world.answer(True, by=ANA)

    assert world.states() == ["executed", "executed"]


async def test_an_allowed_effect_that_policy_would_now_ask_about_is_asked_about(world: World) -> None:
    world.model.will_say(calls(("delete_user", {"user_id": "C-1003"}), pay("900")))
    await world.say("delete and pay")
    assert world.states() == ["asked", "allowed"]
    world.use_policy(world.policy.replace("[[rule]]", TWO, 1))

    asked = question(await world.answer(True, by=ANA))

    assert world.states() == ["executed", "asked"]
    assert asked["approvals_needed"] == 2
    assert world.transfers() == []
    await world.answer(True, by=TESS)
    await world.answer(True, by=TOM)
    assert len(world.transfers()) == 1


async def test_a_policy_that_now_denies_refuses_what_was_approved(world: World) -> None:
    world.model.will_say(calls(pay("5000")))
    await world.say("pay")
    world.use_policy(world.policy.replace("[[rule]]", NONE, 1))

    done = await world.answer(True)

    assert results(done)[0].startswith("Refused by policy: none")
    assert world.states() == ["refused"]


async def test_a_laxer_policy_releases_nothing_that_was_asked(world: World) -> None:
    world.model.will_say(calls(pay("5000")))
    await world.say("pay")
    world.use_policy(world.policy.replace("[[rule]]", ALL, 1))

    await world.go_on()
    assert world.states() == ["asked"]
    asked = question(await world.answer(True, by=OLGA))
    assert "olga does not have the role" in asked["notice"]
    await world.answer(False, by=ANA)

    assert world.states() == ["rejected"]
    assert world.transfers() == []


async def test_a_changed_material_fact_is_asked_again_with_the_new_facts(world: World) -> None:
    world.model.will_say(calls(pay("5000")))
    first = question(await world.say("pay"))
    world.execute(RENAME)

    asked = question(await world.answer(True))

    assert asked["notice"] == "Since it was approved, this changed: to owner."
    assert (first["facts"]["to_owner"], asked["facts"]["to_owner"]) == ("Tom Becker", "Mallory Evil")
    assert "Mallory Evil" in asked["message"]
    assert asked["revision"] == 2
    assert world.transfers() == []
    await world.answer(True)
    assert len(world.transfers()) == 1
    assert world.events() == ["requested", "approved", "asked_again", "approved", "executed"]


async def test_a_change_while_the_plan_is_carried_out_holds_the_rest_and_what_was_done_stands(world: World) -> None:
    world.model.will_say(calls(pay("5000", "A-2002"), pay("6000"), pay("7000", "A-2002")))
    await world.say("pay")
    await world.answer(True)
    await world.answer(True)
    world.execute(RENAME)

    asked = question(await world.answer(True))

    assert world.states() == ["executed", "asked", "approved"]
    assert [amount for _, _, amount in world.transfers()] == [500_000]
    assert asked["facts"]["to_owner"] == "Mallory Evil"
    await world.answer(True)
    assert [amount for _, _, amount in world.transfers()] == [500_000, 600_000, 700_000]


async def test_an_account_closed_meanwhile_refuses_the_effect(world: World) -> None:
    world.model.will_say(calls(pay("5000", "A-2005")))
    await world.say("pay")
    world.execute("UPDATE accounts SET status = 'closed' WHERE account_id = 'A-2005'")

    done = await world.answer(True)

    assert results(done) == ["Not done: A-2005 is closed."]
    assert world.states() == ["refused"]
    assert world.transfers() == []


async def test_a_balance_that_moved_meanwhile_asks_nobody_again(world: World) -> None:
    world.model.will_say(calls(pay("5000")))
    await world.say("pay")
    world.model.will_say(calls(pay("300")), AIMessage("Done."))
    await world.say("pay", thread="other", by=BEN)

    await world.answer(True)

    assert sorted(amount for _, _, amount in world.transfers()) == [30_000, 500_000]


async def test_money_that_is_gone_meanwhile_is_not_moved(world: World) -> None:
    world.model.will_say(calls(pay("20000"), pay("20000"), pay("20000"), pay("20000"), pay("20000")))
    await world.say("pay")
    for _ in range(4):
        await world.answer(True)

    await world.answer(True)

    assert world.balance("A-2001") >= 0
    assert len(world.transfers()) == 4
    assert world.states()[-1] == "refused"
    assert world.ledger_is_whole()


async def test_ten_small_transfers_in_one_plan_stay_under_the_limit(world: World) -> None:
    world.model.will_say(calls(*[pay("900")] * 10))

    await world.say("pay ten times")

    assert world.states() == ["allowed"] * 2 + ["asked"] * 8
    assert world.transfers() == []


async def test_ten_small_transfers_in_ten_messages_of_the_model_stay_under_the_limit(world: World) -> None:
    world.model.will_say(*[calls(pay("900"))] * 10)

    await world.say("pay ten times")

    assert world.states() == ["executed"] * 2 + ["asked"]


async def test_ten_small_transfers_over_turns_stay_under_the_limit(world: World) -> None:
    for _ in range(10):
        world.model.will_say(calls(pay("900")), AIMessage("Done."))
        await world.say("pay")

    assert len(world.transfers()) == 2


async def test_ten_small_transfers_over_threads_at_once_stay_under_the_limit(world: World) -> None:
    world.model.will_say(*[calls(pay("900"))] * 10)

    await asyncio.gather(*(world.say("pay", thread=f"thread-{n}", by=Person(f"clerk-{n}")) for n in range(10)))

    assert len(world.transfers()) == 2
    assert world.states().count("asked") == 8
    assert sum(amount for _, _, amount in world.transfers()) <= 250_000
    assert world.audit_is_whole()


async def test_small_transfers_of_one_person_over_accounts_stay_under_the_limit(world: World) -> None:
    sources = [("A-2001", "A-2003"), ("A-2002", "A-2003"), ("A-2004", "A-2001")]
    for source, to in sources:
        world.model.will_say(calls(pay("900", to, source)), AIMessage("Done."))
        await world.say("pay", thread=source)

    assert len(world.transfers()) == 2
    assert world.states()[-1] in ("asked", "withdrawn")


async def test_an_approved_transfer_counts_towards_what_is_allowed_later(world: World) -> None:
    world.model.will_say(calls(pay("2000")), calls(pay("900")))
    await world.say("pay")
    await world.answer(True)

    assert world.states() == ["executed", "asked"]
