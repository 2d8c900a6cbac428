"""The whole agent in one process on a real database: the compiled graph, a scripted model, people with roles."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from inspect import signature, unwrap
from typing import Any, Literal
from uuid import uuid4

import sqlalchemy as sa
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.tools import structured
from langchain_core.tools.base import create_schema_from_function
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Interrupt, Send, StateSnapshot
from langgraph_sdk.auth.types import BaseUser
from sqlalchemy.engine import Connection

from agent.actions import ACTIONS
from agent.analysis import analysis_tool
from agent.bank.ledger import check_ledger, find_account
from agent.bank.tables import transfers
from agent.lookups import lookup_tools
from agent.prompts import SYSTEM_PROMPT
from clearance.actions.action import Action, Actions
from clearance.db.engine import Database
from clearance.db.tables import plans
from clearance.db.tables import requests as request_rows
from clearance.gate.answers import NewMessage, parse
from clearance.gate.caller import Caller
from clearance.gate.freeze import freeze_effects, unfreeze_effects
from clearance.gate.gate import Gate
from clearance.gate.judging import Judge
from clearance.gate.policy import Policy, parse_policy
from clearance.gate.taking import decide_now
from clearance.graph.guard import guarded
from clearance.graph.middleware import GateMiddleware
from clearance.graph.own_graph import add_loop
from clearance.journal import audit
from clearance.journal.receipts import read_receipt
from clearance.journal.requests import Request
from clearance.journal.verification import Verification, verify
from clearance.parts import Parts
from clearance.principal import Principal
from clearance.settings import Settings
from tests.support.scripted_model import ScriptedModel
from tests.support.server import GATE_POLICY

AUDIT_KEY = b"a key for tests, not a secret at all"
POLICY = GATE_POLICY.read_text()


@dataclass
class Person:
    """Somebody whom the server authenticated."""

    identity: str
    roles: tuple[str, ...] = ()

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.identity

    @property
    def permissions(self) -> list[str]:
        return []

    def __getitem__(self, key: str) -> Any:
        return {"identity": self.identity, "roles": list(self.roles)}[key]

    def __contains__(self, key: str) -> bool:
        return key in ("identity", "roles")

    def __iter__(self) -> Any:
        return iter(("identity", "roles"))


_: type[BaseUser] = Person

OLGA = Person("olga")  # operations: asks, decides nothing
ANA = Person("ana", ("approver",))
BEN = Person("ben", ("approver",))
TESS = Person("tess", ("approver", "treasurer"))
TOM = Person("tom", ("approver", "treasurer"))


class Clock:
    """The gate's clock, which a test moves."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        return (self._stopped or datetime.now(UTC)) + self._ahead

    def stop(self) -> None:
        """Let no time pass but what `advance` says."""
        self._stopped = datetime.now(UTC)

    def advance(self, **by: float) -> None:
        """Let time pass: `advance(hours=25)`."""
        self._ahead += timedelta(**by)


#: The ways in that a `World` has: the library's own nodes, and the middleware of `create_agent`.
Way = Literal["own", "middleware"]
#: What the nodes of each are called that do the four steps; `words` hears what came in place of an answer.
NODES: dict[Way, dict[str, str]] = {
    "own": {**{step: step for step in ("receive", "model", "dispatch", "tools")}, "words": "receive"},
    "middleware": {
        "receive": "clearance.before_agent",
        "model": "model",
        "dispatch": "clearance.before_model",
        "tools": "tools",
        "words": "clearance.before_model",
    },
}


@dataclass
class AgentOf:
    """What an agent of `create_agent` has besides the sample's look-ups and the gate."""

    create: Callable[..., Any] = create_agent
    tools: Sequence[Any] = ()
    read_only: Sequence[str] = ()
    #: Other middleware, before the gate and behind it.
    before: Sequence[Any] = ()
    behind: Sequence[Any] = ()
    response_format: Any = None
    #: Its state; None for langchain's own.
    state_schema: Any = None


#: Events that frame what happens to requests.
FRAME = {"turn_opened", "model_said", "question_put", "turn_ended"}


# What each world has alike is made once, where that costs more than the rest of it: none of it changes afterwards.


@lru_cache(64)
def _policy_of(text: str, actions: tuple[type[Action[Any]], ...]) -> Policy:
    return parse_policy(text, "policy.toml", Actions(actions), {"usd": lambda dollars: dollars * 100})


@lru_cache(16)
def _settings_of(auth: Literal["on", "off"], environment: tuple[tuple[str, str], ...], folder: str) -> Settings:
    """Read the settings of an environment and a folder, which are asked for when they are read."""
    return Settings(_env_file=None, auth=auth)  # type: ignore[call-arg]  # no .env here


_schemas: dict[tuple[object, ...], Any] = {}


