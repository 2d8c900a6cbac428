"""How often the same was tried without getting anywhere: kept, so that a restart does not begin to count anew.

What ends the process, or fails in a way that leaves no receipt, would else be tried for ever: at each start again.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import tries
from clearance.journal.statements import read_one, run

#: Tries after which something ends, told as failed.
MOST_TRIES = 6

_FOUND = sa.select(tries.c.mark, tries.c.count).where(tries.c.subject == sa.bindparam("subject"))
_ADD = sa.insert(tries)
_CHANGE = (
    sa.update(tries)
    .where(tries.c.subject == sa.bindparam("of_subject"))
    .values(mark=sa.bindparam("new_mark"), count=sa.bindparam("new_count"))
)


def count_try(connection: Connection, subject: str, mark: str) -> int:
    """Count one more try of `subject`, a turn or a request, as it stands with `mark`; give the number of it.

    With another mark it got somewhere, so the count begins anew. Call it in a transaction that commits before the try.
    """
    found = read_one(connection, _FOUND, _marked, subject=subject)
    if found is None:
        run(connection, _ADD, subject=subject, mark=mark, count=1)
        return 1
    before, so_far = found
    count = so_far + 1 if before == mark else 1
    run(connection, _CHANGE, of_subject=subject, new_mark=mark, new_count=count)
    return count


def _marked(mark: str, count: int) -> tuple[str, int]:
    return mark, count
