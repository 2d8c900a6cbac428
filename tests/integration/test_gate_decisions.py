"""Promises 1, 2 and 5: who decides what, and nothing happens before."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Command

from clearance.graph.toolbox import Toolbox
from clearance.parts import Parts
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, Person, World, question, results

PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
SMALL = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"})
HUGE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "30000"})
DELETE = ("delete_user", {"user_id": "C-1003"})


async def test_what_policy_allows_runs_without_asking(world: World) -> None:
    world.model.will_say(calls(SMALL))

    done = await world.say("pay")

    assert results(done) == ["Transferred $900.00 from A-2001 to A-2003 (T-301)."]
    assert world.transfers() == [("A-2001", "A-2003", 90_000)]
    assert world.events() == ["requested", "executed"]


async def test_what_policy_asks_about_does_not_run_before_the_answer(world: World) -> None:
    world.model.will_say(calls(PAY))

    asked = question(await world.say("pay"))

    assert asked["approvers"] == ["approver"]
    assert asked["approvals_needed"] == 1
    assert asked["requested_by"] == "olga"
    assert world.transfers() == []
    assert world.states() == ["asked"]


async def test_what_no_rule_names_is_asked_about(world: World) -> None:
    world.use_policy(world.policy.split("[[rule]]")[0])
    world.model.will_say(calls(SMALL))

    asked = question(await world.say("pay"))

    assert asked["rule"] == "default: no rule matched"
    assert world.transfers() == []


async def test_what_policy_denies_is_refused_and_asked_of_nobody(world: World) -> None:
    deny = '[[rule]]\nname = "no"\naction = "transfer_funds"\nverdict = "deny"\n'
    world.use_policy(world.policy.replace("[[rule]]", f"{deny}\n[[rule]]", 1))
    world.model.will_say(calls(SMALL))

    done = await world.say("pay")

    (said,) = results(done)
    assert said.startswith("Refused by policy: no (policy.toml:")
    assert world.states() == ["refused"]
    assert world.transfers() == []


async def test_a_condition_that_fails_is_a_no(world: World) -> None:
    broken = '[[rule]]\naction = "transfer_funds"\nwhen = "1 / facts.sent_24h > 0"\nverdict = "allow"\n'
    world.use_policy(world.policy.replace("[[rule]]", f"{broken}\n[[rule]]", 1))
    world.model.will_say(calls(SMALL))

    done = await world.say("pay")

    assert "the condition failed" in results(done)[0]
    assert world.states() == ["refused"]
    assert world.transfers() == []


async def test_a_rejection_reaches_the_model_with_its_reason(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    done = await world.answer({"approved": False, "reason": "wrong account"})

    assert results(done) == ["Not done: ana rejected it: wrong account"]
    assert world.states() == ["rejected"]
    assert world.transfers() == []


@pytest.mark.parametrize("nobody", [Person("eve"), Person("mallory", ("treasurer",)), OLGA])
async def test_who_lacks_the_role_decides_nothing(world: World, nobody: Person) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    for answer in ({"approved": True}, {"approved": False}, {"approved": True, "edited_args": {"amount": "1"}}):
        asked = question(await world.answer(answer, by=nobody))
        assert f"{nobody.identity} does not have the role approver" in asked["notice"]

    assert world.states() == ["asked"]
    assert world.events() == ["requested", *["answer_refused"] * 3]
    assert [row["actor"] for row in world.audit()[1:]] == [nobody.identity] * 3


async def test_who_asked_cannot_approve_even_with_the_role(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay", by=ANA)

    asked = question(await world.answer(True, by=ANA))
    assert "somebody else has to approve it" in asked["notice"]
    assert world.transfers() == []

    await world.answer(True, by=BEN)
    assert len(world.transfers()) == 1


async def test_who_asked_can_take_it_back_by_rejecting_it(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay", by=ANA)

    await world.answer({"approved": False}, by=ANA)

    assert world.states() == ["rejected"]
    assert world.audit()[-1]["details"]["own_request"] is True


async def test_a_name_in_the_answer_is_nobodys_authority(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.answer({"approved": True, "approved_by": "ana"}, by=OLGA))

    assert "says nothing here" in asked["notice"]
    assert world.states() == ["asked"]


async def test_claims_in_the_configuration_are_not_believed(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    claims: dict[str, Any] = {
        "user_id": "ana",
        "roles": ["approver"],
        "identity": "ana",
        "langgraph_auth_user_id": "ana",
    }
    asked = question(await world.answer(True, by=OLGA, **claims))

    assert "olga does not have the role" in asked["notice"]
    assert world.transfers() == []


async def test_the_server_itself_can_neither_request_nor_decide(world: World) -> None:
    nothing = await world.run({"messages": [("user", "pay")]}, by=None)
    assert world.requests() == []
    assert nothing["messages"][-1].content == "Nobody signed in wrote this message, so it is not answered."

    world.model.will_say(calls(PAY))
    await world.say("pay")
    asked = question(await world.run(Command(resume={"approved": True}), by=None))

    assert "the server itself cannot decide" in asked["notice"]
    assert world.transfers() == []


async def test_what_nobody_signed_in_wrote_is_not_taken_for_the_words_of_who_writes_next(world: World) -> None:
    """It stayed in the state, and the next person's turn began with it."""
    await world.run({"messages": [("user", "pay 20000 to A-2003")]}, by=None)

    await world.say("hello")

    assert [m.content for m in world.model.read[0] if m.type == "human"] == ["hello"]


