"""The transcript as the journal knows it: pure functions from messages to true messages.

Whoever owns a thread can write its state. So before the model reads, its own messages and those of persons are taken
from the journal, results of actions from their receipts, and what neither a person, the model nor a tool said is left
out.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)

from clearance.canonical import clean, is_too_much, said_digest, words_of
from clearance.gate.notices import OUTCOME
from clearance.gate.records import Truth
from clearance.gate.unread import TOO_MUCH, UNPARSED
from clearance.journal.erasure import ERASED
from clearance.journal.plans import Plan, request_id
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request

#: How the ids of results begin; no other message has such a one.
RESULT = "result-"
#: What stands for a while where an action has no receipt yet.
_UNDECIDED = "Not decided yet; nothing was done."
#: What stands for a while where an action was started elsewhere and nobody knows what became of it.
_IN_FLIGHT = (
    "Nobody knows yet whether this was done: it was started, and no answer came. It is looked into. Do not call it"
    " again before it is known."
)
#: What ends a part of a conversation that a later message overtook. The model did not say it, so no journal has it.
OVERTAKEN = "A later message took the place of this part of the conversation, so it ends here."


def shallow(message: AIMessage) -> AIMessage:
    """Take out arguments that nest too deep to be written down; such a call is answered as one that cannot be read."""
    if not any(is_too_much(call["args"]) for call in message.tool_calls):
        return message
    unread = {UNPARSED: TOO_MUCH}
    taken = [{**call, "args": unread} if is_too_much(call["args"]) else call for call in message.tool_calls]
    return message.model_copy(update={"tool_calls": taken})


def to_json(message: AIMessage) -> dict[str, Any]:
    """Write an AI message for the journal."""
    dumped: dict[str, Any] = clean(message.model_dump(mode="json", exclude_defaults=True))
    return dumped


def from_json(stored: dict[str, Any]) -> AIMessage:
    """Read an AI message from the journal, without what only its provider reads: see `for_model`."""
    # A copy: a process keeps what is stored for all its runs, and who gets the message may write to it.
    said = {name: value for name, value in stored.items() if name not in ("type", "additional_kwargs")}
    return AIMessage(**deepcopy(said))


def result_id(plan: Plan, tool_call_id: str) -> str:
    """Derive the id of the ToolMessage that answers a call."""
    return f"{RESULT}{request_id(plan, tool_call_id)}"


def result(plan: Plan, call: dict[str, Any], content: Any, *, is_error: bool, artifact: Any = None) -> ToolMessage:
    """Make the ToolMessage that answers a call."""
    return ToolMessage(
        content=content,
        id=result_id(plan, call["id"]),
        tool_call_id=call["id"],
        name=call["name"],
        status="error" if is_error else "success",
        artifact=artifact,
    )


def answered(plan: Plan, call: dict[str, Any], came: ToolMessage) -> ToolMessage:
    """Give what came of a call as the message that answers it in the thread."""
    is_error = came.status == "error"
    return result(plan, call, came.content, is_error=is_error, artifact=getattr(came, "artifact", None))


def receipt_message(plan: Plan, call: dict[str, Any], receipt: Receipt) -> ToolMessage:
    """Make the ToolMessage of an action: it says what its receipt says."""
    sentence = receipt.sentence if receipt.sentence is not None else ERASED
    return result(plan, call, sentence, is_error=receipt.outcome != "executed", artifact=receipt.artifact)


def true_transcript(
    messages: Sequence[AnyMessage], truth: Truth, wrong: Iterable[AnyMessage] | None = None, *, since: int = 0
) -> list[AnyMessage]:
    """Give the messages as they were: every call with its result behind it, forged ones replaced or left out.

    `wrong` are those that are `disbelieved`, where that was found out already. The first ones, up to `since`, stand as
    they were, see `clearance.graph.beginning`.
    """
    if since:
        return [*messages[:since], *true_transcript(messages[since:], truth, wrong)]
    disbelieved_ones = None if wrong is None else {id(message) for message in wrong}
    results = {message.id: message for message in messages if isinstance(message, ToolMessage) and message.id}
    true: list[AnyMessage] = []
    for message in messages:
        plan = truth.plans.get(message.id or "")
        if plan is not None:
            is_known = disbelieved_ones is not None and id(message) not in disbelieved_ones
            is_as_said = is_known and plan.message is not None and isinstance(message, AIMessage)
            said = cast("AIMessage", message) if is_as_said else _said(plan, message)
            true.append(said)
            true += [_result_of(plan, call, truth, results) for call in said.tool_calls]
        elif message.id in truth.heard:
            true.append(message if _is_as_heard(message, truth.heard[message.id]) else _persons(message.id, truth))
        elif message.id in truth.notices:
            true.append(notice(message.id, truth.notices[message.id]))
    return true


def for_model(messages: Sequence[AnyMessage], truth: Truth) -> list[AnyMessage]:
    """Give a true transcript as the model reads it: with what came with its messages and its provider wants back.

    That is the journal's. What stands of it in a state, anybody may have written. It did not say what the gate told;
    of that it reads what became of an effect that no result in its sight tells.
    """
    read: list[AnyMessage] = []
    for message in messages:
        if message.id in truth.notices:
            if str(message.id).startswith(OUTCOME):
                # In no words of its own, nor of anybody: most endpoints take this role at any place, and no other.
                read.append(HumanMessage(f"[Told by the system: {truth.notices[message.id]}]", id=message.id))
            continue
        if isinstance(message, AIMessage):
            plan = truth.plans.get(message.id or "")
            stored = (plan.message if plan else None) or {}
            kwargs, metadata = stored.get("additional_kwargs", {}), stored.get("response_metadata", {})
            if message.additional_kwargs != kwargs or message.response_metadata != metadata:
                own = deepcopy({"additional_kwargs": kwargs, "response_metadata": metadata})  # as in `from_json`
                message = message.model_copy(update=own)
        read.append(message)
    return read


def notice(message_id: str, text: str) -> AIMessage:
    """Make the message by which the gate itself tells something in a thread."""
    return AIMessage(text, id=message_id)


def _persons(message_id: str | None, truth: Truth) -> HumanMessage:
    return HumanMessage(deepcopy(truth.heard[message_id or ""]), id=message_id)  # as in `from_json`


def unheard(messages: Sequence[AnyMessage], truth: Truth) -> list[HumanMessage]:
    """List what persons seem to say in messages and the journal has not heard: written into the state past a turn."""
    return [
        message
        for message in messages
        if isinstance(message, HumanMessage) and message.id not in truth.heard and message.id not in truth.plans
    ]


def _said(plan: Plan, found: AnyMessage) -> AIMessage:
    if plan.message is None:
        return AIMessage(ERASED, id=plan.message_id)
    if isinstance(found, AIMessage) and _is_as_said(plan, found):
        return found
    return from_json(plan.message)


def _is_as_said(plan: Plan, found: AIMessage) -> bool:
    """Tell whether a message says and calls what the journal has of it."""
    # Nearly always the first, which costs a tenth: each step looks at all messages of its thread.
    if words_of(found.content, found.tool_calls) == plan.words:
        return True
    return said_digest({"content": found.content, "tool_calls": found.tool_calls}) == plan.digest


def _is_as_heard(message: AnyMessage, content: Any) -> bool:
    """Tell whether a message is a person's, and says what the journal heard."""
    return isinstance(message, HumanMessage) and (message.content == content or clean(message.content) == content)


