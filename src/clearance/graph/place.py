"""Where in a thread a graph runs, and what led to it there: read from langgraph's namespaces and checkpoints.

A graph inside another runs in a namespace of the node that called it, `sub:{task}`, or `sub:{task}|1` for the second
one that the same task calls. The ids of tasks stay when a run goes on or is tried again, and change when the thread is
run again from an earlier checkpoint, or comes by again. The names stay, and of several tasks that were sent to one node
at once the place of each in what was sent. So a place is the names, and that: `sub`, `sub|1`, `tools#0|sub`.
"""

import binascii
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from xxhash import xxh3_128_hexdigest

from clearance.gate.question import IS_RESUME
from clearance.graph.identity import CHECKPOINTER, thread_of
from clearance.graph.run_input import (
    RESUMING,
    IsSame,
    goes_on_behind,
    graph_namespace,
    is_kept_at_end,
    messages_of,
    said_in,
    stored,
)

# Source: langgraph._internal._constants, and langgraph.pregel._algo for how the id of a task comes about.
_SEPARATOR, _END, _PUSH, _PULL, _SENT = "|", ":", "__pregel_push", "__pregel_pull", "__pregel_tasks"
#: Checkpoints of a graph that are looked at for the input that led to one of them.
_MOST_CHECKPOINTS = 1_000
#: Places that are remembered by namespace, which tells them for ever.
_MOST_KNOWN = 10_000

#: The turn whose look-up runs now: an agent that it calls is asked for by who asked there.
calling: ContextVar[str | None] = ContextVar("calling", default=None)

_known: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Led:
    """What led to the run of a graph that is nested in another."""

    #: The run whose input the outermost graph had; that input itself where nobody gives runs ids; None where it cannot
    #: be told.
    run_id: str | None
    #: Whether that is the run that goes on now, or one of the same person that it goes on with.
    is_this_persons: bool
    #: The checkpoint that the graph around it stood on. Run again from there it is the same.
    checkpoint_id: str | None
    #: Those that the graph around it had before, since its own input.
    before: frozenset[str]
    #: What persons said in the input of the outermost graph, as text.
    said: frozenset[str]


async def place_of(config: RunnableConfig) -> str:
    """Give the place of the graph that this task runs in: empty for the outermost."""
    namespace = graph_namespace(config)
    if not namespace:
        return ""
    key = thread_of(config), namespace
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = await _named(config, namespace)
    return _known[key]


async def what_led(config: RunnableConfig, is_same: IsSame) -> Led:
    """Tell what led to the nested graph that this task runs in.

    Raises:
        CheckpointNotStoredError: the checkpointer did not store a checkpoint of a graph around it.
    """
    configurable = config.get("configurable", {})
    saver, map_ = configurable.get(CHECKPOINTER), configurable.get("checkpoint_map") or {}
    around = _around(graph_namespace(config))
    if not isinstance(saver, BaseCheckpointSaver) or is_kept_at_end(config) or not map_.get("") or not map_.get(around):
        return Led(None, is_this_persons=False, checkpoint_id=None, before=frozenset(), said=frozenset())
    chain = [found async for found in _back(saver, config, around, map_[around])]
    here = next((at for at, found in enumerate(chain) if not _is_fork(found)), 0)
    outermost = chain if not around else [found async for found in _back(saver, config, "", map_[""])]
    first = outermost[-1]
    is_input = first.metadata.get("source") == "input"
    run_id = first.metadata.get("run_id")
    own = configurable.get("run_id")
    # Without ids only the step right behind the input is surely of the run that brought it.
    is_resumed = configurable.get(RESUMING) or configurable.get(IS_RESUME)
    is_own = _is_own(outermost, str(own), is_same) if own is not None else len(outermost) <= 2 and not is_resumed
    said = messages_of(said_in(first)) if is_input else []
    return Led(
        run_id=(str(run_id) if run_id else f"input {_id(first)}") if is_input else None,
        is_this_persons=is_input and is_own,
        checkpoint_id=_id(chain[here]),
        before=frozenset(_id(found) for found in chain[here + 1 :]),
        said=frozenset(str(one.content) for one in said if one.type == "human"),
    )


