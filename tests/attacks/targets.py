"""What is attacked, and by whom.

Four targets, each one running `langgraph dev`:
- `stock`: `stock.py`. An attack that does not succeed here proves nothing.
- `ours`: as it is deployed.
- `gate`: ours with every handler of the authentication taken away. People are told apart, nothing is refused.
- `middleware`: the same, with the agent of `create_agent` in place of the graph of our nodes.

An attack is an async function that takes a `Case` and returns an `Outcome`; the decorator `attack` makes one test of it
for each target, judges, and records a line of the table. A `Case` has people and accounts of its own, so that attacks
on one server do not see each other.
"""

import asyncio
import functools
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.customers import open_customer
from agent.bank.ledger import HOUSE, make_transfer, open_account
from agent.bank.tables import accounts, customers, transfers
from clearance.db.engine import Database
from clearance.db.tables import audit, refusal_totals
from tests.attacks import stock
from tests.support.conversation import GRAPH
from tests.support.server import ROOT, Server
from tests.support.several import PLAIN, with_graphs
from tests.support.tickets import CONNECTION, Tickets
from tests.support.tokens import bearer
from tests.support.world import NODES, Person, Way

Name = Literal["stock", "ours", "gate", "middleware"]
#: `shared` by all tests; `slow`: shared, pauses between effect and checkpoint; `own`: one test's own, and slow;
#: `several`: shared, with more graphs; `tickets`: shared, with the tools of an MCP server.
Which = Literal["shared", "slow", "own", "several", "tickets"]
TARGETS: tuple[Name, ...] = ("stock", "ours", "gate", "middleware")
#: For what no graph has to do with: who gets in, pages, loads.
OF_ANY_GRAPH: tuple[Name, ...] = ("stock", "ours", "gate")
_TIMEOUT_S = 60


#: A transfer whose memo has this word pauses so long between its effect and its checkpoint: stock always, ours on a
#: server that was made slow.
SLOW, SLOW_S = stock.SLOW, stock.SLOW_S
#: The same on a server that is a test's own. Longer than the server takes to save its state, which it does every 10 s.
OWN_SLOW_S = 20


class SlowServer(Server):
    """Ours, and nothing changed but a pause between effect and checkpoint, so that tests can strike there."""

    #: `agent.graph`, or the sample's agent as `create_agent` makes it.
    way: ClassVar[Way] = "own"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "SLOW_WAY": self.way}

    def _configuration(self) -> Path:
        link = self.folder / "slow.py"
        if not link.exists():
            link.symlink_to(Path(__file__).with_name("slow.py"))
        configuration = json.loads(super()._configuration().read_text())
        configuration["graphs"][GRAPH] = "./slow.py:graph"
        changed = self.folder / "slow.json"
        changed.write_text(json.dumps(configuration))
        return changed


class SlowCreatedServer(SlowServer):
    """The same with the agent of `create_agent`."""

    way = "middleware"


class StockServer(Server):
    """The stock agent on the same server, in a folder of its own."""

    def _configuration(self) -> Path:
        link = self.folder / "stock.py"
        if not link.exists():
            link.symlink_to(Path(stock.__file__))
        configuration = {
            "dependencies": ["."],
            "graphs": {GRAPH: "./stock.py:graph"},
            "auth": {"path": "./stock.py:auth"},
        }
        path = self.folder / "langgraph.json"
        path.write_text(json.dumps(configuration))
        return path

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "STOCK_FILE": str(self.folder / "stock.db")}


class SeveralStock(StockServer):
    """The stock agent beside a graph that is not."""

    def _configuration(self) -> Path:
        return with_graphs(self.folder, super()._configuration(), PLAIN)


class StockTickets(StockServer):
    """The stock agent with the tools of an MCP server."""

    def _configuration(self) -> Path:
        path = super()._configuration()
        link = self.folder / "stock_tickets.py"
        if not link.exists():
            link.symlink_to(Path(__file__).with_name("stock_tickets.py"))
        configuration = json.loads(path.read_text())
        configuration["graphs"][GRAPH] = "./stock_tickets.py:graph"
        path.write_text(json.dumps(configuration))
        return path

    def environment(self) -> dict[str, str]:
        connection = json.dumps(Tickets(self.folder / "tickets").on_stdio())
        return {**super().environment(), "PYTHONPATH": str(ROOT), CONNECTION: connection}


@dataclass(frozen=True, order=True)
class Effect:
    """Something that happened: a transfer, or a deleted customer (its id is the source)."""

    tool: str
    source: str
    target: str
    amount_minor: int
    memo: str


