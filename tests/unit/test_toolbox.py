"""A tool that is not declared read-only is an action, and an action is not a plain function."""

from pathlib import Path

import pytest
from langchain_core.tools import tool

from agent.clearance.action import Actions
from agent.clearance.gate import Gate
from agent.clearance.judging import Judge
from agent.clearance.policy import parse_policy
from agent.db.engine import Database
from agent.tools import Toolbox
from agent.tools.errors import telling_tool

POLICY = '[roles]\na = "decides"\n[defaults]\napprovers = "a"\n'


@tool
def wipe_everything() -> str:
    """Wipe everything."""
    return "wiped"


async def look(name: str) -> str:
    """Look something up."""
    return name


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    actions = Actions([])
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")
    return Gate(database, Judge(actions, parse_policy(POLICY, "policy.toml", actions, {})), b"k" * 32)


def test_a_plain_tool_is_refused_at_start_unless_it_is_declared_read_only(gate: Gate) -> None:
    with pytest.raises(ValueError, match="wipe_everything is not declared read-only"):
        Toolbox([wipe_everything], gate)

    assert set(Toolbox([telling_tool(look)], gate).lookups) == {"look"}


def test_two_tools_of_one_name_are_refused_at_start(gate: Gate) -> None:
    with pytest.raises(ValueError, match="the same name"):
        Toolbox([telling_tool(look), telling_tool(look)], gate)
