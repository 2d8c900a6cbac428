"""Turns: what one message of a person set off."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import (
    turns,
)
from clearance.journal.statements import among, insert, param, prefetch, read_all, read_one, update, write


@dataclass(frozen=True)
class Turn:
    """What one message of a person set off."""

    turn_id: str
    thread_id: str
    number: int
    run_id: str | None
    requested_by: str
    requester_kind: str
    requester_roles: list[str]
    message_id: str
    #: What was said, `[{"id", "content"}]`; each content is `ERASED` when it was erased. Where the person did not write
    #: it, but an agent around this one did for them, it has `"by": "agent"`, too.
    messages: list[dict[str, Any]]
    #: Whether its run keeps the thread; one that does not can have no requests.
    is_durable: bool
    #: `open`, `answered` or `withdrawn`.
    state: str
    opened_at: datetime
    closed_at: datetime | None
    #: Of the digests in the audit log; made when it is stored, None when its words are erased.
    salt: str | None = None
    version: int | None = 1
    #: Where in its thread it runs; empty in the outermost graph.
    place: str = ""
    #: Of the graph around it, where it began; None in the outermost graph, and where nobody can tell.
    checkpoint_id: str | None = None
    #: The graph of the server that it runs in, by its name there; None outside a server, and before it was noted.
    graph_id: str | None = None

    def is_within(self, other: "Turn") -> bool:
        """Tell whether it runs inside the graph that another turn of its thread runs in."""
        return bool(self.place) and (not other.place or self.place.startswith(f"{other.place}|"))


def were_set_off_together(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Say that two turns of a thread are the same, or that one message led to both, and to agents inside."""
    is_inside = (one.c.place != "") | (other.c.place != "")
    return (one.c.turn_id == other.c.turn_id) | ((one.c.run_id == other.c.run_id) & is_inside)


_TURN = sa.select(turns).where(turns.c.turn_id == param("turn_id"))
_TURNS_OF = sa.select(turns).where(turns.c.thread_id == param("thread_id")).order_by(turns.c.number)
_TURNS_BY_ID = sa.select(turns).where(turns.c.turn_id.in_(among("turn_ids"))).order_by(turns.c.opened_at)
_OPEN_TURNS_OF = (
    sa.select(turns).where(turns.c.thread_id == param("thread_id"), turns.c.state == "open").order_by(turns.c.number)
)
_OPEN_TURNS_IN = (
    sa.select(turns)
    .where(turns.c.thread_id.in_(among("thread_ids")), turns.c.state == "open")
    .order_by(turns.c.thread_id, turns.c.number)
)
_OPEN_TURN_OF = _OPEN_TURNS_OF.where(turns.c.place == param("place"))
#: Written out, and along the index that says the same: by a parameter SQLite would read every turn that ever was.
_IS_OPEN = turns.c.state == sa.literal_column("'open'")
_OPEN_TURNS = sa.select(turns).where(_IS_OPEN, turns.c.is_durable).order_by(turns.c.opened_at)
_OPEN_AFTER = (
    sa.select(turns.c.turn_id, turns.c.thread_id, turns.c.place)
    .where(
        _IS_OPEN,
        turns.c.is_durable,
        sa.tuple_(turns.c.thread_id, turns.c.place) > sa.tuple_(param("thread_id"), param("place")),
    )
    .order_by(turns.c.thread_id, turns.c.place)
    .limit(param("most"))
)
_FIRST = turns.alias("first")
_PLACED = (
    sa.select(
        _FIRST.c.requested_by,
        sa.select(turns.c.graph_id)
        .where(turns.c.thread_id == param("thread_id"), turns.c.graph_id.is_not(None))
        .order_by(turns.c.number)
        .limit(1)
        .scalar_subquery(),
    )
    .where(_FIRST.c.thread_id == param("thread_id"))
    .order_by(_FIRST.c.number)
    .limit(1)
)
_GRAPHS = sa.select(turns.c.graph_id).where(turns.c.graph_id.is_not(None)).distinct()
_ADD_TURN = insert(turns)
_CLOSE_TURN = update(turns, state=param("new_state"), closed_at=param("now")).where(
    turns.c.turn_id == param("of_turn"), turns.c.state == "open"
)


