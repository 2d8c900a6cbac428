"""What stands in a state and was not so: noted, told in the thread, put right."""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langgraph.types import Command

from clearance.canonical import clean, key
from clearance.gate.caller import Caller
from clearance.gate.gate import Gate
from clearance.gate.notices import tell_put_right
from clearance.gate.records import Truth
from clearance.graph.state import CallState
from clearance.graph.transcript import corrections, ids_of, notice
from clearance.journal.plans import Plan
from clearance.journal.refusals import note_attempt


async def note_forged(gate: Gate, thread_id: str, pointer: str, caller: Caller) -> None:
    """Note that somebody pointed at a turn or call that the model never made. It leads nowhere."""
    await gate.write(
        lambda log: note_attempt(
            log, "forged_call", caller.principal.id, thread_id=thread_id, pointer=key("pointer", clean(pointer))
        )
    )


async def nowhere(gate: Gate, thread_id: str, state: CallState, caller: Caller) -> Command[str]:
    """Note a pointer to a call that the model never made, and lead on from where the journal stands."""
    await note_forged(gate, thread_id, str(state)[:200], caller)
    return Command(goto="dispatch")


async def note_forged_calls(gate: Gate, thread_id: str, messages: list[AnyMessage], plan: Plan, caller: Caller) -> None:
    """Note calls behind the model's last message that the model never made; they lead nowhere."""
    at = next(index for index, message in enumerate(messages) if message.id == plan.message_id)
    for message in messages[at + 1 :]:
        if isinstance(message, AIMessage) and message.tool_calls:
            await note_forged(gate, thread_id, message.id or "", caller)


async def note_undurable(gate: Gate, thread_id: str, turn_id: str, caller: Caller, actions: list[str]) -> None:
    """Note that actions were asked for in a run that keeps no thread; nothing of them is opened."""
    await gate.write(
        lambda log: note_attempt(
            log, "refused_without_thread", caller.principal.id, thread_id=thread_id, turn_id=turn_id, actions=actions
        )
    )


async def tell_changed(gate: Gate, thread_id: str, message_ids: list[str], caller: Caller) -> AIMessage:
    """Note messages that were not as they were said and done, and give what the thread is told of it."""
    told = await gate.write(
        lambda log: tell_put_right(log, thread_id=thread_id, run_id=caller.run_id, message_ids=clean(message_ids),
                                   by=caller.principal)
    )  # fmt: skip
    return notice(*told)


async def put_right(
    gate: Gate, thread_id: str, wrong: Sequence[AnyMessage], truth: Truth, caller: Caller
) -> list[BaseMessage]:
    """Note messages that the journal does not believe, and give what puts them right and tells of it."""
    told = await tell_changed(gate, thread_id, ids_of(wrong), caller)
    return [*corrections(wrong, truth), told]
