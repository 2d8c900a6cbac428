"""A tool that is not declared read-only is an action, and an action is not a plain function."""

from typing import NoReturn

import pytest
from langchain_core.tools import BaseTool, tool

from clearance.actions.action import Actions
from clearance.graph.lookups import lookup
from clearance.graph.toolbox import Toolbox

POLICY = '[roles]\na = "decides"\n[defaults]\napprovers = "a"\n'


@tool
def wipe_everything() -> str:
    """Wipe everything."""
    return "wiped"


async def look(name: str) -> str:
    """Look something up."""
    return name


async def nothing() -> NoReturn:
    raise AssertionError("no tool runs here")


def toolbox(*tools: BaseTool) -> Toolbox:
    return Toolbox(tools, Actions([]), nothing)


def test_a_plain_tool_is_refused_at_start_unless_it_is_declared_read_only() -> None:
    with pytest.raises(ValueError, match="wipe_everything is not declared read-only"):
        toolbox(wipe_everything)

    assert set(toolbox(lookup(look)).lookups) == {"look"}


def test_two_tools_of_one_name_are_refused_at_start() -> None:
    with pytest.raises(ValueError, match="the same name"):
        toolbox(lookup(look), lookup(look))
