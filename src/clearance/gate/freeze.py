"""The one switch that stops every effect, and lets them run again."""

from typing import Any

from clearance.journal.attempts import all_in_flight
from clearance.journal.audit import Log
from clearance.journal.switch import set_freeze


def freeze_effects(log: Log, *, by: str, reason: str, **details: Any) -> None:
    """Stop every effect. The lock this holds is the one effects run under, so none is in flight here when it commits.

    What was started elsewhere cannot be called back: the log names it.
    """
    if not log.frozen:
        set_freeze(log.connection, by=by, reason=reason, at=log.now)
        flying = [one.request_id for one in all_in_flight(log.connection)]
        told: dict[str, Any] = {"in_flight": flying} if flying else {}
        log.append("frozen", by, sealed_reason=log.sealed(reason), **told, **details)


def unfreeze_effects(log: Log, *, by: str, **details: Any) -> None:
    """Let effects run again. Nothing runs by itself."""
    if log.frozen:
        set_freeze(log.connection, by=None, reason=None, at=None)
        log.append("unfrozen", by, **details)
