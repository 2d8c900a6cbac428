"""Definitions of tools that are not written here: every one that was seen, and which of them is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.actions.definition import ToolDefinition, read_definition
from clearance.canonical import key
from clearance.db.tables import tool_definitions
from clearance.journal.statements import among, insert, param, read_all, update, write


@dataclass(frozen=True)
class SeenTool:
    """A definition that was seen; columns as in `db.tables.tool_definitions`."""

    tool_id: str
    server: str
    name: str
    number: int
    digest: str
    definition: dict[str, Any]
    #: waiting, accepted or replaced.
    state: str
    seen_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None
    version: int | None = 1

    def read(self) -> ToolDefinition:
        """Give it as its server listed it."""
        return read_definition(self.server, self.name, self.definition)


def tool_id(server: str, name: str, number: int) -> str:
    """Derive the id of a definition."""
    return key("tool", server, name, str(number))


_ORDER = (tool_definitions.c.server, tool_definitions.c.name, tool_definitions.c.number)
_ALL = sa.select(tool_definitions).order_by(*_ORDER)
_OF_SERVERS = _ALL.where(tool_definitions.c.server.in_(among("servers")))
_ADD = insert(tool_definitions)


def all_tools(connection: Connection) -> list[SeenTool]:
    """Read every definition, by server, tool and number."""
    return read_all(connection, _ALL, SeenTool)


def tools_of(connection: Connection, servers: Sequence[str]) -> list[SeenTool]:
    """Read every definition of some servers, by server, tool and number."""
    return read_all(connection, _OF_SERVERS, SeenTool, servers=list(servers)) if servers else []


def add_tool(connection: Connection, added: SeenTool) -> None:
    """Insert a definition; the database refuses a second accepted or waiting one of the same tool."""
    write(connection, _ADD, **vars(added))


def change_tool(connection: Connection, tool_id: str, **values: Any) -> None:
    """Set columns of a definition."""
    changed = {f"new_{name}": value for name, value in values.items()}
    write(connection, _changing(frozenset(values)), of_tool=tool_id, **changed)


@lru_cache(maxsize=100)
def _changing(names: frozenset[str]) -> sa.Update:
    changed = {name: sa.bindparam(f"new_{name}", type_=tool_definitions.c[name].type) for name in sorted(names)}
    return update(tool_definitions, **changed).where(tool_definitions.c.tool_id == param("of_tool"))
