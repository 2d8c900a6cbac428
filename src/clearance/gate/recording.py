"""What happened elsewhere, written down in our own tables: in the transaction that writes its receipt, and once.

It happened, whatever our tables say: when they cannot be written, the receipt tells so, and people have to look.
"""

import secrets
from typing import Any

import sqlalchemy as sa

from clearance.actions.action import Action, Effect, read_action
from clearance.actions.external import ExternalAction
from clearance.actions.soundness import MOST_SENTENCE
from clearance.db.driver_errors import is_from_outside, is_lost
from clearance.db.lent import TransactionEndedError
from clearance.errors import ActionError
from clearance.gate.ended import effect_of, has_ended, not_kept, own_part
from clearance.gate.transitions import note_erased
from clearance.journal.audit import Log
from clearance.journal.erasure import erase_subject
from clearance.journal.left_behind import told_of
from clearance.journal.requests import Request
from clearance.loglines import logger_of

logger = logger_of(__name__)


def record(
    log: Log, request: Request, kind: type[ExternalAction[Any]] | None, sentence: str
) -> tuple[str, dict[str, Any]]:
    """Let an action write in our tables what it did; give the receipt's sentence, and what the audit event binds."""
    if kind is None or not _leaves_something(kind):
        return sentence, {}
    of = effect_of(request.request_id)
    if has_ended(of):
        return _with(sentence, "Nobody knows whether it is recorded here."), {}
    refused = not_kept(of)
    if refused is not None:
        return _unrecorded(request, sentence, refused), {}
    try:
        with own_part(log, of):
            return sentence, _recorded(log, request, kind)
    except TransactionEndedError:
        raise
    except ActionError as exc:
        logger.error("request %s happened, and is not recorded here: %s", request.request_id, exc)
        why = f"It is not recorded here: {exc}"
    except BaseException as exc:  # it happened: the receipt must not wait for our own tables
        if is_from_outside(exc) or (isinstance(exc, sa.exc.DBAPIError) and is_lost(exc)):
            raise  # the transaction is gone, and is tried again as a whole
        return _unrecorded(request, sentence, exc), {}
    return _with(sentence, why), {}


def _unrecorded(request: Request, sentence: str, exc: BaseException) -> str:
    error_id = secrets.token_hex(4)
    logger.error(
        "request %s happened, and is not recorded here, error id %s", request.request_id, error_id, exc_info=exc
    )
    return _with(sentence, f"It is not recorded here (error id {error_id}).")


def _with(sentence: str, why: str) -> str:
    return f"{sentence[: MOST_SENTENCE - len(why) - 1]} {why}"


def _leaves_something(kind: type[ExternalAction[Any]]) -> bool:
    has_traces = getattr(kind.traces, "__func__", None) is not getattr(Action.traces, "__func__", None)
    return has_traces or kind.write_down is not ExternalAction.write_down


def _recorded(log: Log, request: Request, kind: type[ExternalAction[Any]]) -> dict[str, Any]:
    """Write it, and give what is bound of it."""

    def erase(subject: str) -> None:
        note_erased(log, erase_subject(log.connection, subject, request.request_id, log.now))

    if kind.write_down is not ExternalAction.write_down:
        action = read_action(kind, request.arguments or {})
        assert isinstance(action, ExternalAction)
        action.write_down(Effect(log.connection, log.now, request.requested_by, request.request_id, erase))
    return told_of(kind, log.connection, request.request_id)