@dataclass
class Reply:
    """What the server said to one request."""

    status: int
    body: Any

    @property
    def how(self) -> str:
        """Status, or for a run that was let in, what became of it: `asked`, `error` or `done`."""
        if self.status != 200:
            return str(self.status)
        if isinstance(self.body, dict):
            if self.body.get("type") == "error":  # of the v2 routes, which answer everything with 200
                message = str(self.body.get("message"))
                return message[:3] if message[:3].isdigit() else "refused"
            if "__interrupt__" in self.body:
                return "asked"
            if "__error__" in self.body:
                return "error"
        return "done"


@dataclass
class Attacker:
    """Somebody with a token, or without one, and plain HTTP."""

    person: Person | None
    http: httpx.AsyncClient
    target: "Target"

    @property
    def name(self) -> str:
        return self.person.identity if self.person else "nobody"

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        """Send any request."""
        # The address anew each time: a server that was killed comes back on another port.
        response = await self.http.request(method, f"{self.target.url}{path}", **options)
        try:
            body = response.json()
        except ValueError:
            body = response.text
        return Reply(response.status_code, body)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        """Post JSON."""
        return await self.send("POST", path, json={} if body is None else body, **options)

    async def get(self, path: str, **options: Any) -> Reply:
        """Read something."""
        return await self.send("GET", path, **options)

    async def thread(self, **body: Any) -> str:
        """Make a thread and give its id."""
        reply = await self.post("/threads", body)
        assert reply.status == 200, reply
        return str(reply.body["thread_id"])

    async def run(self, thread_id: str, *, wait: bool = True, **body: Any) -> Reply:
        """Create a run with these fields, and wait for its end unless told not to."""
        path = f"/threads/{thread_id}/runs/wait" if wait else f"/threads/{thread_id}/runs"
        body.setdefault("assistant_id", GRAPH)
        return await self.post(path, body)

    async def say(self, thread_id: str, text: str, **body: Any) -> Reply:
        """Send a message and wait."""
        return await self.run(thread_id, input={"messages": [{"role": "user", "content": text}]}, **body)

    async def answer(self, thread_id: str, answer: Any, **body: Any) -> Reply:
        """Resume a thread and wait."""
        return await self.run(thread_id, command={"resume": answer}, **body)

    async def state(self, thread_id: str) -> dict[str, Any]:
        """Read a thread's state."""
        reply = await self.get(f"/threads/{thread_id}/state")
        assert reply.status == 200, reply
        return dict(reply.body)

    async def interrupts(self, thread_id: str) -> list[dict[str, Any]]:
        """Give the open interrupts of a thread."""
        state = await self.state(thread_id)
        return [one for task in state["tasks"] for one in task["interrupts"]]


@dataclass
class Held:
    """A transfer that waits for an answer."""

    thread_id: str
    source: str
    target: str
    amount: str
    memo: str
    #: Of the question, when it was put.
    interrupt_id: str
    question: dict[str, Any]

    @property
    def effect(self) -> Effect:
        """What an approval would do."""
        return Effect("transfer_funds", self.source, self.target, _minor(self.amount), self.memo)


@dataclass
class Target:
    """A running server and its database."""

    name: Name
    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def is_ours(self) -> bool:
        return self.name != "stock"

    def database(self) -> Database:
        """Open our database; close it."""
        return Database(self.server.database_url)

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """Read from our database."""
        database = self.database()
        try:
            return database.read_now(work)
        finally:
            database.close()

    def write(self, work: Callable[[Connection], Any]) -> Any:
        """Write to our database past the gate, as another program would."""
        database = self.database()
        try:
            return database.write_now(work)
        finally:
            database.close()

    def stock(self) -> "closing[sqlite3.Connection]":
        """Open the stock agent's database; for `with`."""
        connection = sqlite3.connect(self.server.folder / "stock.db", timeout=30, isolation_level=None)
        connection.executescript(stock.SCHEMA)
        return closing(connection)


