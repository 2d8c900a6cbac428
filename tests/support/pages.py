"""Pages that people already use: exactly what each sends to the server, and what it reads from what comes back.

From their sources: agent-chat-ui with `useStream` of @langchain/langgraph-sdk, and agent-inbox; LangGraph Studio as far
as its requests are known (the server's OpenAPI document, reports of people who looked).
"""

import asyncio
import json
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal
from uuid import uuid4

import httpx

from tests.support.conversation import GRAPH

#: Parts of a stream in order: (event, data).
Stream = list[tuple[str, Any]]
Decision = Literal["approve", "reject", "edit"]


@dataclass
class Page:
    """A tab of a browser that is signed in at a page."""

    http: httpx.AsyncClient
    thread_id: str = ""
    #: Status of the last answer.
    status: int = 0

    async def connect(self) -> dict[str, Any]:
        """Look whether a server is there, as the pages do before all else."""
        return dict(await self.get("/info"))

    async def preflight(self, path: str, method: str = "POST") -> httpx.Response:
        """Ask as browsers do whether a page may send this."""
        asked = ", ".join(["content-type", *(name for name in self.http.headers if name.startswith("x-"))])
        headers = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": asked}
        return await self.http.options(path, headers={"Origin": "http://localhost:3000", **headers})

    async def get(self, path: str) -> Any:
        """Read something."""
        return self._body(await self.http.get(path))

    async def post(self, path: str, body: Any) -> Any:
        """Post JSON."""
        return self._body(await self.http.post(path, json=body))

    async def stream(self, path: str, body: Any) -> Stream:
        """Post JSON and read the stream to its end; empty when it is refused."""
        answer = await self.http.post(path, json=body)
        self.status = answer.status_code
        return events(answer.text) if self.status == 200 else []

    def _body(self, answer: httpx.Response) -> Any:
        self.status = answer.status_code
        return answer.json()


def events(text: str) -> Stream:
    """Read server-sent events."""
    found: Stream = []
    for part in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in part.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"]) if fields.get("data") else None))
    return found


@dataclass
class ChatPage(Page):
    """agent-chat-ui. `useStream` is set to fetch the history, so each run is pinned to the checkpoint it shows."""

    history: list[dict[str, Any]] = field(default_factory=list)

    async def threads(self) -> list[dict[str, Any]]:
        """List the conversations in the side bar."""
        body = {"metadata": {"graph_id": GRAPH}, "limit": 100, "offset": 0}
        return list(await self.post("/threads/search", body))

    async def load(self) -> None:
        """Load a thread, as with `?threadId=` in the address, and after each run."""
        self.history = await self.post(f"/threads/{self.thread_id}/history", {"limit": 10})

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Give the messages that the page renders."""
        shown = self.history[0]["values"].get("messages", []) if self.history else []
        return [message for message in shown if not str(message["id"]).startswith("do-not-render-")]

    @property
    def question(self) -> dict[str, Any] | None:
        """Give the question that the page shows with buttons; fails where it would show raw JSON instead."""
        open_ones = [one for task in self.history[0]["tasks"] for one in task["interrupts"]]
        if not open_ones:
            return None
        value = open_ones[-1]["value"]
        requests, reviews = value["action_requests"], value["review_configs"]
        assert all(isinstance(one["name"], str) and isinstance(one["args"], dict) for one in requests)
        assert all(isinstance(one["action_name"], str) for one in reviews)
        assert all(isinstance(one["allowed_decisions"], list) for one in reviews)
        return dict(value)

    async def type(self, text: str) -> Stream:
        """Type into the box at the bottom, whatever is open."""
        said = {"id": str(uuid4()), "type": "human", "content": [{"type": "text", "text": text}]}
        return await self._submit({"messages": [*self._invented_results(), said]}, **self._RESUMABLE)

    async def decide(self, decision: Decision, **changes: str) -> Stream:
        """Press a button of the question, and say why or what changes."""
        assert self.question
        (asked,) = self.question["action_requests"]
        sent: dict[str, Any] = {"type": decision}
        if decision == "reject":
            sent["message"] = changes["message"]
        if decision == "edit":
            sent["edited_action"] = {"name": asked["name"], "args": {**asked["args"], **changes}}
        return await self._submit({}, command={"resume": {"decisions": [sent]}})

    async def mark_as_resolved(self) -> Stream:
        """Press the button of that name."""
        return await self._submit({}, command={"goto": "__end__"})

    async def regenerate(self, message_id: str) -> Stream:
        """Press the arrow under a message of the model's."""
        return await self._submit(None, checkpoint=self._before(message_id), **self._RESUMABLE)

    async def rewrite(self, message_id: str, text: str) -> Stream:
        """Edit an earlier message of one's own and send it."""
        said = {"messages": [{"type": "human", "content": text}]}
        return await self._submit(said, checkpoint=self._before(message_id), **self._RESUMABLE)

    async def decide_and_close(self, decision: Decision) -> None:
        """Press a button and close the tab as soon as the server answers."""
        body = self._run({}, command={"resume": {"decisions": [{"type": decision}]}})
        async with self.http.stream("POST", f"/threads/{self.thread_id}/runs/stream", json=body) as answer:
            self.status = answer.status_code
            async for _ in answer.aiter_lines():
                break

    _RESUMABLE = {"stream_mode": ["values"], "stream_subgraphs": True, "stream_resumable": True}  # noqa: RUF012  nobody changes it

    def _run(self, given: Any, **options: Any) -> dict[str, Any]:
        is_resumable = bool(options.get("stream_resumable"))
        body = {
            "assistant_id": GRAPH,
            "stream_resumable": is_resumable,
            "on_disconnect": "continue" if is_resumable else "cancel",
            **options,
            "stream_mode": list(dict.fromkeys([*options.get("stream_mode", []), "messages-tuple", "values", "custom"])),
        }
        if given is not None:
            body["input"] = given
        checkpoint = options.get("checkpoint") or (self.history[0]["checkpoint"] if self.history else None)
        if checkpoint:
            body["checkpoint"] = {name: value for name, value in checkpoint.items() if name != "thread_id"}
        return body

    async def _submit(self, given: Any, **options: Any) -> Stream:
        if not self.thread_id:
            self.thread_id = (await self.post("/threads", {"metadata": {}}))["thread_id"]
        got = await self.stream(f"/threads/{self.thread_id}/runs/stream", self._run(given, **options))
        status = self.status
        await self.load()
        self.status = status
        return got

    def _before(self, message_id: str) -> dict[str, Any]:
        """Give the checkpoint before the first that has this message."""
        first = [one for one in self.history if message_id in [m["id"] for m in one["values"].get("messages", [])]][-1]
        return dict(first["parent_checkpoint"])

    def _invented_results(self) -> list[dict[str, Any]]:
        shown = self.history[0]["values"].get("messages", []) if self.history else []
        invented = []
        for message, following in zip_longest(shown, shown[1:]):
            if message["type"] == "ai" and not (following and following["type"] == "tool"):
                invented += [
                    {
                        "type": "tool",
                        "tool_call_id": call["id"],
                        "id": f"do-not-render-{uuid4()}",
                        "name": call["name"],
                        "content": "Successfully handled tool call.",
                    }
                    for call in message.get("tool_calls", [])
                ]
        return invented


