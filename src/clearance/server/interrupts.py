"""What a thread waits with: questions of ours, and interrupts of the project's own nodes and look-ups beside them."""

from collections.abc import Mapping
from typing import Any

from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

from clearance.server import aegra


def server_client(owner: str) -> LangGraphClient:
    """Give a client of this server that may reach the threads of somebody."""
    if aegra.is_here():
        # Without our handlers everybody is "anonymous" to it, and "local" to us.
        return aegra.client(owner if aegra.has_auth() else "anonymous")
    return get_client(url=None)


async def waiting_with(thread_id: str, owner: str, checkpoint_id: str | None = None) -> dict[str, Any]:
    """Give the values of the interrupts that a thread waits with, by id; none where there is no such thread."""
    threads = server_client(owner).threads
    try:
        state = await (
            threads.get_state(thread_id, checkpoint_id=checkpoint_id) if checkpoint_id else threads.get_state(thread_id)
        )
    except NotFoundError:
        return {}
    return interrupts_of(state)


def interrupts_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of all interrupts in a thread's state, those of nested graphs among them, by id."""
    return {one["id"]: one["value"] for task in state["tasks"] for one in task["interrupts"]}


def is_ours(value: Any) -> bool:
    """Tell whether an interrupt's value is a question of ours, by its shape; nothing in it is believed."""
    return isinstance(value, dict) and isinstance(value.get("turn"), dict)


def questions_in(state: Any) -> list[dict[str, Any]]:
    """Give what a thread asks: the questions of ours among the interrupts of all its places."""
    return [value for value in interrupts_of(state).values() if is_ours(value)]


def asks_itself(state: Any) -> bool:
    """Tell whether a thread waits with an interrupt of the project's own."""
    return not all(is_ours(value) for value in interrupts_of(state).values())


def has_steps_left(state: Mapping[str, Any]) -> bool:
    """Tell whether a thread's graph has not come to its end.

    "next" leaves out steps whose result is kept and not yet part of a checkpoint: so it is between two, and after a
    kill there.
    """
    return bool(state["tasks"])


def values_of(state: Any) -> dict[str, Any]:
    """Give the values of a thread's state; none where it has none."""
    values = state.get("values")
    return values if isinstance(values, dict) else {}