@dataclass
class Case:
    """One attack's people, accounts and threads on one target."""

    target: Target
    #: In all names of this case.
    mark: str = field(default_factory=lambda: uuid4().hex[:8])
    _accounts: list[str] = field(default_factory=list)
    _customers: list[str] = field(default_factory=list)
    _attackers: dict[str, Attacker] = field(default_factory=dict)

    def node(self, step: str) -> str:
        """Give what the node is called that does a step: receive, model, dispatch or tools; stock has but two."""
        if self.target.is_ours:
            return NODES["middleware" if self.target.name == "middleware" else "own"][step]
        return {"receive": "model", "dispatch": "tools"}.get(step, step)

    # People, each with a name of this case's own: `olga-1a2b3c4d`

    @property
    def olga(self) -> Attacker:
        """Asks; has no role."""
        return self.somebody("olga")

    @property
    def mallory(self) -> Attacker:
        """A stranger with a valid token, and no role."""
        return self.somebody("mallory")

    @property
    def ana(self) -> Attacker:
        """Approver."""
        return self.somebody("ana", "approver")

    @property
    def ben(self) -> Attacker:
        """Approver."""
        return self.somebody("ben", "approver")

    @property
    def tess(self) -> Attacker:
        """Approver and treasurer."""
        return self.somebody("tess", "approver", "treasurer")

    @property
    def tom(self) -> Attacker:
        """Approver and treasurer."""
        return self.somebody("tom", "approver", "treasurer")

    def somebody(self, name: str, *roles: str) -> Attacker:
        """Give somebody of this case, always the same for a name."""
        if name not in self._attackers:
            person = Person(f"{name}-{self.mark}", roles)
            self._attackers[name] = self.attacker(person, bearer(person))
        return self._attackers[name]

    def attacker(self, person: Person | None, headers: Mapping[str, str]) -> Attacker:
        """Give an HTTP client with these headers; it is closed at the end."""
        # The server closes what rests for 5 s, and so would httpx: on a busy machine a request then meets no answer.
        limits = httpx.Limits(keepalive_expiry=1)
        http = httpx.AsyncClient(headers=dict(headers), timeout=_TIMEOUT_S, limits=limits)
        made = Attacker(person, http, self.target)
        self._attackers.setdefault(f"#{len(self._attackers)}", made)
        return made

    async def close(self) -> None:
        """Close everybody's connections."""
        for attacker in self._attackers.values():
            await attacker.http.aclose()

    # Accounts

    def account(self, dollars: int = 1_000_000, owner: str = "Pat Doe") -> str:
        """Open a fresh account of a fresh customer."""
        number = f"{self.mark}{len(self._accounts)}".upper()
        customer_id, account_id = f"C-{number}", f"A-{number}"
        if self.target.is_ours:
            long_ago = datetime.now(UTC) - timedelta(days=400)

            def work(connection: Connection) -> None:
                open_customer(connection, customer_id, owner, at=long_ago, email=f"{number}@example.com", phone="1")
                open_account(connection, account_id, customer_id, "checking", at=long_ago)
                if dollars:
                    # Dated before all limits, so that nobody's day is used up.
                    make_transfer(connection, from_account=HOUSE, to_account=account_id, amount_minor=dollars * 100,
                                  made_at=long_ago)  # fmt: skip

            self.target.write(work)
        else:
            with self.target.stock() as connection:
                connection.execute(
                    "INSERT INTO accounts VALUES (?, ?, 'open', ?, NULL)", [account_id, owner, dollars * 100]
                )
                connection.execute("INSERT INTO customers VALUES (?, ?)", [customer_id, owner])
        self._accounts.append(account_id)
        self._customers.append(customer_id)
        return account_id

    @staticmethod
    def customer_of(account_id: str) -> str:
        """Give the customer of an account that `account` made."""
        return account_id.replace("A-", "C-", 1)

    # What happened

    def effects(self) -> list[Effect]:
        """Everything that the agent did to this case's accounts and customers."""
        if not self.target.is_ours:
            mine = ", ".join("?" * (len(self._accounts) + len(self._customers)))
            query = f"SELECT tool, source, target, amount_minor, memo FROM effects WHERE source IN ({mine})"
            with self.target.stock() as connection:
                return [Effect(*row) for row in connection.execute(query, [*self._accounts, *self._customers])]
        paid = sa.select(
            transfers.c.from_account, transfers.c.to_account, transfers.c.amount_minor, transfers.c.memo
        ).where(transfers.c.request_id.is_not(None), transfers.c.from_account.in_(self._accounts))
        gone = sa.select(customers.c.customer_id).where(
            customers.c.customer_id.in_(self._customers), customers.c.status == "deleted"
        )
        made: list[Effect] = self.target.read(
            lambda c: [
                *(Effect("transfer_funds", row[0], row[1], row[2], row[3] or "") for row in c.execute(paid)),
                *(Effect("delete_user", row[0], "", 0, "") for row in c.execute(gone)),
            ]
        )
        return made

    def unwanted(self, *wanted: Effect) -> int:
        """Count the effects beyond these, each of which may happen once."""
        return sum((Counter(self.effects()) - Counter(wanted)).values())

    def traces(self, *who: Attacker) -> set[str]:
        """Give what our log says of somebody: events of the audit log, causes of refusals."""
        names = [attacker.name for attacker in who]
        events = sa.select(audit.c.event).where(audit.c.actor.in_(names))
        causes = sa.select(refusal_totals.c.cause).where(refusal_totals.c.person.in_(names))
        found = self.target.read(lambda c: {*c.scalars(events), *c.scalars(causes)})
        return set(found)

    # Steps that many attacks begin with

    async def hold(
        self, amount: str = "5000", *, by: Attacker | None = None, thread_id: str | None = None, memo: str = ""
    ) -> Held:
        """Ask for a transfer that has to be approved, between fresh accounts."""
        asker = by or self.olga
        source, target = self.account(), self.account(0)
        said = memo or f"note{self.mark}"
        thread_id = thread_id or await asker.thread()
        reply = await asker.say(thread_id, f"transfer {amount} from {source} to {target} for {said}")
        assert reply.how == "asked", reply
        # Not from the thread's state: once it is read, this server saves no more of it before a kill (a bug upstream).
        (interrupt,) = reply.body["__interrupt__"]
        return Held(thread_id, source, target, amount, said, interrupt["id"], interrupt["value"])

    async def settle(self, thread_id: str, timeout_s: float = 30) -> str:
        """Wait until nothing of a thread runs, and give its status."""
        until = time.monotonic() + timeout_s
        while True:
            reply = await self.ana.get(f"/threads/{thread_id}")
            status = str(reply.body.get("status")) if isinstance(reply.body, dict) else str(reply.status)
            if status not in ("busy", "pending") or time.monotonic() > until:
                return status
            await asyncio.sleep(0.1)

    async def goes_on(self, held: Held, *, by: Attacker | None = None) -> bool:
        """Approve what is held, as a reviewer would who saw it, and tell whether exactly that happened."""
        (interrupt,) = await (by or self.ana).interrupts(held.thread_id)
        reply = await (by or self.ana).answer(held.thread_id, {interrupt["id"]: {"approved": True}})
        return reply.how == "done" and self.effects().count(held.effect) == 1


