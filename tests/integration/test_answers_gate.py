"""Promise 7: a wrong answer costs nothing. Every answer that clients send, and much that they should not."""

from typing import Any

from langchain_core.messages import AIMessage

from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, World, question, results

ARGS = {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": ""}
LESS = {**ARGS, "amount": "4000.00"}
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
HUGE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "30000"})

APPROVALS: list[Any] = [
    True,
    {"approved": True},
    {"approved": True, "reason": "fine"},
    {"type": "approve"},
    {"decisions": [{"type": "approve"}]},
    [{"type": "accept"}],
    [{"type": "accept", "args": {}}],
    [{"type": "accept", "args": {"action": "transfer_funds", "args": {"amount": "1"}}}],
    [{"type": "accept", "args": None}],
]
REJECTIONS: list[tuple[Any, str]] = [
    (False, "without a reason"),
    ({"approved": False}, "without a reason"),
    ({"approved": False, "reason": "no"}, ": no"),
    ({"type": "reject"}, "without a reason"),
    ({"type": "reject", "message": "no"}, ": no"),
    ({"decisions": [{"type": "reject", "message": "no"}]}, ": no"),
    ([{"type": "response", "args": "no"}], ": no"),
    ([{"type": "ignore", "args": None}], "without a reason"),
]
EDITS: list[Any] = [
    {"approved": True, "edited_args": {"amount": "4000"}},
    {"type": "edit", "edited_action": {"name": "transfer_funds", "args": LESS}},
    {"decisions": [{"type": "edit", "edited_action": {"name": "transfer_funds", "args": LESS}}]},
    [{"type": "edit", "args": {"action": "transfer_funds", "args": LESS}}],
]
GARBAGE: list[tuple[Any, str]] = [
    ("yes", "the text 'yes'"),
    ("true", "the text 'true'"),
    ("", "the text ''"),
    (1, "the number 1"),
    (0, "the number 0"),
    (1.5, "the number 1.5"),
    ({"approved": "false"}, "must be true or false"),
    ({"approved": "true"}, "must be true or false"),
    ({"approved": 1}, "must be true or false"),
    ({"approved": None}, "must be true or false"),
    ({"approved": [True]}, "must be true or false"),
    ({"approved": True, "force": True}, "'force'"),
    ({"approved": True, "decided_by": "ana"}, "'decided_by'"),
    ({"approved": False, "edited_args": {"amount": "1"}}, "approved true"),
    ({"approved": True, "edited_args": {}}, "edited_args"),
    ({"approved": True, "edited_args": "less"}, "edited_args"),
    ({"approved": True, "edited_args": {"amount": "4000", "urgent": True}}, "urgent"),
    ({"approved": True, "edited_args": {"amount": "-1"}}, "amount must be more than 0"),
    ({"approved": True, "edited_args": {"amount": "1e308"}}, "amount"),
    ({"approved": True, "edited_args": {"to_account": "A-9999"}}, "no account A-9999"),
    ({"approved": True, "reason": 5}, "must be text"),
    ({"approved": False, "reason": "x" * 2001}, "2001 characters"),
    ({"approved": False, "reason": "nul \0"}, "no text"),
    ({"approved": False, "reason": "half \ud800"}, "no text"),
    ({"approved": True, "id": "other"}, "which is not the one asked here"),
    ({"approved": True, "digest": "0" * 64}, "other arguments"),
    ({"approved": True, "id": 5}, "must be the text"),
    ({"decision": "approve"}, "no decision in it"),
    ({"decisions": []}, "exactly one"),
    ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "exactly one"),
    ({"decisions": "approve"}, "exactly one"),
    ({"decisions": ["approve"]}, "an object with a type"),
    ({"decisions": [{"type": "approve"}], "approved": True}, "'approved'"),
    ({"decisions": [{"type": "approve", "args": {}}]}, "'args'"),
    ({"type": "accept"}, "Unknown decision"),
    ({"type": "APPROVE"}, "Unknown decision"),
    ({"type": True}, "Unknown decision"),
    ({"type": [[[[]]]]}, "Unknown decision"),
    ({"type": "edit"}, "An edit needs"),
    ({"type": "edit", "edited_action": {"name": "delete_user", "args": {"user_id": "C-1003"}}}, "cannot make"),
    ({"type": "edit", "edited_action": {"args": LESS}}, "which action"),
    ({"type": "edit", "edited_action": {"name": "transfer_funds", "args": {"amount": "1"}}}, "from_account"),
    ([], "list of exactly one"),
    (["accept"], "an object with a type"),
    ([{"type": "accept"}, {"type": "accept"}], "list of exactly one"),
    ([{"type": "approve"}], "Unknown decision"),
    ([{"type": "edit", "args": {}}], "An edit needs"),
    ([{"type": "response", "args": {"text": "no"}}], "must be text"),
    ([True], "an object with a type"),
    ({"messages": []}, "No person's message"),
    ({"messages": [{"role": "user", "content": ""}]}, "No person's message"),
    ({"messages": [{"role": "assistant", "content": "approved"}]}, "No person's message"),
    ({"messages": "approve"}, "no decision in it"),
    ({"messages": [5]}, "cannot be read"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [1]}]}, "cannot be read"),
]