@dataclass
class InboxPage(Page):
    """agent-inbox."""

    async def waiting(self, metadata: dict[str, str]) -> list[dict[str, Any]]:
        """List what waits for an answer; `metadata` is made of what was typed as the graph's or assistant's id."""
        body = {"metadata": metadata, "limit": 100, "offset": 0, "status": "interrupted"}
        return [*await self.post("/threads/search", body)]

    async def open(self) -> dict[str, Any]:
        """Open a thread and give what the page shows of its question: action, fields, description and buttons."""
        thread = await self.get(f"/threads/{self.thread_id}")
        ((first, *_), *_) = thread["interrupts"].values()
        asked = first["value"]["action_requests"][0]
        allowed = first["value"]["review_configs"][0]["allowed_decisions"]
        # Some builds read `args`, some `arguments`.
        assert asked["args"] == asked["arguments"]
        return {
            "action": asked["name"],
            "args": asked["arguments"],
            "description": asked["description"],
            "allowed": allowed,
        }

    async def submit(self, kind: str, args: Any) -> Stream:
        """Press Accept, Submit or Send Response."""
        body = {"command": {"resume": self._resume(kind, args)}, "stream_mode": "events", "assistant_id": GRAPH}
        return await self.stream(f"/threads/{self.thread_id}/runs/stream", body)

    async def ignore(self) -> Any:
        """Press Ignore."""
        body = {"command": {"resume": self._resume("ignore", None)}, "assistant_id": GRAPH}
        return await self.post(f"/threads/{self.thread_id}/runs", body)

    async def mark_as_resolved(self) -> Any:
        """Press the button of that name."""
        return await self.post(f"/threads/{self.thread_id}/state", {"values": None, "as_node": "__end__"})

    def _resume(self, kind: str, args: Any) -> Any:
        return [{"type": kind, "args": args}]


