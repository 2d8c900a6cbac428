"""What the gate itself tells in a thread: kept in the journal, so that it stands there and nobody can make one up."""

import itertools
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import key
from clearance.db.tables import notices
from clearance.journal.attempts import TRANSACTION_ENDED, attempts_on, change_attempt, untold_inside
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on
from clearance.journal.refusals import note_attempt
from clearance.journal.requests import Request, read_request
from clearance.journal.statements import read_all
from clearance.journal.turns import Turn, turns_of
from clearance.principal import Principal
from clearance.text.rendering import line

#: How the ids of these messages begin; no other message has such a one.
NOTICE = "notice-"
#: The same of those that the model reads, too: they tell what no result in its sight tells.
OUTCOME = f"{NOTICE}outcome-"

_TOLD = sa.select(notices.c.message_id, notices.c.text).where(
    notices.c.thread_id == sa.bindparam("thread_id"), notices.c.message_id.in_(sa.bindparam("ids", expanding=True))
)
_GIVEN_UP = (
    "This could not be carried on: each try broke off. What was done before stands in the receipts; nothing more is "
    "done for it. Say it again if it is still wanted."
)
_UNSIGNED = "Nobody signed in wrote this message, so it is not answered."


def tell_unheard(
    log: Log,
    *,
    thread_id: str,
    message_ids: Sequence[str],
    standing: Collection[str],
    by: Principal,
    own: int = 0,
    place: str = "",
) -> list[tuple[str, str]] | None:
    """Note words that no run brought as somebody's own, and give what is told of them: (id, text) of each notice.

    Each of them is noted and told once, whichever runs find it: two may at once, or one that ends before its thread
    keeps what it was told. The last `own` of them this run itself brought, to the graph in this place, without a person
    who is signed in. `standing` are the ids of what stands in the thread: words whose notice is among them were left
    there again, and are told again. None when the run that brought some of them opened its turn meanwhile: then nothing
    is noted.
    """
    strays, brought = set(message_ids[: len(message_ids) - own]), set(message_ids[len(message_ids) - own :])
    turns = turns_of(log.connection, thread_id)
    said = {message["id"] for turn in turns for message in turn.messages}
    said_here = {message["id"] for turn in turns if turn.place == place for message in turn.messages}
    if said & strays or said_here & brought:
        return None
    places = _places(log.connection, thread_id, list(dict.fromkeys(message_ids)), standing)
    kept = read_notices(log.connection, thread_id, [told_in for _, told_in in places.values() if told_in])
    new = {message_id: notice_id for message_id, (notice_id, told_in) in places.items() if told_in is None}
    if not new:
        return list(kept.items())
    # The first one's tells of all; the others point to it.
    first = next(iter(new.values()))
    text = _UNSIGNED if own == len(message_ids) else _unheard(max(len(new) - own, 1))
    rows = [
        {"thread_id": thread_id, "message_id": notice_id, "text": text if notice_id == first else first, "at": log.now}
        for notice_id in new.values()
    ]
    log.connection.execute(sa.insert(notices), rows)
    note_attempt(log, "unheard_words", by.id, thread_id=thread_id, pointer=key("pointer", *new))
    return [*kept.items(), (first, text)]


def were_told(log: Log, *, thread_id: str, message_ids: Sequence[str], standing: Collection[str]) -> bool:
    """Tell whether a thread was told that some of these words were not heard, since it had the messages `standing`.

    Another run found them before the one that brings them opened its turn: heard now, they would be done as well.
    """
    places = _places(log.connection, thread_id, list(message_ids), standing)
    return any(told_in is not None for _, told_in in places.values())


