"""What the gate itself tells in a thread: kept in the journal, so that it stands there and nobody can make one up."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance.audit import Log
from agent.clearance.canonical import key
from agent.clearance.journal import Turn
from agent.clearance.principal import Principal
from agent.clearance.refusals import note_attempt
from agent.db.tables import notices

#: How the ids of these messages begin; no other message has such a one.
NOTICE = "notice-"

_TOLD = sa.select(notices.c.message_id, notices.c.text).where(
    notices.c.thread_id == sa.bindparam("thread_id"), notices.c.message_id.in_(sa.bindparam("ids", expanding=True))
)
_GIVEN_UP = (
    "This could not be carried on: each try broke off. What was done before stands in the receipts; nothing more is "
    "done for it. Say it again if it is still wanted."
)
_UNSIGNED = "Nobody signed in wrote this message, so it is not answered."


def unheard_id(thread_id: str, run_id: str | None, message_ids: Sequence[str]) -> str:
    """Give the id of the notice about words that nobody said: the same when a run is tried again."""
    return f"{NOTICE}{key('unheard', thread_id, run_id or '', *message_ids)}"


def tell_unheard(
    log: Log, *, thread_id: str, run_id: str | None, message_ids: Sequence[str], by: Principal, own: int = 0
) -> tuple[str, str]:
    """Note that words stood in a thread which no run brought as somebody's own, and give what is told: (id, text).

    `own` of them this run itself brought, without a person who is signed in. Run again it tells the same, once.
    """
    notice_id = unheard_id(thread_id, run_id, message_ids)
    told = read_notices(log.connection, thread_id, [notice_id])
    if told:
        return notice_id, told[notice_id]
    text = _UNSIGNED if own == len(message_ids) else _unheard(len(message_ids) - own)
    row = {"thread_id": thread_id, "message_id": notice_id, "text": text, "at": log.now}
    log.connection.execute(sa.insert(notices), row)
    note_attempt(log, "unheard_words", by.id, thread_id=thread_id, pointer=key("pointer", *message_ids))
    return notice_id, text


def tell_given_up(log: Log, turn: Turn) -> tuple[str, str]:
    """Keep what a thread is told of a turn that was given up, and give it: (id, text)."""
    notice_id = f"{NOTICE}{key('given up', turn.turn_id)}"
    row = {"thread_id": turn.thread_id, "message_id": notice_id, "text": _GIVEN_UP, "at": log.now}
    if not read_notices(log.connection, turn.thread_id, [notice_id]):
        log.connection.execute(sa.insert(notices), row)
    return notice_id, _GIVEN_UP


def read_notices(connection: Connection, thread_id: str, message_ids: Sequence[str]) -> dict[str, str]:
    """Read those notices of a thread that are among these ids, text by id."""
    ids = [message_id for message_id in message_ids if message_id.startswith(NOTICE)]
    if not ids:
        return {}
    return {row.message_id: row.text for row in connection.execute(_TOLD, {"thread_id": thread_id, "ids": ids})}


def _unheard(count: int) -> str:
    were = "1 message in this thread was" if count == 1 else f"{count} messages in this thread were"
    return (
        f"{were} not heard, and nothing was done for it: the run that brought it ended before the agent took it in, or "
        "it was written here past a run. Whoever wrote it can say it again."
    )
