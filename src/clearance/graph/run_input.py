"""What a run's own input brought, told by the checkpoint that langgraph writes of it before anything runs.

Words that stand in a thread's state say nothing of who runs it now: an earlier run may have ended before they were
heard, or somebody wrote them there. So whose they are is told by the run that they came with, in any graph.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AnyMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from clearance.errors import ClearanceError
from clearance.gate.question import checkpoint_id
from clearance.graph.identity import CHECKPOINTER, thread_of
from clearance.graph.messages import messages_at

# Where langgraph keeps them in a task's config, and the input in a checkpoint. Source: langgraph._internal._constants.
RESUMING, _DURABILITY, _NAMESPACE, _START = "__pregel_resuming", "__pregel_durability", "checkpoint_ns", "__start__"
# The write that an `interrupt()` leaves with the checkpoint of its task. Source: the same.
_INTERRUPT = "__interrupt__"
#: A checkpoint is written while the step after it runs already (`durability="async"`): how long that may take.
_STORED_WITHIN_S = 20
#: Checkpoints that a run may write between its input and the step that asks here.
_MOST_STEPS = 50


class CheckpointNotStoredError(ClearanceError):
    """The checkpointer stored nothing of this run in time, so nobody can tell whose words stand in the thread."""


@dataclass(frozen=True)
class Brought:
    """Messages of an input, and the run that it was of: this one, or one that it goes on with."""

    messages: list[AnyMessage]
    #: Of an earlier run whose input it was; None where it is this one's.
    earlier_run: str | None = None


#: Tells by a checkpoint's metadata whether the run that wrote it was of the same person as this one.
IsSame = Callable[[Mapping[str, Any]], bool]


async def brought(config: RunnableConfig, standing: Sequence[AnyMessage], is_same: IsSame) -> Brought:
    """Give the messages that this run's own input brought, as it brought them; `standing` are those of the state.

    A run that is tried again under the same id is that run. The id is the one in `configurable`, as both servers set
    it; in a program that gives its runs none, a run that goes on where another ended brought nothing, and what is
    told holds for the step right behind the input only.

    A run that goes on behind an `interrupt()`, a graph's own before the gate's entry, brought what the run brought that
    was paused there, where both are of the same person.

    Raises:
        CheckpointNotStoredError: the checkpointer did not store this run's checkpoint.
    """
    configurable = config.get("configurable", {})
    saver = configurable.get(CHECKPOINTER)
    if not isinstance(saver, BaseCheckpointSaver):
        return Brought(list(standing))  # a run that keeps no thread has nothing but its input
    if graph_namespace(config):
        # The graph around it says them, in whichever run: whose words led there is told by `place`.
        return Brought(list(standing) if is_kept_at_end(config) else await _handed(saver, config))
    # langgraph forgets it after the first step of a run that goes on, so alone it proves nothing.
    is_resuming = bool(configurable.get(RESUMING))
    if is_kept_at_end(config):
        # Nothing is written before the end: what it brought is what did not stand there before.
        return Brought([] if is_resuming else await _added(saver, config, standing))
    run_id = configurable.get("run_id")
    if run_id is None and is_resuming:
        return Brought([])
    found = await _input_checkpoint(saver, config, None if run_id is None else str(run_id), is_same)
    if found is None:
        return Brought([])
    of = found.metadata.get("run_id")
    return Brought(messages_of(said_in(found)), None if run_id is None or of == str(run_id) else of)


async def _handed(saver: BaseCheckpointSaver[Any], config: RunnableConfig) -> list[AnyMessage]:
    """Give what a graph around this one handed it last."""
    found: CheckpointTuple | None = await stored(saver, _here(config))
    for _ in range(_MOST_STEPS):
        if found is None or found.metadata.get("source") == "input":
            break
        found = await saver.aget_tuple(found.parent_config) if found.parent_config else None
    return messages_of(said_in(found)) if found and found.metadata.get("source") == "input" else []


def is_kept_at_end(config: RunnableConfig) -> bool:
    """Tell whether this run stores nothing before its end."""
    return config.get("configurable", {}).get(_DURABILITY) == "exit"


def said_in(found: CheckpointTuple) -> Any:
    """Give the input that stands in a checkpoint."""
    return found.checkpoint["channel_values"].get(_START)


async def _input_checkpoint(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, run_id: str | None, is_same: IsSame
) -> CheckpointTuple | None:
    """Walk back from where this step runs to the input, over checkpoints of this run and of those that it goes on with.

    None where there is none.
    """
    here = checkpoint_id(config.get("configurable", {}))
    found = await stored(saver, _address(config, here)) if here else None
    # Without ids only the step right behind the input is surely of the run that brought it.
    for _ in range(2 if run_id is None else _MOST_STEPS):
        # Each checkpoint tells which run wrote it: langgraph stores the run's metadata with it.
        if found is None:
            return None
        if found.metadata.get("run_id") != run_id:
            if run_id is None or not goes_on_behind(found, is_same):
                return None
            run_id = str(found.metadata["run_id"])
        if found.metadata.get("source") == "input":
            return found
        if found.metadata.get("source") != "loop" or found.parent_config is None:
            return None  # somebody wrote the state here, or ran it again from an earlier checkpoint
        found = await saver.aget_tuple(found.parent_config)
    return None


def goes_on_behind(found: CheckpointTuple, is_same: IsSame) -> bool:
    """Tell whether a run that goes on from a checkpoint of another says what that one said.

    That one was paused there by a question; one that failed, was cancelled or stopped at a breakpoint left words that
    nobody stands for. And it was of the same person.
    """
    is_paused = any(channel == _INTERRUPT for _, channel, _ in found.pending_writes or ())
    return is_paused and bool(found.metadata.get("run_id")) and is_same(found.metadata)


async def stored(saver: BaseCheckpointSaver[Any], address: RunnableConfig) -> CheckpointTuple:
    """Read a checkpoint that langgraph made, as soon as it is stored.

    Raises:
        CheckpointNotStoredError: it was not, in time.
    """
    loop = asyncio.get_running_loop()
    until, wait_s = loop.time() + _STORED_WITHIN_S, 0.001
    while (found := await saver.aget_tuple(address)) is None:
        if loop.time() >= until:
            raise CheckpointNotStoredError(
                f"The checkpointer stored nothing of this run within {_STORED_WITHIN_S} s; send it again."
            )
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, 0.1)
    return found


async def _added(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, standing: Sequence[AnyMessage]
) -> list[AnyMessage]:
    # Also where it was pinned to: what stands there need not stand in the latest any more.
    pinned = config.get("metadata", {}).get("checkpoint_id")
    known: set[tuple[str | None, str]] = set()
    for start in {None, str(pinned) if pinned else None}:
        before = await saver.aget_tuple(_address(config, start))
        if before is None:
            continue
        # An input that another run ended before it stood there is put in by one that goes on, under ids made then.
        stood = [*await messages_at(saver, before), *messages_of(said_in(before))]
        known.update((one.id, str(one.content)) for one in stood)
    return [one for one in standing if known.isdisjoint({(one.id, str(one.content)), (None, str(one.content))})]


def graph_namespace(config: RunnableConfig) -> str:
    """Give the namespace of the graph that this task runs in: empty for the outermost."""
    return str(config.get("configurable", {}).get(_NAMESPACE, "")).rpartition("|")[0]


def _here(config: RunnableConfig) -> RunnableConfig:
    """Address the checkpoint that this task runs on, in the graph that it is of."""
    namespace = graph_namespace(config)
    return _address(config, checkpoint_id(config.get("configurable", {}), namespace), namespace)


def _address(config: RunnableConfig, checkpoint: str | None, namespace: str = "") -> RunnableConfig:
    where = {"thread_id": thread_of(config), _NAMESPACE: namespace}
    return {"configurable": {**where, "checkpoint_id": checkpoint} if checkpoint else where}


def messages_of(given: Any) -> list[AnyMessage]:
    """Read the messages of an input; what cannot be read nobody said."""
    words = given.get("messages") if isinstance(given, dict) else None
    if not words:
        return []
    try:
        return cast("list[AnyMessage]", convert_to_messages(words if isinstance(words, list) else [words]))
    except (ValueError, TypeError, NotImplementedError, KeyError, AttributeError):
        return []
