"""Questions: how and when a request was put in a thread."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import plans, questions, requests, turns
from clearance.journal.requests import change_request
from clearance.journal.statements import insert, param, prefetch, read_all, read_one, write


@dataclass(frozen=True)
class PutQuestion:
    """A question as it was put in a thread; columns as in `db.tables.questions`."""

    thread_id: str
    interrupt_id: str
    request_id: str
    revision: int
    checkpoint_id: str | None
    asked_ms: int
    version: int | None = 1


_QUESTION = sa.select(questions).where(
    questions.c.thread_id == param("thread_id"), questions.c.interrupt_id == param("interrupt_id")
)
_QUESTIONS_OF = (
    sa.select(questions)
    .where(questions.c.thread_id == param("thread_id"))
    .order_by(questions.c.asked_ms, questions.c.interrupt_id)
)
#: In each place the last plan is the one that something can wait for.
_LAST_PLAN = (
    sa.select(plans.c.plan_id)
    .where(plans.c.turn_id == turns.c.turn_id)
    .order_by(plans.c.position.desc())
    .limit(1)
    .scalar_subquery()
)
_ASKING = (
    sa.select(turns.c.turn_id)
    .distinct()
    .select_from(turns.join(requests, requests.c.turn_id == turns.c.turn_id))
    .where(
        turns.c.thread_id == param("thread_id"),
        turns.c.state == "open",
        requests.c.thread_id == param("thread_id"),
        requests.c.asked_ms.is_not(None),
        requests.c.plan_id == _LAST_PLAN,
    )
)
_LAST_OF = (
    sa.select(questions)
    .join(requests, requests.c.request_id == questions.c.request_id)
    .where(requests.c.turn_id == param("turn_id"))
    .order_by(questions.c.asked_ms.desc(), questions.c.interrupt_id)
    .limit(1)
)
_ADD_QUESTION = insert(questions)


def questions_of(connection: Connection, thread_id: str) -> list[PutQuestion]:
    """Read the questions that were put in a thread, oldest first."""
    return read_all(connection, _QUESTIONS_OF, PutQuestion, thread_id=thread_id)


def last_question(connection: Connection, turn_id: str) -> PutQuestion | None:
    """Read the question of a turn that was put last; None before the first."""
    return read_one(connection, _LAST_OF, PutQuestion, turn_id=turn_id)


def asking_in(connection: Connection, thread_id: str) -> set[str]:
    """Give the open turns of a thread whose question may stand in it: put, and nothing that the model said since."""
    return set(read_all(connection, _ASKING, str, thread_id=thread_id))


def has_question(connection: Connection, thread_id: str, interrupt_id: str) -> bool:
    """Tell whether a question was put."""
    given = {"thread_id": thread_id, "interrupt_id": interrupt_id}
    return read_one(connection, _QUESTION, PutQuestion, **given) is not None


def prefetch_question(connection: Connection, thread_id: str, interrupt_id: str) -> None:
    """Ask for what `has_question` is to read."""
    prefetch(connection, _QUESTION, thread_id=thread_id, interrupt_id=interrupt_id)


def put_question(connection: Connection, put: PutQuestion) -> None:
    """Note that a question was put; its request is asked from then on."""
    write(connection, _ADD_QUESTION, **vars(put))
    change_request(connection, put.request_id, asked_ms=put.asked_ms)
