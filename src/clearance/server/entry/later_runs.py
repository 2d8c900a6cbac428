"""Whether later runs of a thread go on from what a run left in it.

LangGraph's server deletes a run's checkpoints with it. Those that came later keep what is new of the messages, so
without the earlier ones everything that was said before them would be gone from the thread, and nobody would be told.
"""

from contextvars import ContextVar

from langgraph_sdk import get_client
from langgraph_sdk.errors import NotFoundError

#: Whether this request deletes a run by its route. The server asks the same of one that is cancelled and undone, which
#: whatever ran it deletes as well: to look at others meanwhile would lose against that, and the client be told 404.
deleting: ContextVar[bool] = ContextVar("deleting", default=False)
#: Runs that are read at once.
_PAGE = 100


async def has_later(thread_id: str, run_id: str) -> bool:
    """Tell whether a run of a thread has begun after this one; not so of one that is not there, or waits itself."""
    client = get_client(url=None)
    try:
        if (await client.runs.get(thread_id, run_id))["status"] == "pending":
            return False
        first = 0
        while runs := await client.runs.list(thread_id, limit=_PAGE, offset=first):
            for run in runs:  # newest first
                if run["run_id"] == run_id:
                    return False
                if run["status"] != "pending":
                    return True
            first += _PAGE
    except NotFoundError:
        pass
    return False
