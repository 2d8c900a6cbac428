"""The `Clearance` of a server whose agent works on tickets, by an MCP server that its environment names."""

import json
import os

from clearance import Clearance
from clearance.actions import mcp_tools
from tests.support.tickets import CONNECTION

clearance = Clearance(
    actions=[], mcp=mcp_tools({"tickets": json.loads(os.environ[CONNECTION])}, trusted=["tickets"], timeout_s=20)
)
