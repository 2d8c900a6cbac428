"""The `Clearance` of a project: two of them do not meet, and one database has one of them in a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from clearance import Action, Clearance, Effect, Facts, OfflineModel
from clearance.application import SecondClearanceError, check_alone, the_clearance
from clearance.db.tables import requests
from clearance.graph.guard import guarded
from clearance.settings import SettingsError
from tests.support.world import ANA, OLGA, Person, results


class Paint(Action[Facts]):
    """Paint a wall."""

    colour: str

    def perform(self, effect: Effect) -> str:
        return f"Painted it {self.colour}."


class Plant(Action[Facts]):
    """Plant a tree."""

    tree: str

    def perform(self, effect: Effect) -> str:
        return f"Planted {self.tree}."


def project(action: type[Action[Any]], url: str, policy: Path) -> Clearance:
    """Make a project with one action over a database."""
    return Clearance(actions=[action], policy=policy, database_url=url)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Give a policy that fits both."""
    file = tmp_path / "policy.toml"
    file.write_text('roles.approver = "decides"\ndefaults.approvers = "approver"\n')
    return file


@pytest.fixture
def both(tmp_path: Path, policy: Path) -> Iterator[tuple[Clearance, Clearance]]:
    """Give two projects in this process, each with a database of its own."""
    made = tuple(project(action, f"sqlite:///{tmp_path / action.__name__}.db", policy) for action in (Paint, Plant))
    yield made[0], made[1]
    for one in made:
        one.parts_now().database.close()


async def run(made: Clearance, *given: tuple[Any, Person]) -> dict[str, Any]:
    """Run the graph of a project on one thing after the other, each by somebody; give the last state."""
    builder = StateGraph(MessagesState)
    builder.add_edge(START, made.add_to(builder, model=OfflineModel()))
    graph = guarded(builder.compile(InMemorySaver()))
    said: dict[str, Any] = {}
    for what, by in given:
        run_id = uuid4()
        configurable = {"thread_id": "thread", "run_id": str(run_id), "langgraph_auth_user": by}
        said = await graph.ainvoke(what, {"run_id": run_id, "configurable": configurable})
    return said


def kept(made: Clearance) -> list[tuple[str, str]]:
    """List what a project's journal holds, as (action, state)."""
    query = sa.select(requests.c.action, requests.c.state)
    return [(row[0], row[1]) for row in made.parts_now().database.read_now(lambda c: c.execute(query).all())]


def words(text: str) -> dict[str, Any]:
    """Give a run's input."""
    return {"messages": [("user", text)]}


async def test_two_in_one_process_do_not_meet(both: tuple[Clearance, Clearance]) -> None:
    paint, plant = both

    held = await run(paint, (words("paint: colour red"), OLGA))
    planted = await run(plant, (words("plant: tree an oak"), OLGA), (Command(resume={"approved": True}), ANA))
    strange = await run(plant, (words("paint: colour red"), OLGA))

    assert "__interrupt__" in held
    assert results(planted) == ["Planted an oak."]
    assert "did not understand" in strange["messages"][-1].content
    found = [kept(made) for made in both]
    assert found == [[("paint", "asked")], [("plant", "executed")]]


async def test_a_second_one_over_the_same_database_is_refused_with_a_sentence(
    both: tuple[Clearance, Clearance], policy: Path
) -> None:
    paint, _ = both
    opened = await paint.parts()
    second = project(Paint, paint.settings.database_url, policy)

    with pytest.raises(SecondClearanceError, match=r"two Clearance objects over one database.*module of its own"):
        await second.parts()
    with pytest.raises(SecondClearanceError):
        await run(second, (words("paint: colour red"), OLGA))
    assert await paint.parts() is opened


@pytest.mark.parametrize("way", ["own graph", "middleware"])
def test_a_second_one_in_a_graph_is_found_before_anybody_waits_for_a_run(
    both: tuple[Clearance, Clearance], policy: Path, way: str
) -> None:
    paint, plant = both
    second = project(Paint, paint.settings.database_url, policy)
    check_alone(paint)

    if way == "own graph":
        second.add_to(StateGraph(MessagesState), model=OfflineModel())
    else:
        second.middleware()

    with pytest.raises(SecondClearanceError, match=r"module of its own"):
        check_alone(paint)
    check_alone(plant)


def test_to_make_one_opens_nothing(tmp_path: Path) -> None:
    made = project(Paint, f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "there is none.toml")

    builder = StateGraph(MessagesState)
    made.add_to(builder, model=OfflineModel())

    assert list(tmp_path.iterdir()) == []


_elsewhere = Clearance(actions=[Paint], database_url="sqlite:///elsewhere.db")


def test_a_server_and_the_command_take_none_with_a_database_of_its_own() -> None:
    """They would work on another than the one that is frozen."""
    with pytest.raises(SettingsError, match=r"_elsewhere.*database_url of its own.*DATABASE_URL"):
        the_clearance(f"{__name__}:_elsewhere")


def test_one_that_could_not_be_opened_is_opened_when_what_was_wrong_is_mended(tmp_path: Path, policy: Path) -> None:
    wrong = project(Paint, f"sqlite:///{tmp_path / 'late.db'}", tmp_path / "later.toml")
    with pytest.raises(Exception, match=r"later\.toml"):
        wrong.parts_now()

    policy.rename(tmp_path / "later.toml")

    wrong.parts_now().database.close()


def test_a_graph_with_the_gate_in_it_can_be_drawn(tmp_path: Path) -> None:
    """It raised: edges that were declared in two ways could not be sorted, and pages that draw a graph got an error."""
    builder = StateGraph(MessagesState)
    builder.add_node("wrap", lambda state: {})
    entry = Clearance(actions=[Paint]).add_to(builder, model=OfflineModel(), after="wrap", prefix="gate_")
    builder.add_edge(START, entry)

    drawn = {(edge.source, edge.target) for edge in builder.compile().get_graph().edges}

    assert drawn >= {("__start__", "gate_receive"), ("gate_receive", "gate_model"), ("gate_model", "gate_dispatch")}
    assert drawn >= {("gate_dispatch", "gate_tools"), ("gate_tools", "gate_dispatch"), ("gate_dispatch", "wrap")}
    # Past dispatch, where it would have nothing to do.
    assert drawn >= {("gate_model", "gate_tools"), ("gate_tools", "gate_model")}
