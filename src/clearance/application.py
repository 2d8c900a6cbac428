"""`Clearance`: what one project puts behind its approvals, and the one object of it in a process."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from clearance.actions.action import Action, Actions
from clearance.actions.soundness import described
from clearance.db.chain import Migrations
from clearance.errors import ClearanceError
from clearance.importing import imported
from clearance.settings import Settings, SettingsError, settings

if TYPE_CHECKING:
    import typer
    from langchain.agents.middleware import AgentMiddleware, AgentState
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool
    from langgraph.graph import StateGraph
    from sqlalchemy.engine import Connection

    from clearance.actions.mcp import McpTools
    from clearance.db.engine import Database
    from clearance.gate.policy import Policy
    from clearance.parts import Parts

T = TypeVar("T")


class SecondClearanceError(ClearanceError):
    """Another `Clearance` of this process is over the same database: each would hold back what the other lets go."""


class Clearance:
    """The approvals of one project: its actions, its policy, and the database that keeps what was asked and done.

    Make one, in a module of its own that the graph's file imports: a server executes the graph's file more than once.
    Setting CLEARANCE names it, as `module:variable`, so that the server's part and the command find it. To make it
    does nothing; the database is opened, migrated and checked at the first use.

    Example:
        >>> from clearance import Action, Clearance, Effect, Facts
        >>> class RefundOrder(Action[Facts]):
        ...     '''Refund an order, for example O-1001.'''
        ...     order_id: str
        ...     def perform(self, effect: Effect) -> str:
        ...         return f"Refunded {self.order_id}."
        >>> clearance = Clearance(actions=[RefundOrder], policy="policy.toml")
        >>> [action.tool_name() for action in clearance.actions]
        ['refund_order']

    Args:
        actions: The classes of everything with an effect.
        policy: The policy's file, relative to the working directory; the setting POLICY_FILE if not given.
        functions: Integer functions that its conditions may call, by name.
        migrations: Alembic folders of the project's own tables, run after ours in the same transaction.
        commands: A typer app whose commands `clearance` has, too; called for it when the command line needs it.
        at_start: Called before the server takes requests, in a thread; what it raises stops the server.
        mcp: The tools of MCP servers, see `clearance.actions.mcp_tools`. Which there are is found out at the first use.
        database_url: Where its journal and its tables are, for a program that holds several of these; the setting
            DATABASE_URL if not given. A server and the command have one, and refuse one with a database of its own:
            a freeze must find the database even where the project's code does not load.

    Raises:
        TypeError: something in `actions` is no class of `Action`, or one that cannot work; says which.
        ValueError: two actions have the same name; says which.
    """

    def __init__(
        self,
        *,
        actions: Sequence[type[Action[Any]]],
        policy: str | Path | None = None,
        functions: Mapping[str, Callable[[int], int]] | None = None,
        migrations: Sequence[Migrations] = (),
        commands: "Callable[[], typer.Typer] | None" = None,
        at_start: Callable[[], object] | None = None,
        mcp: "McpTools | None" = None,
        database_url: str | None = None,
    ) -> None:
        self.actions = Actions(actions)
        if wrong := [one for one in migrations if not isinstance(one, Migrations)]:
            raise TypeError(f"migrations: {described(wrong[0])} is none; write Migrations(folder, version_table='…')")
        self.migrations = tuple(migrations)
        self.commands = commands
        self.at_start = at_start
        self.mcp = mcp
        self.database_url = database_url
        self._are_tools_known = False
        self._policy_file = Path(policy) if policy is not None else None
        self._functions = dict(functions or {})
        self._opened: Parts | None = None
        self._opening = threading.Lock()

    @property
    def settings(self) -> Settings:
        """The settings of this process, with this object's own database.

        Raises:
            SettingsError: a variable has a value that cannot be; the text names it.
        """
        given = settings()
        return given if self.database_url is None else given.model_copy(update={"database_url": self.database_url})

    def read_policy(self, file: Path | None = None) -> "Policy":
        """Read and check the policy, or another `file` in its place. Tools of MCP servers are those of the journal.

        Raises:
            PolicyError: missing or invalid; says where.
        """
        from clearance.gate.policy import load_policy

        if self.mcp is not None and not self._are_tools_known:
            from clearance.mcp_start import know_tools

            know_tools(self.settings, self.mcp, self.actions)

        given = file or self._policy_file or self.settings.policy_file
        servers = self.mcp.servers if self.mcp is not None else ()
        return load_policy(given, self.actions, self._functions, servers)

    async def parts(self) -> "Parts":
        """Give the parts of this process, opened at the first call.

        Raises:
            SettingsError, PolicyError, AuditKeyError: see `open_parts`; the next call tries again.
            ValueError: two tools have the same name, one of them of an MCP server.
            SecondClearanceError: another `Clearance` is over the same database.
        """
        return self._opened if self._opened is not None else await asyncio.to_thread(self.parts_now)

    def parts_now(self) -> "Parts":
        """`parts`, blocking."""
        from clearance.parts import open_parts

        with self._opening:
            if self._opened is None:
                if self.mcp is not None and not self._are_tools_known:
                    from clearance.mcp_start import ask_for_tools

                    ask_for_tools(self.settings, self.mcp, self.actions, self.migrations)
                    self._are_tools_known = True
                policy = self.read_policy()
                _claim(self, self.settings.database_url)
                opened = open_parts(self.settings, self.actions, policy, self.migrations)
                if self.mcp is not None:
                    from clearance.mcp_start import note_changes

                    note_changes(self.mcp, opened.gate)
                self._opened = opened
            return self._opened

    @contextmanager
    def opened_database(self) -> "Iterator[Database]":
        """Open the database, brought up to date, for commands of the project's own; it is closed at the end.

        Raises:
            SettingsError: DATABASE_URL is neither SQLite nor PostgreSQL.
        """
        from clearance.db.migrate import migrate
        from clearance.db.opening import open_database

        database = open_database(self.settings)
        try:
            migrate(database, self.migrations)
            yield database
        finally:
            database.close()

    async def read(self, work: "Callable[[Connection], T]") -> T:
        """Run `work` in a read transaction of the database, in a thread: for look-ups.

        Raises:
            DatabaseUnavailable: it did not answer in time.
        """
        return await (await self.parts()).database.read(work)

    def read_now(self, work: "Callable[[Connection], T]") -> T:
        """`read`, blocking: for look-ups with threads of their own."""
        return self.parts_now().database.read_now(work)

    def add_to(
        self,
        builder: "StateGraph[Any, Any, Any, Any]",
        *,
        model: "BaseChatModel | Callable[[], BaseChatModel]",
        tools: "Sequence[BaseTool]" = (),
        prompt: str | Callable[[], str] = "",
        after: str | None = None,
        prefix: str = "",
    ) -> str:
        """Put the agent's loop into a graph of yours, with every action behind the gate; give the name of its entry.

        It adds the nodes `receive`, `model`, `dispatch` and `tools`, each name with `prefix` before it. Lead to the
        entry by an edge of yours. The state needs `messages`, with langgraph's `add_messages`. Of these its checkpoints
        keep what is new from then on, where each had all of them: langgraph's `DeltaChannel`, which is beta.

        The graph may stand inside another: as a node, called in a node, or in a look-up of another agent (declare it
        `lookup`: what has an effect inside passes the gate there). Compile it without a checkpointer of its own. Each
        such agent has a turn of its own, whose requester is who wrote the message that led there, never who answers in
        between; several may ask at once, and are then answered by the ids of their questions.

        A plan is decided as a whole within one agent, and its order stops at the border: an agent that another calls
        is a look-up there, so what it does is decided and done while the outer agent's own actions of the same plan
        still wait to be asked about, and it stays done when those are rejected. Give what belongs together to one
        agent. A no reaches further: once something was rejected, nothing more that the same message led to is allowed
        by policy alone, in any of the agents.

        Where the graph around is not gated, a new message there does not tell an agent inside at once; a server
        withdraws what it asked for within some seconds, when its thread has gone on without it, or at once when
        somebody would decide it.

        Your nodes and look-ups may call `interrupt()` themselves: who speaks in the thread answers, and it clears
        nothing. Beside a question of ours each is answered by its id, in a run of its own.

        Example:
            >>> from langgraph.graph import START, MessagesState, StateGraph
            >>> from clearance import Clearance, OfflineModel
            >>> clearance = Clearance(actions=[])
            >>> builder = StateGraph(MessagesState)
            >>> entry = clearance.add_to(builder, model=OfflineModel())
            >>> builder.add_edge(START, entry).compile().get_graph().nodes.keys() >= {entry, "model", "dispatch"}
            True

        Args:
            builder: The graph, not compiled.
            model: The chat model, or a function that makes it at its first use.
            tools: The look-ups, each declared read-only; actions come from this object.
            prompt: What the model is told before every conversation.
            after: The node that follows when the turn is over; the end if not given.
            prefix: Begins the names of the nodes, where a name of yours would be the same.

        Raises:
            TypeError: what was given is no graph, no model or no tool; says which, and what to give.
            ValueError: a tool is not declared read-only, two tools or nodes have the same name, or the state has no
                `messages` as langgraph's `MessagesState` has them.
        """
        from clearance.graph.own_graph import add_loop

        _in_graphs.add(self)
        return add_loop(builder, self.parts, self.actions, model, tools, prompt=prompt, after=after, prefix=prefix)

    def middleware(self, *, read_only: Collection[str] = ()) -> "AgentMiddleware[Any, Any]":
        """Give the middleware that puts an agent of `create_agent`, or a deep agent, behind the gate.

        It brings every action of this object as a tool, so the agent is given the look-ups only. Put it first: the
        `before_model` of a middleware that stands before it runs once more for each step of a plan. A deep agent puts
        its own before it; there a program gives each run a `run_id` in `configurable`, as servers do, or nobody can
        tell whose words it brought. What another's `before_model` makes of the messages does not stay: the summary of
        langchain's `SummarizationMiddleware` is nobody's words, taken out, and told in the thread; what the model reads
        is shortened by MODEL_CONTEXT_TOKENS. The agent runs by `ainvoke` and `astream` only. Structured output is not
        kept: a run that is repeated gives the message alone.

        Example:
            >>> from clearance import Clearance
            >>> clearance = Clearance(actions=[])
            >>> # create_agent(model, tools=[get_order], middleware=[clearance.middleware()])
            >>> clearance.middleware(read_only=["write_todos"]).name
            'clearance'

        Args:
            read_only: Names of tools that change nothing outside the thread, and are not made by `clearance.lookup`:
                those of other middleware, such as a deep agent's `write_todos`. Any other tool is refused at the first
                call of the model, by name.

        Raises:
            ImportError: langchain is not installed.
            ValueError: a tool named as read-only is an action.
        """
        with _in_langchain("middleware"):
            from clearance.graph.middleware import GateMiddleware
        _in_graphs.add(self)
        return GateMiddleware(self.parts, self.actions, read_only)

    @property
    def agent_state(self) -> "type[AgentState[Any]]":
        """The state of an agent of `create_agent` whose checkpoints keep what is new of its messages.

        Without it each checkpoint has all messages of the thread. `add_to` does it by itself, a deep agent as well. A
        thread that was begun without it goes on with it, and back again. A state of yours derives from it.

        Example:
            >>> from clearance import Clearance
            >>> clearance = Clearance(actions=[])
            >>> # create_agent(model, middleware=[clearance.middleware()], state_schema=clearance.agent_state)
            >>> sorted(clearance.agent_state.__annotations__)
            ['jump_to', 'messages', 'structured_response']

        Raises:
            ImportError: langchain is not installed.
        """
        with _in_langchain("agent_state"):
            from clearance.graph.middleware import KeptState
        return KeptState


@contextmanager
def _in_langchain(name: str) -> Iterator[None]:
    """Say what is missing where langchain is not installed."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "langchain":
            raise
        raise ImportError(
            f"Clearance.{name} needs langchain, whose create_agent it is for; the library does not bring it:"
            " pip install langchain"
        ) from exc


