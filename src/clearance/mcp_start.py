"""What tools a project's MCP servers have: as its journal holds them, and as they say themselves at a start."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from clearance.actions.action import Action, Actions
from clearance.actions.definition import ToolDefinition
from clearance.actions.mcp import McpTools
from clearance.actions.mcp_sessions import NotSentError
from clearance.db.chain import Migrations
from clearance.db.migrate import migrate
from clearance.db.opening import open_database
from clearance.errors import DatabaseUnavailable
from clearance.gate.gate import Gate
from clearance.gate.listing import Listing, note_listing, read_listing, why_not
from clearance.gate.writing import under_lock
from clearance.journal.audit import check_key
from clearance.key_files import audit_keys
from clearance.loglines import logger_of
from clearance.settings import Settings

logger = logger_of(__name__)

#: Beside what a server may take to list its tools: what it takes to open and to end a session.
_MARGIN_S = 5.0


def know_tools(settings: Settings, mcp: McpTools, actions: Actions) -> None:
    """Put in what the journal holds of the servers' tools, and ask nobody; nothing where there is no journal yet."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not _is_there(url.database):
        return
    try:
        database = open_database(settings)
        try:
            listings = database.read_now(lambda connection: _known(connection, mcp))
        finally:
            database.close()
    except DatabaseUnavailable as exc:  # the policy can be checked without them
        logger.warning("tools of MCP servers are not known: %s", exc)
        return
    _put_in(mcp, actions, listings)


def ask_for_tools(settings: Settings, mcp: McpTools, actions: Actions, chains: Sequence[Migrations]) -> None:
    """Ask the servers for their tools, write down what is new of them, and put in what may be called. Blocks.

    A server that does not answer has the tools that the journal holds; what it was never asked for is not there.

    Raises:
        ValueError: two tools have the same name.
        AuditKeyError, SettingsError: see `open_parts`.
    """
    listed = _asked(mcp)
    database = open_database(settings)
    try:
        migrate(database, chains)
        keys = audit_keys(settings)
        database.read_now(lambda connection: check_key(connection, keys.now))
        for server, found in listed.items():
            if isinstance(found, str):
                logger.error("%s; its tools are those that the journal holds", found)
            else:
                note = partial(note_listing, server=server, listed=found)
                listing = database.write_now(under_lock(note, keys.now, lambda: datetime.now(UTC)))
                _tell(mcp, listing, found)
        listings = database.read_now(lambda connection: _known(connection, mcp))
    finally:
        database.close()
    _put_in(mcp, actions, listings)


def note_changes(mcp: McpTools, gate: Gate) -> None:
    """Let what a server lists otherwise than it was taken be written down by this process's gate, when it is seen."""

    async def noted(used: ToolDefinition, listed: Sequence[ToolDefinition]) -> str:
        listing = await gate.write(partial(note_listing, server=used.server, listed=listed))
        why = why_not(listing, listed, used)
        logger.warning("a call was not made: %s", why)
        return why

    mcp.noted = noted


def _known(connection: Any, mcp: McpTools) -> list[Listing]:
    if not sa.inspect(connection).has_table("tool_definitions"):
        return []
    return [found for server in mcp.servers if (found := read_listing(connection, server)) is not None]


def _asked(mcp: McpTools) -> dict[str, list[ToolDefinition] | str]:
    async def one(server: str) -> list[ToolDefinition] | str:
        try:
            return await asyncio.wait_for(mcp.sessions.listed(server), mcp.look_timeout_s + _MARGIN_S)
        except TimeoutError:
            return f"the MCP server {server} did not list its tools within {mcp.look_timeout_s:g} s"
        except NotSentError as exc:
            return str(exc)

    async def all_of_them() -> list[list[ToolDefinition] | str]:
        return list(await asyncio.gather(*(one(server) for server in mcp.servers)))

    # In a thread, for this one may have a loop that runs.
    with ThreadPoolExecutor(1, thread_name_prefix="clearance-mcp") as pool:
        return dict(zip(mcp.servers, pool.submit(asyncio.run, all_of_them()).result(), strict=True))


def _put_in(mcp: McpTools, actions: Actions, listings: Sequence[Listing]) -> None:
    held: list[type[Action[Any]]] = []
    lookups: list[type[Action[Any]]] = []
    absent: dict[str, str] = {}
    for listing in listings:
        for definition in listing.taken.values():
            try:
                kind = mcp.kind_of(definition)
            except TypeError as exc:
                logger.error("a tool is left out: %s", exc)
                absent[mcp.name_of(definition)] = f"Not done: {exc}."
            else:
                (lookups if mcp.is_lookup(definition) else held).append(kind)
        for name, is_taken in listing.waiting.items():
            if not is_taken:
                called = mcp.name_of(ToolDefinition(listing.server, name, "", {}, {}))
                absent[called] = (
                    f"Not done: {name} is new at the MCP server {listing.server}, and waits until an operator has"
                    " looked (clearance tools)."
                )
    actions.find(held, lookups, absent)


def _tell(mcp: McpTools, listing: Listing, listed: Sequence[ToolDefinition]) -> None:
    """Say in the log what a server has, and what of it an operator has to look at."""
    looks = [one.name for one in listing.taken.values() if mcp.is_lookup(one)]
    logger.info(
        "MCP server %s: %d tools, %d of them look-ups that run without asking%s",
        listing.server, len(listing.taken), len(looks), "; taken as they are listed now" if listing.is_first else "",
    )  # fmt: skip
    without = [
        name for name, one in listing.taken.items() if not mcp.is_lookup(one) and mcp.name_of(one) not in mcp.look_ups
    ]
    if without:
        logger.info(
            "MCP server %s: a person settles what is unknown of %s, for nothing can look it up",
            listing.server, ", ".join(sorted(without)),
        )  # fmt: skip
    if listing.waiting:
        waits = ", ".join(f"{name} ({'changed' if was else 'new'})" for name, was in sorted(listing.waiting.items()))
        logger.warning(
            "TOOLS WAIT: MCP server %s: %s; they are not called before an operator has looked: `clearance tools`",
            listing.server, waits,
        )  # fmt: skip
    names = {one.name for one in listed}
    if gone := sorted(name for name in listing.taken if name not in names):
        logger.warning("MCP server %s has no %s any more", listing.server, ", ".join(gone))


def _is_there(name: str | None) -> bool:
    from pathlib import Path

    return bool(name) and Path(name or "").is_file()
