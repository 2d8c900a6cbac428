"""What actions left behind in their own tables, as they read it back themselves, compared with what the log tells.

Those tables are somebody else's, and so is what reads them: whatever it raises is a finding, and ends no verification.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.actions.action import Action, Actions
from clearance.canonical import canonical
from clearance.db.among import among
from clearance.db.compiled import wait_for_all
from clearance.db.driver_errors import is_lost, is_refusing, is_timeout
from clearance.db.lent import TransactionEndedError, read_only
from clearance.db.streaming import UnreadableRow, stream
from clearance.db.tables import requests

#: Requests that are compared at a time.
_CHUNK = 1_000
_ACTIONS = sa.select(requests.c.request_id, requests.c.action).where(among(requests.c.request_id))


class LeftBehind:
    """Hears what the log tells that actions left behind, and compares it a chunk at a time."""

    def __init__(self, connection: Connection, actions: Actions) -> None:
        self._connection = connection
        self._actions = actions
        self._chunk: dict[str, tuple[int, str]] = {}

    def hear(self, seq: int, request_id: str, digest: str) -> str | None:
        """Take what a row of the log says; say what disagrees in the chunk that it completes."""
        self._chunk[request_id] = (seq, digest)
        return self.compare() if len(self._chunk) >= _CHUNK else None

    def compare(self) -> str | None:
        """Compare the chunk and drop it; say the first thing that disagrees."""
        chunk, self._chunk = self._chunk, {}
        told = {request_id: digest for request_id, (_, digest) in chunk.items()}
        for request_id, wrong in changed(self._connection, self._actions, told):
            return f"{wrong} (row {chunk[request_id][0]})"
        return None


def changed(connection: Connection, actions: Actions, told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Say of which requests what they left behind is not what the log tells, by their digests: id and sentence.

    Raises:
        DBAPIError: the database does not answer.
        TransactionEndedError: what reads it back ended the transaction.
    """
    of_action: dict[str, list[str]] = {}
    try:
        for request_id, action in stream(connection, _ACTIONS, ids=list(told)) if told else ():
            of_action.setdefault(action, []).append(request_id)
    except UnreadableRow as exc:
        yield next(iter(told)), f"which actions left something behind cannot be read ({exc})"
        return
    for action, ids in of_action.items():
        digests = _digests(connection, actions, action, ids)
        if isinstance(digests, Exception):  # which of them it is they are asked for one by one
            each = {one: _digests(connection, actions, action, [one]) for one in ids}
        else:
            each = dict.fromkeys(ids, digests)
        for request_id, found in each.items():
            of = f"what {action} of request {request_id} left behind"
            if isinstance(found, Exception):
                yield request_id, f"{of} cannot be read ({type(found).__name__}: {_first_line(found)})"
            elif found is not None and found[request_id] != told[request_id]:
                yield request_id, f"{of} is not what was done"


def _digests(
    connection: Connection, actions: Actions, action: str, ids: list[str]
) -> Mapping[str, str] | Exception | None:
    """Digest what some left behind; None where the action does not say, or is none of this program's."""
    cls = actions.get(action)
    if cls is None:
        return None
    try:
        with read_only(connection, f"what reads back what {action} left behind"):
            digests = left_behind(cls, connection, ids)
            wait_for_all(connection)  # raises where an error was hidden, which only the end of a block undoes
            return digests
    except TransactionEndedError:  # in which the rest of the log was to be read
        raise
    except Exception as exc:  # of whoever wrote the action, and of what somebody wrote into its tables: a finding
        if isinstance(exc, sa.exc.DBAPIError) and (is_lost(exc) or is_timeout(exc) or is_refusing(exc)):
            raise
        return exc


def _first_line(exc: Exception) -> str:
    said = exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc
    return next(iter(str(said).splitlines()), "")[:200]


def left_behind(cls: type[Action[Any]], connection: Connection, ids: Sequence[str]) -> dict[str, str] | None:
    """Digest what an action left behind, by request; None where it does not say. Raises whatever `traces` does."""
    traces = cls.traces(connection, ids)
    return {one: digest(traces.get(one, [])) for one in ids} if traces is not None else None


def told_of(cls: type[Action[Any]], connection: Connection, request_id: str) -> dict[str, str]:
    """Give what the event of a request that was carried out tells of it: nothing where the action does not say."""
    digests = left_behind(cls, connection, [request_id])
    return {} if digests is None else {"traces": digests[request_id]}


def digest(traces: Iterable[dict[str, Any]]) -> str:
    """Digest what an action left behind. Unsalted: it stays when people are erased."""
    return hashlib.sha256(canonical(list(traces))).hexdigest()
