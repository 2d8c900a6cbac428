"""Edits: a new revision and digest; whoever edits is a maker; it counts as an approval only when it does less."""

from typing import Any

from clearance.db.tables import decisions
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, World, question

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": "rent"})
HUGE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "30000"})


def edit(**changes: Any) -> dict[str, Any]:
    return {"approved": True, "edited_args": changes}


async def test_an_edit_that_does_less_counts_as_the_editors_approval(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.answer(edit(amount="4000"))

    assert world.transfers() == [("A-2001", "A-2003", 400_000)]
    (decision,) = world.read(lambda c: c.execute(decisions.select()).all())
    assert (decision.decision, decision.counts, decision.revision) == ("edit", True, 2)
    assert decision.edited["amount"] == "4000.00"
    assert world.events() == ["requested", "edited", "executed"]
    assert world.request().digest == decision.digest


async def test_an_edit_that_does_more_or_other_things_takes_somebody_else(world: World) -> None:
    for thread, changes in enumerate(({"amount": "6000"}, {"to_account": "A-2002"}, {"memo": "bribe"}), 1):
        world.model.will_say(calls(PAY))
        first = question(await world.say("pay", thread=str(thread)))

        asked = question(await world.answer(edit(**changes), by=ANA, thread=str(thread)))
        assert asked["notice"] == "ana edited it."
        assert asked["revision"] == 2
        assert asked["digest"] != first["digest"]
        for name, value in changes.items():
            assert value in str(asked["action_request"]["args"][name])
        again = question(await world.answer(True, by=ANA, thread=str(thread)))
        assert "asked for this or edited it" in again["notice"]
        assert len(world.transfers()) == thread - 1

        await world.answer(True, by=BEN, thread=str(thread))
        assert len(world.transfers()) == thread


async def test_an_edit_upwards_asks_those_whom_policy_asks_for_the_larger(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.answer(edit(amount="30000"), by=ANA))

    assert (asked["approvers"], asked["approvals_needed"]) == (["treasurer"], 2)
    assert "does not have the role" in question(await world.answer(True, by=BEN))["notice"]
    await world.answer(True, by=TESS)
    await world.answer(True, by=TOM)
    assert world.transfers() == [("A-2001", "A-2003", 3_000_000)]


async def test_who_edited_cannot_be_one_of_two_approvers(world: World) -> None:
    world.model.will_say(calls(HUGE))
    await world.say("pay")

    asked = question(await world.answer(edit(amount="29000"), by=TESS))
    assert (asked["approvals_given"], asked["approvals_needed"]) == ([], 2)
    asked = question(await world.answer(True, by=TESS))

    assert "edited it" in asked["notice"]
    assert world.transfers() == []


async def test_an_edit_makes_earlier_approvals_lapse(world: World) -> None:
    world.model.will_say(calls(HUGE))
    await world.say("pay")
    await world.answer(True, by=TESS)

    asked = question(await world.answer(edit(amount="31000"), by=TOM))

    assert asked["approvals_given"] == []
    rows = world.read(lambda c: c.execute(decisions.select().order_by(decisions.c.number)).all())
    assert [(row.decision, row.counts, row.lapsed) for row in rows] == [
        ("approve", False, "the request was edited"),
        ("edit", False, None),
    ]


async def test_who_asked_cannot_edit_their_own(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay", by=ANA)

    asked = question(await world.answer(edit(amount="1"), by=ANA))

    assert "somebody else has to decide" in asked["notice"]
    assert world.request().revision == 1


async def test_an_edit_that_changes_nothing_is_an_approval(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.answer(edit(amount="5,000.00"))

    assert world.events() == ["requested", "approved", "executed"]
    assert world.request().revision == 1


async def test_an_edit_to_what_policy_denies_is_refused(world: World) -> None:
    deny = '[[rule]]\nname = "not there"\naction = "transfer_funds"\nwhen = "args.to_account == \'A-2002\'"'
    world.use_policy(world.policy.replace("[[rule]]", f'{deny}\nverdict = "deny"\n\n[[rule]]', 1))
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.answer(edit(to_account="A-2002")))

    assert "the policy refuses the changed call: not there" in asked["notice"]
    assert world.request().revision == 1


async def test_an_edit_to_what_policy_would_allow_still_takes_one_of_those_asked(world: World) -> None:
    world.model.will_say(calls(HUGE))
    await world.say("pay")

    await world.answer(edit(amount="100"), by=ANA)
    assert world.states() == ["asked"]
    await world.answer(edit(amount="100"), by=TESS)

    assert world.transfers() == [("A-2001", "A-2003", 10_000)]


async def test_an_edit_of_an_earlier_call_counts_for_the_later_ones(world: World) -> None:
    """Raised from 1,500 to 2,400 the first leaves no room under the limit for the second, allowed or not."""
    small = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
    world.model.will_say(calls(("transfer_funds", {**small[1], "amount": "1500"}), small))
    await world.say("pay")
    assert world.states() == ["asked", "allowed"]

    await world.answer(edit(amount="2400"), by=ANA)
    await world.answer(True, by=BEN)

    assert world.states() == ["executed", "asked"]


async def test_what_was_edited_is_what_the_model_is_told(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.answer(edit(amount="4000"))

    assert "$4,000.00" in world.model.read[-1][-1].content


async def test_who_has_no_say_edits_nothing(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.answer(edit(amount="1"), by=OLGA)

    assert world.request().revision == 1
    assert world.states() == ["asked"]
