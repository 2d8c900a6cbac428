"""Leases: one holder at a time, until a moment."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import leases

#: Nobody takes a lease for longer.
LONGEST_LEASE = timedelta(hours=1)


def take_lease(connection: Connection, name: str, holder: str, now: datetime, until: datetime) -> bool:
    """Take or renew a lease; False while somebody else holds it."""
    held = connection.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()
    if held is None:
        connection.execute(sa.insert(leases), {"name": name, "holder": holder, "until": until})
        return True
    # One that ends later than any is taken for was taken by a clock that had jumped.
    if held.holder != holder and now < held.until <= now + LONGEST_LEASE:
        return False
    connection.execute(sa.update(leases).where(leases.c.name == name).values(holder=holder, until=until))
    return True


def drop_lease(connection: Connection, name: str, holder: str) -> None:
    """Give a lease back, if `holder` has it."""
    connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))
