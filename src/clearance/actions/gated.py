"""Tools that exist already, as external actions: by their schema, without a line of them changed."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from clearance.actions.action import Action, Facts
from clearance.actions.external import Absent, Call, Done, ExternalAction, Looking, LookUp, Unclear
from clearance.actions.soundness import MOST_SENTENCE

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

FactsT = TypeVar("FactsT", bound=Facts)

#: Reads elsewhere what a reviewer must know of a call: its arguments by name, and a `Looking`.
ReadFacts = Callable[[dict[str, Any], Looking], "FactsT | Awaitable[FactsT]"]
#: Asks elsewhere whether a call happened: its arguments by name, and the `Call`.
AskFor = Callable[[dict[str, Any], Call], "LookUp | Awaitable[LookUp]"]


def gated(
    tool: "BaseTool | Callable[..., Any]",
    *,
    facts: "ReadFacts[Any] | None" = None,
    business_key: Callable[[dict[str, Any]], str] | None = None,
    look_up: "AskFor | None" = None,
    key: str | None = None,
    key_lasts_s: float = 0,
    timeout_s: float = 30,
    arrives_within_s: float = 60,
    most_at_once: int = 4,
) -> type[ExternalAction[Any]]:
    """Make an external action of a LangChain tool, or of a plain function, sync or async.

    Its name, description and schema stay; every argument is shown before somebody approves it. What it returns is the
    receipt's sentence. Whatever it raises leaves the outcome unknown, but for `NotDone`; a tool that hands its errors
    to the model instead of raising them is unknown as well. With neither `look_up` nor `key` a person has to say what
    became of it then.

    Example:
        >>> from clearance import Clearance, gated
        >>> def send_mail(to: str, text: str) -> str:
        ...     '''Send a mail.'''
        ...     return f"Sent to {to}."
        >>> SendMail = gated(send_mail)
        >>> SendMail.tool_name(), sorted(SendMail.model_fields)
        ('send_mail', ['text', 'to'])
        >>> clearance = Clearance(actions=[SendMail])

    Args:
        tool: The tool. Arguments that the graph would put into it, such as its state, it cannot have.
        facts: Reads what a reviewer must know; its annotation tells the class of `Facts`.
        business_key: Names what must not be in flight twice; by default exactly the same call.
        look_up: Asks elsewhere whether a call happened.
        key: The argument of the tool that takes the idempotency key. It is filled in, and not shown to the model.
        key_lasts_s: The provider does a key once, and remembers it for so many seconds; needs `key`.
        timeout_s: Seconds that it may take.
        arrives_within_s: After so many seconds more, what the look-up does not find did not happen.
        most_at_once: How many may be in flight in one process at a time.

    Raises:
        TypeError: it has no description, or an argument that cannot be one of an action; says which.
    """
    made = _tool(tool)
    fields = _fields(made)
    if key is not None and fields.pop(key, None) is None:
        raise TypeError(f"{made.name} has no argument {key!r} for the idempotency key")
    if key_lasts_s and key is None:
        raise TypeError(f"{made.name}: key_lasts_s needs the name of the argument that takes the key")
    given: dict[str, Any] = {
        "__doc__": made.description,
        "timeout_s": timeout_s,
        "arrives_within_s": arrives_within_s,
        "key_lasts_s": key_lasts_s,
        "most_at_once": most_at_once,
        "_tool": made,
        "_key": key,
        "_ask_for": staticmethod(look_up) if look_up is not None else None,
        "_name_key": staticmethod(business_key) if business_key is not None else None,
    }
    if facts is not None:
        given["facts"] = _reading(facts)
    base: Any = GatedTool[_facts_class(made.name, facts)]  # type: ignore[misc]  # found out just now
    make: Any = create_model
    kind: type[ExternalAction[Any]] = make(
        "".join(part.capitalize() for part in made.name.split("_")),
        __base__=_named(base, made.name, given),
        __doc__=made.description,
        __module__=__name__,
        **fields,
    )
    return kind


def gated_all(tools: "Iterable[BaseTool | Callable[..., Any]]", **each: Any) -> list[type[ExternalAction[Any]]]:
    """`gated` for a whole toolkit, with the same options for each.

    Example:
        >>> def open_door(door: str) -> str:
        ...     '''Open a door.'''
        ...     return "Open."
        >>> [kind.tool_name() for kind in gated_all([open_door], timeout_s=5)]
        ['open_door']

    Raises:
        TypeError: one cannot be an action, see `gated`.
    """
    return [gated(tool, **each) for tool in tools]


class GatedTool(ExternalAction[FactsT]):
    """The action of a tool that exists already."""

    _tool: ClassVar[Any]
    _key: ClassVar[str | None]
    _ask_for: ClassVar[Any]
    _name_key: ClassVar[Any]

    @classmethod
    def has_look_up(cls) -> bool:
        return cls._ask_for is not None

    def business_key(self) -> str:
        named = type(self)._name_key
        return str(named(self._arguments())) if named is not None else super().business_key()

    async def perform(self, call: Call) -> Done:
        kind = type(self)
        given = {**self._arguments(), **({kind._key: call.idempotency_key} if kind._key else {})}
        # As a call: so the tool says whether what came is an error that it would hand to the model.
        came = await kind._tool.ainvoke(
            {"type": "tool_call", "id": call.request_id, "name": kind._tool.name, "args": given}
        )
        if getattr(came, "status", "success") == "error":
            raise RuntimeError(f"the tool answered with an error: {_text(came)[:200]}")
        return Done(_text(came)[:MOST_SENTENCE])

    async def look_up(self, call: Call) -> LookUp:
        ask = type(self)._ask_for
        came = ask(self._arguments(), call)
        found: LookUp = await came if inspect.isawaitable(came) else came
        return found if isinstance(found, Done | Absent | Unclear) else Unclear("it gave something else")

    def _arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}


def _tool(given: "BaseTool | Callable[..., Any]") -> Any:
    # Heavy: who only names actions needs no langchain.
    from langchain_core.tools import BaseTool, StructuredTool

    if isinstance(given, BaseTool):
        return given
    if not callable(given):
        raise TypeError(f"{given!r} is neither a tool nor a function")
    if inspect.iscoroutinefunction(given):
        return StructuredTool.from_function(coroutine=given)
    return StructuredTool.from_function(given)


def _fields(tool: Any) -> dict[str, tuple[Any, FieldInfo]]:
    """Give the arguments that a model fills in, with all that their schema says of them."""
    schema = tool.get_input_schema() if not isinstance(tool.args_schema, dict) else None
    if schema is None or not issubclass(schema, BaseModel):
        raise TypeError(f"{tool.name}: its schema is not a pydantic model; take tools of MCP servers by `mcp_tools`")
    shown = tool.tool_call_schema.model_fields
    injected = [name for name in schema.model_fields if name not in shown]
    if injected:
        raise TypeError(f"{tool.name}: {injected[0]!r} is put in by the graph, which is not there when it is performed")
    for name in shown:
        if hasattr(GatedTool, name) or name.startswith("_"):
            raise TypeError(f"{tool.name}: an action has something called {name!r}; wrap the tool and rename it")
    return {name: (field.annotation, field) for name, field in schema.model_fields.items()}


def _facts_class(name: str, read: "ReadFacts[Any] | None") -> type[Facts]:
    if read is None:
        return Facts
    found = get_type_hints(read).get("return")
    if not (isinstance(found, type) and issubclass(found, Facts)):
        raise TypeError(f"{name}: what reads its facts must be annotated with the class of Facts that it returns")
    return found


def _reading(read: "ReadFacts[Any]") -> Any:
    async def facts(self: GatedTool[Any], looking: Looking) -> Any:
        came = read(self._arguments(), looking)
        return await came if inspect.isawaitable(came) else came

    return facts


def _named(base: Any, name: str, given: dict[str, Any]) -> Any:
    """Give a base class that has a tool's name, and what belongs to it."""

    def tool_name(cls: type[Action[Any]]) -> str:
        return name

    # Not whole yet: its arguments come with the class above it.
    return type(base)(base.__name__, (base,), {**given, "tool_name": classmethod(tool_name), "__module__": __name__})


def _text(came: Any) -> str:
    content = getattr(came, "content", came)
    if isinstance(content, list):
        parts = (block if isinstance(block, str) else str(block.get("text") or "") for block in content)
        return "\n".join(part for part in parts if part)
    return content if isinstance(content, str) else str(content)
