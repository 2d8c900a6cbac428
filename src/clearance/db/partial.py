"""Indexes of some of the rows, said once for both databases."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def partial_index(
    name: str, *columns: sa.Column[Any], where: sa.ColumnElement[bool] | sa.TextClause, unique: bool = False
) -> sa.Index:
    """Make an index of those rows of a table for which `where` holds.

    Each database has the condition under a name of its own, by which SQLAlchemy loads what it has for that database:
    said for both here, each process would load the one that it does not use. So it is said when the index is created,
    by itself or with its table.
    """
    index = sa.Index(name, *columns, unique=unique)

    def complete(_: sa.Index, connection: Connection, **__: Any) -> None:
        index.dialect_options[connection.dialect.name]["where"] = where

    sa.event.listen(index, "before_create", complete)
    return index
