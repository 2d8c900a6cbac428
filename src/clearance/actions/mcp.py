"""Tools of MCP servers, taken as a whole: what a trusted server says is read-only is a look-up, the rest is held.

What tools there are is known when a server starts, not when a module is imported: each `Clearance` reads them from its
journal, which holds every definition that was taken, and asks the servers for what they say now.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from clearance.actions.action import Facts, Material, Volatile
from clearance.actions.definition import ToolDefinition
from clearance.actions.external import Absent, Call, Done, ExternalAction, Looking, LookUp, NotDone, Unclear
from clearance.actions.gated import AskFor
from clearance.actions.json_schema import UnfitSchemaError, checked, inlined, properties_of, violation, without_absent
from clearance.actions.mcp_sessions import Answer, BrokenOffError, NotSentError, Sessions
from clearance.actions.review import Concern, Review
from clearance.errors import ActionError

#: Characters of the arguments in a sentence.
_MOST_LISTED = 1_000
#: Characters of a tool's description that the model reads.
_MOST_DESCRIPTION = 4_000
#: Characters of an answer that stand in a receipt, and of one to a look-up.
_MOST_SAID, _MOST_SEEN = 3_500, 20_000

#: Writes down what a server lists where a tool of it is not as it was taken, and says why that is not called now.
Noted = Callable[[ToolDefinition, Sequence[ToolDefinition]], Awaitable[str]]


class McpFacts(Facts):
    """What is known of a call of an MCP server's tool before it is made."""

    server: Material[str] = Field(title="MCP server")
    definition: Material[str] = Field(title="Definition of the tool")
    claims: Volatile[str] = Field(title="Its server claims of it")


