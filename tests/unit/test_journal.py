"""The journal's values are its rows: read by position, so the order has to be the same."""

from dataclasses import fields
from typing import Any

import pytest

from clearance.canonical import _is_plain
from clearance.db import tables
from clearance.journal.binding import BOUND
from clearance.journal.decisions import Decision
from clearance.journal.plans import Plan
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request
from clearance.journal.turns import Turn

PAIRS: list[tuple[Any, Any]] = [
    (Turn, tables.turns),
    (Plan, tables.plans),
    (Request, tables.requests),
    (Decision, tables.decisions),
    (Receipt, tables.receipts),
]


@pytest.mark.parametrize(("value", "table"), PAIRS, ids=lambda one: getattr(one, "__name__", ""))
def test_fields_stand_in_the_order_of_the_columns(value: Any, table: Any) -> None:
    assert [field.name for field in fields(value)] == list(table.columns.keys())


def test_the_log_names_tables_by_plain_texts() -> None:
    """SQLAlchemy's kind of text was none to the quick canonical form: each row that binds was written by the slow."""
    assert all(_is_plain({name: bound.name}) for name, bound in BOUND.items())
