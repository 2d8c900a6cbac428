"""What README says is so: its example works as it stands there, and the table of tools names what there is."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph.state import CompiledStateGraph

from tests.support.scripted_model import calls
from tests.support.world import World, question, results

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, holding: str) -> str:
    """Give the code block of README that holds a word."""
    (found,) = (code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in code)
    return str(found)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give the module that README writes, importable as it names it."""
    for name in ("shop", "shop.app"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = sys.modules["shop.app"]
    exec(compile(block("python", "CancelOrder"), "README.md", "exec"), vars(module))
    return module


async def test_the_example_action_works_as_it_stands(world: World, shop: ModuleType) -> None:
    world.execute("CREATE TABLE orders (id VARCHAR(40) PRIMARY KEY, status VARCHAR(40), total INTEGER)")
    world.execute("INSERT INTO orders VALUES ('O-1001', 'open', 4900), ('O-1002', 'open', 1900)")
    world.actions = (shop.CancelOrder,)
    world.use_policy(block("toml", "cancel_order"))
    world.model.will_say(calls(("cancel_order", {"order_id": "O-1001"})), AIMessage("It is cancelled."))

    asked = question(await world.say("cancel O-1001"))
    done = await world.answer({"approved": True})

    assert asked["risk_level"] == "high"
    assert asked["facts"] == {"status": "open", "total": 4900}
    assert results(done) == ["Cancelled O-1001."]
    world.model.will_say(calls(("cancel_order", {"order_id": "O-1002"})), AIMessage("This one, too."))
    assert results(await world.say("cancel O-1002", thread="small")) == ["Cancelled O-1002."]


def test_both_ways_into_a_graph_are_as_they_stand(shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none is asked")
    names: dict[str, Any] = {"__name__": __name__}

    exec(compile(block("python", "add_to"), "README.md", "exec"), names)
    own = names["graph"]
    exec(compile(block("python", "create_agent"), "README.md", "exec"), names)
    agent = names["graph"]

    assert isinstance(own, CompiledStateGraph)
    assert {"receive", "model", "dispatch", "tools"} <= set(own.nodes)
    assert isinstance(agent, CompiledStateGraph)
    assert {"model", "tools"} <= set(agent.nodes)


def test_every_tool_stands_in_the_table(world: World) -> None:
    table = README.split("## Run the sample")[1].split("\n## ")[0]

    assert set(re.findall(r"`([a-z_]+)`", table)) >= world.tools
