"""Sessions with MCP servers: what a server lists, and one call of a tool. Nothing is kept open between them.

A server's process is started for each, where it is one of our own (stdio). What was surely not sent is told apart from
what nobody knows of; the client of langchain-mcp-adapters, which gives the sessions, does not.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clearance.actions.definition import ToolDefinition, made_definition
from clearance.canonical import clean
from clearance.loglines import logger_of

logger = logger_of(__name__)

#: Tools of one server, and pages of its list, that are read.
_MOST_TOOLS, _MOST_PAGES = 500, 100
#: Characters of a tool's name, and of all that a server says of it.
_MOST_NAME, _MOST_DEFINITION = 128, 100_000
#: Errors of the protocol by which a server says that it did not take the call.
_NOT_TAKEN = (-32601, -32602)


class NotSentError(Exception):
    """A call was surely not sent; the text says why, without a full stop."""


class BrokenOffError(Exception):
    """A call was sent, and nobody knows what became of it."""


@dataclass(frozen=True)
class Answer:
    """What a server answered to a call."""

    text: str
    is_error: bool
    #: The server did not take the call.
    is_refused: bool = False


class Sessions:
    """Opens sessions with the servers of a `MultiServerMCPClient`, or of the connections that one is made of."""

    def __init__(self, client: Any) -> None:
        if isinstance(client, dict):
            self._connections: dict[str, Any] | None = client
            self._client: Any = None
        else:
            # Not imported to look at its class: who names a client has it.
            if not (hasattr(client, "connections") and hasattr(client, "session")):
                raise TypeError(
                    f"mcp_tools takes a MultiServerMCPClient, or its connections, not {type(client).__name__}"
                )
            if getattr(client, "tool_interceptors", None):
                raise TypeError("mcp_tools takes no client with interceptors: they could change what was cleared")
            self._connections, self._client = None, client
        if not self.servers or not all(isinstance(name, str) and name for name in self.servers):
            raise TypeError("mcp_tools needs a server: connections by name")

    @property
    def servers(self) -> list[str]:
        """Name the servers, in their order."""
        return list(self._connections if self._connections is not None else self._client.connections)

    @property
    def has_prefix(self) -> bool:
        """Tell whether the client puts servers before the names of their tools."""
        return bool(getattr(self._client, "tool_name_prefix", False))

    def _made(self) -> Any:
        if self._client is None:
            # Heavy, and only there with the extra.
            from langchain_mcp_adapters.client import MultiServerMCPClient

            self._client = MultiServerMCPClient(self._connections)
        return self._client

    async def listed(self, server: str) -> list[ToolDefinition]:
        """Ask a server for its tools.

        Raises:
            NotSentError: it did not tell them; says why.
        """
        found: list[ToolDefinition] | None = None
        try:
            async with self._made().session(server) as session:
                found = await _list(session, server)
        except Exception as exc:  # of a transport, whatever it is; in a group or not
            if found is None:
                raise NotSentError(f"the MCP server {server} cannot be asked for its tools ({_told(exc)})") from exc
        assert found is not None
        return found

    async def call(
        self,
        definition: ToolDefinition,
        arguments: dict[str, Any],
        check: Callable[[Sequence[ToolDefinition]], Awaitable[str | None]],
        tell: Callable[[Any], None],
        *,
        listed_within_s: float,
    ) -> Answer:
        """Call a tool once `check` has nothing against what its server lists in the same session, in so many seconds.

        Raises:
            NotSentError: it was not sent.
            Exception: it was, and no answer came.
        """
        answer: Answer | None = None
        why: str | None = None
        is_sent = False
        try:
            async with asyncio.timeout(listed_within_s) as until, self._made().session(definition.server) as session:
                why = await check(await _list(session, definition.server))
                until.reschedule(None)
                if why is None:
                    is_sent = True
                    answer = await _call(session, definition.name, arguments, tell)
        except asyncio.CancelledError:
            # Its answer, or that nothing was sent, is known, whoever does not wait for it any more.
            if answer is None and why is None:
                if is_sent:
                    raise
                why = f"the call of {definition.name} was ended before it was sent"
        except Exception as exc:
            # What ends the session after it was answered says nothing of the call.
            if answer is None and why is None:
                if is_sent:
                    raise
                said = f"the MCP server {definition.server} cannot be reached ({_told(exc)})"
                raise NotSentError(f"{said}; nothing was sent") from exc
        if why is not None:
            raise NotSentError(why.removesuffix("."))
        assert answer is not None
        return answer


async def _list(session: Any, server: str) -> list[ToolDefinition]:
    from mcp.types import PaginatedRequestParams

    found: dict[str, ToolDefinition] = {}
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        for tool in page.tools:
            hints = tool.annotations.model_dump() if tool.annotations is not None else {}
            made = made_definition(server, tool.name, tool.description or "", tool.inputSchema, hints)
            if made.name in found:
                raise ValueError(f"it lists two tools called {made.name[:100]}")
            if len(made.name) > _MOST_NAME or len(json.dumps(made.as_json())) > _MOST_DEFINITION:
                raise ValueError(f"what it says of {made.name[:100]} is longer than anything that is meant")
            found[made.name] = made
        if len(found) > _MOST_TOOLS:
            raise ValueError(f"it lists more than {_MOST_TOOLS} tools")
        cursor = page.nextCursor
        if not cursor:
            return list(found.values())
    raise ValueError(f"its list has more than {_MOST_PAGES} pages")


async def _call(session: Any, name: str, arguments: dict[str, Any], tell: Callable[[Any], None]) -> Answer:
    from mcp.shared.exceptions import McpError
    from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        tell({"progress": progress, "total": total, "message": clean(message or "")[:200]})

    params = CallToolRequestParams(name=name, arguments=arguments)
    request = ClientRequest(CallToolRequest(method="tools/call", params=params))
    try:
        # Not `call_tool`, which raises where the answer does not fit the tool's own schema: it was done then.
        came = await session.send_request(request, CallToolResult, progress_callback=hear)
    except McpError as exc:
        if exc.error.code in _NOT_TAKEN:
            return Answer(str(clean(exc.error.message)), is_error=True, is_refused=True)
        raise
    return Answer(_text(came), is_error=bool(came.isError))


def _text(came: Any) -> str:
    """Say in text what a tool answered: its words, what is none by its kind and size, else what is structured."""
    said = [_block(block) for block in came.content or ()]
    text = "\n".join(part for part in said if part.strip())
    if not text and came.structuredContent is not None:
        text = json.dumps(came.structuredContent, ensure_ascii=False, default=repr)
    return str(clean(text)) or "(nothing)"


def _block(block: Any) -> str:
    resource = getattr(block, "resource", block)
    if isinstance(text := getattr(resource, "text", None), str):
        return text
    data = getattr(resource, "data", None) or getattr(resource, "blob", None) or ""
    kind = getattr(resource, "mimeType", None) or getattr(block, "type", "content")
    where = f" at {resource.uri}" if getattr(resource, "uri", None) else ""
    return f"[{kind}{where}{f', {len(data):,} characters' if data else ''}, not shown]"


def _told(exc: BaseException) -> str:
    """Say what went wrong in few words: of a group, the first thing."""
    while isinstance(exc, BaseExceptionGroup) and exc.exceptions:
        exc = exc.exceptions[0]
    if isinstance(exc, asyncio.CancelledError | TimeoutError):
        return "no answer in time"
    if type(exc).__name__ == "McpError":  # its words are the server's, and would stand as ours
        logger.warning("an MCP server answers with an error: %s", exc)
        return "it answers with an error"
    said = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return str(clean(" ".join(said.split())))[:200]
