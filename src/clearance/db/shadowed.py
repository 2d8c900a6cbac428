"""What would stand before the journal's tables: temporary ones of their names, triggers on them, another search path.

The gate's statements name its tables without a schema. After an action that made a temporary `requests` they would mean
that one, on this connection for good: an effect would be kept without its receipt, or with a request that is cleared.
"""

import sqlite3
from contextlib import suppress
from typing import Any

from clearance.db.compiled import shares_trips
from clearance.db.tables import metadata

_SENTENCE = "an action makes nothing temporary by the name of a table that is not its own, and keeps the search path"
_NAMES = tuple(metadata.tables)
_PLACES = ", ".join("?" * len(_NAMES))
#: A trigger stands under its own name, beside the table's.
_OF_SQLITE = f"SELECT 1 FROM temp.sqlite_master WHERE lower(name) IN ({_PLACES}) OR lower(tbl_name) IN ({_PLACES})"
#: Fails where there is one. By a value that changes, which the planner does not work out before.
_OF_POSTGRES = (
    "SELECT CASE WHEN pg_catalog.current_setting('search_path') <> %(path)s OR EXISTS ("
    "SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relname = ANY(%(names)s)) "
    f"THEN CAST('{_SENTENCE} ' || pg_catalog.random() AS integer) END"
)


def refuse_shadows(driver: Any) -> None:
    """Fail where something would be taken for a table of the journal's: at once, or, on PostgreSQL, with what is next.

    Raises:
        RuntimeError: something would, on SQLite.
    """
    if shares_trips(driver):
        driver.hold(_OF_POSTGRES, {"path": driver.search_path, "names": list(_NAMES)}, only_reads=True)
        return
    with suppress(sqlite3.ProgrammingError):  # closed: nothing of it is kept, and each statement says so
        if driver.execute(_OF_SQLITE, (*_NAMES, *_NAMES)).fetchone() is not None:
            raise RuntimeError(_SENTENCE)
