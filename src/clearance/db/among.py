"""Rows by many ids at once: the ids are one value, so that a statement is the same for ten as for a thousand."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator


class _Texts(TypeDecorator[Sequence[str]]):
    """Texts as one value: an array in PostgreSQL, JSON in SQLite."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(sa.ARRAY(sa.Text()) if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        return list(value) if dialect.name == "postgresql" else json.dumps(list(value))


class _Among(sa.sql.expression.ColumnElement[bool]):
    inherit_cache = True
    type = sa.Boolean()
    # Else SQLite is asked whether it is 1, and reads the whole table.
    _is_implicitly_boolean = True
    _traverse_internals = [  # noqa: RUF012  SQLAlchemy's
        ("column", InternalTraversal.dp_clauseelement),
        ("texts", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: sa.ColumnElement[str], texts: sa.BindParameter[Any]) -> None:
        self.column = column
        self.texts = texts


@compiles(_Among)
def _in_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(one, **options) for one in (element.column, element.texts))
    return f"{column} IN (SELECT value FROM json_each({texts}))"


@compiles(_Among, "postgresql")
def _in_array(element: _Among, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(one, **options) for one in (element.column, element.texts))
    return f"{column} = ANY({texts})"


def among(column: sa.ColumnElement[str], name: str = "ids") -> sa.ColumnElement[bool]:
    """Tell whether a column of texts is among those that are given by `name`, as a list."""
    return _Among(column, sa.bindparam(name, type_=_Texts()))
