"""Our graph with one pause: between an effect and its checkpoint, where the memo has the word for it."""

import asyncio
from typing import Any

from agent.clearance.gate import Gate
from agent.clearance.journal import Receipt
from agent.graph import graph as graph
from tests.attacks.stock import SLOW, SLOW_S

_clear = Gate.clear


async def _slow_clear(self: Gate, question: Any, *more: Any) -> Any:
    outcome = await _clear(self, question, *more)
    memo = str((question.request.arguments or {}).get("memo", ""))
    if isinstance(outcome, Receipt) and SLOW in memo.split():
        await asyncio.sleep(SLOW_S)
    return outcome


Gate.clear = _slow_clear  # type: ignore[assignment, method-assign]  # in the test's server only
