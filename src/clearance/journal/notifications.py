"""The outbox: what is told to the world outside, once the audit log tells of it.

    audit log → collect → notifications → content → sent, by `server.upkeep.webhooks`

The log's rows commit together with what they tell of, and the cursor moves together with what was collected up to it:
a crash loses nothing and repeats nothing. What is told of a request is read from the journal when it is sent, so that
erasure need not look for it here.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.canonical import key
from clearance.db.tables import audit as audit_rows
from clearance.db.tables import cursors, notifications, requests
from clearance.db.types import from_text, to_text
from clearance.journal import audit
from clearance.journal.audit import Log
from clearance.journal.decisions import decisions_on
from clearance.journal.receipts import read_receipt
from clearance.journal.requests import Request, read_request
from clearance.journal.switch import Switch, read_switch
from clearance.text import rendering

#: Events of the audit log that are told, under their own names; `requested` only when a person is asked.
TOLD = (
    "requested",
    "asked_again",
    "approved",
    "edited",
    "rejected",
    "executed",
    "failed",
    "refused",
    "withdrawn",
    "expired",
    "unknown",
    "settled",
    "contradicted",
    "answer_refused",
    "frozen",
    "unfrozen",
    "tool_waits",
)
#: Told a while before the deadline of what is still asked.
REMINDER = "reminder"
REMIND_BEFORE = timedelta(hours=1)
#: Told of an event beside its actor, when the audit log says it. Not its digests: they are for the log.
TOLD_DETAILS = ("cause", "revision", "narrows", "counts", "authentication", "own_request", "error_id", "via",
                "attempt", "happened", "says", "said", "server", "tool")  # fmt: skip

#: Seconds until the first further attempt; each wait is twice the one before, up to the longest.
FIRST_WAIT_S, LONGEST_WAIT_S = 5, 3600
#: Attempts until a notification is given up, after about a day.
ATTEMPTS = 34
#: How long what is over is kept.
KEPT = timedelta(days=30)

_CURSOR = "notifications"
_BATCH = 500


@dataclass(frozen=True)
class Notification:
    """Something to tell; columns as in `db.tables.notifications`."""

    notification_id: str
    event: str
    request_id: str | None
    details: dict[str, Any]
    created_at: datetime
    next_at: datetime | None
    attempts: int
    delivered_at: datetime | None
    last_error: str | None


# Collect

_ROWS = (
    sa.select(audit_rows)
    .where(audit_rows.c.seq > sa.bindparam("after"))
    .order_by(audit_rows.c.seq)
    .limit(sa.bindparam("most"))
)


def is_behind(connection: Connection) -> bool:
    """Tell whether the audit log has rows that were not collected yet."""
    return _cursor(connection) != audit.read_head(connection).seq


def collect(log: Log, most: int = _BATCH) -> bool:
    """Put what the next `most` rows of the audit log tell of into the outbox; tell whether there may be more.

    The first time it begins at the end of the log: what happened before notifications were switched on is not told.
    """
    after = _cursor(log.connection)
    if after is None:
        end = audit.read_head(log.connection).seq
        log.connection.execute(sa.insert(cursors), {"name": _CURSOR, "seq": end})
        _add(log, [made for request in _asked(log.connection) if (made := _reminder(request, log.now))])
        return False
    rows = [dict(row) for row in log.connection.execute(_ROWS, {"after": after, "most": most}).mappings()]
    if not rows:
        return False
    told = [_of_row(row) for row in rows if _is_told(row)]
    asked = {row["request_id"]: row["at"] for row in rows if row["event"] in ("requested", "asked_again")}
    for request_id, at in asked.items():
        request = read_request(log.connection, request_id)
        if request and (reminder := _reminder(request, from_text(at))):
            told.append(reminder)
    _add(log, told)
    log.connection.execute(sa.update(cursors).where(cursors.c.name == _CURSOR).values(seq=rows[-1]["seq"]))
    return len(rows) == most


def stop(connection: Connection) -> None:
    """Forget where the log was read: while notifications are switched off, nothing is collected for later."""
    connection.execute(sa.delete(cursors).where(cursors.c.name == _CURSOR))


def _cursor(connection: Connection) -> int | None:
    return connection.scalar(sa.select(cursors.c.seq).where(cursors.c.name == _CURSOR))


def _is_told(row: dict[str, Any]) -> bool:
    if row["event"] == "requested":
        return bool(json.loads(row["details"])["verdict"] == "ask")
    return row["event"] in TOLD


def _of_row(row: dict[str, Any]) -> dict[str, Any]:
    details = json.loads(row["details"])
    at = from_text(row["at"])
    return {
        # With the mac: two databases number alike, and a receiver may listen to both.
        "notification_id": key("notification", str(row["seq"]), row["mac"]),
        "event": row["event"],
        "request_id": row["request_id"],
        "details": {
            "sequence": row["seq"],
            "actor": row["actor"],
            **{name: details[name] for name in TOLD_DETAILS if name in details},
        },
        "created_at": at,
        "next_at": at,
    }


def _reminder(request: Request, asked_at: datetime) -> dict[str, Any] | None:
    """Give the reminder of an asked request; None when it was asked less than the hour before its deadline."""
    at = request.expires_at - REMIND_BEFORE
    if request.state != "asked" or at <= asked_at:
        return None
    expires_at = to_text(request.expires_at)
    return {
        # One for each deadline: what is asked again has a new one.
        "notification_id": key(REMINDER, request.request_id, expires_at),
        "event": REMINDER,
        "request_id": request.request_id,
        "details": {"expires_at": expires_at},
        "created_at": at,
        "next_at": at,
    }


def _asked(connection: Connection) -> list[Request]:
    query = sa.select(requests).where(requests.c.state == "asked").order_by(requests.c.number)
    return [Request(*row) for row in connection.execute(query)]


def _add(log: Log, made: list[dict[str, Any]]) -> None:
    """Add what is not there yet."""
    by_id = {one["notification_id"]: one for one in made}
    known = sa.select(notifications.c.notification_id).where(notifications.c.notification_id.in_(by_id))
    for there in log.connection.scalars(known).all():
        del by_id[there]
    if by_id:
        log.connection.execute(sa.insert(notifications), list(by_id.values()))


# Tell

_DUE = (
    sa.select(notifications)
    .where(notifications.c.next_at <= sa.bindparam("now"))
    .order_by(notifications.c.next_at, notifications.c.created_at)
    .limit(sa.bindparam("most"))
)


def due(connection: Connection, now: datetime, most: int) -> list[Notification]:
    """Read up to `most` notifications whose time has come, in the order of what they tell."""
    found = [Notification(*row) for row in connection.execute(_DUE, {"now": now, "most": most})]
    return sorted(found, key=lambda one: (one.created_at, one.details.get("sequence", 0)))


def content(connection: Connection, notification: Notification) -> dict[str, Any] | None:
    """Write what is told, as the journal stands now; None for a reminder of what is not asked any more."""
    request = read_request(connection, notification.request_id) if notification.request_id else None
    details = dict(notification.details)
    sequence, actor = details.pop("sequence", None), details.pop("actor", "system")
    if notification.event == REMINDER:
        is_asked = request is not None and request.state == "asked"
        if request is None or not is_asked or details["expires_at"] != to_text(request.expires_at):
            return None
    if "tool" in details:  # as its server calls it
        details["tool"] = rendering.line(details["tool"])
    if notification.event == "frozen":
        switch = read_switch(connection)
        details["reason"] = rendering.words(switch.frozen_reason or "") if _is_of(notification, switch) else None
    return {
        "id": notification.notification_id,
        "event": notification.event,
        "sequence": sequence,
        "occurred_at": to_text(notification.created_at),
        "actor": actor,
        "details": details,
        "request": _told_of(connection, request) if request else None,
    }


def _is_of(notification: Notification, switch: Switch) -> bool:
    return switch.frozen_at == notification.created_at


def _told_of(connection: Connection, request: Request) -> dict[str, Any]:
    receipt = read_receipt(connection, request.request_id)
    given = [made for made in decisions_on(connection, [request.request_id]) if made.counts]
    return {
        "id": request.request_id,
        "action": request.action,
        "sentence": _line(request.sentence),
        "notice": _line(request.notice),
        "outcome": _line(receipt.sentence if receipt else None),
        # Erasure takes the salt away with the words.
        "is_erased": request.salt is None,
        "risk": request.risk,
        "state": request.state,
        "revision": request.revision,
        "rule": request.rule,
        "requested_by": request.requested_by,
        "approvers": request.approvers or [],
        "approvals": {"needed": request.approvals, "given": len(given)},
        "opened_at": to_text(request.opened_at),
        "expires_at": to_text(request.expires_at),
        "thread_id": request.thread_id,
        "turn_id": request.turn_id,
    }


def _line(text: str | None) -> str | None:
    return None if text is None else rendering.line(text, rendering.SENTENCE)


def mark_delivered(connection: Connection, notification_id: str, now: datetime) -> None:
    """Note that the receiver has it."""
    connection.execute(
        sa.update(notifications)
        .where(notifications.c.notification_id == notification_id, notifications.c.delivered_at.is_(None))
        .values(delivered_at=now, next_at=None, attempts=notifications.c.attempts + 1, last_error=None)
    )


def mark_failed(connection: Connection, failed: Notification, now: datetime, error: str, stretch: float) -> bool:
    """Note a failed attempt; the next is `stretch` times the wait from now. Tell whether it is given up."""
    wait = timedelta(seconds=wait_s(failed.attempts + 1) * stretch)
    is_given_up = failed.attempts + 1 >= ATTEMPTS
    connection.execute(
        sa.update(notifications)
        .where(
            notifications.c.notification_id == failed.notification_id,
            notifications.c.next_at.is_not(None),  # another sender may have delivered it
        )
        .values(attempts=failed.attempts + 1, last_error=error, next_at=None if is_given_up else now + wait)
    )
    return is_given_up


def wait_s(attempts: int) -> int:
    """Give the seconds to wait after this many failed attempts."""
    return min(FIRST_WAIT_S << (attempts - 1), LONGEST_WAIT_S)


def drop(connection: Connection, notification_id: str) -> None:
    """Take out what is not worth telling any more."""
    connection.execute(sa.delete(notifications).where(notifications.c.notification_id == notification_id))


def prune(connection: Connection, now: datetime) -> None:
    """Take out what has been over for a while."""
    is_old = notifications.c.created_at < now - KEPT
    connection.execute(sa.delete(notifications).where(notifications.c.next_at.is_(None), is_old))
