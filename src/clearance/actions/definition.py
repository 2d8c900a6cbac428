"""What an MCP server says a tool is: name, description, schema and hints, and the digest that pins all of it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from clearance.actions.origin import ToolOrigin
from clearance.canonical import clean

#: The hints of the protocol, as servers write them, to what `ToolOrigin` calls them.
HINTS = {
    "readOnlyHint": "read_only",
    "destructiveHint": "destructive",
    "idempotentHint": "idempotent",
    "openWorldHint": "open_world",
}


@dataclass(frozen=True)
class ToolDefinition:
    """A tool as its server lists it."""

    #: As the project calls the server.
    server: str
    #: As the server calls the tool.
    name: str
    description: str
    #: The JSON schema of its arguments.
    schema: dict[str, Any]
    #: Those of `HINTS` that the server gives.
    hints: dict[str, bool]

    @property
    def digest(self) -> str:
        """Pin it: the sha256 (hex) of all that it says."""
        # Not the canonical form of RFC 8785, which refuses the bounds of 64-bit integers that schemas have.
        text = json.dumps([self.server, self.name, self.as_json()], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def origin(self) -> ToolOrigin:
        """Give where it comes from, and what is claimed of it."""
        return ToolOrigin(self.server, self.name, **{ours: self.hints.get(theirs) for theirs, ours in HINTS.items()})

    def as_json(self) -> dict[str, Any]:
        """Give what is stored and compared beside the names."""
        return {"description": self.description, "schema": self.schema, "hints": self.hints}


def read_definition(server: str, name: str, stored: dict[str, Any]) -> ToolDefinition:
    """Read what `as_json` gave."""
    return ToolDefinition(server, name, stored["description"], stored["schema"], stored["hints"])


def made_definition(server: str, name: str, description: str, schema: Any, hints: dict[str, Any]) -> ToolDefinition:
    """Make one of what came from a server: text that can be stored, and hints that are a yes or a no."""
    given = {theirs: hints[theirs] for theirs in HINTS if isinstance(hints.get(theirs), bool)}
    is_object = isinstance(schema, dict)
    return ToolDefinition(server, clean(name), clean(description), clean(schema) if is_object else {}, given)
