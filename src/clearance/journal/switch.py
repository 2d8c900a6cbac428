"""The switch that stops every effect."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.compiled import rows_of
from clearance.db.tables import audit_head
from clearance.db.types import from_text
from clearance.journal.audit import ahead_of


@dataclass(frozen=True)
class Switch:
    """The freeze: by whom, why and since when; all None while effects may run."""

    frozen_by: str | None
    frozen_reason: str | None
    frozen_at: datetime | None
    #: When the audit log's last row was written: a clock that is behind it stops effects as well.
    at: datetime | None = None

    def ahead(self, now: datetime) -> timedelta | None:
        """Tell how far the log is ahead of the clock, which stops effects as well; None while it is not."""
        return None if self.at is None else ahead_of(self.at, now)


def read_switch(connection: Connection) -> Switch:
    """Read the switch without locking it."""
    ((frozen_by, frozen_reason, frozen_at, written_at),) = rows_of(connection, _SWITCH, {})
    try:
        at = from_text(written_at)
    except (TypeError, ValueError):  # bent, which `verify` tells; nothing can be written then
        at = None
    return Switch(frozen_by, frozen_reason, frozen_at, at)


_SWITCH = sa.select(audit_head.c.frozen_by, audit_head.c.frozen_reason, audit_head.c.frozen_at, audit_head.c.at)


def set_freeze(connection: Connection, *, by: str | None, reason: str | None, at: datetime | None) -> None:
    """Set the switch; `by` None lifts the freeze."""
    connection.execute(
        sa.update(audit_head).values(frozen=by is not None, frozen_by=by, frozen_reason=reason, frozen_at=at)
    )
