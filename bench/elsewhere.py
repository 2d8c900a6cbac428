"""Time pause → approve → effect at a provider over HTTP → answer, in one process: `make bench-elsewhere`.

    python -m bench.elsewhere --rounds 60

Two agents take turns round by round, each with a SQLite checkpointer of the same kind in a file of its own, the same
scripted model and the same provider: ours, whose external action it is, and the same nodes around a bare interrupt().
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path

import httpx
from langchain_core.language_models import BaseChatModel
from langgraph.graph import START, MessagesState, StateGraph

from agent.bank import MIGRATIONS
from bench.gate import POLICY, WARM_UP, Contender, Cycle, OneCall, cycle, keep, same_shape
from clearance import ExternalAction, Facts, Volatile
from clearance.actions import Call, Looking
from clearance.actions.action import Actions
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.gate.gate import Gate
from clearance.gate.judging import Judge
from clearance.gate.policy import parse_policy
from clearance.graph.own_graph import add_loop
from clearance.parts import Parts
from clearance.settings import Settings
from tests.support.payments import Provider


class Payer:
    """Pays one amount after the other, by a client that stays."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._http = httpx.AsyncClient(base_url=provider.url)

    async def record(self, amount: int, key: str = "") -> str:
        """Pay."""
        await self._http.post("/payments", json={"account": "X", "amount": amount}, headers={"Idempotency-Key": key})
        return "Recorded."

    def count(self) -> int:
        """Count what was paid."""
        return len(self._provider.books)


class RecordFacts(Facts):
    """What a reviewer sees."""

    owner: Volatile[str]


def ours(database: Database, model: BaseChatModel, payer: Payer) -> Contender:
    """Make our agent, whose effect is at the provider."""

    class Record(ExternalAction[RecordFacts]):
        """Pay an amount."""

        amount: int

        def facts(self, looking: Looking) -> RecordFacts:
            return RecordFacts(owner="somebody")

        async def perform(self, call: Call) -> str:
            return await payer.record(self.amount, call.idempotency_key)

    migrate(database, MIGRATIONS)
    actions = Actions([Record])
    gate = Gate(database, Judge(actions, parse_policy(POLICY, "policy.toml", actions, {})), b"k" * 32)
    parts = Parts(Settings(auth="off"), database, gate)

    async def assemble() -> Parts:
        return parts

    builder = StateGraph(MessagesState)
    builder.add_edge(START, add_loop(builder, assemble, actions, model, [], prompt="", after=None, prefix=""))
    return Contender(builder.compile(name="clearance"), {"approved": True}, payer.count, database)


async def compare(folder: Path, rounds: int, takes_s: float) -> dict[str, list[Cycle]]:
    """Run both in turn, `rounds` times after warming up, beside a provider that takes so long."""
    model = OneCall()
    with Provider(mood="slow", takes_s=takes_s) as provider:
        contenders = {
            "ours": ours(Database(f"sqlite:///{folder / f'ours-{takes_s}.db'}"), model, Payer(provider)),
            "ours' shape": same_shape(model, Payer(provider)),
        }
        for at, contender in enumerate(contenders.values()):
            await keep(contender, folder / f"checkpoints-{takes_s}-{at}.db")
        times: dict[str, list[Cycle]] = {name: [] for name in contenders}
        for number in range(rounds + WARM_UP):
            for name, contender in contenders.items():
                measured = await cycle(contender)
                if number >= WARM_UP:
                    times[name].append(measured)
        for contender in contenders.values():
            await contender.graph.checkpointer.conn.close()
    return times


def main() -> None:
    """Print medians, and the median of the ratios in the same round."""
    parser = argparse.ArgumentParser(description="time pause → approve → effect elsewhere")
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder:
        for takes_s in (0.0, 0.1):
            times = asyncio.run(compare(Path(folder), rounds, takes_s))
            ratio = statistics.median(one.whole / other.whole for one, other in zip(*times.values(), strict=True))
            print(f"a provider that takes {takes_s * 1000:.0f} ms; {rounds} rounds, medians in ms; ratio {ratio:.2f}")
            for name, cycles in times.items():
                to_pause, to_end = (
                    statistics.median(getattr(one, of) for one in cycles) for of in ("to_pause", "to_end")
                )
                print(f"  {name:<12} to pause {to_pause:7.2f}   to end {to_end:7.2f}")


if __name__ == "__main__":
    main()
