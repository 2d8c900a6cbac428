"""What enters the journal: a person's turn, and the model's messages."""

from dataclasses import dataclass, field
from typing import Any

from clearance.canonical import clean, key, said_digest
from clearance.gate.finished import reasons, unfinished, without_calls
from clearance.gate.judging import Judge
from clearance.gate.notices import were_told
from clearance.gate.opening import open_plan
from clearance.gate.records import Truth, read_truth
from clearance.gate.transitions import SYSTEM_ACTOR, answer_turn, withdraw_turn
from clearance.journal.audit import Log
from clearance.journal.erasure import ERASED
from clearance.journal.history import Past, history_of
from clearance.journal.plans import Plan, add_plan, plans_around
from clearance.journal.receipts import receipts_of_turn
from clearance.journal.requests import Request, is_any_unfinished
from clearance.journal.turns import Turn, add_turn
from clearance.principal import Principal


@dataclass(frozen=True)
class Outset:
    """What a turn begins with: who asks, and what led there."""

    #: `system` where nobody is known who is signed in.
    requester: Principal
    #: The run whose input brought the first words that led there; None in the library.
    run_id: str | None
    #: Where in its thread it runs; empty in the outermost graph.
    place: str = ""
    #: Of the graph around it, where it begins, and those it had before; none in the outermost graph.
    checkpoint_id: str | None = None
    before: frozenset[str] = frozenset()


def begin_turn(
    log: Log,
    *,
    thread_id: str,
    outset: Outset,
    messages: list[dict[str, Any]],
    is_durable: bool,
    message_ids: list[str],
    is_in_state: bool,
    graph_id: str | None,
) -> tuple[Turn, Truth] | None:
    """Open a turn, see `open_turn`; and read the `truth` of a place in which nothing else is open now.

    None for words that stand in the state (`is_in_state`) when another run found them there, and told them as
    unheard since the thread had the messages of `message_ids`.
    """
    words = clean([message["id"] for message in messages])
    if is_in_state and were_told(log, thread_id=thread_id, message_ids=words, standing=frozenset(message_ids)):
        return None
    turn, history = open_turn(
        log,
        thread_id=thread_id,
        run_id=outset.run_id,
        messages=messages,
        requester=outset.requester,
        is_durable=is_durable,
        place=outset.place,
        checkpoint_id=outset.checkpoint_id,
        before=outset.before,
        graph_id=graph_id,
    )
    return turn, read_truth(log.connection, thread_id, message_ids, outset.place, history)


def open_turn(
    log: Log,
    *,
    thread_id: str,
    run_id: str | None,
    messages: list[dict[str, Any]],
    requester: Principal,
    is_durable: bool,
    place: str = "",
    checkpoint_id: str | None = None,
    before: frozenset[str] = frozenset(),
    graph_id: str | None = None,
) -> tuple[Turn, list[Past]]:
    """Open the turn that `messages` (`[{"id", "content"}]`, one at least) begin; withdraw what the thread left open.

    `place`, `checkpoint_id` and `before` are for an agent that is nested in another graph, see `Outset`. `graph_id`
    names the graph of the server that the run is of: recovery and waking go on with the turn there.
    Gives it and the history of the thread. Run again for the same run, or in the library the same message, it
    returns the turn that is there; its messages may have other ids then, when the run was retried from nothing.
    """
    history = history_of(log.connection, thread_id)
    turns = [past.turn for past in history]
    known = {turn.turn_id: turn for turn in turns}
    begun = (place, checkpoint_id) if place and checkpoint_id else (place, messages[-1]["id"]) if place else ()
    turn_id = key("turn", thread_id, run_id or messages[-1]["id"], *begun)
    if turn_id in known and not _says(known[turn_id], messages):
        # A program that gives its runs one id for all.
        turn_id = key("turn", thread_id, run_id or "", *begun, messages[-1]["id"])
    if turn_id in known:
        return known[turn_id], history
    again = next((turn for turn in turns if place and _is_again(turn, place, run_id, messages, before)), None)
    if again is not None:
        return again, history
    # What the thread was asked before is over in all its places; what is asked at once with this, in others, is not.
    is_kept = place or run_id
    left_open = [
        turn for turn in turns if turn.state == "open" and (turn.place == place or not is_kept or turn.run_id != run_id)
    ]
    for turn in left_open:
        withdraw_turn(log, turn, actor=requester.id)
    turn = Turn(
        turn_id=turn_id,
        thread_id=thread_id,
        number=len(turns) + 1,
        run_id=run_id,
        requested_by=requester.id,
        requester_kind=requester.kind,
        requester_roles=sorted(requester.roles),
        message_id=messages[-1]["id"],
        messages=messages,
        is_durable=is_durable,
        state="open",
        opened_at=log.now,
        closed_at=None,
        place=place,
        checkpoint_id=checkpoint_id,
        graph_id=graph_id,
    )
    add_turn(log.connection, turn)
    log.append("turn_opened", turn.requested_by, thread_id=thread_id, turn_id=turn_id, number=turn.number)
    # What withdraws may erase, too.
    return turn, history_of(log.connection, thread_id) if left_open else [*history, Past(turn, [], [])]


