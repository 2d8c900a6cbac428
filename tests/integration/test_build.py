"""What docs/build.md shows is so: the code as it stands there is a project, and people ask and decide in it."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from clearance import Clearance, OfflineModel
from clearance.graph.guard import guarded
from clearance.settings import settings
from tests.support.scripted_model import ScriptedModel, calls
from tests.support.world import OLGA, Person, question, results

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "build.md").read_text()
APPROVER, MANAGER = Person("ana", ("approver",)), Person("mo", ("manager",))


def blocks(language: str) -> list[str]:
    """Give the page's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def block(language: str, holding: str) -> str:
    """Give the one that holds a text."""
    (found,) = (code for code in blocks(language) if holding in code)
    return str(found)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Write the page's files into an empty folder, and import the graph's."""
    package = tmp_path / "src" / "my_agent"
    package.mkdir(parents=True)
    (package / "app.py").write_text(block("python", "# src/my_agent/app.py"))
    (package / "graph.py").write_text(block("python", "# src/my_agent/graph.py\n"))
    (tmp_path / "policy.toml").write_text(block("toml", "[roles]"))
    (tmp_path / "pyproject.toml").write_text(block("toml", "[tool.clearance]"))
    monkeypatch.chdir(tmp_path)
    # The default is the same text in every folder, and one process has one `Clearance` for it.
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'clearance.db'}")
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    settings.cache_clear()
    import my_agent.graph  # type: ignore[import-not-found]  # it was written just now

    yield my_agent
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_agent"]:
        del sys.modules[name]


class Talk:
    """A thread of the page's project, and people in it."""

    def __init__(self, project: ModuleType | SimpleNamespace) -> None:
        self.graph = guarded(project.graph.builder.compile(InMemorySaver()))

    async def run(self, given: Any, by: Person) -> dict[str, Any]:
        run_id = uuid4()
        configurable = {"thread_id": "thread", "run_id": str(run_id), "langgraph_auth_user": by}
        said: dict[str, Any] = await self.graph.ainvoke(given, {"run_id": run_id, "configurable": configurable})
        return said

    async def say(self, text: str) -> dict[str, Any]:
        return await self.run({"messages": [("user", text)]}, OLGA)


@pytest.fixture
async def talk(project: ModuleType) -> Any:
    """The project, opened, with one item on its shelf."""
    made: Clearance = project.app.clearance
    assert made.at_start is not None
    made.at_start()
    parts = await made.parts()
    row = {"item_id": "I-1", "name": "lamp", "keeper": "mei", "pieces": 20}
    parts.database.write_now(lambda connection: connection.execute(project.app.items.insert().values(row)))
    yield Talk(project)
    parts.database.close()


async def test_the_lookup_runs_at_once_and_the_policy_lets_a_little_through(talk: Talk) -> None:
    done = await talk.say('show item: item_id I-1; write off: item_id I-1, pieces 2, reason "wet"')

    assert results(done) == ["I-1 'lamp': 20 pieces", "Wrote off 2 of I-1."]


async def test_what_is_more_is_asked_of_the_role_that_the_rule_names(talk: Talk) -> None:
    few = question(await talk.say("write off: item_id I-1, pieces 3"))
    many = question(await talk.say("write off: item_id I-1, pieces 12"))

    assert few["facts"] == {"name": "lamp", "keeper": "mei", "pieces": 20, "waiting": 0}
    assert "Write off 3 pieces of I-1 (lamp)" in few["description"]
    assert few["approvers"] == ["approver"]
    assert many["approvers"] == ["manager"]


async def test_an_edit_to_less_is_the_editors_own_approval_and_to_more_is_not(talk: Talk) -> None:
    await talk.say("write off: item_id I-1, pieces 5")
    done = await talk.run(Command(resume={"approved": True, "edited_args": {"pieces": 4}}), APPROVER)

    await talk.say("write off: item_id I-1, pieces 4")
    more = await talk.run(Command(resume={"approved": True, "edited_args": {"pieces": 6}}), APPROVER)

    assert results(done) == ["Wrote off 4 of I-1."]
    assert question(more)["notice"] == "ana edited it."


async def test_what_cannot_be_done_is_said_and_asked_of_nobody(talk: Talk) -> None:
    done = await talk.say("write off: item_id I-9, pieces 3")

    assert results(done) == ["Not done: There is no item I-9."]


def _go_on(messages: Sequence[BaseMessage]) -> AIMessage:
    """Call the next batch as the last answer says; say so when there is none."""
    last = str(messages[-1].content)
    found = re.search(r"Go on with after '(.*)'", last)
    return calls(("clear_shelf", {"after": found[1]})) if found else AIMessage(f"Over: {last}")


