"""Column types that behave the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


def to_text(moment: datetime) -> str:
    """Write an aware moment as UTC, ISO 8601, microseconds, with `Z`.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; times are aware UTC")
    # Microseconds are always written, so that text order is time order in SQLite.
    if moment.tzinfo is UTC:  # as nearly all are
        return f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def from_text(text: str) -> datetime:
    """Read what `to_text` wrote."""
    return _from_text(text)


_from_text = datetime.fromisoformat


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC moment: `timestamptz` in PostgreSQL, ISO text in SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return self.bind_processor(dialect)(value)

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        return _write_text if dialect.name == "sqlite" else _write_moment

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        # Without what a decorator puts around it: most of what is read of a row are moments.
        return _read_text if dialect.name == "sqlite" else _read_moment


def _write_text(value: datetime | None) -> str | None:
    return None if value is None else to_text(value)


def _write_moment(value: datetime | None) -> datetime | None:
    if value is not None:
        to_text(value)  # which refuses one without a time zone
    return value


def _read_text(value: str | None) -> datetime | None:
    return None if value is None else _from_text(value)


def _read_moment(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)
