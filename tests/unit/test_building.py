"""What a builder gives by mistake is refused where it is given, in a sentence that names it and says what to write."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages

from clearance import Action, Clearance, Effect, Facts, Migrations, OfflineModel, lookup
from clearance.application import the_clearance
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.errors import PolicyError
from clearance.settings import SettingsError


class BookSlot(Action[Facts]):
    """Book a slot."""

    slot: str

    def perform(self, effect: Effect) -> str:
        return f"Booked {self.slot}."


def show_slot(slot: str) -> str:
    """Give a slot."""
    return slot


class Mine(TypedDict):
    notes: str


class Overwritten(TypedDict):
    messages: list[Any]


class Whole(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def a_clearance(actions: Any, **given: Any) -> Clearance:
    return Clearance(actions=actions, **given)


def a_graph() -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", lambda _: {})
    return builder


def add_to(builder: Any = None, **given: Any) -> str:
    graph = StateGraph(MessagesState) if builder is None else builder
    return Clearance(actions=[BookSlot]).add_to(graph, **{"model": OfflineModel(), **given})


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: a_clearance(BookSlot), r"actions: is a list of classes, for example \[BookSlot\]"),
        (lambda: a_clearance([BookSlot(slot="mon-09")]), "actions: an object of BookSlot is no class of Action"),
        (lambda: a_clearance([show_slot]), "actions: show_slot is no class of Action"),
        (lambda: a_clearance([BookSlot, BookSlot]), "two actions have the same name: book_slot"),
        (lambda: a_clearance([], migrations=["mine"]), r"migrations: 'mine' is none; write Migrations\("),
        (lambda: add_to(tools=[show_slot]), "tools: show_slot is no tool: declare .* `clearance.lookup`"),
        (lambda: add_to(tools=[tool(show_slot)]), "show_slot is not declared read-only: declare .* `clearance.lookup`"),
        (lambda: add_to(tools=[BookSlot]), r"tools: BookSlot is an action; list it in Clearance\(actions="),
        (lambda: add_to(tools=[lookup(show_slot), lookup(show_slot)]), "two tools have the same name: show_slot"),
        (lambda: add_to(model="openai:gpt-5-mini"), "model: 'openai:gpt-5-mini' is no chat model.*model=lambda"),
        (lambda: add_to(model=OfflineModel().bind_tools([])), "is no chat model; give one without tools bound to it"),
        (lambda: add_to(a_graph()), "the graph has a node 'tools' already: give a prefix"),
        (lambda: add_to(a_graph().add_edge(START, "tools").compile()), "CompiledStateGraph is no StateGraph"),
        (lambda: add_to(StateGraph(Mine)), "Mine needs `messages: .*add_messages"),
        (lambda: add_to(StateGraph(Overwritten)), "Overwritten needs `messages: .*add_messages"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_where_it_is_made(mistake: Callable[[], object], told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        mistake()


def test_what_is_right_is_taken() -> None:
    assert add_to(a_graph(), prefix="gate_") == "gate_receive"
    assert add_to(StateGraph(Whole), model=OfflineModel, tools=[lookup(show_slot)]) == "receive"


@pytest.mark.parametrize(
    "named", ["./src/clinic/app.py:clearance", "src/clinic/app.py:clearance", ":clearance", "clinic:"]
)
def test_a_setting_that_names_a_file_says_how_a_module_is_named(named: str) -> None:
    with pytest.raises(
        SettingsError, match=r"CLEARANCE: .*module:variable, as one imports it, for example my_agent.app"
    ):
        the_clearance(named)


def test_a_missing_policy_is_told_with_the_shortest_there_is(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"no policy here.*POLICY_FILE") as told:
        Clearance(actions=[BookSlot]).read_policy(tmp_path / "policy.toml")

    (tmp_path / "policy.toml").write_text("\n".join(str(told.value).partition("is asked: ")[2].split(", and ")))
    assert Clearance(actions=[BookSlot]).read_policy(tmp_path / "policy.toml").roles == {"approver": "decides"}


def test_a_folder_of_migrations_that_is_not_there_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'clearance.db'}")
    try:
        with pytest.raises(FileNotFoundError, match=r"migrations: there is no env.py in .*/nowhere"):
            migrate(database, [Migrations(tmp_path / "nowhere", version_table="mine")])
    finally:
        database.close()
