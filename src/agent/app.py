"""What this agent puts behind its approvals: the one `Clearance`, which the setting CLEARANCE names."""

from typing import TYPE_CHECKING

from agent.actions import ACTIONS
from agent.bank import MIGRATIONS
from agent.settings import agent_settings
from clearance import Clearance
from clearance.actions import mcp_tools

if TYPE_CHECKING:
    from clearance.actions.mcp import McpTools


def _check_model() -> None:
    from agent.model import the_model  # the command line does without langchain
    from agent.prompts import the_prompt

    the_model()
    the_prompt()


def _tickets() -> "McpTools | None":
    """Take the tools of the ticket desk's MCP server, where there is one: it is believed in what only looks."""
    url = agent_settings().ticket_server_url
    if not url:
        return None
    return mcp_tools({"tickets": {"transport": "streamable_http", "url": url}}, trusted=["tickets"])


clearance = Clearance(
    actions=ACTIONS,
    functions={"usd": lambda dollars: dollars * 100},
    migrations=MIGRATIONS,
    # A model that cannot be made stops the server, and not the first conversation.
    at_start=_check_model,
    mcp=_tickets(),
)
