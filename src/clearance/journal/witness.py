"""Whether turns stand as the log tells, cheaply: by the rows about them, each with its own signature.

Less than `verification.verify`: each row was signed under the key after the row beside it, but whether a later one was
taken away, or the log is whole, only the whole chain tells.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.actions.action import Actions
from clearance.db.compiled import rows_of
from clearance.db.tables import audit, plans, requests, tool_definitions, turns
from clearance.journal.binding import BOUND, Row, Told, read_mention
from clearance.journal.bound_rows import disagreement
from clearance.journal.left_behind import changed
from clearance.journal.requests import Request, SameCall
from clearance.journal.signing import Chain, Keys
from clearance.journal.statements import among
from clearance.journal.turns import Turn

_BEFORE = audit.alias("before")
_OF_TURNS = (
    sa.select(audit, sa.func.coalesce(_BEFORE.c.mac, ""))
    .outerjoin(_BEFORE, _BEFORE.c.seq == audit.c.seq - 1)
    .where(audit.c.turn_id.in_(among("turn_ids")))
    .order_by(audit.c.seq)
)
_ROTATED = sa.select(audit.c.seq, audit.c.details).where(audit.c.event == "key_rotated").order_by(audit.c.seq)


def _holding() -> Iterator[tuple[sa.Table, sa.Select[Any]]]:
    """Give for each table what reads the rows of turns."""
    # By thread, too: that is what there is an index of.
    is_of_turns = requests.c.thread_id.in_(among("thread_ids")) & requests.c.turn_id.in_(among("turn_ids"))
    of_turns = sa.select(requests.c.request_id).where(is_of_turns)
    for bound in BOUND.values():
        table = bound.table
        if table is tool_definitions:  # of no turn: those of all are compared by `verify`
            continue
        of_table: sa.ColumnElement[bool]
        if table is requests:
            of_table = is_of_turns
        elif table in (turns, plans):
            of_table = table.c.turn_id.in_(among("turn_ids"))
        else:
            of_table = table.c.request_id.in_(of_turns)
        yield table, sa.select(*bound.shown).where(of_table)


#: Made once: statements are kept compiled.
_HOLDING = dict(_holding())


def disagreements(
    connection: Connection, keys: Keys, of: Sequence[Turn | Request | SameCall], actions: Actions
) -> list[str]:
    """Say what of these turns, given as themselves or by a request, is not as the log last told; nothing when all is.

    Their plans, requests, decisions, questions and receipts, and what was left behind. What was written before the log
    bound rows is not told of, and disagrees with nothing.
    """
    if not of:
        return []
    found: list[str] = []
    told: dict[tuple[str, str], Told] = {}
    traces: dict[str, str] = {}
    keyed = _Keyed(connection, keys)
    for *row, before in rows_of(connection, _OF_TURNS, {"turn_ids": [turn.turn_id for turn in of]}):
        wrong = keyed.check(tuple(row), before)
        if wrong:
            found.append(wrong)
            continue
        details = json.loads(row[7])
        for table, mentions in details.get("rows", {}).items():
            told |= {(table, row_id): read_mention(mention) for row_id, mention in mentions.items()}
        if row[2] == "executed" and "traces" in details:
            traces[row[6]] = details["traces"]
    held = _held(connection, of)
    for (table, row_id), mention in told.items():
        if table in BOUND:
            found.append(disagreement(BOUND[table], row_id, held.get((table, row_id)), mention) or "")
    found += [
        f"{table} {row_id} is not in the log"
        for (table, row_id), row in held.items()
        if (table, row_id) not in told and row.version is not None
    ]
    found += [wrong for _, wrong in changed(connection, actions, traces)]
    return [text for text in found if text]


class _Keyed:
    """Checks single rows, each under the key of its time."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._rotations = [(row[0], json.loads(row[1])) for row in rows_of(connection, _ROTATED, {})]
        self._keys = keys

    def check(self, row: tuple[Any, ...], before: str) -> str | None:
        key_id = next((told["key"] for seq, told in self._rotations if row[0] <= seq), None)
        key = self._keys.now if key_id is None else self._keys.find(key_id)
        if key is None:
            return f"row {row[0]} of the log is under the key {key_id}, which is not given (AUDIT_OLD_KEYS)"
        if row[2] == "key_rotated":
            return None
        return Chain(Keys(key)).check(row, before)


def _held(connection: Connection, of: Sequence[Turn | Request | SameCall]) -> dict[tuple[str, str], Row]:
    """Read the rows of turns, by table and id."""
    ids = {"turn_ids": [turn.turn_id for turn in of], "thread_ids": sorted({turn.thread_id for turn in of})}
    found: dict[tuple[str, str], Row] = {}
    for table, query in _HOLDING.items():
        given = ids if table not in (turns, plans) else {"turn_ids": ids["turn_ids"]}
        for row in map(Row.read, rows_of(connection, query, given)):
            found[table.name, row.id] = row
    return found