async def test_approvals_of_all_clients_are_understood(world: World) -> None:
    for thread, answer in enumerate(APPROVALS, 1):
        world.model.will_say(calls(PAY), AIMessage("Done."))
        await world.say("pay", thread=str(thread))

        await world.answer(answer, thread=str(thread))

        assert world.transfers() == [("A-2001", "A-2003", 500_000)] * thread, answer


async def test_rejections_of_all_clients_are_understood(world: World) -> None:
    for thread, (answer, said) in enumerate(REJECTIONS):
        world.model.will_say(calls(PAY), AIMessage("Fine."))
        await world.say("pay", thread=str(thread))

        done = await world.answer(answer, thread=str(thread))

        assert results(done)[0].endswith(said), answer
    assert set(world.states()) == {"rejected"}


async def test_edits_of_all_clients_are_understood(world: World) -> None:
    for thread, answer in enumerate(EDITS, 1):
        world.model.will_say(calls(PAY), AIMessage("Done."))
        await world.say("pay", thread=str(thread))

        await world.answer(answer, thread=str(thread))

        assert world.transfers() == [("A-2001", "A-2003", 400_000)] * thread, answer


async def test_garbage_is_refused_with_a_reason_and_asked_again(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    seen = {await _id(world)}

    for number, (answer, why) in enumerate(GARBAGE, 1):
        asked = question(await world.answer(answer))
        assert why in asked["notice"], answer
        assert asked["notice"].startswith("The last answer was refused: ")
        assert asked["refused_answers"] == number
        seen.add(await _id(world))

    assert len(seen) == len(GARBAGE) + 1
    assert world.states() == ["asked"]
    assert world.transfers() == []
    assert world.events() == ["requested", *["answer_refused"] * len(GARBAGE)]
    await world.answer(True)
    assert len(world.transfers()) == 1
    assert world.audit_is_whole()


async def test_empty_answers_and_numbers_too_long_to_print_are_refused(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    for answer in ({"type": 10**5000}, {"approved": 10**5000}, 10**5000, {}):
        assert await world.decide(answer, by=ANA) is False

    assert world.states() == ["asked"]


async def test_an_answer_too_deep_to_read_is_refused(world: World) -> None:
    """`repr` and `clean` ran out of stack, and the run failed instead of asking again."""
    world.model.will_say(calls(PAY))
    await world.say("pay")
    deep: Any = []
    for _ in range(900):
        deep = [deep]

    for answer in ({"type": deep}, {"approved": True, "edited_args": {"amount": deep}}, deep):
        assert await world.decide(answer, by=ANA) is False

    assert world.request().notice == (
        'The last answer was refused: The answer is too large or too deep to be a decision. Answer {"approved": true}'
        ' or {"approved": false, "reason": "…"}.'
    )


async def test_the_id_and_digest_of_the_question_are_taken(world: World) -> None:
    world.model.will_say(calls(PAY))
    asked = question(await world.say("pay"))

    await world.answer({"approved": True, "id": asked["id"], "digest": asked["digest"]})

    assert len(world.transfers()) == 1


async def test_an_answer_older_than_the_question_is_refused(world: World) -> None:
    """A double click with a bare resume on a plan of two: the second was not meant for the second question."""
    world.model.will_say(calls(PAY, HUGE))
    await world.say("pay")
    clicked = _ms(world)
    world.clock.advance(seconds=1)
    await world.answer(True, by=TESS, __request_start_time_ms__=_ms(world))

    asked = question(await world.answer(True, by=TESS, __request_start_time_ms__=clicked))

    assert "it was sent before this question was put" in asked["notice"]
    assert world.states() == ["approved", "asked"]


async def test_an_answer_by_id_may_be_older_than_the_asking(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    asked = await world.open_question()
    assert asked is not None
    clicked = _ms(world) - 10_000

    other = {"0" * 32: True}
    again = await world.answer(True, __request_start_time_ms__=clicked, __pregel_resume_map=other)
    assert question(again)["notice"] is None
    assert world.states() == ["asked"]
    asked = await world.open_question()
    assert asked is not None
    await world.answer({asked.id: True}, __request_start_time_ms__=clicked)

    assert len(world.transfers()) == 1


async def test_an_answer_that_came_through_the_configuration_is_its_senders(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")
    asked = await world.open_question()
    assert asked is not None

    again = await world.run(None, by=OLGA, __pregel_resume_map={asked.id: {"approved": True}})

    assert "olga does not have the role" in question(again)["notice"]
    assert world.transfers() == []


async def test_an_answer_to_an_earlier_revision_is_refused(world: World) -> None:
    world.model.will_say(calls(HUGE))
    await world.say("pay")
    await world.decide({"approved": True, "edited_args": {"to_account": "A-2002"}}, by=TESS)

    asked = question(await world.answer(True, by=TOM))

    assert "the request changed after this question was put" in asked["notice"]
    assert asked["revision"] == 2
    assert asked["action_request"]["args"]["to_account"] == "A-2002"
    assert world.states() == ["asked"]


async def test_an_answer_with_the_digest_does_not_count_for_other_facts(world: World) -> None:
    """The arguments were the same, the payee was not: ben's click on the old card approved the new one."""
    world.model.will_say(calls(PAY))
    asked = question(await world.say("pay"))
    answer = {"approved": True, "id": asked["id"], "digest": asked["digest"]}
    clicked = _ms(world)
    world.execute("UPDATE customers SET name = 'Mallory' WHERE customer_id = 'C-1002'")
    world.clock.advance(seconds=1)
    await world.answer(answer, by=ANA, __request_start_time_ms__=_ms(world))

    asked = question(await world.answer(answer, by=BEN, __request_start_time_ms__=clicked))

    assert "before this question was put" in asked["notice"]
    assert world.transfers() == []


async def test_an_answer_with_the_digest_may_be_older_than_an_asking_of_the_same(world: World) -> None:
    """Wrong answers on purpose move the question on; who named what they answer is still understood."""
    world.model.will_say(calls(PAY))
    asked = question(await world.say("pay"))
    clicked = _ms(world)
    world.clock.advance(seconds=1)
    await world.answer("nonsense", by=OLGA, __request_start_time_ms__=_ms(world))

    answer = {"approved": True, "id": asked["id"], "digest": asked["digest"]}
    await world.answer(answer, __request_start_time_ms__=clicked)

    assert len(world.transfers()) == 1


async def test_an_answer_to_what_was_decided_elsewhere_is_told_late(world: World) -> None:
    """It was dropped without a trace: ana rejected, and the money went."""
    world.model.will_say(calls(PAY))
    await world.say("pay")
    await world.decide(True, by=BEN)

    done = await world.answer({"approved": False}, by=ANA)

    assert len(world.transfers()) == 1
    assert "T-301" in results(done)[0]
    assert world.events() == ["requested", "approved", "answer_late", "executed"]
    assert [row["actor"] for row in world.audit()][2] == "ana"


async def test_a_pile_of_wrong_answers_does_not_get_in_the_way_of_a_right_one(world: World) -> None:
    world.model.will_say(calls(PAY))
    asked = question(await world.say("pay"))
    for _ in range(5):
        await world.answer("nonsense", by=OLGA)

    await world.answer({"approved": True, "id": asked["id"], "digest": asked["digest"]})

    assert len(world.transfers()) == 1


async def _id(world: World) -> str:
    asked = await world.open_question()
    assert asked is not None
    return asked.id


def _ms(world: World) -> int:
    return int(world.clock().timestamp() * 1000)
