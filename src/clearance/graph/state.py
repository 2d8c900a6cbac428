"""What a thread keeps of ours, and what the steps send one another: pointers into the journal, none believed."""

from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from langgraph.types import Send
from typing_extensions import TypedDict  # pydantic draws no schema of typing's own before Python 3.12

from clearance.canonical import clean
from clearance.journal.plans import Plan


class Input(TypedDict):
    """What a client sends."""

    messages: Annotated[list[AnyMessage], add_messages]


def _last(_: Any, new: str) -> str:
    return new


class State(Input):
    """What a thread keeps."""

    #: Points to the turn in the journal. The last value wins: two updates by clients while a question is open are kept
    #: with it, and without a reducer every later run of the thread would fail on them.
    turn_id: Annotated[str, _last]


class CallState(TypedDict):
    """What `dispatch` sends to `tools`: a pointer to one call, and the revision that a question about it shows."""

    message_id: str
    tool_call_id: str
    revision: int


def turn_id_of(state: State) -> str:
    """Give the pointer to the turn, as text that a database takes: a client may have written anything there."""
    return str(clean(str(state.get("turn_id", ""))))


def position_in(plans: list[Plan], messages: list[AnyMessage]) -> int:
    """Count the messages of the turn, from its first, that this state has."""
    ids = {message.id for message in messages}
    return next((at for at, plan in enumerate(plans) if plan.message_id not in ids), len(plans))


def send(plan: Plan, tool_call_id: str, revision: int) -> Send:
    """Send a call to `tools`; the revision is that of its question, 0 for a look-up."""
    return Send("tools", CallState(message_id=plan.message_id, tool_call_id=tool_call_id, revision=revision))
