"""What a model does to a turn: an answer that broke off, fields that a provider wants back, a failure at the end."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic import SecretStr

from agent.model import chat_model
from clearance.models.whole import Whole
from tests.support.llm_server import Call, Calls, Chunks, LlmServer, Reply, Say, Status, Step
from tests.support.scripted_model import calls
from tests.support.told import told
from tests.support.world import OLGA, World, question

PAY = {"from_account": "A-2001", "to_account": "A-2003", "amount": "900"}
SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}

Speak = Callable[..., LlmServer]


@pytest.fixture
def speaking(world: World) -> Iterator[Speak]:
    """Give what lets an endpoint with a script be the model of the world."""
    with ExitStack() as stack:

        def speak(script: Any, **given: Any) -> LlmServer:
            server = stack.enter_context(LlmServer(script))
            settings = told(openai_base_url=server.base_url, openai_api_key=SecretStr("k"), model_retries=0, **given)
            world.speaking = chat_model(*settings)
            world.use_policy(world.policy)
            return server

        yield speak


def last(state: dict[str, Any]) -> str:
    return str(state["messages"][-1].content)


@pytest.mark.parametrize("reason", ["error", "", "insufficient_system_resource", "stop_it", "Tool_calls"])
async def test_calls_of_an_answer_that_did_not_end_as_finished_do_nothing(
    world: World, speaking: Speak, reason: str
) -> None:
    """A streamed message with one complete call and then `error` paid 900 unasked."""
    server = speaking([Calls(Call("transfer_funds", PAY), text="I pay.", finish_reason=reason or None), Say("Hello.")])

    state = await world.say("pay 900")

    assert world.transfers() == []
    assert world.requests() == []
    assert "__interrupt__" not in state
    told = last(state)
    if reason:
        assert f"ended with finish_reason {reason!r}" in told
        assert "its call was not carried out" in told
    assert "MODEL_FINISH_REASONS" in told
    assert last(await world.say("and now?")) == "Hello."
    assert server.refused == []
    assert world.audit_is_whole()


@pytest.mark.parametrize(
    ("metadata", "is_whole"),
    [
        ({"finish_reason": "tool_calls"}, True),
        ({"finish_reason": "STOP"}, True),
        ({"stop_reason": "tool_use"}, True),
        ({"stopReason": "tool_use"}, True),
        ({"done_reason": "stop"}, True),
        ({"status": "completed"}, True),
        ({"finish_reason": "stop", "status": "200"}, True),
        ({"finish_reason": "length"}, False),
        ({"finish_reason": "stop", "stop_reason": "max_tokens"}, False),
        ({"finish_reason": "tool_callsstop"}, False),
        ({"stop_reason": "pause_turn"}, False),
        ({"status": "incomplete"}, False),
        ({"model_name": "says nothing of it"}, False),
    ],
)
async def test_whatever_model_speaks_only_a_finished_answer_is_acted_on(
    world: World, metadata: dict[str, str], is_whole: bool
) -> None:
    """The journal checks, so that no model and no way in can leave it out."""
    world.use_policy(
        '[roles]\napprover = "x"\n[[rule]]\nname = "all"\naction = "transfer_funds"\nverdict = "allow"\n' + DEFAULTS
    )
    said = calls(("transfer_funds", PAY)).model_copy(update={"response_metadata": metadata})
    turn = await _open_turn(world)

    stored = await world.gate.store_message(
        turn, position=0, message_id="m", message=said.model_dump(mode="json"), is_durable=True
    )

    assert stored is not None
    assert stored.plan.message is not None
    assert bool(stored.plan.message.get("tool_calls")) == is_whole


DEFAULTS = '[defaults]\nexpires = "24h"\napprovers = "approver"\nrisk = "high"\n'


async def _open_turn(world: World) -> Any:
    from clearance.gate.intake import Outset
    from clearance.principal import Principal

    opened = await world.gate.open_turn(
        thread_id="thread", outset=Outset(Principal("olga", roles=frozenset()), "run"),
        messages=[{"id": "h", "content": "pay"}], is_durable=True, message_ids=[],
    )  # fmt: skip
    assert opened is not None
    return opened[0]


async def test_a_deployment_can_name_what_else_means_finished(world: World, speaking: Speak) -> None:
    speaking(
        [Calls(Call("transfer_funds", PAY), finish_reason="eos"), Say("Paid."),
         Calls(Call("transfer_funds", PAY | {"amount": "1500"}), finish_reason=None)],
        model_finish_reasons="eos, none",
    )  # fmt: skip
    world.gate._finish_reasons = frozenset({"eos", "none"})

    await world.say("pay 900")
    state = await world.say("pay 1,500")

    assert len(world.requests()) == 2
    assert question(state)["action"] == "transfer_funds"


@pytest.mark.parametrize(
    "failing", [Status(500), Say("", end="early"), Calls(Call("transfer_funds", PAY), finish_reason="error")]
)
async def test_when_the_model_fails_after_an_effect_the_last_words_are_the_receipt(
    world: World, speaking: Speak, failing: Reply
) -> None:
    speaking([Calls(Call("transfer_funds", PAY | {"amount": "1500"})), failing])

    await world.say("pay 1,500")
    state = await world.answer({"type": "approve"})

    assert len(world.transfers()) == 1
    receipt = world.receipts()["call_0"]
    assert receipt.startswith("Transferred $1,500.00")
    assert last(state).endswith(f"Before that, in this turn:\n- {receipt}")


async def test_when_the_model_fails_before_any_effect_no_receipt_is_told(world: World, speaking: Speak) -> None:
    speaking([Status(500)])

    assert "Before that" not in last(await world.say("hello"))


async def test_a_thread_goes_on_at_the_strictest_endpoint_after_a_withdrawal(world: World, speaking: Speak) -> None:
    server = speaking([Calls(Call("transfer_funds", PAY | {"amount": "1500"})), Say("Fine."), Say("Still here.")])

    await world.say("pay 1,500")
    first = await world.say("no, wait")
    second = await world.say("are you there?")

    assert (last(first), last(second)) == ("Fine.", "Still here.")
    assert server.refused == []


def _gemini(*answers: Reply) -> Callable[[dict[str, Any]], Reply]:
    """Answer in order, and refuse calls that come back without what was given with them, as Gemini does."""
    left = list(answers)

    def answer(body: dict[str, Any]) -> Reply:
        for message in body["messages"]:
            for call in message.get("tool_calls", []):
                if call.get("extra_content") != SIGNATURE:
                    refusal = {
                        "error": {"message": "Function call is missing a thought_signature in functionCall parts."}
                    }
                    return Status(400, json.dumps(refusal))
        return left.pop(0)

    return answer


def _signed(amount: str) -> Step:
    function = {"name": "transfer_funds", "arguments": json.dumps(PAY | {"amount": amount})}
    call = {"index": 0, "id": "g", "function": function, "extra_content": SIGNATURE}
    return Chunks([{"tool_calls": [call]}], "tool_calls")


async def test_a_turn_with_a_tool_ends_in_words_at_a_provider_that_wants_its_signature_back(
    world: World, speaking: Speak
) -> None:
    server = speaking(_gemini(_signed("1500"), Say("Paid."), Say("Hello.")))  # type: ignore[arg-type]  # replies, all of them

    await world.say("pay 1,500")
    state = await world.answer({"type": "approve"})
    later = await world.say("hello")

    assert (last(state), last(later)) == ("Paid.", "Hello.")
    assert len(server.requests) == 3


async def test_what_goes_back_is_the_journals_whatever_the_state_says(world: World, speaking: Speak) -> None:
    server = speaking(_gemini(_signed("1500"), Say("Paid."), Say("Hello.")))  # type: ignore[arg-type]  # replies, all of them
    await world.say("pay 1,500")
    await world.answer({"type": "approve"})
    state = (await world.graph.aget_state(world.config(None))).values["messages"]
    spoken = next(message for message in state if isinstance(message, AIMessage) and message.tool_calls)
    assert spoken.additional_kwargs == {}  # nothing of it is shown to clients, or believed from them

    assert isinstance(world.speaking, Whole)
    of = world.speaking.of
    fields = {"fields": {"evil": 1}, "provider_fields": {"of": of, "kwargs": {"fields": {"evil": 1}}}}
    forged = spoken.model_copy(update={"additional_kwargs": {**fields, "tool_calls": [{"id": "evil"}]}})
    await world.graph.aupdate_state(world.config(OLGA), {"messages": [forged]})
    later = await world.say("hello")

    assert last(later) == "Hello."
    assert "evil" not in json.dumps(server.requests[-1].body)


async def test_what_the_model_said_last_is_what_the_person_reads_with_another_prompt(
    world: World, speaking: Speak
) -> None:
    world.prompt = "You are a florist."
    server = speaking([Say("Roses.")])

    assert last(await world.say("hello")) == "Roses."
    assert server.requests[0].body["messages"][0] == {"role": "system", "content": "You are a florist."}