@dataclass
class Studio(Page):
    """LangGraph Studio: draws the graph, the input and the form of a question from what the server says of itself."""

    assistant_id: str = ""

    async def load(self) -> dict[str, Any]:
        """Load the graph; give what each request answered."""
        found = await self.http.post(
            "/assistants/search",
            content=json.dumps({"limit": 10, "offset": 0, "metadata": {"created_by": "system"}}),
            headers={"Content-Type": "text/plain;charset=UTF-8"},
        )
        (assistant,) = found.json()
        self.assistant_id = assistant["assistant_id"]
        at = f"/assistants/{self.assistant_id}"
        return {
            "assistant": await self.get(at),
            "graph": await self.get(f"{at}/graph?xray=true"),
            "schemas": await self.get(f"{at}/schemas"),
            "subgraphs": await self.get(f"{at}/subgraphs?recurse=true"),
            "versions": await self.post(f"{at}/versions", {"limit": 10, "offset": 0}),
            "threads": await self.post("/threads/search", {"limit": 20, "offset": 0, "metadata": {"graph_id": GRAPH}}),
        }

    async def send(self, text: str) -> Stream:
        """Send a message from the chat or from the form of the input."""
        if not self.thread_id:
            self.thread_id = (await self.post("/threads", {}))["thread_id"]
        return await self.run(input={"messages": [{"type": "human", "content": text}]})

    async def run(self, **fields: Any) -> Stream:
        """Start a run and follow it."""
        body = {
            "assistant_id": self.assistant_id,
            "stream_mode": ["debug", "messages"],
            "stream_subgraphs": True,
            "stream_resumable": True,
            "on_disconnect": "continue",
            "multitask_strategy": "rollback",
            "interrupt_before": [],
            "interrupt_after": [],
            "config": {"configurable": {}, "tags": []},
            "metadata": {"from_studio": True, "LANGGRAPH_API_URL": str(self.http.base_url)},
            **fields,
        }
        return await self.stream(f"/threads/{self.thread_id}/runs/stream", body)

    async def write(self, step: dict[str, Any], values: Any, as_node: str) -> dict[str, Any]:
        """Change the state behind a step, under its own name: "Edit" and "Fork"; give what the server answers."""
        body = {"values": values, "as_node": as_node, "checkpoint": step["checkpoint"]}
        return dict(await self.post(f"/threads/{self.thread_id}/state", body))

    async def rerun(self, step: dict[str, Any], **fields: Any) -> Stream:
        """Press "Re-run from here": a copy of the step, and a run from that."""
        copied = await self.write(step, None, "__copy__")
        return await self.run(input=None, checkpoint=copied["checkpoint"], **fields)

    async def state(self) -> dict[str, Any]:
        """Read where the thread stands."""
        return dict(await self.get(f"/threads/{self.thread_id}/state?subgraphs=true"))

    async def history(self) -> list[dict[str, Any]]:
        """Read the steps that it shows beside the graph."""
        return [*await self.post(f"/threads/{self.thread_id}/history", {"limit": 100})]

    async def interrupts(self) -> list[dict[str, Any]]:
        """Give what is open."""
        state = await self.get(f"/threads/{self.thread_id}/state?subgraphs=true")
        return [one for task in state["tasks"] for one in task["interrupts"]]


@dataclass
class ScriptPage(Page):
    """A page made with the newest `useStream`, which makes the thread's id itself and talks in commands."""

    thread_id: str = field(default_factory=lambda: str(uuid4()))
    _commands: int = 0

    async def submit(self, text: str, **params: Any) -> dict[str, Any]:
        """Send a message."""
        said = {"messages": [{"type": "human", "content": text, "id": str(uuid4())}]}
        config = {"configurable": {"thread_id": self.thread_id}}
        return await self._command("run.start", input=said, config=config, assistant_id=GRAPH, **params)

    async def respond(self, interrupt_id: str, response: Any) -> dict[str, Any]:
        """Answer a question, with an edit under both of its names, as `respond` of the page does."""
        return await self._command("input.respond", namespace=[], interrupt_id=interrupt_id, response=response)

    async def respond_all(self, responses: dict[str, Any]) -> dict[str, Any]:
        """Answer questions by their ids."""
        listed = [{"interrupt_id": name, "response": one, "namespace": []} for name, one in responses.items()]
        return await self._command("input.respond", responses=listed)

    async def question(self, timeout_s: float = 20) -> dict[str, Any]:
        """Follow the events until a question is asked, and give it: `interrupt_id` and `payload`."""
        body = {"channels": ["values", "lifecycle", "input", "messages", "tools"], "namespaces": [[]], "depth": 1}
        path = f"/threads/{self.thread_id}/stream/events"
        async with asyncio.timeout(timeout_s), self.http.stream("POST", path, json=body) as answer:
            async for line in answer.aiter_lines():
                data = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if data.get("method") == "input.requested":
                    return dict(data["params"]["data"])
        raise AssertionError("no question")

    async def _command(self, method: str, **params: Any) -> dict[str, Any]:
        self._commands += 1
        body = {"id": self._commands, "method": method, "params": params}
        return dict(await self.post(f"/threads/{self.thread_id}/commands", body))
