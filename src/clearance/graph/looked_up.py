"""What came of a look-up, as one update of the thread's state, in which its call has a result whatever it gave."""

from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import BaseMessage, ToolMessage, convert_to_messages
from langgraph.types import Command

from clearance.graph.transcript import answered, result
from clearance.journal.plans import Plan

#: What a tool gives: a message, what it does to the state, or several of these.
Came = ToolMessage | Command[Any] | list[ToolMessage | Command[Any]]


def in_one(came: Came) -> ToolMessage | Command[Any]:
    """Make one of what a tool gave: several things become one update of the state."""
    if not isinstance(came, list):
        return came
    pairs: list[tuple[str, Any]] = []
    for one in came:
        given = {"messages": [one]} if isinstance(one, ToolMessage) else one.update or {}
        pairs += given.items() if isinstance(given, dict) else given
    messages = [one for name, value in pairs if name == "messages" for one in _listed(value)]
    others = [pair for pair in pairs if pair[0] != "messages"]
    if len({name for name, _ in others}) < len(others):
        return Command(update=[("messages", messages), *others])
    # A mapping wherever it can be one: deep agents look into it.
    return Command(update={"messages": messages, **dict(others)})


def _listed(messages: Any) -> list[Any]:
    return messages if isinstance(messages, list) else [messages]


def with_answer(plan: Plan, call: dict[str, Any], came: Command[Any]) -> Command[Any]:
    """Give what a look-up does to the state, with the message that answers its call as it stands in the thread.

    A command without one gets one that says so: else the call would be sent again, and again.
    """
    if came.graph is not None:  # it hands over to a graph around this one
        return came

    def told(value: Any) -> list[BaseMessage]:
        messages = convert_to_messages(_listed(value))
        return [answered(plan, call, cast("ToolMessage", one)) if _answers(call, one) else one for one in messages]

    # Pairs say what a mapping cannot, such as one name twice. What was a mapping stays one: deep agents look into it.
    given = came.update or {}
    pairs = [
        (name, told(value) if name == "messages" else value)
        for name, value in (given.items() if isinstance(given, dict) else given)
    ]
    if not any(_answers(call, one) for name, value in pairs if name == "messages" for one in value):
        missing = result(plan, call, f"{call['name']} gave no result.", is_error=True)
        last = max((at for at, (name, _) in enumerate(pairs) if name == "messages"), default=None)
        if last is None:
            pairs.append(("messages", [missing]))
        else:
            pairs[last] = "messages", [*pairs[last][1], missing]
    update: Any = dict(pairs) if isinstance(given, dict) else pairs
    return replace(came, update=update, goto=came.goto or "dispatch")


def _answers(call: dict[str, Any], message: BaseMessage) -> bool:
    return isinstance(message, ToolMessage) and message.tool_call_id == call["id"]
