"""Sessions of SQLAlchemy's ORM on the connection of an action, as many a builder's code has them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from langchain_core.messages import AIMessage
from pydantic import Field
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from clearance.actions.action import Action, ActionError, Effect, Facts, Reading, Volatile
from tests.support.scripted_model import calls
from tests.support.world import World, results

POLICY = """
[roles]
approver = "decides"
[defaults]
approvers = "approver"
[[rule]]
action = "note"
verdict = "allow"
"""

Way = Callable[[Connection], None]


class Base(DeclarativeBase):
    """The builder's models."""


class Line(Base):
    """One line of a notebook."""

    __tablename__ = "lines"

    text: Mapped[str] = mapped_column(primary_key=True)


def _left(c: Connection) -> None:
    session = Session(c)
    session.add(Line(text="one"))
    session.flush()


def _closed(c: Connection) -> None:
    with Session(c) as session:
        session.add(Line(text="one"))
        session.flush()


def _committed(c: Connection) -> None:
    with Session(c) as session:
        session.add(Line(text="one"))
        session.commit()


def _begun(c: Connection) -> None:
    with Session(c) as session, session.begin():
        session.add(Line(text="one"))


def _made(c: Connection) -> None:
    with sessionmaker(c).begin() as session:
        session.add(Line(text="one"))


def _rolled_back(c: Connection) -> None:
    with Session(c) as session:
        session.add(Line(text="one"))
        session.flush()
        session.rollback()


def _rolled_back_and_gone_on(c: Connection) -> None:
    with Session(c) as session:
        session.add(Line(text="undone"))
        session.flush()
        session.rollback()
        session.add(Line(text="one"))
        session.commit()


def _nested(c: Connection) -> None:
    with Session(c) as session:
        with session.begin_nested():
            session.add(Line(text="one"))
        with suppress(KeyError), session.begin_nested():
            session.add(Line(text="undone"))
            session.flush()
            raise KeyError
        session.commit()


def _refused(c: Connection) -> None:
    with Session(c) as session:
        session.add(Line(text="one"))
        session.commit()
    with Session(c) as session:
        session.add(Line(text="one"))
        with suppress(sa.exc.IntegrityError):
            session.commit()


def _two(c: Connection) -> None:
    for text in ("one", "two"):
        with Session(c) as session:
            session.add(Line(text=text))
            session.flush()


def _kept_and_undone(c: Connection) -> None:
    _closed(c)
    with Session(c) as session:
        session.add(Line(text="undone"))
        session.flush()
        session.rollback()


def _in_a_savepoint(c: Connection) -> None:
    with c.begin_nested(), Session(c) as session:
        session.add(Line(text="one"))
        session.commit()


def _in_mode(mode: Any, end: str) -> Way:
    def run(c: Connection) -> None:
        with Session(c, join_transaction_mode=mode) as session:
            session.add(Line(text="one"))
            session.flush()
            getattr(session, end)()

    return run


#: What a perform does, and the lines that are there after it.
WAYS: dict[str, tuple[Way, list[str]]] = {
    "left open": (_left, ["one"]),
    "closed": (_closed, ["one"]),
    "committed": (_committed, ["one"]),
    "begun": (_begun, ["one"]),
    "of a sessionmaker": (_made, ["one"]),
    "rolled back": (_rolled_back, []),
    "rolled back and gone on": (_rolled_back_and_gone_on, ["one"]),
    "nested": (_nested, ["one"]),
    "refused by a key": (_refused, ["one"]),
    "two in turn": (_two, ["one", "two"]),
    "one kept, one undone": (_kept_and_undone, ["one"]),
    "in a savepoint": (_in_a_savepoint, ["one"]),
    "in control, committed": (_in_mode("control_fully", "commit"), ["one"]),
    "in control, rolled back": (_in_mode("control_fully", "rollback"), []),
    "by a savepoint, committed": (_in_mode("create_savepoint", "commit"), ["one"]),
    "by a savepoint, rolled back": (_in_mode("create_savepoint", "rollback"), []),
    "rolled back only": (_in_mode("rollback_only", "rollback"), []),
}


class NoteFacts(Facts):
    """How many lines there are."""

    lines: Volatile[int]


class Note(Action[NoteFacts]):
    """Write lines into the notebook."""

    way: str = Field(description="in which way")
    where: str = "perform"

    performed: ClassVar[int] = 0

    def facts(self, reading: Reading) -> NoteFacts:
        with Session(reading.connection) as session:
            count = session.scalar(sa.select(sa.func.count()).select_from(Line)) or 0
            session.commit()
        if self.where == "facts":
            WAYS[self.way][0](reading.connection)
        return NoteFacts(lines=count)

    def perform(self, effect: Effect) -> str:
        Note.performed += 1
        with Session(effect.connection) as session, session.begin():
            if self.way == "raises":
                session.add(Line(text="undone"))
                session.flush()
                raise ActionError("the notebook is full")
        WAYS[self.way][0](effect.connection)
        return "Noted."


@pytest.fixture
def noting(world: World) -> World:
    """A world whose action works by sessions of the ORM."""
    Note.performed = 0
    made = World(world.database, policy=POLICY, actions=(Note,))
    made.execute("CREATE TABLE lines (text TEXT PRIMARY KEY)")
    return made


def lines(world: World) -> list[str]:
    return list(world.read(lambda c: c.scalars(sa.text("SELECT text FROM lines ORDER BY text")).all()))


async def note(world: World, thread: str, **arguments: str) -> str:
    world.model.will_say_nothing_more()
    world.model.will_say(calls(("note", arguments)), AIMessage("I see."))
    (said,) = results(await world.say("go", thread=thread))
    return said


async def test_a_session_ends_what_is_its_own_and_the_effect_has_its_receipt(noting: World) -> None:
    """A rollback ended the gate's transaction: PostgreSQL's log was broken, and SQLite's run failed each time."""
    for number, (way, (_, left)) in enumerate(WAYS.items()):
        noting.execute("DELETE FROM lines")

        assert await note(noting, str(number), way=way) == "Noted.", way
        assert lines(noting) == left, way
    assert set(noting.states()) == {"executed"}
    assert Note.performed == len(WAYS)
    assert noting.audit_is_whole()


async def test_facts_write_by_none_either(noting: World) -> None:
    for number, way in enumerate(WAYS):
        said = await note(noting, str(number), way=way, where="facts")
        assert said.startswith("Not done: what is true about it cannot be read"), way
    assert (lines(noting), Note.performed) == ([], 0)
    assert noting.audit_is_whole()


async def test_what_an_action_says_of_its_failure_is_told_though_its_session_rolled_back(noting: World) -> None:
    assert await note(noting, "1", way="raises") == "Not done: the notebook is full"

    assert (lines(noting), noting.states()) == ([], ["failed"])
    assert noting.audit_is_whole()


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_a_look_up_may_end_its_session_as_it_likes(noting: World, end: str) -> None:
    await note(noting, "1", way="closed")

    def look(connection: Connection) -> list[str]:
        session = Session(connection)
        found = list(session.scalars(sa.select(Line.text)))
        getattr(session, end)()
        return found + list(connection.scalars(sa.select(Line.text)))

    assert await noting.database.read(look) == ["one", "one"]
    assert await noting.database.read(look) == ["one", "one"]
