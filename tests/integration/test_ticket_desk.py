"""The small ticket desk that ships for the demo, over real HTTP: what only looks runs, the rest is held."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clearance import Clearance
from clearance.actions import mcp_tools
from clearance.actions.mcp import McpFacts
from clearance.graph.lookups_elsewhere import lookup_tool
from demo.tickets import TicketDesk
from tests.support.server import free_port

HEAD = 'roles.approver = "decides"\ndefaults.approvers = "approver"\n'
CLAIMED = """
[[rule]]
server  = "tickets"
when    = "tool.destructive"
verdict = "deny"
"""
PATTERN = """
[[rule]]
server  = "tickets"
action  = "create_*"
when    = 'args.priority == "low"'
verdict = "allow"
"""


@pytest.fixture(scope="module")
def desk() -> Iterator[TicketDesk]:
    with TicketDesk(free_port()) as made:
        yield made


@pytest.fixture
def clearance(desk: TicketDesk, tmp_path: Path) -> Iterator[Clearance]:
    (tmp_path / "policy.toml").write_text(HEAD)
    made = Clearance(
        actions=[],
        mcp=mcp_tools({"tickets": {"transport": "streamable_http", "url": desk.url}}, trusted=["tickets"]),
        policy=tmp_path / "policy.toml",
        database_url=f"sqlite:///{tmp_path / 'desk.db'}",
    )
    parts = made.parts_now()
    yield made
    parts.database.close()


async def test_a_lookup_without_arguments_is_called(clearance: Clearance) -> None:
    """What went wrong: a tool of no arguments got none, and the run ended with an error."""
    said = await lookup_tool(clearance.actions.lookups["list_tickets"], clearance.parts).ainvoke({})

    assert said == "1: Ada cannot sign in"
    assert {kind.tool_name() for kind in clearance.actions} == {"create_ticket", "delete_ticket"}


def test_rules_by_server_by_pattern_and_by_claim_hold_for_what_is_found_at_the_start(
    clearance: Clearance, tmp_path: Path
) -> None:
    create, delete = clearance.actions["create_ticket"], clearance.actions["delete_ticket"]
    facts = McpFacts(server="tickets", definition="d", claims="nothing")
    calls = [
        create.model_validate({"title": "a"}),
        create.model_validate({"title": "a", "priority": "high"}),
        delete.model_validate({"number": 1}),
    ]

    def words(rules: str) -> list[str]:
        (tmp_path / "other.toml").write_text(HEAD + rules)
        policy = clearance.read_policy(tmp_path / "other.toml")
        return [policy.check(call, facts).word for call in calls]

    assert words("") == ["ask", "ask", "ask"]
    assert words(PATTERN) == ["allow", "ask", "ask"]
    # That it only adds, `create_ticket` does not claim: it is taken for the worse.
    assert words(CLAIMED + PATTERN) == ["deny", "deny", "deny"]
