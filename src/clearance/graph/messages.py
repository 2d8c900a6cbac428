"""The messages of a thread as a channel of langgraph's state that keeps what is new of them, not all of them each time.

It does with them what `add_messages` does, so a thread goes on that was begun with that, and back again.
"""

from collections.abc import Sequence
from typing import Any, Self, cast
from uuid import uuid4

from langchain_core.messages import AnyMessage, RemoveMessage, convert_to_messages
from langchain_core.messages.base import BaseMessage, BaseMessageChunk
from langchain_core.messages.utils import message_chunk_to_message
from langgraph._internal._typing import MISSING
from langgraph.channels.binop import BinaryOperatorAggregate, _get_overwrite
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, PendingWrite
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.graph import StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, _messages_delta_reducer, add_messages

#: Updates after which the whole is kept once more, at least: what has to be read again to know it.
_OFTEN = 50
#: The longer a thread, the more seldom: kept for so many messages each update, its checkpoints grow no faster than it.
_MESSAGES_AN_UPDATE = 8
#: Where langgraph keeps the messages.
MESSAGES = "messages"


class MessagesChannel(DeltaChannel):  # type: ignore[type-arg]  # langgraph has it take one and be of three
    """Keeps each update of the messages, and now and then all of them.

    Langgraph's reducer stands in it only since langgraph gives ids, before they are kept, to messages of any kind that
    come without one where it finds that reducer: made when they are read, they would be others each time.
    """

    __slots__ = ("_often",)

    def __init__(
        self, reducer: Any = _messages_delta_reducer, typ: Any = list, *, snapshot_frequency: int = _OFTEN
    ) -> None:
        super().__init__(reducer, typ, snapshot_frequency=snapshot_frequency)

    @property
    def snapshot_frequency(self) -> int:
        """After so many updates all of it is kept."""
        many = len(self.value) if isinstance(self.value, list) else 0
        return max(self._often, many // _MESSAGES_AN_UPDATE)

    @snapshot_frequency.setter
    def snapshot_frequency(self, often: int) -> None:
        self._often = often

    def __eq__(self, other: object) -> bool:
        # A node of somebody's may read a state that names `add_messages`: to langgraph it is the same channel then.
        return isinstance(other, MessagesChannel) or is_plain(other)

    __hash__ = None  # type: ignore[assignment]  # as langgraph's

    def copy(self) -> Self:
        """Give one with the same messages."""
        made = super().copy()
        made._often = self._often
        return made

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Give one with what a checkpoint has; langgraph replays what came since."""
        made = super().from_checkpoint(checkpoint)
        made._often = self._often
        return made

    def replay_writes(self, writes: Sequence[PendingWrite]) -> None:
        """Apply updates that were kept, oldest first."""
        values = [value for _, _, value in writes]
        for at, value in enumerate(values):
            is_new, whole = _get_overwrite(value)
            if is_new:
                self.value, values = _read(_listed(whole)), values[at + 1 :]
                return self.replay_writes([("", "", one) for one in values])
        if values:
            self.value = merge(self.value, values, is_replay=True)
        return None

    def update(self, values: Sequence[Any]) -> bool:
        """Apply the updates of one step."""
        wholes = [whole for is_new, whole in map(_get_overwrite, values) if is_new]
        if not values or len(wholes) > 1:
            return super().update(values)  # which says what is wrong
        # What is no message fails here and is not kept: kept, it would be read by every run of the thread, and end it.
        self.value = _read(_listed(wholes[0])) if wholes else merge([] if self.value is MISSING else self.value, values)
        return True


def keep_changes(builder: StateGraph[Any, Any, Any, Any]) -> None:
    """Let a graph's state keep what is new of its messages, where langgraph's own channel keeps all of them."""
    if is_plain(builder.channels.get(MESSAGES)):
        builder.channels[MESSAGES] = channel = MessagesChannel()
        channel.key = MESSAGES


def is_plain(channel: object) -> bool:
    """Tell whether a channel of a state is langgraph's own for messages, without a format."""
    return isinstance(channel, BinaryOperatorAggregate) and channel.operator is add_messages


def is_overwrite(value: Any) -> bool:
    """Tell whether langgraph puts a value in the place of all that stood there, in whichever form that is asked for."""
    return bool(_get_overwrite(value)[0])


def merge(messages: Sequence[Any], updates: Sequence[Any], *, is_replay: bool = False) -> list[AnyMessage]:
    """Give messages after some updates, each as `add_messages` takes it, in order.

    Raises:
        ValueError: an update takes out a message that is not there; unless it `is_replay`: then nothing came of it.
    """
    merged = _read(_listed(messages))
    at = _places(merged)
    for update in updates:
        new = _read(update if isinstance(update, list) else [update])
        anew = [number for number, one in enumerate(new, 1) if _removes(one) and one.id == REMOVE_ALL_MESSAGES]
        if anew:
            merged = new[anew[-1] :]
            at = _places(merged)
            continue
        gone: set[str | None] = set()
        for message in new:
            place = at.get(message.id)
            if _removes(message):
                if place is not None:
                    gone.add(message.id)
                elif not is_replay:
                    raise ValueError(f"Attempting to delete a message with an ID that doesn't exist ({message.id!r})")
            elif place is not None:
                gone.discard(message.id)
                merged[place] = message
            else:
                at[message.id] = len(merged)
                merged.append(message)
        if gone:
            merged = [message for message in merged if message.id not in gone]
            at = _places(merged)
    return merged


def _places(messages: Sequence[AnyMessage]) -> dict[str | None, int]:
    return {message.id: place for place, message in enumerate(messages)}


def _removes(message: AnyMessage) -> bool:
    return isinstance(message, RemoveMessage)


def _listed(given: Any) -> Sequence[Any]:
    """Give what stands in place of all messages as several: one alone is one, nothing is none."""
    return given if isinstance(given, list | tuple) else [] if given is None else [given]


def _read(given: Sequence[Any]) -> list[AnyMessage]:
    kinds = set(map(type, given))
    read: list[Any] = list(given)
    if not all(issubclass(kind, BaseMessage) and not issubclass(kind, BaseMessageChunk) for kind in kinds):
        read = [message_chunk_to_message(cast("BaseMessageChunk", one)) for one in convert_to_messages(given)]
    for message in read:
        if message.id is None:
            message.id = str(uuid4())
    return read


async def messages_at(saver: BaseCheckpointSaver[Any], found: CheckpointTuple) -> list[AnyMessage]:
    """Give the messages that a thread had at a checkpoint, however they are kept there."""
    checkpoint = found.checkpoint
    whole = checkpoint["channel_values"].get(MESSAGES, MISSING)
    if whole is not MISSING:
        return list(whole.value if isinstance(whole, _DeltaSnapshot) else whole)
    if MESSAGES not in checkpoint["channel_versions"]:
        return []
    kept = (await saver.aget_delta_channel_history(config=found.config, channels=[MESSAGES]))[MESSAGES]
    channel = MessagesChannel().from_checkpoint(kept.get("seed", MISSING))
    channel.replay_writes(kept["writes"])
    return list(channel.get())
