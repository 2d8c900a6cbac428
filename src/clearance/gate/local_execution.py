"""One local effect: performed in a savepoint of the transaction that uses up its clearance, with its receipt."""

import secrets

import sqlalchemy as sa

from clearance.actions.action import ActionError, Effect
from clearance.actions.soundness import a_sentence
from clearance.db.driver_errors import is_from_outside, is_lost
from clearance.db.engine import Database
from clearance.db.lent import TransactionEndedError
from clearance.gate.ended import effect_of, not_kept, own_part
from clearance.gate.judging import Judge, Judged
from clearance.gate.losses import fail
from clearance.gate.transitions import finish, note_erased, salted
from clearance.journal.audit import Log
from clearance.journal.erasure import erase_subject
from clearance.journal.left_behind import told_of
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request
from clearance.loglines import logger_of

logger = logger_of(__name__)


def perform(log: Log, judge: Judge, database: Database, request: Request, judged: Judged) -> Receipt:
    """Do what a local action does, all of it or nothing, and write its receipt.

    Raises:
        TransactionEndedError: it ended the transaction, see `ended`.
    """
    connection = log.connection

    def failed(exc: BaseException) -> Receipt:
        error_id = secrets.token_hex(4)
        logger.error("action %s failed, error id %s", request.action, error_id, exc_info=exc)
        sentence = f"Not done: {request.action} failed unexpectedly (error id {error_id})."
        return fail(log, judge.policy, request, "failed", sentence, cause="error", error_id=error_id)

    of = effect_of(request.request_id)
    refused = not_kept(of)
    if refused is not None:
        return failed(refused)

    def erase(subject: str) -> None:
        note_erased(log, erase_subject(connection, subject, request.request_id, log.now))

    effect = Effect(connection, log.now, request.requested_by, request.request_id, erase)
    try:
        what = f"{request.action} of request {request.request_id}"
        with own_part(log, of), database.doing(what):
            sentence = a_sentence(judged.action.perform(effect), f"{request.action}.perform")
            left = told_of(type(judged.action), connection, request.request_id)
    except ActionError as exc:
        return fail(log, judge.policy, request, "failed", f"Not done: {exc}", cause="action")
    except TransactionEndedError:
        raise
    except BaseException as exc:  # whatever an action raises is its failure, with a receipt
        if is_from_outside(exc) or (isinstance(exc, sa.exc.DBAPIError) and is_lost(exc)):
            raise  # the transaction is gone: nothing happened, and it is tried again as a whole
        return failed(exc)
    return finish(log, request, "executed", sentence, actor="system", arguments=salted(request, judged.arguments),
                  subjects=judged.subjects, **left)  # fmt: skip
