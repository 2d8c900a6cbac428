"""Whether a request stands as the log tells, cheaply: by the rows about its turn, each with its own signature.

Less than `audit.verify`: each row was signed under the key after the row beside it, but whether a later one was taken
away, or the log is whole, only the whole chain tells.
"""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.clearance.action import Actions
from agent.clearance.binding import BOUND, Row, Told, read_mention
from agent.clearance.bound_rows import disagreement, read_traces, traces_digest
from agent.clearance.journal import Request
from agent.clearance.signing import Chain, Keys
from agent.db.tables import audit, plans, requests, turns

_BEFORE = audit.alias("before")
_OF_TURN = (
    sa.select(audit, sa.func.coalesce(_BEFORE.c.mac, ""))
    .outerjoin(_BEFORE, _BEFORE.c.seq == audit.c.seq - 1)
    .where(audit.c.turn_id == sa.bindparam("turn_id"))
    .order_by(audit.c.seq)
)
_ROTATED = sa.select(audit.c.seq, audit.c.details).where(audit.c.event == "key_rotated").order_by(audit.c.seq)


def disagreements(connection: Connection, keys: Keys, request: Request, actions: Actions) -> list[str]:
    """Say what of a request, its turn and its decisions is not as the log last told; nothing when all is.

    What was written before the log bound rows is not told of, and disagrees with nothing.
    """
    found: list[str] = []
    told: dict[tuple[str, str], Told] = {}
    traces: str | None = None
    keyed = _Keyed(connection, keys)
    for *row, before in connection.execute(_OF_TURN, {"turn_id": request.turn_id}):
        wrong = keyed.check(tuple(row), before)
        if wrong:
            found.append(wrong)
            continue
        details = json.loads(row[7])
        for table, mentions in details.get("rows", {}).items():
            told |= {(table, row_id): read_mention(mention) for row_id, mention in mentions.items()}
        if row[6] == request.request_id and row[2] == "executed":
            traces = details.get("traces")
    held = _held(connection, request)
    for (table, row_id), mention in told.items():
        if table in BOUND:
            found.append(disagreement(BOUND[table], row_id, held.get((table, row_id)), mention) or "")
    found += [
        f"{table} {row_id} is not in the log"
        for (table, row_id), row in held.items()
        if (table, row_id) not in told and row.version is not None
    ]
    left = read_traces(connection, actions, request.action, [request.request_id]) if traces else None
    if left is not None and traces_digest(left.get(request.request_id, [])) != traces:
        found.append(f"what {request.action} left behind is not what was done")
    return [text for text in found if text]


class _Keyed:
    """Checks single rows, each under the key of its time."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._rotations = [(row[0], json.loads(row[1])) for row in connection.execute(_ROTATED)]
        self._keys = keys

    def check(self, row: tuple[Any, ...], before: str) -> str | None:
        key_id = next((told["key"] for seq, told in self._rotations if row[0] <= seq), None)
        key = self._keys.now if key_id is None else self._keys.find(key_id)
        if key is None:
            return f"row {row[0]} of the log is under the key {key_id}, which is not given (AUDIT_OLD_KEYS)"
        if row[2] == "key_rotated":
            return None
        return Chain(Keys(key)).check(row, before)


def _held(connection: Connection, request: Request) -> dict[tuple[str, str], Row]:
    """Read the rows of a request's turn, by table and id."""
    of_turn = sa.select(requests.c.request_id).where(
        requests.c.thread_id == request.thread_id, requests.c.turn_id == request.turn_id
    )
    found: dict[tuple[str, str], Row] = {}
    for bound in BOUND.values():
        table = bound.table
        is_by_turn = table in (requests, turns, plans)
        where = table.c.turn_id == request.turn_id if is_by_turn else table.c.request_id.in_(of_turn)
        for given in connection.execute(sa.select(*bound.shown).where(where)):
            row = Row.read(given)
            found[table.name, row.id] = row
    return found
