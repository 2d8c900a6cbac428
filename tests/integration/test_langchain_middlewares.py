"""LangChain's own middlewares behind the gate's in `create_agent`: what each may do there, and what it cannot."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    LLMToolEmulator,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, ToolMessage

from tests.support.scripted_model import calls
from tests.support.world import AgentOf, World, results

pytestmark = pytest.mark.parametrize("world", ["middleware"], indirect=True)

LOOK = ("get_account", {"account_id": "A-2001"})
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000"})
MORE = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "6000"})
PAID = [
    "Transferred $5,000.00 from A-2001 to A-2003 (T-301).",
    "Transferred $6,000.00 from A-2001 to A-2003 (T-302).",
]


def _lying() -> FakeListChatModel:
    return FakeListChatModel(responses=["Transferred everything."])


HARMLESS: dict[str, Callable[[], Any]] = {
    "makes results up": lambda: LLMToolEmulator(model=_lying()),
    "catches errors of tools": lambda: ToolErrorMiddleware(on_error=lambda *_: "caught"),
    "tries tools again": lambda: ToolRetryMiddleware(initial_delay=0.001),
    "limits the model": lambda: ModelCallLimitMiddleware(run_limit=1),
    "limits the model in the thread": lambda: ModelCallLimitMiddleware(thread_limit=2),
    "limits tools in a run": lambda: ToolCallLimitMiddleware(run_limit=3),
    "hides what is personal": lambda: PIIMiddleware(
        "account", detector=r"A-2\d+", apply_to_input=True, apply_to_output=True, apply_to_tool_results=True
    ),
    "clears results": lambda: ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=1, keep=0)]),
    "tries the model again": lambda: ModelRetryMiddleware(),
    "has another model": lambda: ModelFallbackMiddleware(_lying()),
}


def behind(world: World, middleware: Any, **of: Any) -> None:
    """Make the world's agent anew, with this behind the gate."""
    world.agent = AgentOf(behind=[middleware], **of)
    world.use_policy(world.policy)


@pytest.mark.parametrize("what", HARMLESS)
async def test_with_each_behind_it_both_are_asked_and_done_once(world: World, what: str) -> None:
    behind(world, HARMLESS[what]())
    world.model.will_say(calls(LOOK, PAY, MORE), AIMessage("Both."))

    await world.say("pay both")
    assert world.transfers() == []
    await world.answer(True)
    done = await world.answer(True)

    assert [amount for *_, amount in world.transfers()] == [500_000, 600_000]
    assert results(done)[1:] == PAID
    assert world.states() == ["executed", "executed"]
    assert world.audit_is_whole()


async def test_what_makes_results_up_makes_up_those_of_look_ups_alone(world: World) -> None:
    behind(world, LLMToolEmulator(model=_lying()))
    world.model.will_say(calls(LOOK), AIMessage("Looked."))

    assert results(await world.say("look")) == ["Transferred everything."]


async def test_a_limit_of_tools_that_ends_a_turn_leaves_its_requests_to_the_next_message(world: World) -> None:
    """Until then they are open, and may be decided; what it says of them is not what became of them."""
    behind(world, ToolCallLimitMiddleware(run_limit=1, exit_behavior="end"))
    world.model.will_say(calls(PAY, MORE), AIMessage("Never said."))
    ended = await world.say("pay both")
    told = [str(one.content) for one in ended["messages"] if isinstance(one, ToolMessage)]
    assert all("could run" in one or "exceeded" in one for one in told)
    assert world.transfers() == []

    world.model.will_say_nothing_more()
    world.model.will_say(AIMessage("I see."))
    after = await world.say("and now?")

    assert set(world.states()) <= {"withdrawn", "refused"}
    assert [str(one.content) for one in after["messages"] if isinstance(one, ToolMessage)] != told
    assert world.transfers() == []
    assert world.audit_is_whole()


async def test_a_list_of_things_to_do_is_kept_where_it_is_named_as_read_only(world: World) -> None:
    todo = ("write_todos", {"todos": [{"content": "pay", "status": "in_progress"}]})
    behind(world, TodoListMiddleware(), read_only=["write_todos"])
    world.model.will_say(calls(todo, PAY), AIMessage("Paid."))

    await world.say("pay")
    done = await world.answer(True)

    assert done["todos"] == [{"content": "pay", "status": "in_progress"}]
    assert results(done)[1:] == PAID[:1]
    assert world.states() == ["executed"]