_opened: dict[str, Clearance] = {}
#: Those that stand in a graph of this process.
_in_graphs: WeakSet[Clearance] = WeakSet()
_found: list[Clearance] = []


def _claim(clearance: Clearance, url: str) -> None:
    if _opened.setdefault(url, clearance) is not clearance:
        raise SecondClearanceError(_SECOND)


def check_alone(clearance: Clearance) -> None:
    """Check that the graphs of this process stand behind this `Clearance`, and behind no other over its database.

    Raises:
        SecondClearanceError: one does not; else it would be found by the first run that somebody waits for.
    """
    url = clearance.settings.database_url
    if any(other is not clearance and other.settings.database_url == url for other in _in_graphs):
        raise SecondClearanceError(_SECOND)


_SECOND = (
    "This process has two Clearance objects over one database, and the second was not opened. Put `Clearance(…)` into a"
    " module of its own and import it from there: a server executes the file of a graph once for each graph in it."
)


def the_clearance(named: str | None = None) -> Clearance:
    """Give the `Clearance` that the setting CLEARANCE names, as `module:variable`.

    Raises:
        SettingsError: it is not set, there is no such module, variable or `Clearance` in it, or that has a database of
            its own; says which.
    """
    name = named if named is not None else settings().clearance
    if not name:
        raise SettingsError(
            "CLEARANCE: missing; it names where the project's Clearance is made, as module:variable, in the"
            " environment, in .env, or in pyproject.toml under [tool.clearance]"
        )
    found = imported("CLEARANCE", name, what="Clearance", example="my_agent.app:clearance")
    if not isinstance(found, Clearance):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise SettingsError(f"CLEARANCE: {_in_words(name)} is {what}, not a Clearance")
    if found.database_url is not None:
        raise SettingsError(
            f"CLEARANCE: {_in_words(name)} has a database_url of its own; a server and the command work on the"
            " one of DATABASE_URL, so leave it out there"
        )
    return found


def _in_words(name: str) -> str:
    module, _, variable = name.partition(":")
    return f"{variable!r} in {module!r}"


async def the_parts() -> "Parts":
    """Give the parts of this process, of the `Clearance` that the setting names; opened at the first call.

    Raises:
        SettingsError, PolicyError, AuditKeyError, SecondClearanceError: see `the_clearance` and `Clearance.parts`.
    """
    # In a thread: settings are read from files, and the project's modules are imported.
    if not _found:
        _found.append(await asyncio.to_thread(the_clearance))
    return await _found[0].parts()