def _result_of(plan: Plan, call: Any, truth: Truth, results: dict[str, ToolMessage]) -> ToolMessage:
    request = truth.requests.get(request_id(plan, call["id"]))
    if request is not None:
        receipt = truth.receipts.get(request.request_id)
        if receipt is None:
            return _without_receipt(plan, call, request)
        found = results.get(f"{RESULT}{request.request_id}")
        if found is not None and _tells(found, call, receipt):
            return found
        return receipt_message(plan, call, receipt)
    found = results.get(result_id(plan, call["id"]))
    if found is not None and found.tool_call_id == call["id"]:
        return found
    return result(plan, call, "No result: the call was interrupted.", is_error=True)


def _tells(found: ToolMessage, call: Any, receipt: Receipt) -> bool:
    """Tell whether a message is what `receipt_message` would make."""
    return (
        found.content == receipt.sentence
        and found.tool_call_id == call["id"]
        and found.name == call["name"]
        and found.status == ("success" if receipt.outcome == "executed" else "error")
        and repr(found.artifact) == repr(receipt.artifact)  # for 1 and True are equal
        and type(found) is ToolMessage
        and not (found.additional_kwargs or found.response_metadata or found.model_extra)
    )


def _without_receipt(plan: Plan, call: Any, request: Request | None) -> ToolMessage:
    is_in_flight = request is not None and request.is_in_flight
    return result(plan, call, _IN_FLIGHT if is_in_flight else _UNDECIDED, is_error=True)


