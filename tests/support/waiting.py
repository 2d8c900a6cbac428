"""Wait for what comes about by itself."""

import asyncio
import time
from collections.abc import Callable
from typing import Any


async def until(holds: Callable[[], Any], *, within_s: float = 60) -> Any:
    """Wait until something holds, which may be a coroutine, and give what it gave."""
    late = time.monotonic() + within_s
    while True:
        found = holds()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        assert time.monotonic() < late, "it does not come about"
        await asyncio.sleep(0.05)