def read_turn(connection: Connection, turn_id: str) -> Turn | None:
    """Read a turn, or None."""
    return read_one(connection, _TURN, Turn, turn_id=turn_id)


def open_turn_of(connection: Connection, thread_id: str, place: str = "") -> Turn | None:
    """Read the open turn of a place in a thread; there is at most one."""
    return read_one(connection, _OPEN_TURN_OF, Turn, thread_id=thread_id, place=place)


def open_turns_of(connection: Connection, thread_id: str) -> list[Turn]:
    """Read the open turns of a thread, one for each place of it, oldest first."""
    return read_all(connection, _OPEN_TURNS_OF, Turn, thread_id=thread_id)


def open_turns_in(connection: Connection, thread_ids: Sequence[str]) -> list[Turn]:
    """Read the open turns of some threads, those of each together, oldest first."""
    return read_all(connection, _OPEN_TURNS_IN, Turn, thread_ids=thread_ids)


def open_turns(connection: Connection) -> list[Turn]:
    """Read all open turns of threads that are kept, oldest first: there may be a hundred thousand."""
    return read_all(connection, _OPEN_TURNS, Turn)


class OpenTurn(NamedTuple):
    """An open turn by name, and where it stands: there is one of a place at a time."""

    turn_id: str
    thread_id: str
    place: str


def open_turns_after(connection: Connection, after: OpenTurn | None, most: int) -> list[OpenTurn]:
    """Name the next open turns of threads that are kept, by thread and place; `after` the last one of the page before.

    At most `most`; fewer on the last page. One that is opened meanwhile may stand before those that were read.
    """
    _, thread_id, place = after or ("", "", "")
    return read_all(connection, _OPEN_AFTER, OpenTurn, thread_id=thread_id, place=place, most=most)


def size_of_words(connection: Connection, thread_id: str) -> int:
    """Give the characters of all that people said in a thread, as they are stored."""
    query = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(sa.cast(turns.c.messages, sa.Text))), 0))
    return int(connection.scalar(query.where(turns.c.thread_id == thread_id)) or 0)


def prefetch_turn(connection: Connection, turn_id: str) -> None:
    """Ask for what `read_turn` is to read."""
    prefetch(connection, _TURN, turn_id=turn_id)


def turns_of(connection: Connection, thread_id: str) -> list[Turn]:
    """Read the turns of a thread in order."""
    return read_all(connection, _TURNS_OF, Turn, thread_id=thread_id)


def turns_by_id(connection: Connection, turn_ids: Sequence[str]) -> list[Turn]:
    """Read some turns, oldest first."""
    return read_all(connection, _TURNS_BY_ID, Turn, turn_ids=turn_ids) if turn_ids else []


class Placed(NamedTuple):
    """Whose a thread is, and in which graph of the server: as its first turns tell."""

    requested_by: str
    #: None where no turn tells: it was opened before that was noted, or outside a server.
    graph_id: str | None


def read_placed(connection: Connection, thread_id: str) -> Placed | None:
    """Read whose a thread is and in which graph; None where it never had a turn."""
    return read_one(connection, _PLACED, Placed, thread_id=thread_id)


def read_graphs(connection: Connection) -> set[str]:
    """Read the graphs that turns were opened in. Reads the whole table: once for a process."""
    return set(connection.scalars(_GRAPHS))


def add_turn(connection: Connection, added: Turn) -> None:
    """Insert a turn."""
    write(connection, _ADD_TURN, **{**vars(added), "salt": added.salt or secrets.token_hex(16)})


def close_turn(connection: Connection, turn_id: str, state: str, now: datetime) -> None:
    """Close an open turn as `answered` or `withdrawn`."""
    write(connection, _CLOSE_TURN, of_turn=turn_id, new_state=state, now=now)