async def test_a_long_job_asks_for_each_batch_and_stops_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'stock.db'}")
    (tmp_path / "policy.toml").write_text(block("toml", "[roles]").partition("[[rule]]")[0])
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    (tmp_path / "stocktake.py").write_text(block("python", "# src/stocktake/app.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    app = import_module("stocktake")
    clearance, items, model = app.clearance, app.items, ScriptedModel()
    model.will_say(calls(("clear_shelf", {})), _go_on, _go_on, _go_on)
    builder = StateGraph(MessagesState)
    builder.add_edge(START, clearance.add_to(builder, model=model))
    parts = await clearance.parts()
    parts.database.write_now(items.metadata.create_all)
    rows = [{"item_id": f"I-{number:03}", "pieces": 2} for number in range(250)]
    parts.database.write_now(lambda connection: connection.execute(items.insert(), rows))
    talk = Talk(SimpleNamespace(graph=SimpleNamespace(builder=builder)))

    def left() -> int:
        there = sa.select(sa.func.count()).where(items.c.pieces > 0)
        return int(parts.database.read_now(lambda connection: connection.scalar(there)))

    first = question(await talk.say("clear the shelf"))
    before = left()
    second = question(await talk.run(Command(resume={"approved": True}), APPROVER))
    between = left()
    third = question(await talk.run(Command(resume={"approved": True}), APPROVER))
    done = await talk.run(Command(resume={"approved": False}), APPROVER)

    asked = [(one["facts"]["count"], one["facts"]["last"]) for one in (first, second, third)]
    assert asked == [(100, "I-099"), (100, "I-199"), (50, "I-249")]
    assert (before, between, left()) == (250, 150, 50)
    assert [text.partition(".")[0] for text in results(done)[:2]] == ["Wrote off 100 items", "Wrote off 100 items"]
    assert "ana rejected it" in results(done)[2]
    parts.database.close()
    del sys.modules["stocktake"]


def test_what_the_page_says_of_files_can_be_read() -> None:
    configuration, image = (json.loads(code) for code in blocks("json"))
    for code in blocks("toml"):
        tomllib.loads(code)
    for code in blocks("python"):
        compile(code, "build.md", "exec")

    assert configuration["http"] == json.loads((ROOT / "examples/create_agent/langgraph.json").read_text())["http"]
    assert "COPY wheels /wheels" in image["dockerfile_lines"]


def test_the_other_form_of_the_graph_is_one_too(project: ModuleType) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python", "in its other form"), "build.md", "exec"), names)

    assert {"model", "tools"} <= names["graph"].get_graph().nodes.keys()


def test_nodes_of_ones_own_stand_before_and_behind(project: ModuleType) -> None:
    drawn = executed("# src/my_agent/triage.py")["graph"].get_graph()

    led = {(edge.source, edge.target) for edge in drawn.edges}
    assert {("sort_in", "warn"), ("sort_in", "receive"), ("warn", "receive"), ("model", "close")} <= led


async def test_keys_of_ones_own_are_kept_on_the_way(talk: Talk, project: ModuleType) -> None:
    builder = executed("# src/my_agent/triage.py")["builder"]
    talk.graph = guarded(builder.compile(InMemorySaver()))

    held = await talk.say('write off: item_id I-1, pieces 3, reason "broken"')
    done = await talk.run(Command(resume={"approved": True}), APPROVER)

    assert question(held)["action"] == "write_off"
    assert (held["urgency"], held["notes"]) == ("high", ["somebody waits at the counter"])
    assert results(done) == ["Wrote off 3 of I-1."]
    assert done["notes"] == ["somebody waits at the counter", "answered"]


async def test_an_agent_inside_another_asks_in_the_thread(talk: Talk, project: ModuleType) -> None:
    names = executed("# src/my_agent/supervisor.py")
    outer = create_agent(
        OfflineModel(),
        tools=[names["ask_warehouse"]],
        middleware=[names["clearance"].middleware()],
        checkpointer=InMemorySaver(),
    )
    talk.graph = guarded(outer)

    held = await talk.say('ask warehouse: task "write off: item_id I-1, pieces 3"')
    done = await talk.run(Command(resume={"approved": True}), APPROVER)

    assert question(held)["requested_by"] == "olga"
    assert "Wrote off 3 of I-1." in done["messages"][-1].text


@pytest.fixture
def nobody_signs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH", "off")


async def test_a_test_of_ones_own_asks_and_approves(nobody_signs_in: None, talk: Talk) -> None:
    said = await executed("# tests/test_write_off.py")["ask_and_approve"]("write off: item_id I-1, pieces 3")

    assert "Wrote off 3 of I-1." in said


def executed(named: str) -> dict[str, Any]:
    """Execute one of the page's files in the project."""
    names: dict[str, Any] = {"__name__": "executed"}
    exec(compile(block("python", named), "build.md", "exec"), names)
    return names


def test_every_public_name_is_told_of() -> None:
    import clearance

    code = " ".join([*re.findall(r"`([^`\n]+)`", PAGE), *blocks("python")])
    assert [name for name in clearance.__all__ if not re.search(rf"\b{name}\b", code)] == []
