"""What README says is so: the example action works as it stands there, and every table names what there is."""

import re
from pathlib import Path
from typing import Any

from agent.settings import Settings
from agent.wiring import ACTIONS
from tests.support.scripted_model import calls
from tests.support.world import POLICY, World, question, results

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, holding: str) -> str:
    """Give the code block of README that holds a word."""
    (found,) = (code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in code)
    return str(found)


async def test_the_example_action_works_as_it_stands(world: World) -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(block("python", "CloseAccount"), "README.md", "exec"), names)
    world.actions = (*ACTIONS, names["CloseAccount"])
    world.use_policy(POLICY + block("toml", "close_account"))
    world.model.will_say(calls(("close_account", {"account_id": "A-2005"})))

    asked = question(await world.say("close A-2005"))
    done = await world.answer({"approved": True})

    assert asked["risk_level"] == "medium"
    assert asked["facts"] == {"owner": "Ada Quist (C-1003)", "status": "open", "balance": 0}
    assert results(done) == ["Closed A-2005."]


def test_every_tool_stands_in_the_table(world: World) -> None:
    table = README.split("## What the agent can do")[1].split("\n## ")[0]

    assert set(re.findall(r"`([a-z_]+)`", table)) >= {tool.name for tool in world.parts.toolbox.all}


def test_every_setting_stands_in_the_table() -> None:
    table = README.split("### Settings")[1].split("\n## ")[0]

    assert set(re.findall(r"`([A-Z_]+)`", table)) == {name.upper() for name in Settings.model_fields}


def test_every_test_that_a_promise_names_is_there() -> None:
    table = README.split("## Promises")[1].split("\n## ")[0]
    named = re.findall(r"`((?:unit/|integration/|server/)?test_[a-z_]+\.py)`", table)

    assert len(named) > 12
    for name in named:
        assert list((ROOT / "tests").rglob(name)), f"README names {name}, which is not there"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
