"""Our graph with one pause: between an effect and its checkpoint, where the memo has the word for it."""

import asyncio
import os
from typing import Any

from agent.graph import graph as own_graph
from clearance.gate.gate import Gate
from clearance.journal.receipts import Receipt
from tests.attacks.stock import SLOW, SLOW_S
from tests.support.created import created_agent

_clear, _reach = Gate.clear, Gate.reach


async def _slow_clear(self: Gate, question: Any, *more: Any, **named: Any) -> Any:
    outcome = await _clear(self, question, *more, **named)
    await _pause(question, outcome)
    return outcome


async def _slow_reach(self: Gate, *given: Any, **named: Any) -> Any:
    reached = await _reach(self, *given, **named)
    if reached.question is not None and reached.outcome is not None:
        await _pause(reached.question, reached.outcome.of)
    return reached


async def _pause(question: Any, outcome: Any) -> None:
    memo = str((question.request.arguments or {}).get("memo", ""))
    if isinstance(outcome, Receipt) and SLOW in memo.split():
        await asyncio.sleep(SLOW_S)


graph = own_graph if os.environ["SLOW_WAY"] == "own" else created_agent()

# In the test's server only.
Gate.clear = _slow_clear  # type: ignore[method-assign]
Gate.reach = _slow_reach  # type: ignore[method-assign]
