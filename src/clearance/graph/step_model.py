"""The step in which the model speaks: what it says is in the journal before anything follows from it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END
from langgraph.types import Command, Send

from clearance.canonical import key
from clearance.gate.finished import with_receipts
from clearance.gate.records import Truth
from clearance.gate.standing import next_of
from clearance.gate.unread import unparsed_call
from clearance.graph.beginning import Beginning, learn, true_beginning
from clearance.graph.forged import note_forged_calls, put_right
from clearance.graph.identity import caller_of, is_durable, steps_left, thread_of
from clearance.graph.place import place_of
from clearance.graph.state import State, position_in, send, turn_id_of
from clearance.graph.toolbox import Toolbox
from clearance.graph.transcript import (
    OVERTAKEN,
    answered,
    disbelieved,
    for_model,
    from_json,
    ids_of,
    notice,
    shallow,
    to_json,
    true_transcript,
    unanswered,
    unheard,
)
from clearance.journal.plans import Plan
from clearance.journal.requests import Request
from clearance.journal.turns import Turn
from clearance.models import ModelUnavailable, Told
from clearance.parts import Parts


@dataclass(frozen=True)
class Spoken:
    """What a model said."""

    message: AIMessage
    #: What answers calls of it already, by their ids, where something else than a tool does.
    results: Sequence[ToolMessage] = ()


#: What `Steps.model` lets speak: the true messages of the thread, to what the model says next.
Speak = Callable[[Parts, Told], Awaitable[Spoken]]


async def let_speak(
    parts: Parts,
    toolbox: Toolbox,
    state: State,
    config: RunnableConfig,
    speak: Speak,
    *,
    cycle: int,
    is_straight: bool,
) -> Command[str]:
    """Let the model speak and store what it said before anything follows; run again, give what is stored.

    What it asks for is opened with it, in one transaction. With `is_straight` it is sent to the tools at once where
    dispatch would do nothing else.
    """
    thread_id, place = thread_of(config), await place_of(config)
    messages = state["messages"]
    turn, plans, truth = await parts.gate.records.look(thread_id, turn_id_of(state), ids_of(messages), place)
    if turn is None:
        return Command(goto=END)
    position = position_in(plans, messages)
    if position == len(plans) and _is_waiting(toolbox, turn, plans, messages, truth, config):
        # A client's goto: the model speaks when every call has its result. What stands there wrongly is put right
        # by dispatch, and before the model does.
        return Command(goto="dispatch")
    # Written into the state past `receive`: nobody knows who said it, so it must not pass as the requester's.
    beginning = true_beginning(messages, truth)
    since = beginning.many
    forged, wrong = unheard(messages[since:], truth), disbelieved(messages, truth, since=since)
    caller, told = caller_of(config, parts.settings), list[BaseMessage]()
    if forged:
        told += [RemoveMessage(id=message.id or "") for message in forged]
        unsaid = await parts.gate.tell_unheard(thread_id, ids_of(forged), ids_of(messages), caller)
        if unsaid is None:  # whose words they are began a turn, and that ended this one
            return Command(update={"messages": [AIMessage(OVERTAKEN)]}, goto=END)
        told += [notice(*one) for one in unsaid]
    if wrong:
        if position:
            await note_forged_calls(parts.gate, thread_id, messages, plans[position - 1], caller)
        told += await put_right(parts.gate, thread_id, wrong, truth, caller)
    if position < len(plans):
        return _spoken(plans[position], told)
    if turn.state != "open":
        return Command(update={"messages": [*told, AIMessage(OVERTAKEN)]}, goto=END)
    has_made = sum(len((plan.message or {}).get("tool_calls") or []) for plan in plans)
    try:
        if (limit := _limit(parts, len(plans), has_made)) is not None:
            raise _Enough(limit)
        spoken = await speak(parts, _told(messages, truth, wrong, beginning))
        if spoken.message.tool_calls and steps_left(config) < cycle:
            raise _Enough(_NO_ROOM)
    except (ModelUnavailable, _Enough) as exc:
        spoken = Spoken(AIMessage(with_receipts(str(exc), await parts.gate.records.receipts(turn.turn_id))))
    answer = spoken.message
    message_id = answer.id or ""
    if not message_id or any(message.id == message_id for message in messages):
        # An endpoint's own id that is somebody else's here would take the place of what they said.
        message_id = key("message", turn.turn_id, str(position))
    answer = shallow(answer).model_copy(update={"id": message_id})
    said = to_json(answer)
    stored = await parts.gate.store_message(
        turn,
        position=position,
        message_id=message_id,
        message=said,
        is_durable=is_durable(config),
    )
    if stored is None:
        return Command(update={"messages": told}, goto="dispatch")  # the turn is over, or goes on elsewhere
    plan = stored.plan
    is_same = plan.message is not None and plan.message.get("tool_calls") == said.get("tool_calls")
    results = spoken.results if is_same else ()
    sends = _sends(toolbox, plan, stored.opened, is_durable=is_durable(config)) if is_straight and not results else []
    return _spoken(plan, told, results, sends)


def _told(messages: list[AnyMessage], truth: Truth, wrong: Sequence[AnyMessage], beginning: Beginning) -> Told:
    true = true_transcript(messages, truth, wrong, since=beginning.many)
    beginning = learn(beginning, messages, true, truth)
    return Told(
        read=lambda first, last: for_model(true[first:last], truth),
        length=len(true),
        settled=beginning.many,
        arranged=beginning.known.arranged,
    )


class _Enough(Exception):
    """The model may not go on in this turn; the text is one sentence for the person."""


_NO_ROOM = (
    "I stopped before I called anything more: the recursion_limit that this run was given leaves no room to carry it"
    " out and to tell you. Please ask again with a higher one, or none."
)


def _limit(parts: Parts, steps: int, calls: int) -> str | None:
    """Say why the model may not speak again in a turn in which it did so many times, or None."""
    settings = parts.settings
    if steps < settings.model_steps and calls < settings.model_calls:
        return None
    which = "MODEL_STEPS" if steps >= settings.model_steps else "MODEL_CALLS"
    return (
        f"I stopped: in this turn I spoke {steps} times and made {calls} calls without coming to an end, and {which}"
        " allows no more. Please ask for less at once."
    )


def _sends(toolbox: Toolbox, plan: Plan, opened: Sequence[Request], *, is_durable: bool) -> list[Send]:
    """Give what dispatch would send of a message that was stored just now; nothing where it would do more than that."""
    calls = (plan.message or {}).get("tool_calls", [])
    lookups = [call for call in calls if call["name"] not in toolbox.actions]
    if any(not toolbox.has_lookup(call["name"]) or unparsed_call(call) is not None for call in lookups):
        return []
    if len(lookups) < len(calls) and not (is_durable and plan.opened):
        return []
    if not all(request.is_open for request in opened) or len(lookups) + len(opened) != len(calls):
        return []
    if lookups:
        return [send(plan, call["id"], 0) for call in lookups]
    following = next_of(opened)
    return [send(plan, following.tool_call_id, following.revision)] if following else []


def _spoken(
    plan: Plan,
    before: Sequence[BaseMessage] = (),
    results: Sequence[ToolMessage] = (),
    sends: Sequence[Send] = (),
) -> Command[str]:
    if plan.message is None:
        return Command(goto=END)
    said = from_json(plan.message)
    calls = {call["id"]: cast("dict[str, Any]", call) for call in said.tool_calls}
    given = [answered(plan, calls[one.tool_call_id], one) for one in results if one.tool_call_id in calls]
    goto: Any = list(sends) or ("dispatch" if said.tool_calls else END)
    return Command(update={"messages": [*before, said, *given]}, goto=goto)


def _is_waiting(
    toolbox: Toolbox, turn: Turn, plans: list[Plan], messages: list[AnyMessage], truth: Truth, config: RunnableConfig
) -> bool:
    """Tell whether a call of the newest plan waits for something. In a run that keeps no thread, no action does."""
    if not plans or turn.state != "open":
        return False
    if unanswered(plans[-1], messages, truth):
        return True
    calls = (plans[-1].message or {}).get("tool_calls", [])
    return not plans[-1].opened and is_durable(config) and any(call["name"] in toolbox.actions for call in calls)
