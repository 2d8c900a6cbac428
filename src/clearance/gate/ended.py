"""An action for which a transaction came to nothing: it ended it, or the database kept nothing of it.

Whether what it did is kept nobody knows where it ended the transaction, and surely not where the schema refused it with
COMMIT. It is not done again. The transaction is run once more, and where it comes to that action it is known what
became of it.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from clearance.db.driver_errors import is_out_of_place
from clearance.db.lent import LentError, NotKeptError, TransactionEndedError, end_inner, kept_open
from clearance.journal.audit import Log
from clearance.loglines import logger_of

T = TypeVar("T")
logger = logger_of(__name__)

#: By what its transaction came to nothing in the work that this task, or this thread, does, and how.
_ended: ContextVar[Mapping[str, LentError]] = ContextVar("ended", default=MappingProxyType({}))
#: Transactions of one piece of work that may be ended, each by another action's facts.
_MOST = 100


def has_ended(of: str) -> bool:
    """Tell whether something ended the transaction when this work was tried before."""
    return isinstance(_ended.get().get(of), TransactionEndedError)


def not_kept(of: str) -> NotKeptError | None:
    """Say why the database kept nothing of what something wrote when this work was tried before."""
    found = _ended.get().get(of)
    return found if isinstance(found, NotKeptError) else None


async def surviving(run: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction; where it came to nothing for an action, run it again: `has_ended` and `not_kept` tell then."""
    mark = _ended.set(_ended.get())
    try:
        for _ in range(_MOST):
            try:
                return await run()
            except LentError as exc:
                _note(exc)
        return await run()
    finally:
        _ended.reset(mark)


def surviving_now(run: Callable[[], T]) -> T:
    """`surviving`, blocking."""
    mark = _ended.set(_ended.get())
    try:
        for _ in range(_MOST):
            try:
                return run()
            except LentError as exc:
                _note(exc)
        return run()
    finally:
        _ended.reset(mark)


def _note(exc: LentError) -> None:
    if exc.of in _ended.get():
        raise exc
    logger.error("%s: %s", exc.of, exc, exc_info=exc)
    _ended.set({**_ended.get(), exc.of: exc})


def effect_of(request_id: str) -> str:
    """Give what an effect is called here."""
    return f"the effect of request {request_id}"


def facts_of(action: str) -> str:
    """Give what the facts of an action are called here."""
    return f"the facts of {action}"


@contextmanager
def own_part(log: Log, of: str) -> Iterator[None]:
    """Let an action write in the open transaction: all of the block or, when it raises, nothing.

    Raises:
        TransactionEndedError: the block ended the transaction; `of` tells `has_ended` so.
    """
    own: BaseException | None = None
    outer = log.connection.get_nested_transaction()
    try:
        with log.savepoint():
            try:
                with kept_open(log.connection, of):
                    yield
            except BaseException as exc:  # an action's, or this process is to end: told from what the savepoint raises
                own = exc
                raise
            finally:
                # They would end with ours, and SQLAlchemy would warn of that, or raise, when it is done.
                end_inner(log.connection, outer, is_kept=own is None)
    except BaseException as exc:  # whatever it is, the savepoint could not be ended: it is not there any more
        if exc is own or (isinstance(exc, DBAPIError) and not is_out_of_place(exc)):
            raise
        raise TransactionEndedError(of) from exc
