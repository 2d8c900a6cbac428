"""Time a full cycle, pause → approve → effect → answer, in one process: `make bench`.

    python -m bench.gate --rounds 60

Five agents take turns round by round, each with a SQLite checkpointer of the same kind in a file of its own, the same
scripted model and the same effect: one row, committed with `synchronous=FULL`.

    ours         the package's graph, gate and journal
    ours' shape  the same nodes and supersteps around a bare interrupt(): no journal, no policy, no audit
    minimal      model → tools with a bare interrupt()
    hitl         create_agent with HumanInTheLoopMiddleware, one interrupt for all calls of a turn
    hitl/call    the same, an interrupt for each call
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import aiosqlite
import sqlalchemy as sa
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt

from agent.clearance.action import Action, Actions, Effect, Facts, Material, Reading
from agent.clearance.gate import Gate
from agent.clearance.judging import Judge
from agent.clearance.policy import parse_policy
from agent.db.engine import Database
from agent.db.migrate import migrate
from agent.graph import build_graph
from agent.server.checkpointer import SqliteCheckpointer
from agent.settings import Settings
from agent.tools import Toolbox
from agent.wiring import Wiring

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
        effect.connection.exec_driver_sql(EFFECT, (effect.now.timestamp(), self.amount))
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


def ours(folder: Path, model: BaseChatModel) -> Contender:
    database = Database(f"sqlite:///{folder / 'ours.db'}")
    migrate(database)
    database.write_now(lambda c: c.exec_driver_sql("CREATE TABLE effects (at REAL, amount INTEGER)"))
    actions = Actions([Record])
    gate = Gate(database, Judge(actions, parse_policy(POLICY, "policy.toml", actions, {})), b"k" * 32)
    parts = Wiring(Settings(auth="off"), database, gate, Toolbox([], gate))
    parts.__dict__["model"] = model

    async def assemble() -> Wiring:
        return parts

    def count() -> int:
        return database.read_now(lambda c: int(c.execute(sa.text("SELECT count(*) FROM effects")).scalar_one()))

    return Contender(build_graph(assemble), {"approved": True}, count)


def same_shape(model: BaseChatModel, ledger: Ledger) -> Contender:
    async def receive(state: Talk) -> Command[str]:
        return Command(goto="model")

    async def think(state: Talk) -> Command[str]:
        said = await model.ainvoke(state["messages"])
        return Command(update={"messages": [said]}, goto="dispatch" if said.tool_calls else END)

    async def dispatch(state: Talk) -> Command[Any]:
        last = state["messages"][-1]
        if isinstance(last, AIMessage) and last.tool_calls:
            return Command(goto=[Send("tools", {"call": last.tool_calls[0]})])
        return Command(goto="model")

    async def tools(state: Sent) -> Command[str]:
        answer = interrupt({"action": "record", "amount": state["call"]["args"]["amount"]})
        said = await ledger.record(state["call"]["args"]["amount"]) if answer["approved"] else "Rejected."
        return Command(update={"messages": [ToolMessage(said, tool_call_id=state["call"]["id"])]}, goto="dispatch")

    builder = StateGraph(Talk)
    builder.add_node("receive", receive, destinations=("model",))
    builder.add_node("model", think, destinations=("dispatch", END))
    builder.add_node("dispatch", dispatch, destinations=("tools", "model"))
    builder.add_node("tools", tools, destinations=("dispatch",))
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


async def cycle(contender: Contender) -> tuple[float, float]:
    """Run one cycle in a new thread; give the milliseconds to the pause, and from the approval to the end.

    Raises:
        RuntimeError: it did not pause, or did not end with one more effect.
    """
    config = {"configurable": {"thread_id": uuid.uuid4().hex}, "run_id": uuid.uuid4()}
    before, start = contender.count(), time.perf_counter()
    held = await contender.graph.ainvoke({"messages": [("user", "record 5")]}, config)
    paused = time.perf_counter()
    (question,) = held["__interrupt__"]
    resume: Command[str] = Command(resume={question.id: contender.answer})
    resumed = time.perf_counter()
    done = await contender.graph.ainvoke(resume, {**config, "run_id": uuid.uuid4()})
    end = time.perf_counter()
    if done["messages"][-1].content != "Done." or contender.count() != before + 1:
        raise RuntimeError(f"not one effect: {done['messages'][-1]}")
    return (paused - start) * 1000, (end - resumed) * 1000


async def compare(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Run all contenders in turn, `rounds` times after warming up."""
    model = OneCall()
    ledgers = {name: Ledger(folder / f"{name}.db") for name in ("shape", "minimal", "hitl", "hitl-call")}
    contenders = {
        "ours": ours(folder, model),
        "ours' shape": same_shape(model, ledgers["shape"]),
        "minimal": minimal(model, ledgers["minimal"]),
        "hitl": middleware(model, ledgers["hitl"], "batched"),
        "hitl/call": middleware(model, ledgers["hitl-call"], "per_call"),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for at, contender in enumerate(contenders.values()):
        connection = await aiosqlite.connect(folder / f"checkpoints-{at}.db")
        await connection.execute("PRAGMA synchronous = NORMAL")
        contender.graph.checkpointer = SqliteCheckpointer(connection)
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


def table(times: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    """Write medians in ms by phase, and each whole cycle's median ratio to that of ours' shape in the same round."""
    yield f"{'agent':<12} {'to pause':>9} {'to end':>9} {'whole':>9}   of ours' shape"
    for name, rows in times.items():
        pause, rest = (statistics.median(row[at] for row in rows) for at in (0, 1))
        whole = statistics.median(sum(row) for row in rows)
        ratio = statistics.median(sum(row) / sum(own) for row, own in zip(rows, times["ours' shape"], strict=True))
        yield f"{name:<12} {pause:9.2f} {rest:9.2f} {whole:9.2f}   {ratio:.2f}"


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description="time pause → approve → effect")
    arguments.add_argument("--rounds", type=int, default=60)
    rounds = arguments.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder:
        times = asyncio.run(compare(Path(folder), rounds))
    print(f"{rounds} rounds, medians in ms")
    print("\n".join(table(times)))


if __name__ == "__main__":
    main()
