"""The step that sends what comes next of the stored message: look-ups, a question, an effect, or the model again."""

from functools import partial
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END
from langgraph.types import Command, Send

from clearance.gate.notices import tell_given, tell_unknown
from clearance.gate.records import Truth
from clearance.gate.unread import unparsed_call
from clearance.graph.forged import note_forged, note_forged_calls, note_undurable, put_right
from clearance.graph.identity import caller_of, is_durable, thread_of
from clearance.graph.place import place_of
from clearance.graph.state import State, position_in, send, turn_id_of
from clearance.graph.toolbox import Toolbox
from clearance.graph.transcript import (
    calls_by_result,
    disbelieved,
    from_json,
    notice,
    receipt_message,
    result,
    result_id,
    results_in,
)
from clearance.journal.plans import request_id
from clearance.parts import Parts


async def dispatch(parts: Parts, toolbox: Toolbox, state: State, config: RunnableConfig) -> Command[str]:
    """Send what comes next of the stored message; open the requests for its actions where none are yet.

    Where that is the model, calls that stand behind its last message and are none of its own are noted there.
    """
    gate = parts.gate
    thread_id = thread_of(config)
    caller = caller_of(config, parts.settings)
    messages = state["messages"]
    turn, plans, ended = await gate.records.turn(thread_id, turn_id_of(state), await place_of(config))
    outcomes = {request.request_id: receipt for request, receipt in ended}
    position = position_in(plans, messages)
    if turn is None:
        await note_forged(gate, thread_id, turn_id_of(state), caller)
        return Command(goto=END)
    if position == 0:
        return Command(goto="model")
    plan = plans[position - 1]
    if plan.message is None:
        return Command(goto=END)
    settled: list[BaseMessage] = []
    here = Truth.of(plans, ended)
    calls_here = calls_by_result(plans)
    # Of this turn only, and nothing is taken out: a client's goto lets `model` run beside this, and it does that.
    own = [message for message in messages if message.id in here.plans or message.id in calls_here]
    if wrong := disbelieved(own, here):
        settled += await put_right(gate, thread_id, wrong, here, caller)
    present, durable = results_in(messages), is_durable(config)
    calls = from_json(plan.message).tool_calls
    if not calls and position == len(plans):
        await note_forged_calls(gate, thread_id, messages, plan, caller)
        return Command(update={"messages": settled}, goto=END)
    lookups: list[Send] = []
    actions: list[dict[str, Any]] = []
    for call in calls:
        asked = cast("dict[str, Any]", call)
        is_present = result_id(plan, asked["id"]) in present
        asked_id = request_id(plan, asked["id"])
        if call["name"] in toolbox.actions or asked_id in outcomes:
            # What the state says of an action is not believed; its receipt is.
            if not is_present or (durable and outcomes.get(asked_id) is None):
                actions.append(asked)
        elif is_present:
            continue
        elif (unusable := _unusable(toolbox, asked)) is not None:
            settled.append(result(plan, asked, unusable, is_error=True))
        else:
            lookups.append(send(plan, asked["id"], 0))
    if actions and not durable:
        await note_undurable(gate, thread_id, turn.turn_id, caller, [call["name"] for call in actions])
        settled += [result(plan, call, _UNDURABLE, is_error=True) for call in actions]
        actions = []
    if not actions:
        if lookups:
            await note_forged_calls(gate, thread_id, messages, plan, caller)
        return Command(update={"messages": settled}, goto=lookups or "model")
    standing = await gate.advance(turn, plan, ended)
    known = {request.tool_call_id for request in standing.requests}
    settled += [
        receipt_message(plan, call, standing.receipts[call["id"]])
        if call["id"] in standing.receipts
        else result(plan, call, _UNOPENED, is_error=True)
        for call in actions
        if call["id"] in standing.receipts or call["id"] not in known
    ]
    if standing.next is None and not lookups:
        return Command(update={"messages": settled}, goto="model")
    await note_forged_calls(gate, thread_id, messages, plan, caller)
    if lookups or standing.next is None:
        return Command(update={"messages": settled}, goto=lookups)
    if standing.next.state == "unknown":
        # Its thread rests until it is known: the server, or whoever writes next, goes on from here.
        settled.append(notice(*await gate.write(partial(tell_unknown, request=standing.next))))
        return Command(update={"messages": settled}, goto=END)
    if (
        standing.next.approvals > 1
        and standing.next.is_open
        and (given := await gate.write(partial(tell_given, request=standing.next)))
    ):
        # Any answer that is taken is a success to the page that sent it.
        settled.append(notice(*given))
    following = send(plan, standing.next.tool_call_id, standing.next.revision)
    return Command(update={"messages": settled}, goto=[following])


_UNOPENED = "Not done: it was asked for in a part of the conversation that is over."
_UNDURABLE = "Not done: this run keeps no thread, so nothing with an effect can be cleared or done in it."


def _unusable(toolbox: Toolbox, call: dict[str, Any]) -> str | None:
    """Say why a call that is no action cannot be run as a look-up, or None when it can."""
    return unparsed_call(call) if toolbox.has_lookup(call["name"]) else toolbox.absent(call["name"])