@dataclass
class Outcome:
    """What became of an attack."""

    tries: int = 0
    #: Tries that got what they must not.
    got: int = 0
    #: What is counted.
    harm: str = "effects"
    #: How the tries were met, by `Reply.how`: `403`, `asked`, `done` …
    met: Counter[str] = field(default_factory=Counter)

    def note(self, reply: Reply, *, got: int = 0) -> None:
        """Count one try."""
        self.tries += 1
        self.got += got
        self.met[reply.how] += 1


def attack(
    row: int,
    *,
    ours: Collection[str] = (),
    trace: Collection[str] = (),
    gate_trace: Collection[str] = (),
    by: Collection[str] = ("olga", "mallory"),
    stock_holds: str = "",
    targets: Collection[Name] = TARGETS,
    server: Which = "shared",
) -> Callable[[Callable[[Case], Awaitable[Outcome]]], Callable[..., Awaitable[None]]]:
    """Make a test for each target of an attack on `row`.

    `ours`: how our server meets the tries, any of these and no other; empty when it differs. `trace`, `gate_trace`:
    words of which each must stand in our log of those in `by`, on our server and with the gate alone.
    `stock_holds`: why stock does not have this hole in the installed versions; empty: it has, and the test says so.
    """

    def made(function: Callable[[Case], Awaitable[Outcome]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(function)
        async def test(case: Case, record_property: Callable[[str, object], None]) -> None:
            outcome = await function(case)
            name = case.target.name
            for _ in range(3):
                if name != "stock" or stock_holds or outcome.got:
                    break
                # Its tasks race, so a busy machine may hide the hole. Ours get no second try.
                outcome = await function(case)
            line = {"row": row, "target": name, **vars(outcome)}
            record_property("attack", json.dumps(line))
            assert outcome.tries, "nothing was attempted"
            if name == "stock":
                if stock_holds:
                    assert outcome.got == 0, f"stock has the hole again: {outcome}"
                else:
                    assert outcome.got > 0, f"this test cannot see the hole: {outcome}"
                return
            assert outcome.got == 0, f"a hole: {outcome}"
            if ours and name == "ours":
                assert outcome.met.keys() <= set(ours), outcome
            left = case.traces(*(case.somebody(one) for one in by))
            missing = set(trace if name == "ours" else gate_trace) - left
            assert not missing, f"no trace {missing} of {by} in {left}"

        # Else pytest would read the fixtures from the attack, which takes the case alone.
        del test.__wrapped__
        # `conftest.py` reads from the name which tests share a server.
        ids = {name: name if server == "shared" else f"{name}-{server}" for name in targets}
        params = [pytest.param((name, server), id=ids[name]) for name in targets]
        marked: Callable[..., Awaitable[None]] = pytest.mark.parametrize("target", params, indirect=True)(test)
        return marked

    return made


def balance(case: Case, account_id: str) -> int:
    """Balance of one of our accounts, in cents."""
    query = sa.select(accounts.c.balance_minor).where(accounts.c.account_id == account_id)
    return int(case.target.read(lambda c: c.scalar(query)))


def _minor(amount: str) -> int:
    return round(float(amount.replace(",", "")) * 100)
