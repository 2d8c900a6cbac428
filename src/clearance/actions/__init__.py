"""What an author writes: actions with their facts, and how reviewers see them. All names here are public.

action      what an action is: arguments, `facts`, `perform`
external    one whose effect is elsewhere: a provider, a queue, a command
gated       one made of a tool that exists already
mcp         those of the tools of MCP servers, and the look-ups among them
mcp_sessions    what such a server lists, and one call of it
json_schema  arguments that a JSON schema describes
definition  what a server says a tool is, and the digest of it
origin      where such a tool comes from, and what is claimed of it there
review      how it reads: few words, what changes, what is out of the ordinary, what went before
stored      what is kept of arguments and facts, the same each time
soundness   what cannot be one, told when the `Clearance` is made
"""

from clearance.actions.action import Action, Effect, Facts, Material, Reading, Shown, Volatile
from clearance.actions.external import Absent, Call, Done, ExternalAction, Looking, NotDone, Unclear
from clearance.actions.gated import gated, gated_all
from clearance.actions.mcp import McpTools, mcp_tools
from clearance.actions.origin import ToolOrigin
from clearance.actions.review import Activity, Change, Concern, Id, Name, Review, Words
from clearance.errors import ActionError

__all__ = [
    "Absent",
    "Action",
    "ActionError",
    "Activity",
    "Call",
    "Change",
    "Concern",
    "Done",
    "Effect",
    "ExternalAction",
    "Facts",
    "Id",
    "Looking",
    "Material",
    "McpTools",
    "Name",
    "NotDone",
    "Reading",
    "Review",
    "Shown",
    "ToolOrigin",
    "Unclear",
    "Volatile",
    "Words",
    "gated",
    "gated_all",
    "mcp_tools",
]