#: Plan and call by the id of the result that answers the call.
Results = Mapping[str, tuple[Plan, Any]]


def calls_by_result(plans: Iterable[Plan]) -> Results:
    """Give the calls of these plans that results may stand for, by the ids of the results."""
    return {f"{RESULT}{asked}": (plan, call) for plan in plans for asked, call in plan.by_request.items()}


def disbelieved(messages: Sequence[AnyMessage], truth: Truth, *, since: int = 0) -> list[AnyMessage]:
    """List the messages of a state that the journal does not believe: changed, or nobody's. Persons' are `unheard`.

    The first ones, up to `since`, are believed, and the others answer no calls of theirs.
    """
    messages = messages[since:]
    ids = [message.id for message in messages] if since else truth.plans
    results = calls_by_result(plan for one in ids if (plan := truth.plans.get(one or "")))
    return [message for message in messages if not _is_believed(message, truth, results)]


def corrections(wrong: Iterable[AnyMessage], truth: Truth) -> list[BaseMessage]:
    """Give what puts these messages right in a state, each under its id."""
    results = calls_by_result(truth.plans.values())
    return [_true(message.id or "", truth, results) or RemoveMessage(id=message.id or "") for message in wrong]


def _is_believed(message: AnyMessage, truth: Truth, results: Results) -> bool:
    message_id = message.id or ""
    plan = truth.plans.get(message_id)
    if plan is not None:
        return plan.message is None or (isinstance(message, AIMessage) and _is_as_said(plan, message))  # None: erased
    if message_id in truth.heard:
        content = truth.heard[message_id]
        return _is_as_heard(message, content) or bool(content == ERASED)
    if message_id in truth.notices:
        return isinstance(message, AIMessage) and message.content == truth.notices[message_id]
    if isinstance(message, ToolMessage):
        found = results.get(message_id)
        if found is None and _is_of_erased(message, truth):
            return True
        if found is None or message.tool_call_id != found[1]["id"]:
            return False
        asked = message_id.removeprefix(RESULT)
        if asked not in truth.requests or message.content in (_UNDECIDED, _IN_FLIGHT):
            return True  # a look-up's is what the state says
        receipt = truth.receipts.get(asked)
        return receipt is not None and receipt.sentence in (None, message.content)
    return isinstance(message, HumanMessage) or (isinstance(message, AIMessage) and message.content == OVERTAKEN)


def _is_of_erased(message: ToolMessage, truth: Truth) -> bool:
    """Tell whether a result answers a call of a message that was erased since: it goes without a word."""
    erased = (plan for plan in truth.plans.values() if plan.message is None)
    return any(result_id(plan, message.tool_call_id) == message.id for plan in erased)


def _true(message_id: str, truth: Truth, results: Results) -> AnyMessage | None:
    if (plan := truth.plans.get(message_id)) is not None:
        return from_json(plan.message) if plan.message is not None else None
    if message_id in truth.heard:
        return _persons(message_id, truth)
    if message_id in truth.notices:
        return notice(message_id, truth.notices[message_id])
    if (found := results.get(message_id)) is not None:
        plan, call = found
        asked = request_id(plan, call["id"])
        receipt = truth.receipts.get(asked)
        return (
            receipt_message(plan, call, receipt) if receipt else _without_receipt(plan, call, truth.requests.get(asked))
        )
    return None


def unanswered(plan: Plan, messages: Sequence[AnyMessage], truth: Truth) -> list[str]:
    """List the calls of a plan that have no result: a receipt, where there is a request, and else one in the state."""
    present = results_in(messages)
    return [
        call["id"]
        for call in plan.calls
        if (asked := request_id(plan, call["id"])) not in truth.receipts
        and (asked in truth.requests or result_id(plan, call["id"]) not in present)
    ]


def results_in(messages: Iterable[AnyMessage]) -> set[str]:
    """Give the ids of the results that stand in the state. Anybody may have put them there."""
    return {message.id for message in messages if isinstance(message, ToolMessage) and message.id}


def ids_of(messages: Iterable[AnyMessage]) -> list[str]:
    """List the ids under which the model's messages may stand, whatever stands there now."""
    return [one if one.isascii() and "\0" not in one else clean(one) for message in messages if (one := message.id)]