def _is_again(
    turn: Turn, place: str, run_id: str | None, messages: list[dict[str, Any]], before: frozenset[str]
) -> bool:
    """Tell whether a nested turn is the one that begins now, since the thread runs again from an earlier checkpoint.

    The same words of the same run, in the same place, where the graph around it has not been before on this way.
    """
    is_there = turn.place == place and run_id is not None and turn.run_id == run_id
    return is_there and turn.checkpoint_id is not None and turn.checkpoint_id not in before and _says(turn, messages)


def _says(turn: Turn, messages: list[dict[str, Any]]) -> bool:
    said = [message["content"] for message in turn.messages]
    return ERASED in said or said == [message["content"] for message in messages]


@dataclass(frozen=True)
class Stored:
    """What stands at a position of a turn."""

    plan: Plan
    #: The requests that were opened with it, in order; none where it stood there before.
    opened: list[Request] = field(default_factory=list)


def store_message(
    log: Log,
    turn: Turn,
    *,
    position: int,
    message_id: str,
    message: dict[str, Any],
    finish_reasons: frozenset[str] = frozenset(),
    judge: Judge | None = None,
) -> Stored | None:
    """Store what the model said at `position` of a turn, and return what is stored there: the first one wins.

    A message without calls answers the turn and closes it. Calls of an answer that did not end for a reason that means
    "finished" (`finish_reasons` are more such reasons) are not stored: the message says so instead. With a `judge` the
    requests for its actions are opened, too, where the run keeps its thread. None when the model may not speak now: the
    turn is over, or a request of it is open or in flight.
    """
    around = plans_around(log.connection, turn.thread_id, [message_id], turn.turn_id)
    plans = [plan for plan in around if plan.turn_id == turn.turn_id]
    if position < len(plans):
        return Stored(plans[position])
    if turn.state != "open" or (plans and is_any_unfinished(log.connection, turn.turn_id)):
        return None
    if any(plan.message_id == message_id for plan in around):
        # A provider that repeats its ids would make one message replace another in the state.
        message_id = key("message", turn.turn_id, str(position))
        message = {**message, "id": message_id}
    if message.get("tool_calls"):
        broken = unfinished(reasons(message.get("response_metadata") or {}), finish_reasons)
        if broken:
            message = without_calls(message, broken, receipts_of_turn(log.connection, turn.turn_id))
    calls = message.get("tool_calls") or []
    opens = judge if judge and any(call["name"] in judge.actions for call in calls) else None
    plan = Plan(
        plan_id=key("plan", turn.turn_id, str(position)),
        turn_id=turn.turn_id,
        position=position,
        thread_id=turn.thread_id,
        message_id=message_id,
        message=message,
        digest=said_digest(message),
        opened=opens is not None,
        stored_at=log.now,
    )
    add_plan(log.connection, plan)
    log.append("model_said", SYSTEM_ACTOR, thread_id=plan.thread_id, turn_id=plan.turn_id, position=position)
    if not calls:
        answer_turn(log, turn, has_requests=bool(plans))
    return Stored(plan, open_plan(log, opens, turn, plan) if opens is not None else [])