def _places(
    connection: Connection, thread_id: str, message_ids: list[str], standing: Collection[str]
) -> dict[str, tuple[str, str | None]]:
    """Give for each of these words the row that tells of them as they stand there now, and the notice it is told in.

    None for the notice where there is no such row yet. Not derived from the run: another one finds the same words.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for times in itertools.count():
        ids = {
            message_id: f"{NOTICE}{key('unheard', thread_id, message_id, str(times))}"
            for message_id in message_ids
            if message_id not in found
        }
        if not ids:
            break
        rows = read_all(connection, _TOLD, _pair, thread_id=thread_id, ids=list(ids.values()))
        told = {message_id: text if text.startswith(NOTICE) else message_id for message_id, text in rows}
        found |= {
            message_id: (notice_id, told.get(notice_id))
            for message_id, notice_id in ids.items()
            if told.get(notice_id) not in standing
        }
    return found


def tell_put_right(
    log: Log, *, thread_id: str, run_id: str | None, message_ids: Sequence[str], by: Principal
) -> tuple[str, str]:
    """Note that messages of a thread were not as they were said and done, and give what is told: (id, text).

    Run again it tells the same, once.
    """
    notice_id = f"{NOTICE}{key('put right', thread_id, run_id or '', *message_ids)}"
    text, is_new = _told_once(log, thread_id, notice_id, _put_right(len(message_ids)))
    if is_new:
        note_attempt(log, "unheard_words", by.id, thread_id=thread_id, pointer=key("pointer", *message_ids))
    return notice_id, text


def tell_given_up(log: Log, turn: Turn) -> tuple[str, str]:
    """Keep what a thread is told of a turn that was given up, and give it: (id, text)."""
    notice_id = f"{NOTICE}{key('given up', turn.turn_id)}"
    return notice_id, _told_once(log, turn.thread_id, notice_id, _GIVEN_UP)[0]


def tell_given(log: Log, request: Request) -> tuple[str, str] | None:
    """Keep what a thread is told when a request has some of its approvals and waits for more, and give it: (id, text).

    None where it has none. No names of those whom it concerns stand in it: erasure does not reach here.
    """
    given = [one for one in decisions_on(log.connection, [request.request_id]) if one.counts]
    if not given:
        return None
    people = " and ".join(line(one.decided_by) for one in given)
    text = (
        f"{len(given)} of {request.approvals} approvals of {request.action} given, by {people}. "
        "Nothing of it is done before all are given."
    )
    notice_id = f"{NOTICE}{key('given', request.request_id, str(request.revision), *(one.decided_by for one in given))}"
    return notice_id, _told_once(log, request.thread_id, notice_id, text)[0]


def tell_unknown(log: Log, request: Request) -> tuple[str, str]:
    """Keep what a thread is told of a request of which nobody knows what became, and give it: (id, text)."""
    made = attempts_on(log.connection, request.request_id)
    why = "it was started, and no answer came. It is looked into"
    if made and made[-1].cause == TRANSACTION_ENDED:
        why = "it ended the transaction it ran in. A person looks into it"
    text = (
        f"Nobody knows yet whether {request.action} was done: {why}, and what became of it is told here."
        " Do not ask for it again before that."
    )
    notice_id = f"{NOTICE}{key('unknown', request.request_id, str(made[-1].number if made else 0))}"
    return notice_id, _told_once(log, request.thread_id, notice_id, text)[0]


def tell_outcome(log: Log, request_id: str, *, is_in_sight: bool = True) -> tuple[str, str]:
    """Keep what a thread that went on before is told when an outcome is known, and give it: (id, text).

    Not the receipt's words, which erasure has to reach: they stand in the result of the call, where that is in sight.
    """
    request = read_request(log.connection, request_id)
    assert request is not None
    became = "it was done" if request.state == "executed" else "it was not done"
    text = f"It is known now what became of {request.action}, which was started before: {became}."
    text += " Its result says more." if is_in_sight else ""
    notice_id = f"{NOTICE if is_in_sight else OUTCOME}{key('outcome', request_id)}"
    return notice_id, _told_once(log, request.thread_id, notice_id, text)[0]


def tell_outcomes_inside(log: Log, turn: Turn, seen: Collection[str]) -> list[tuple[str, str]]:
    """Tell where a turn begins what became of effects that agents there, or inside it, started and went on without.

    Gives (id, text) of each notice. `seen` are the requests whose results stand there, and say it themselves. Run again
    for the same turn it tells the same.
    """
    told = []
    for attempt_id, request_id, where in untold_inside(log.connection, turn.thread_id, turn.opened_at):
        if turn.place and where != turn.place and not where.startswith(f"{turn.place}|"):
            continue
        if request_id not in seen:
            told.append(tell_outcome(log, request_id, is_in_sight=False))
        change_attempt(log.connection, attempt_id, told_at=log.now)
    return told


def _told_once(log: Log, thread_id: str, notice_id: str, text: str) -> tuple[str, bool]:
    """Keep a notice unless it is kept already; give its text as it is kept, and whether it is new."""
    kept = read_notices(log.connection, thread_id, [notice_id]).get(notice_id)
    if kept is not None:
        return kept, False
    row = {"thread_id": thread_id, "message_id": notice_id, "text": text, "at": log.now}
    log.connection.execute(sa.insert(notices), row)
    return text, True


def read_notices(connection: Connection, thread_id: str, message_ids: Sequence[str]) -> dict[str, str]:
    """Read those notices of a thread that are among these ids, text by id."""
    ids = [message_id for message_id in message_ids if message_id.startswith(NOTICE)]
    if not ids:
        return {}
    found = read_all(connection, _TOLD, _pair, thread_id=thread_id, ids=ids)
    return {message_id: text for message_id, text in found if not text.startswith(NOTICE)}


def _pair(message_id: str, text: str) -> tuple[str, str]:
    return message_id, text


def _unheard(count: int) -> str:
    were = "1 message in this thread was" if count == 1 else f"{count} messages in this thread were"
    return (
        f"{were} not heard, and nothing was done for it: the run that brought it ended before the agent took it in, or "
        "it was written here past a run. Whoever wrote it can say it again."
    )


def _put_right(count: int) -> str:
    were = "1 message in this thread was" if count == 1 else f"{count} messages in this thread were"
    return (
        f"{were} changed or written here past the agent, and nothing follows from that: what was said and done stands "
        "again as the journal has it, and what nobody said is taken out."
    )
