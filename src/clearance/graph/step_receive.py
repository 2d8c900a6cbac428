"""The step that begins a run: whose words are they, which turn do they open, what does the thread truly say."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import is_
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from clearance.gate.answers import NewMessage
from clearance.gate.caller import Caller
from clearance.gate.intake import Outset
from clearance.gate.judging import requester_of
from clearance.gate.records import Truth
from clearance.graph.forged import tell_changed
from clearance.graph.hearing import Heard, hear
from clearance.graph.identity import caller_of, graph_of, is_callers, is_durable, thread_of
from clearance.graph.place import Led, calling, place_of, what_led
from clearance.graph.run_input import IsSame, brought
from clearance.graph.said_before import with_answers
from clearance.graph.state import State, turn_id_of
from clearance.graph.transcript import ids_of, notice, true_transcript
from clearance.journal.plans import Plan
from clearance.journal.turns import Turn
from clearance.parts import Parts
from clearance.principal import SYSTEM

#: Messages of a thread that are looked through while the log's head is held, for which others wait.
_FEW = 50


async def receive(parts: Parts, state: State, config: RunnableConfig) -> Command[str]:
    """Open the turn, withdraw what was left open, and put the transcript right."""
    caller = caller_of(config, parts.settings)
    thread_id, place = thread_of(config), await place_of(config)
    found = state.get("messages", [])
    is_same = partial(is_callers, parts.gate.keys, thread_id, caller.principal)
    came = await brought(config, found, is_same)
    outset, led = await _outset(parts, config, caller, place, is_same)
    own = came.messages
    if came.earlier_run is not None and not place:
        # It is that run's turn, which a second pass by here does not open again. It may still be the first, tried again
        # after a crash: then words stand here under ids that the journal did not keep, and by those are known.
        is_heard = await parts.gate.records.is_heard(thread_id, came.earlier_run)
        own = [one for one in own if one.id] if is_heard else own
        outset = outset if is_heard else replace(outset, run_id=came.earlier_run)
    standing: Sequence[AnyMessage] = found
    if place:
        standing, own = await with_answers(parts.gate.records, thread_id, outset, found, own)
    is_signed = outset.requester.kind != "system"
    notices: list[AnyMessage] = []

    def hears(truth: Truth) -> tuple[Heard, list[dict[str, Any]] | None]:
        heard = hear(thread_id, came.earlier_run or caller.run_id, standing, own, truth, is_nested=bool(place))
        is_all = is_signed and not heard.strays and not heard.changed
        return heard, _signed(heard.said, led) if is_all else None

    is_begun, opened = False, None
    if is_signed and len(found) <= _FEW and any(isinstance(one, HumanMessage) for one in own):
        heard, is_begun, opened = await parts.gate.enter(
            hears, thread_id=thread_id, outset=outset, is_durable=is_durable(config), message_ids=ids_of(standing),
            graph_id=graph_of(config),
        )  # fmt: skip
    else:
        heard, _ = hears(await parts.gate.records.truth(thread_id, ids_of(standing), place))
    while heard.strays or (not is_signed and heard.said):
        unsigned = [] if is_signed else ids_of(heard.said)
        # What nobody wrote who is signed in, or nobody in this run, goes: it would count as the words of whoever
        # writes next.
        told = await parts.gate.tell_unheard(
            thread_id, [*heard.strays, *unsigned], ids_of(standing), caller, own=len(unsigned), place=place
        )
        if told is not None:
            notices = [notice(*one) for one in told]
            break
        heard, _ = hears(await parts.gate.records.truth(thread_id, ids_of(standing), place))
    if heard.changed:
        notices.append(await tell_changed(parts.gate, thread_id, heard.changed, caller))
    if not heard.said or not is_signed:
        return await _go_on(parts, thread_id, place, state, heard, notices)
    if not is_begun:
        opened = await _open_turn(parts, config, outset, _signed(heard.said, led), standing)
    if opened is None:
        # Another run at once found these words, and said that they are not heard. So they are not.
        told = await parts.gate.tell_unheard(thread_id, ids_of(heard.said), ids_of(standing), caller) or []
        notices += [notice(*one) for one in told]
        return await _go_on(parts, thread_id, place, state, heard, notices)
    turn, truth = opened
    # As they are stored: a run that is retried from nothing finds its words there under their first ids.
    stored = _stored(turn)
    if ids_of(stored) != ids_of(heard.said) and set(ids_of(stored)) <= set(ids_of(heard.true)):
        # After a crash the server ran this run again in a thread that had gone on: what it says is heard. Put at
        # the end it would be answered, and done, a second time.
        return await _go_on(parts, thread_id, place, state, heard, notices)
    present = {message.id for message in stored}
    messages = [*(message for message in heard.true if message.id not in present), *stored]
    # Again, where what was open is withdrawn now: every call has a result before the model reads.
    true = messages if _tell_the_same(truth, heard.truth) else true_transcript(messages, truth, wrong=())
    at = len(true) - len(stored)
    notices += await _outcomes_inside(parts, turn, true, truth)
    return Command(
        update={"turn_id": turn.turn_id, **_rewrite([*true[:at], *notices, *true[at:]], found)}, goto="model"
    )


async def hear_instead(
    parts: Parts, config: RunnableConfig, caller: Caller, place: str, plan: Plan, new: NewMessage
) -> Command[str]:
    """Hear what came in place of an answer here, where it is certain whose it is; `receive` goes on from there."""
    thread_id = thread_of(config)
    truth = await parts.gate.records.truth(thread_id, ids_of(new.messages), place)
    heard = hear(thread_id, caller.run_id, [], new.messages, truth)
    if not heard.said or caller.principal.kind == "system":
        return Command(goto="receive")
    run_id = caller.run_id
    if place:
        # What else is asked in this thread at once with the question stays as it is.
        instead_of, _, _ = await parts.gate.records.turn(thread_id, plan.turn_id, place)
        run_id = instead_of.run_id if instead_of else run_id
    opened = await _open_turn(parts, config, Outset(caller.principal, run_id, place), _words(heard.said), None)
    assert opened is not None  # they do not stand in the state, so no other run found them there
    turn = opened[0]
    return Command(update={"turn_id": turn.turn_id, "messages": _stored(turn)}, goto="receive")


async def _outcomes_inside(parts: Parts, turn: Turn, messages: Sequence[AnyMessage], truth: Truth) -> list[AnyMessage]:
    """Tell what became of effects that agents inside here went on without, unless that stands there."""
    if not truth.is_any_inside:
        return []
    standing = set(ids_of(messages))
    told = await parts.gate.tell_outcomes_inside(turn, truth.requests.keys())
    return [notice(*one) for one in told if one[0] not in standing]


async def _go_on(
    parts: Parts, thread_id: str, place: str, state: State, heard: Heard, notices: Sequence[AnyMessage]
) -> Command[str]:
    """Answer nothing new: what is open in this place of the thread goes on where it was."""
    turn = await parts.gate.records.open_turn_of(thread_id, place)
    messages = [*heard.true, *notices]
    if turn and (told := await _outcomes_inside(parts, turn, messages, heard.truth)):
        # The run that opened the turn ended before its thread kept them.
        words = {one["id"] for one in turn.messages}
        at = next((at for at, message in enumerate(messages) if message.id in words), len(messages))
        messages = [*messages[:at], *told, *messages[at:]]
    return Command(
        update={
            "turn_id": turn.turn_id if turn else turn_id_of(state),
            **_rewrite(messages, state.get("messages", [])),
        },
        goto="dispatch" if turn else END,
    )


async def _outset(
    parts: Parts, config: RunnableConfig, caller: Caller, place: str, is_same: IsSame
) -> tuple[Outset, Led | None]:
    """Tell who asks here: the caller in the outermost graph; in another, who wrote the words that led there.

    Never who answered or went on with something meanwhile: the program passes words on, and they are nobody's else.
    """
    if not place:
        return Outset(caller.principal, caller.run_id), None
    led = await what_led(config, is_same)
    turn = await parts.gate.records.requester_of_run(thread_of(config), led.run_id, calling.get())
    if turn is not None:
        requester, run_id = requester_of(turn), turn.run_id
    else:
        is_known = led.is_this_persons or caller.principal.kind == "local"
        requester, run_id = caller.principal if is_known else SYSTEM, led.run_id
    return Outset(requester, run_id, place, led.checkpoint_id, led.before), led


def _tell_the_same(one: Truth, other: Truth) -> bool:
    """Tell whether what was said before, and how it ended, is the same in both; closed turns are the same objects."""
    return (one.plans, one.requests, one.receipts, one.notices) == (
        other.plans, other.requests, other.receipts, other.notices,
    ) and other.heard.items() <= one.heard.items()  # fmt: skip


def _words(said: list[HumanMessage]) -> list[dict[str, Any]]:
    return [{"id": message.id, "content": message.content} for message in said]


def _signed(said: list[HumanMessage], led: Led | None) -> list[dict[str, Any]]:
    """Give words for the journal, marked where a person did not write them: an agent around this one did."""
    words = _words(said)
    if led is None:
        return words
    return [one if str(one["content"]) in led.said else {**one, "by": "agent"} for one in words]


async def _open_turn(
    parts: Parts,
    config: RunnableConfig,
    outset: Outset,
    words: list[dict[str, Any]],
    found: Sequence[AnyMessage] | None,
) -> tuple[Turn, Truth] | None:
    return await parts.gate.open_turn(
        thread_id=thread_of(config),
        outset=outset,
        messages=words,
        is_durable=is_durable(config),
        message_ids=ids_of(found or []),
        is_in_state=found is not None,
        graph_id=graph_of(config),
    )


def _stored(turn: Turn) -> list[HumanMessage]:
    return [HumanMessage(message["content"], id=message["id"]) for message in turn.messages]


def _rewrite(true: list[AnyMessage], found: list[AnyMessage] | None = None) -> dict[str, Any]:
    """Update the state to `true`, or not at all when it says the same already."""
    if (
        found is not None
        and len(true) == len(found)
        and (all(map(is_, true, found)) or all(map(_is_same, true, found)))
    ):
        return {}
    return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *true]}


def _is_same(one: AnyMessage, other: AnyMessage) -> bool:
    return one is other or _face(one) == _face(other)


def _face(message: AnyMessage) -> tuple[Any, ...]:
    calls = message.tool_calls if isinstance(message, AIMessage) else None
    return (message.type, message.id, message.content, calls)
