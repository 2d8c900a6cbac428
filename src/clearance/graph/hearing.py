"""Whose words stand in a thread: what this run brought is the caller's, what the journal knows is told, no other is.

Pure: from the messages of the state, those of the run's input and what the journal knows, to what is said now.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from clearance.canonical import clean, key
from clearance.gate.notices import NOTICE
from clearance.gate.records import Truth
from clearance.graph.beginning import true_beginning
from clearance.graph.transcript import RESULT, disbelieved, ids_of, true_transcript, unheard
from clearance.journal.erasure import ERASED


@dataclass(frozen=True)
class Heard:
    """What a run's caller says, and what else stands there."""

    #: The messages of the thread as they were, what is said now not among them.
    true: list[AnyMessage]
    #: What the caller says in this run, oldest first.
    said: list[HumanMessage]
    #: Ids of messages of persons that neither the journal knows nor this run brought: nobody's.
    strays: list[str]
    #: Ids of other messages that are not as the journal has them, and that this run did not bring.
    changed: list[str]
    #: By which all this is told.
    truth: Truth


def hear(
    thread_id: str,
    run_id: str | None,
    standing: Sequence[AnyMessage],
    own: Sequence[AnyMessage],
    truth: Truth,
    *,
    is_nested: bool = False,
) -> Heard:
    """Tell what is said now; `standing` are the messages of the state, `own` those that the run brought.

    A message that takes over the id of an earlier one does not change the past: it is heard as a new one, and the
    earlier one stands again. What the input has before a message of the model's is a history that a client sends along,
    of this thread or of another that it is a copy of: to hear it again would be to ask for everything again.

    Where the graph `is_nested`, the one around it says its words again when the thread runs again from an earlier
    checkpoint: they are said then, and the journal knows by where that is what they began.
    """
    # What stood there and was found true is not looked through: nothing of it is new, or changed.
    since = true_beginning(standing, truth).many
    new_words = unheard(standing[since:], truth)
    ids = _ids(thread_id, run_id, new_words, own)
    said: list[HumanMessage] = []
    heard: list[AnyMessage] = []
    for at in _last_words(own, truth) if not is_nested or _are_last(standing, ids, truth) else ():
        content, own_id = clean(own[at].content), ids[at]
        # What another place of the thread heard is said here for the first time.
        is_known = truth.heard.get(own_id) in (content, ERASED)
        if is_known and own_id in truth.heard_here and not is_nested:
            continue
        is_taken = (own_id in truth.heard and not is_known) or own_id in truth.plans
        is_taken = is_taken or own_id.startswith((RESULT, NOTICE))
        may_keep = not is_taken and re.fullmatch(r"[ -~]{1,100}", own_id) is not None
        new = HumanMessage(content, id=own_id if may_keep else key("heard", thread_id, own_id, str(content)))
        # Heard already when this runs again after a crash.
        (heard if new.id in truth.heard_here and not is_nested else said).append(new)
    present, brought = set(ids_of(standing)), set(ids.values())
    # What a page sends along of a history, it does not write: it is put right, and nothing need be said of it.
    sent = {message.id for message in own if message.id} | {(message.type, str(message.content)) for message in own}
    unlike = disbelieved(standing, truth, since=since)
    wrong = [one for one in unlike if not {one.id, (one.type, str(one.content))} & sent]
    all_heard = [*standing, *(new for new in heard if new.id not in present)]
    true = true_transcript(all_heard, truth, unlike, since=since)
    # A state need not give ids: words without one stand there as they came.
    nameless = [message.content for message in own if not message.id]
    strays = [
        message.id or ""
        for message in new_words
        if (message.id or "") not in brought and (message.id or message.content not in nameless)
    ]
    return Heard(true, said, strays, ids_of(wrong), truth)


def _are_last(standing: Sequence[AnyMessage], ids: dict[int, str], truth: Truth) -> bool:
    """Tell whether nobody said anything here since what the input brought: in place of an answer, for example."""
    last = next((message.id or "" for message in reversed(standing) if isinstance(message, HumanMessage)), "")
    return last in ids.values() or last not in truth.heard_here


def _ids(
    thread_id: str, run_id: str | None, new_words: Sequence[HumanMessage], own: Sequence[AnyMessage]
) -> dict[int, str]:
    """Give the id that each person's message of the input has in the state, by its place in the input.

    The state gave ids to those that came without one, and put them at its end, in their order. Where they are not in
    it, the run tells two of the same text apart.
    """
    run = run_id or str(uuid4())
    given = {message.id for message in own if message.id}
    unnamed = [message for message in new_words if message.id not in given]
    ids: dict[int, str] = {}
    for at in reversed(range(len(own))):
        message = own[at]
        if not isinstance(message, HumanMessage):
            continue
        same = next((one for one in reversed(unnamed) if one.content == message.content), None)
        if not message.id and same is not None:
            unnamed.remove(same)
        ids[at] = message.id or (same.id if same is not None else None) or key("unnamed", thread_id, run, str(at))
    return ids


def _last_words(own: Sequence[AnyMessage], truth: Truth) -> list[int]:
    """List where a person's words stand that no message of the model's follows, except made-up ones at the very end."""
    last = len(own)
    while last and not isinstance(own[last - 1], HumanMessage) and own[last - 1].id not in truth.said_here:
        last -= 1
    first = last
    while first and not isinstance(own[first - 1], AIMessage):
        first -= 1
    return [at for at in range(first, last) if isinstance(own[at], HumanMessage)]