def _is_own(chain: Sequence[CheckpointTuple], run_id: str, is_same: IsSame) -> bool:
    """Tell whether the checkpoints back to an input are of this run, or of those that it goes on with."""
    for found in chain:
        if found.metadata.get("run_id") != run_id:
            if not goes_on_behind(found, is_same):
                return False
            run_id = str(found.metadata["run_id"])
    return True


async def _back(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, namespace: str, checkpoint: str
) -> AsyncIterator[CheckpointTuple]:
    """Walk from a checkpoint of a graph back to the input that led there, both with it."""
    where = {"thread_id": thread_of(config), "checkpoint_ns": namespace, "checkpoint_id": checkpoint}
    found: CheckpointTuple | None = await stored(saver, {"configurable": where})
    for _ in range(_MOST_CHECKPOINTS):
        if found is None:
            return
        yield found
        if found.metadata.get("source") == "input" or found.parent_config is None:
            return
        found = await saver.aget_tuple(found.parent_config)


def _is_fork(found: CheckpointTuple) -> bool:
    """Tell whether langgraph made a checkpoint only to run its parent again."""
    return found.metadata.get("source") == "fork"


def _id(found: CheckpointTuple) -> str:
    return str(found.checkpoint["id"])


def _around(namespace: str) -> str:
    """Give the namespace of the graph around the one that runs in a namespace."""
    parts = namespace.split(_SEPARATOR)
    while parts and parts[-1].isdigit():
        parts.pop()
    return _SEPARATOR.join(parts[:-1])


async def _named(config: RunnableConfig, namespace: str) -> str:
    configurable = config.get("configurable", {})
    saver, map_ = configurable.get(CHECKPOINTER), configurable.get("checkpoint_map") or {}
    is_read = isinstance(saver, BaseCheckpointSaver) and not is_kept_at_end(config)
    names: list[str] = []
    parts = namespace.split(_SEPARATOR)
    for at, part in enumerate(parts):
        node, _, task = part.rpartition(_END)
        # What a graph is called by without a task, it is called by for ever.
        if not node:
            names.append(part)
            continue
        graph = _SEPARATOR.join(parts[:at])
        found = None
        if is_read and map_.get(graph):
            where = {"thread_id": thread_of(config), "checkpoint_ns": graph, "checkpoint_id": map_[graph]}
            found = await stored(saver, {"configurable": where})  # type: ignore[arg-type]  # it is one where it is read
        names.append(part if found is None else _stable(found, graph, node, task))
    return _SEPARATOR.join(names)


def _stable(found: CheckpointTuple, graph: str, node: str, task: str) -> str:
    """Name a task so that it is called the same when it is run again; with its id where nothing else tells."""
    checkpoint = found.checkpoint
    prefix = binascii.unhexlify(checkpoint["id"].replace("-", "")) + (f"{graph}{_SEPARATOR}" if graph else "").encode()
    step = int(found.metadata.get("step", -1)) + 1

    def is_it(*parts: str) -> bool:
        digits = xxh3_128_hexdigest(prefix + "".join([node, str(step), node, *parts]).encode())
        return digits == task.replace("-", "")

    # After an edge, or after several that were waited for.
    joins = [name for name in checkpoint["channel_versions"] if name.startswith("join:") and name.endswith(f":{node}")]
    if is_it(_PULL, f"branch:to:{node}") or is_it(_PULL, *sorted([f"branch:to:{node}", *joins])):
        return node
    sent = checkpoint["channel_values"].get(_SENT) or []
    for number, packet in enumerate(sent):
        if getattr(packet, "node", None) == node and is_it(_PUSH, str(number)):
            return f"{node}#{number}"
    return f"{node}{_END}{task}"