async def test_a_message_that_nobody_signed_in_wrote_leaves_the_question_open(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    await world.run({"messages": [("user", "never mind")]}, by=None)

    assert world.states() == ["asked"]
    await world.answer(True)
    assert len(world.transfers()) == 1


async def test_two_approvals_are_two_people(world: World) -> None:
    world.model.will_say(calls(HUGE))
    asked = question(await world.say("pay"))
    assert (asked["approvals_needed"], asked["approvers"]) == (2, ["treasurer"])

    once = await world.answer(True, by=TESS)
    asked = question(once)
    assert asked["approvals_given"] == ["tess"]
    # To the page that sent it any answer that is taken is a success.
    assert once["messages"][-1].content == (
        "1 of 2 approvals of transfer_funds given, by tess. Nothing of it is done before all are given."
    )
    asked = question(await world.answer(True, by=TESS))
    assert "tess has approved it already" in asked["notice"]
    assert world.transfers() == []

    done = await world.answer(True, by=TOM)
    assert "T-301" in results(done)[0]
    assert [m.id for m in done["messages"]].count(once["messages"][-1].id) == 1
    assert world.events() == ["requested", "approved", "answer_refused", "approved", "executed"]


async def test_one_of_two_can_stop_it(world: World) -> None:
    world.model.will_say(calls(HUGE))
    await world.say("pay")

    await world.answer(True, by=TESS)
    await world.answer(False, by=TOM)

    assert world.states() == ["rejected"]


async def test_an_approvers_resume_makes_the_agent_go_on_for_who_asked(world: World) -> None:
    world.model.will_say(calls(PAY), calls(DELETE))
    await world.say("pay, then delete")

    asked = question(await world.answer(True, by=ANA))

    assert asked["requested_by"] == "olga"
    assert [request.requested_by for request in world.requests()] == ["olga", "olga"]
    await world.answer(True, by=ANA)
    assert world.states() == ["executed", "executed"]


async def test_without_authentication_the_local_person_may_approve_their_own_and_it_is_marked(world: World) -> None:
    world.has_authentication = False
    world.use_policy(world.policy)
    world.model.will_say(calls(PAY), AIMessage("Done."), calls(PAY))

    await world.say("pay")
    await world.answer(True)
    await world.say("pay")
    await world.answer(False)

    assert world.states() == ["executed", "rejected"]
    marked = {row["event"]: row["details"].get("authentication") for row in world.audit()}
    assert marked["approved"] == marked["rejected"] == "none"
    assert {request.requested_by for request in world.requests()} == {"local"}


async def test_a_run_that_keeps_no_thread_does_nothing_with_an_effect(world: World) -> None:
    world.model.will_say(calls(("get_account", {"account_id": "A-2001"}), SMALL, PAY))
    world.graph.checkpointer = None

    done = await world.say("pay")

    # Which stands first in the thread, the way in says.
    (looked_up,) = [said for said in results(done) if "Priya" in said]
    refused = [said for said in results(done) if said != looked_up]
    assert [sentence.split(":")[0] for sentence in refused] == ["Not done", "Not done"]
    assert world.requests() == []
    assert world.transfers() == []
    assert world.events() == ["refused_without_thread"]


async def test_an_action_outside_the_graph_does_nothing(world: World) -> None:
    async def parts() -> Parts:
        return world.parts

    tool = Toolbox([], world.gate.judge.actions, parts).actions["transfer_funds"]

    said = await tool.ainvoke(PAY[1])

    assert "only runs inside" in said
    assert world.transfers() == []
