"""Two people whose names look alike are marked, and are not maker and checker of one request, nor two approvers."""

import pytest

from clearance.desk.choices import panel
from clearance.desk.comparison import as_asked
from clearance.desk.desk import Desk
from clearance.principal import Principal
from tests.support.scripted_model import calls
from tests.support.world import ANA, OLGA, TESS, TOM, Person, World, question

pytestmark = pytest.mark.own_graph("who may decide, whatever graph runs it")

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
HUGE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "30000"})
#: With Cyrillic letters in place of Latin ones.
FALSE_OLGA = Person("\u043elga", ("approver", "treasurer"))
FALSE_TESS = Person("t\u0435ss", ("approver", "treasurer"))


async def test_who_looks_like_the_requester_does_not_approve(world: World) -> None:
    """What went wrong: one who had both names asked as the one and approved as the other, and who read it saw one."""
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.answer(True, by=FALSE_OLGA))
    assert "looks like olga, who asked for this" in asked["notice"]
    assert world.transfers() == []

    await world.answer(True, by=ANA)
    assert len(world.transfers()) == 1


async def test_who_looks_like_the_requester_does_not_edit(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.answer({"approved": True, "edited_args": {"amount": "4000"}}, by=FALSE_OLGA)

    assert world.transfers() == []
    assert world.states() == ["asked"]


async def test_who_looks_like_one_who_edited_does_not_approve_the_edit(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await world.answer({"approved": True, "edited_args": {"amount": "6000"}}, by=TESS)

    await world.answer(True, by=FALSE_TESS)
    assert world.transfers() == []

    await world.answer(True, by=TOM)
    assert world.transfers() == [("A-2001", "A-2003", 600_000)]


@pytest.mark.parametrize("by", [TESS, FALSE_TESS])
async def test_who_raised_it_does_not_clear_it_by_lowering_what_they_made(world: World, by: Person) -> None:
    """What went wrong: an edit upwards waited for somebody else, and one cent less of it by the same person ran."""
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await world.answer({"approved": True, "edited_args": {"amount": "6000"}}, by=TESS)

    await world.answer({"approved": True, "edited_args": {"amount": "5999"}}, by=by)
    assert world.transfers() == []
    assert world.states() == ["asked"]

    await world.answer(True, by=TOM)
    assert world.transfers() == [("A-2001", "A-2003", 599_900)]


async def test_what_somebody_raised_another_clears_by_lowering_it(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await world.answer({"approved": True, "edited_args": {"amount": "6000"}}, by=TESS)

    await world.answer({"approved": True, "edited_args": {"amount": "5999"}}, by=TOM)

    assert world.transfers() == [("A-2001", "A-2003", 599_900)]


async def test_two_who_look_alike_are_not_two_approvers(world: World) -> None:
    world.model.will_say(calls(HUGE))
    await world.say("pay")
    await world.answer(True, by=TESS)

    asked = question(await world.answer(True, by=FALSE_TESS))
    assert "looks like tess, who approved it already" in asked["notice"]
    assert world.transfers() == []

    await world.answer(True, by=TOM)
    assert len(world.transfers()) == 1


@pytest.mark.parametrize("by", [FALSE_OLGA, Person("0lga", ("approver",)), Person("OLGA", ("approver",))])
async def test_it_is_marked_where_people_decide(world: World, by: Person) -> None:
    world.model.will_say(calls(PAY), calls(PAY))
    await world.say("pay", by=by)

    asked = question(await world.say("pay", by=OLGA, thread="another"))

    (told,) = [one for one in asked["look_first"] if "look alike" in one]
    assert told.startswith("olga is not ")
    assert by.identity in told
    assert told in asked["description"]


@pytest.mark.parametrize("did", ["asked for this", "changed it", "approved it already"])
async def test_the_page_says_why_a_look_alike_may_not_decide_as_the_gate_does(world: World, did: str) -> None:
    """There were two wordings of each rule, of which one could come to say another."""
    world.model.will_say(calls(HUGE if did.startswith("approved") else PAY))
    await world.say("pay")
    if did == "changed it":
        await world.answer({"approved": True, "edited_args": {"amount": "6000"}}, by=TESS)
    elif did == "approved it already":
        await world.answer(True, by=TESS)
    who = FALSE_OLGA if did == "asked for this" else FALSE_TESS
    viewer = Principal(who.identity, roles=frozenset(who.roles))

    detail = await Desk(world.gate).detail(viewer, world.request().request_id)
    review = as_asked(world.gate.judge.actions, detail.request).review
    shown = panel(detail, review, viewer, world.clock(), is_gone=False)
    asked = question(await world.answer(True, by=who))

    (why_not,) = shown.why_not
    assert not shown.may_approve
    assert f", who {did}: " in why_not
    assert asked["notice"].casefold().endswith(why_not.casefold())