class McpTools:
    """The tools of some MCP servers; made by `mcp_tools`, given to `Clearance(mcp=…)`."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        trusted: frozenset[str],
        has_prefix: bool,
        undone_on_error: frozenset[str],
        look_ups: Mapping[str, AskFor],
        timeout_s: float,
        look_timeout_s: float,
        most_at_once: int,
    ) -> None:
        self.sessions = sessions
        self.trusted = trusted
        self.has_prefix = has_prefix
        self.undone_on_error = undone_on_error
        self.look_ups = dict(look_ups)
        self.timeout_s = timeout_s
        self.look_timeout_s = look_timeout_s
        self.most_at_once = most_at_once
        #: Set by the process that keeps a journal.
        self.noted: Noted | None = None

    @property
    def servers(self) -> list[str]:
        """Name the servers, as the project does."""
        return self.sessions.servers

    def name_of(self, definition: ToolDefinition) -> str:
        """Give the name by which the model calls a tool."""
        name = f"{definition.server}_{definition.name}" if self.has_prefix else definition.name
        # Endpoints take no dots and slashes, which the protocol allows.
        return "".join(one if one.isascii() and (one.isalnum() or one in "_-") else "_" for one in name)

    def is_lookup(self, definition: ToolDefinition) -> bool:
        """Tell whether a tool may run without asking: its server is trusted, and says that it changes nothing."""
        origin = definition.origin
        return definition.server in self.trusted and origin.read_only is True and origin.destructive is not True

    def kind_of(self, definition: ToolDefinition) -> "type[McpTool]":
        """Make the action of a tool.

        Raises:
            TypeError: it cannot be one; says why.
        """
        return _made(self, definition)

    async def check(self, definition: ToolDefinition, listed: Sequence[ToolDefinition]) -> str | None:
        """Say why a tool may not be called as its server lists it now; None when it is as it was taken."""
        now = next((one for one in listed if one.name == definition.name), None)
        if now is not None and now.digest == definition.digest:
            return None
        if self.noted is not None:
            return await self.noted(definition, listed)
        return f"{definition.name} at the MCP server {definition.server} is not as it was taken."


def mcp_tools(
    client: Any,
    *,
    trusted: Collection[str] = (),
    prefix: bool = False,
    undone_on_error: Collection[str] = (),
    look_ups: "Mapping[str, AskFor] | None" = None,
    timeout_s: float = 30,
    look_timeout_s: float = 10,
    most_at_once: int = 4,
) -> McpTools:
    """Take all tools of the MCP servers of a `MultiServerMCPClient`, or of its connections. It does nothing by itself.

    Needs the extra `mcp`: `pip install 'clearance[mcp]'`. A tool runs without asking only where its server is trusted
    and says `readOnlyHint`; every other one is an external action, asked for unless policy allows it. What a server
    lists when it is seen first is taken; a tool that is new afterwards, or of which anything changed, waits until an
    operator has looked: `clearance tools`.

    Example:
        >>> from clearance import Clearance
        >>> from clearance.actions import mcp_tools
        >>> tickets = {"transport": "stdio", "command": "ticket-server", "args": []}
        >>> clearance = Clearance(actions=[], mcp=mcp_tools({"tickets": tickets}, trusted=["tickets"]))
        >>> clearance.mcp.servers
        ['tickets']

    Args:
        client: A `MultiServerMCPClient` of langchain-mcp-adapters, or what one is made of: connections by server.
        trusted: Servers whose `readOnlyHint` is believed.
        prefix: Call each tool by `server_tool`; else two tools of one name stop the start.
        undone_on_error: Servers of which an answer that is an error means that nothing was done. Of any other nobody
            knows then, and a look-up or a person settles it.
        look_ups: By the tool's name for the model: asks elsewhere whether a call happened, as `gated` has it.
        timeout_s: Seconds that a call may take.
        look_timeout_s: Seconds that a server may take to list its tools, its start included; just before a call it
            has half of `timeout_s` at most.
        most_at_once: How many calls of one tool may be in flight in one process at a time.

    Raises:
        ImportError: langchain-mcp-adapters is not installed.
        TypeError: `client` is neither, or has interceptors, which could change a call after it was cleared.
        ValueError: a server is named that there is none of.
    """
    if find_spec("langchain_mcp_adapters") is None:
        raise ImportError("tools of MCP servers need the extra mcp: pip install 'clearance[mcp]'")
    sessions = Sessions(client)
    for given in (trusted, undone_on_error):
        if isinstance(given, str):
            raise TypeError(f"mcp_tools takes lists of servers, for example [{given!r}]")
        if unknown := sorted(set(given) - set(sessions.servers)):
            raise ValueError(f"there is no MCP server {unknown[0]!r}; there are: {', '.join(sessions.servers)}")
    return McpTools(
        sessions,
        trusted=frozenset(trusted),
        has_prefix=prefix or sessions.has_prefix,
        undone_on_error=frozenset(undone_on_error),
        look_ups=look_ups or {},
        timeout_s=timeout_s,
        look_timeout_s=look_timeout_s,
        most_at_once=most_at_once,
    )


class McpTool(ExternalAction[McpFacts]):
    """The action of a tool at an MCP server."""

    # An argument may begin with `model_`.
    model_config = ConfigDict(protected_namespaces=())

    _tools: ClassVar[McpTools]
    _definition: ClassVar[ToolDefinition]
    #: What is checked of its schema; the schema, inlined; and its arguments by the names of our fields.
    _checked: ClassVar[Any] = True
    _schema: ClassVar[dict[str, Any]] = {}
    _theirs: ClassVar[dict[str, str]] = {}

    @classmethod
    def has_look_up(cls) -> bool:
        return cls.tool_name() in cls._tools.look_ups

    @model_validator(mode="after")
    def _fits(self) -> "McpTool":
        wrong = violation(self._checked, self._sent())
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_serializer(mode="wrap")
    def _given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the arguments without those that were left out: what is stored, shown and cleared is what is sent."""
        sent = without_absent(self._schema, {self._theirs.get(name, name): one for name, one in whole(self).items()})
        ours = {their: name for name, their in self._theirs.items()}
        return {ours.get(their, their): one for their, one in sent.items()}

    def sentence(self, facts: McpFacts) -> str:
        given = ", ".join(f"{name} {value}" for name, value in self._sent().items())
        said = f"{self.tool_name().replace('_', ' ').capitalize()} at the MCP server {facts.server}: {given}"
        # Every argument stands beside it, whole.
        return said if len(said) <= _MOST_LISTED else f"{said[:_MOST_LISTED]} …"

    def review(self, facts: McpFacts) -> Review:
        name, origin = self.tool_name().replace("_", " "), self.tool_origin
        concerns = []
        if origin.destructive:
            concerns.append(Concern((f"The MCP server {facts.server} says that this may destroy what is there.",)))
        if origin.read_only and facts.server not in self._tools.trusted:
            said = f"The MCP server {facts.server} says that this changes nothing, and is not named as trusted."
            concerns.append(Concern((said,)))
        who = ("at the MCP server", facts.server)
        return Review((name,), verb="Call", past="Called", who=who, line=(name, *who), concerns=concerns,
                      confirm=self.tool_name())  # fmt: skip

    async def facts(self, looking: Looking) -> McpFacts:
        tools, definition = self._tools, self._definition
        try:
            listed = await tools.sessions.listed(definition.server)
        except NotSentError as exc:
            raise ActionError(f"{exc}.") from exc
        if (why := await tools.check(definition, listed)) is not None:
            raise ActionError(why)
        claims = _claims(definition, is_trusted=definition.server in tools.trusted)
        return McpFacts(server=definition.server, definition=definition.digest[:16], claims=claims)

    async def perform(self, call: Call) -> Done:
        definition = self._definition
        try:
            answer = await self._called(call.progress)
        except NotSentError as exc:
            raise NotDone(f"{exc}.") from exc
        said = f"{definition.server} answered: {_cut(answer.text, _MOST_SAID)}"
        if answer.is_error:
            if answer.is_refused or definition.server in self._tools.undone_on_error:
                raise NotDone(said)
            raise BrokenOffError(f"{definition.name} at {said[:500]} (an error: whether it was done nobody knows)")
        return Done(said)

    async def look_up(self, call: Call) -> LookUp:
        # Only asked where there is one, see `has_look_up`.
        came: Any = self._tools.look_ups[self.tool_name()](self._sent(), call)
        found = await came if isinstance(came, Awaitable) else came
        return found if isinstance(found, Done | Absent | Unclear) else Unclear("it gave something else")

    async def look(self) -> str:
        """Call a tool that only looks, and give what it says.

        Raises:
            ActionError: it could not be called, or answered with an error.
        """
        try:
            answer = await self._called(lambda _: None)
        except NotSentError as exc:
            raise ActionError(f"{exc}.") from exc
        if answer.is_error:
            raise ActionError(f"{self._definition.server} answered with an error: {_cut(answer.text, _MOST_SAID)}")
        return _cut(answer.text, _MOST_SEEN)

    async def _called(self, tell: Callable[[Any], None]) -> Answer:
        tools, definition = self._tools, self._definition

        async def check(listed: Sequence[ToolDefinition]) -> str | None:
            return await tools.check(definition, listed)

        # Less than it may take in all: so what was not sent is known as that, and nobody has to settle it.
        within = min(tools.look_timeout_s, tools.timeout_s / 2)
        return await tools.sessions.call(definition, self._sent(), check, tell, listed_within_s=within)

    def _sent(self) -> dict[str, Any]:
        """Give the arguments as they are sent: by their names there."""
        return {self._theirs.get(name, name): value for name, value in self.model_dump(mode="json").items()}


