"""One thread on a real server, seen through the SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

GRAPH = "clearance"


@dataclass
class Conversation:
    """A thread, and whoever talks in it."""

    client: LangGraphClient
    thread_id: str

    async def say(self, text: str, **options: Any) -> dict[str, Any]:
        """Send a message and wait for the run; give what `runs.wait` gives."""
        return await self._wait(input={"messages": [{"role": "user", "content": text}]}, **options)

    async def answer(self, answer: Any, **options: Any) -> dict[str, Any]:
        """Answer the open question and wait for the run."""
        return await self._wait(command={"resume": answer}, **options)

    async def answer_by_id(self, answer: Any, **options: Any) -> dict[str, Any]:
        """Answer the one open interrupt by its id and wait for the run."""
        (interrupt,) = await self.interrupts()
        return await self.answer({interrupt["id"]: answer}, **options)

    async def _wait(self, **what: Any) -> dict[str, Any]:
        result: Any = await self.client.runs.wait(self.thread_id, GRAPH, **what)
        return dict(result)

    async def interrupts(self) -> list[dict[str, Any]]:
        """Give the open interrupts."""
        state: Any = await self.client.threads.get_state(self.thread_id)
        return [interrupt for task in state["tasks"] for interrupt in task["interrupts"]]

    async def question(self) -> dict[str, Any] | None:
        """Give the payload of the one open question, or None."""
        open_ones = await self.interrupts()
        assert len(open_ones) <= 1, open_ones
        return open_ones[0]["value"] if open_ones else None

    async def status(self) -> str:
        """Give the thread's status as the server lists it."""
        thread = await self.client.threads.get(self.thread_id)
        return str(thread["status"])

    async def messages(self) -> list[dict[str, Any]]:
        """Give the transcript."""
        state: Any = await self.client.threads.get_state(self.thread_id)
        return list(state["values"].get("messages", []))


@asynccontextmanager
async def connected(url: str, **headers: str) -> AsyncIterator[LangGraphClient]:
    """Connect to a server, and close the connection."""
    client = get_client(url=url, headers=headers)
    async with client:
        yield client


async def converse(client: LangGraphClient) -> Conversation:
    """Begin a thread."""
    return Conversation(client, (await client.threads.create())["thread_id"])
