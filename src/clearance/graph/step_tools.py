"""The step that runs one call: a look-up at once, an action through the gate, which may pause here."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from clearance.canonical import clean
from clearance.errors import NotOursError
from clearance.gate.answers import NewMessage
from clearance.gate.records import Call
from clearance.graph.action_tools import Site, site
from clearance.graph.forged import nowhere
from clearance.graph.identity import caller_of, is_durable, thread_of
from clearance.graph.looked_up import Came, in_one, with_answer
from clearance.graph.place import calling, place_of
from clearance.graph.state import CallState
from clearance.graph.step_receive import hear_instead
from clearance.graph.toolbox import Toolbox
from clearance.graph.transcript import answered
from clearance.parts import Parts

#: Runs a look-up where the graph around it does: a call as the model made it, to what came of it.
LookUp = Callable[[dict[str, Any]], Awaitable[Came]]


async def run_call(
    parts: Parts,
    toolbox: Toolbox,
    state: CallState,
    config: RunnableConfig,
    look_up: LookUp | None,
    *,
    is_straight: bool,
) -> Command[str]:
    """Run one call of the journal. Runs from the top on every resume, so nothing here may write before the gate.

    A look-up is run by `look_up` where the graph around has a way of its own. With `is_straight` the model comes next
    where its message had no other call: dispatch would find nothing to send.
    """
    thread_id, place = thread_of(config), await place_of(config)
    caller = caller_of(config, parts.settings)
    try:
        pointer = (clean(str(state["message_id"])), clean(str(state["tool_call_id"])), int(state["revision"]))
    except (KeyError, TypeError, ValueError):
        return await nowhere(parts.gate, thread_id, state, caller)
    takes = toolbox.actions.keys() if is_durable(config) else ()
    try:
        reached = await parts.gate.reach(Call(thread_id, *pointer, place), caller, takes=takes)
    except NotOursError:
        return await nowhere(parts.gate, thread_id, state, caller)
    plan, stored, question = reached.plan, reached.stored, reached.question
    is_only = len((plan.message or {}).get("tool_calls", [])) == 1
    following = "model" if is_straight and is_only else "dispatch"
    if toolbox.has_lookup(stored["name"]):
        # It may ask another agent: what that one does is asked for by who asked here.
        calls = calling.set(plan.turn_id)
        try:
            came = in_one(await (look_up(stored) if look_up else toolbox.look_up(stored, config)))
        finally:
            calling.reset(calls)
        if isinstance(came, Command):
            return with_answer(plan, stored, came)
        return Command(update={"messages": [answered(plan, stored, came)]}, goto=following)
    tool = toolbox.actions.get(stored["name"])
    if tool is None or question is None or not is_durable(config):
        return Command(goto="dispatch")
    calls = calling.set(None)
    token = site.set(Site(question, pointer[2], caller, reached.outcome, reached.is_put))
    try:
        outcome = await tool.ainvoke({**stored, "type": "tool_call"}, config)
    finally:
        site.reset(token)
        calling.reset(calls)
    if isinstance(outcome, Command):
        return outcome
    if isinstance(outcome.artifact, NewMessage):
        return await hear_instead(parts, config, caller, place, plan, outcome.artifact)
    return Command(update={"messages": [answered(plan, stored, outcome)]}, goto=following)