def _made(tools: McpTools, definition: ToolDefinition) -> type[McpTool]:
    name = tools.name_of(definition)
    try:
        schema = inlined(definition.schema)
        properties = properties_of(schema)
    except (UnfitSchemaError, AttributeError, TypeError) as exc:
        why = exc if isinstance(exc, UnfitSchemaError) else "its schema cannot be read"
        raise TypeError(f"{definition.name} of the MCP server {definition.server}: {why}") from exc
    fields: dict[str, Any] = {}
    theirs: dict[str, str] = {}
    for their, found in properties.items():
        ours = _field(their, {*fields, *properties} - {their})
        if ours != their:
            theirs[ours] = their
        default = ... if found.is_required else found.default
        # Not the title that the server gives: it stands on the page as words of ours.
        fields[ours] = (found.annotation, Field(default, title=their if ours != their else None))
    said = definition.description.strip()
    described = _cut(said, _MOST_DESCRIPTION) or f"{definition.name} of the MCP server {definition.server}."
    given: dict[str, Any] = {
        "_tools": tools, "_definition": definition, "_checked": checked(schema), "_schema": schema, "_theirs": theirs,
        "tool_origin": definition.origin, "timeout_s": tools.timeout_s, "look_timeout_s": tools.look_timeout_s,
        "most_at_once": tools.most_at_once, "tool_name": classmethod(lambda cls: name), "__module__": __name__,
        "__doc__": described,
    }  # fmt: skip
    make_base: Any = type(McpTool)
    make: Any = create_model
    try:
        made: type[McpTool] = make(
            "".join(part.capitalize() for part in name.split("_")) or "Tool",
            __base__=make_base("McpTool", (McpTool,), given),
            __doc__=described,
            __module__=__name__,
            **fields,
        )
    except Exception as exc:  # pydantic has several for what it makes no field of
        raise TypeError(f"{definition.name} of the MCP server {definition.server} cannot be an action: {exc}") from exc
    return made


def _field(their: str, others: set[str]) -> str:
    """Name the field of an argument: as it is called, with `_` behind it where an action has something of that name."""
    ours = their.lstrip("_") or "argument"
    while hasattr(McpTool, ours) or ours in McpTool.methods() or ours in others:
        ours += "_"
    return ours


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"


def _claims(definition: ToolDefinition, *, is_trusted: bool) -> str:
    origin = definition.origin
    said = [
        *(["changes nothing"] if origin.read_only else []),
        *(["may destroy"] if origin.destructive else ["only adds"] if origin.destructive is False else []),
        *(["twice is once"] if origin.idempotent else []),
        *(["reaches beyond it"] if origin.open_world else []),
    ]
    if not said:
        return "nothing"
    return f"{', '.join(said)}{'' if is_trusted else ' (it is not named as trusted)'}"