def _schema_drawn_once(name: str, function: Callable[..., Any], **how: Any) -> Any:
    """Give the schema of a look-up's arguments: the same function over another database has the same ones."""
    code = getattr(unwrap(function), "__code__", None)
    key = name, code, str(signature(function)), repr(how)
    if code is None or key not in _schemas:
        _schemas[key] = create_schema_from_function(name, function, **how)
    return _schemas[key]


structured.create_schema_from_function = _schema_drawn_once  # type: ignore[assignment, attr-defined]  # not public


@dataclass
class World:
    """A bank, a gate, a graph. People ask and answer in threads."""

    database: Database
    policy: str = POLICY
    actions: tuple[type[Action[Any]], ...] = ACTIONS
    checkpointer: BaseCheckpointSaver[Any] = field(default_factory=InMemorySaver)
    #: Without authentication everybody is the local principal.
    has_authentication: bool = True
    way: Way = "own"

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.model = ScriptedModel()
        self.prompt = SYSTEM_PROMPT
        self.nodes = NODES[self.way]
        #: After the next `use_policy`, in the way "middleware".
        self.agent = AgentOf()
        #: What answers in its place after the next `use_policy`.
        self.speaking: BaseChatModel = self.model
        self.use_policy(self.policy)

    def use_policy(self, text: str) -> None:
        """Restart the process with another policy; database and threads stay."""
        known = Actions(self.actions)
        policy = _policy_of(text, self.actions)
        self.gate = Gate(self.database, Judge(known, policy), AUDIT_KEY, self.clock)
        # All of the environment but the name of the test, by which no two would be alike.
        environment = tuple(item for item in os.environ.items() if item[0] != "PYTEST_CURRENT_TEST")
        settings = _settings_of("on" if self.has_authentication else "off", environment, os.getcwd())
        lookups = [*lookup_tools(self.database), analysis_tool(self.database, lambda: 2_000)]
        self.tools = {tool.name for tool in lookups} | {cls.tool_name() for cls in known}
        parts = self.parts = Parts(settings, self.database, self.gate)

        async def assemble() -> Parts:
            return parts

        if self.way == "middleware":
            gate = self.gate_middleware = GateMiddleware(assemble, known, self.agent.read_only)
            created: Any = self.agent.create(
                self.speaking,
                [*lookups, *self.agent.tools],
                system_prompt=self.prompt,
                middleware=[*self.agent.before, gate, *self.agent.behind],
                response_format=self.agent.response_format,
                checkpointer=self.checkpointer,
                name="clearance",
                **({"state_schema": self.agent.state_schema} if self.agent.state_schema else {}),
            )
            self.graph = guarded(created)
            return
        builder = StateGraph(MessagesState)
        entry = add_loop(builder, assemble, known, self.speaking, lookups, prompt=self.prompt, after=None, prefix="")
        builder.add_edge(START, entry)
        self.graph = guarded(builder.compile(self.checkpointer, name="clearance"))

    # People

    async def say(self, text: str, *, by: Person = OLGA, thread: str = "thread", **config: Any) -> dict[str, Any]:
        """Send a message as a new run, and give the state it ends in."""
        return await self.run({"messages": [("user", text)]}, by=by, thread=thread, **config)

    async def answer(self, answer: Any, *, by: Person = ANA, thread: str = "thread", **config: Any) -> dict[str, Any]:
        """Answer the open question without naming it, as simple clients do."""
        return await self.run(Command(resume=answer), by=by, thread=thread, **config)

    async def go_on(self, *, thread: str = "thread", by: Person | None = None) -> dict[str, Any]:
        """Continue a thread by a run without input, as the server does after a crash."""
        return await self.run(None, by=by, thread=thread)

    async def run(
        self, given: Any, *, by: Person | None, thread: str = "thread", **configurable: Any
    ) -> dict[str, Any]:
        """Run the graph on anything, as the server would for this person."""
        result: dict[str, Any] = await self.graph.ainvoke(given, self.config(by, thread, **configurable))
        return result

    def config(self, by: Person | None, thread: str = "thread", **configurable: Any) -> Any:
        """Build the config that the server would give a run of this person."""
        return {
            "run_id": (run_id := configurable.pop("run_id", None) or uuid4()),
            "configurable": {"thread_id": thread, "run_id": str(run_id), "langgraph_auth_user": by, **configurable},
        }

    def sent(self, pointer: dict[str, Any]) -> Send:
        """Make what `dispatch` sends to `tools`, as somebody may write it who knows how."""
        if self.way == "own":
            return Send("tools", pointer)
        call: dict[str, Any] = {
            "name": "transfer_funds",
            "args": {},
            "id": pointer.get("tool_call_id"),
            "type": "tool_call",
        }
        return Send("tools", [{**pointer, **call}])

    async def decide(self, answer: Any, *, by: Person, call: str = "call-0", revision: int | None = None) -> bool:
        """Decide on an open request without a run, as the approvals API does; tell whether it decided."""
        request = self.request(call)
        caller = Caller(Principal(by.identity, roles=frozenset(by.roles)))
        shown = request.revision if revision is None else revision
        parsed = parse(answer)
        assert not isinstance(parsed, NewMessage)
        decide = partial(decide_now, judge=self.gate.judge, request_id=request.request_id, answer=parsed,
                         revision=shown, caller=caller)  # fmt: skip
        return await self.gate.write(decide) is None

    async def freeze(self, by: str = "ops", reason: str = "drill") -> None:
        """Freeze all effects."""
        await self.gate.write(lambda log: freeze_effects(log, by=by, reason=reason))

    async def unfreeze(self, by: str = "ops") -> None:
        """Lift the freeze."""
        await self.gate.write(lambda log: unfreeze_effects(log, by=by))

    async def open_question(self, thread: str = "thread") -> Interrupt | None:
        """Give the question a thread waits with, or None; more than one is an error."""
        interrupts = (await self.graph.aget_state(self.config(None, thread))).interrupts
        assert len(interrupts) <= 1
        return interrupts[0] if interrupts else None

    async def history(self, thread: str = "thread") -> list[StateSnapshot]:
        """Give the checkpoints of a thread, oldest first."""
        found = [snapshot async for snapshot in self.graph.aget_state_history(self.config(None, thread))]
        return found[::-1]

    # What there is

    def execute(self, statement: sa.Executable | str) -> None:
        """Write to the database past the gate, as another program would."""
        made = sa.text(statement) if isinstance(statement, str) else statement
        self.database.write_now(lambda connection: connection.execute(made))

    def transfers(self) -> list[tuple[str, str, int]]:
        """Transfers that the gate made, oldest first, as (from, to, cents)."""
        query = sa.select(transfers.c.from_account, transfers.c.to_account, transfers.c.amount_minor)
        ours = query.where(transfers.c.request_id.is_not(None)).order_by(transfers.c.number)
        return [(row[0], row[1], row[2]) for row in self.read(lambda c: c.execute(ours).all())]

    def balance(self, account_id: str) -> int:
        """Balance in cents."""
        account = self.read(lambda c: find_account(c, account_id))
        return int(account.balance_minor)

    def ledger_is_whole(self) -> bool:
        """Check that the ledger balances."""
        return bool(self.read(check_ledger) == [])

    def whole_log(self) -> list[dict[str, Any]]:
        """Audit rows in order, details read."""
        rows = self.read(lambda c: list(audit.rows(c)))
        return [{**row, "details": json.loads(row["details"])} for row in rows]

    def audit(self) -> list[dict[str, Any]]:
        """Audit rows of what was asked, answered, done and tried; details without the digests of rows.

        Without what frames it: a turn that opened and ended, the model that spoke, the question that was put.
        """
        rows = [row for row in self.whole_log() if row["event"] not in FRAME]
        for row in rows:
            row["details"].pop("rows", None)
        return rows

    def model_message_id(self) -> str:
        """Id of the newest message of the model that the journal holds."""
        query = sa.select(plans.c.message_id).order_by(plans.c.stored_at.desc()).limit(1)
        return str(self.read(lambda c: c.execute(query).scalar_one()))

    def request(self, call: str = "call-0") -> Request:
        """The newest request of a call."""
        return [request for request in self.requests() if request.tool_call_id == call][-1]

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """Read from the database."""
        return self.database.read_now(work)

    def requests(self) -> list[Request]:
        """All requests, oldest first."""
        rows = self.read(lambda c: c.execute(request_rows.select().order_by(request_rows.c.number)).all())
        return [Request(**row._mapping) for row in rows]

    def states(self) -> list[str]:
        """States of all requests, oldest first."""
        return [request.state for request in self.requests()]

    def events(self) -> list[str]:
        """Events of `audit()` in order."""
        return [row["event"] for row in self.audit()]

    def audit_is_whole(self) -> bool:
        """Verify the audit log."""
        verification: Verification = self.read(lambda c: verify(c, AUDIT_KEY))
        return verification.is_whole

    def receipts(self) -> dict[str, str]:
        """Receipt sentences by tool call id."""
        sentences = {}
        for request in self.requests():
            receipt = self.read(partial(read_receipt, request_id=request.request_id))
            if receipt:
                sentences[request.tool_call_id] = receipt.sentence
        return sentences


def question(state: dict[str, Any]) -> dict[str, Any]:
    """Give the one question a run ended with."""
    (interrupt,) = state["__interrupt__"]
    value: dict[str, Any] = interrupt.value
    return value


def results(state: dict[str, Any]) -> list[str]:
    """Give what the tools said, in order."""
    messages: list[AnyMessage] = state["messages"]
    return [str(message.content) for message in messages if isinstance(message, ToolMessage)]
