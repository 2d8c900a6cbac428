"""`clearance chat`: talk to the agent; what it holds is shown as a card, and decided in place by who may."""

import json
import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearance.cli.cards import SHORT, card, progress
from clearance.cli.chat_question import Deciding
from clearance.cli.server import Held, connected, graph_to_talk_to, held_in
from clearance.cli.terminal import Failed, line, out, plain, say

if TYPE_CHECKING:
    from langgraph_sdk.client import SyncLangGraphClient
    from rich.progress import Progress, TaskID

#: Seconds that a decision made here waits for the agent's next words.
_GOES_ON_S = 60
#: Id of what empties a thread before it is written anew: langgraph's REMOVE_ALL_MESSAGES, which is slow to load.
_ALL = "__remove_all__"


def chat(
    context: typer.Context,
    message: Annotated[str | None, typer.Argument(help="Say this and leave; talk back and forth if not given.")] = None,
    thread: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on in this thread; a new one if not given.")
    ] = None,
    graph: Annotated[
        str | None, typer.Option(metavar="NAME", help="Talk to this graph, where the server has several gated ones.")
    ] = None,
) -> None:
    """Talk to the agent. What it holds is shown with all that a reviewer must know, and you decide what you may.

    Ctrl-C stops the agent and withdraws what this message asked for and is not done; Ctrl-D leaves, and it goes on.
    An empty line shows what happened in the thread since.
    A new message withdraws what the last one asked for and is not done: you are asked first, or told what it was.
    """
    with connected(context) as client:
        talks_to = graph_to_talk_to(client, graph, thread)
        thread_id = thread or client.threads.create()["thread_id"]
        talk = _Talk(client, thread_id, talks_to)
        waiting: list[Held] = []
        if thread:
            waiting = talk.catch_up(is_start=True)
        else:
            say(f"Thread {thread_id}", "dim")
        if message is not None:
            _show(waiting)
            held = talk.say(message)
            for sentence in _open_in(waiting):
                say(f"Withdrawn: {sentence}", "yellow")
            _show(held)
            return
        deciding = Deciding(str(context.obj), _listen)
        while True:
            # What a person says instead of deciding is said to the agent.
            said = deciding.offer(waiting)
            if deciding.decided:
                waiting = talk.catch_up(without=deciding.decided)
                deciding.decided.clear()
            if said is None or (not said and (said := _listen("\n› ")) is None):
                return
            if said.strip() and not _is_meant(waiting):
                continue
            deciding.left.clear()
            waiting = talk.say(said) if said.strip() else talk.catch_up()


def _is_meant(waiting: list[Held]) -> bool:
    """Ask whether what is open may be withdrawn, which the next message does; True where nothing is."""
    withdrawn = _open_in(waiting)
    if not withdrawn:
        return True
    for sentence in withdrawn:
        say(f"This withdraws: {sentence}", "yellow")
    answer = _listen("Send it? y or Enter for no › ")
    if answer is None or answer.strip().casefold() not in ("y", "yes"):
        say("Not sent; it waits as before.", "dim")
        return False
    return True


def _open_in(waiting: list[Held]) -> list[str]:
    """List what is open in the turns that wait, one sentence each."""
    requests = [one for held in waiting for one in held.payload["turn"]["requests"]]
    return [one["sentence"] or one["action"] for one in requests if one["state"] in ("asked", "approved", "allowed")]


def _listen(prompt: str) -> str | None:
    try:
        if not sys.stdin.isatty():
            return input()
        import readline  # noqa: F401  gives input() its line editing

        return input(prompt)
    except (EOFError, KeyboardInterrupt):
        return None


def _show(waiting: list[Held]) -> None:
    """Print what is held, and the commands that decide it."""
    for held in waiting:
        out.print(card(held.payload, held.thread_id, datetime.now(UTC)))
        short = held.request_id[:SHORT]
        say(
            f"clearance approve {short}  ·  clearance reject {short} --reason …  ·  clearance edit {short} --set …",
            "dim",
        )


class _Talk:
    """One conversation: sends messages, and prints each thing that is said once."""

    def __init__(self, client: "SyncLangGraphClient", thread_id: str, graph: str) -> None:
        self._client = client
        self._thread_id = thread_id
        self._graph = graph
        self._printed: set[str] = set()

    def say(self, message: str) -> list[Held]:
        """Send a message, print what comes of it, and give what is held. Ctrl-C cancels the run."""
        from clearance.canonical import clean

        said: dict[str, Any] = {"messages": [{"role": "user", "content": clean(message)}]}
        run_id = None
        shown = _Stream(self._printed)
        try:
            for part in self._client.runs.stream(
                self._thread_id,
                self._graph,
                input=said,
                stream_mode=["messages-tuple", "updates", "custom"],
                multitask_strategy="enqueue",
            ):
                if part.event == "metadata":
                    run_id = part.data["run_id"]
                shown.part(part.event, part.data)
        except KeyboardInterrupt:
            self._stop(run_id)
        finally:
            shown.close()
        return self.catch_up()

    def _stop(self, run_id: str | None) -> None:
        """Cancel a run, and say what that means."""
        from langgraph_sdk.errors import NotFoundError

        try:
            if run_id:
                self._client.runs.cancel(self._thread_id, run_id, wait=True)
                say("\nStopped. What this message asked for and was not done is withdrawn.", "yellow")
            else:
                say("\nStopped listening before the agent had begun; what you said may still be heard.", "yellow")
        except NotFoundError:
            say("\nThe agent had stopped already; what it asked for stays open. A new message withdraws it.", "yellow")

    def catch_up(self, *, is_start: bool = False, without: Collection[str] = ()) -> list[Held]:
        """Print what the agent said that is not printed yet (at the start only the last of it); give what is held.

        `without` are requests that were decided just now: it waits until the thread has gone on from them.
        """
        waiting, messages = held_in(self._client, self._thread_id)
        until = time.monotonic() + _GOES_ON_S
        while without and time.monotonic() < until:
            is_busy = self._is_busy()
            waiting, messages = held_in(self._client, self._thread_id)
            if not is_busy and not any(one.request_id in without for one in waiting):
                break
            time.sleep(0.3)
        said = [message for message in messages if message.get("type") in ("ai", "tool") and _text(message["content"])]
        for message in [one for one in said if one["type"] == "ai"][-1:] if is_start else said:
            if message.get("id") in self._printed:
                continue
            if message["type"] == "tool":
                _say_result(message)
            else:
                say(_text(message["content"]))
        self._printed.update(str(message.get("id")) for message in said)
        return waiting

    def _is_busy(self) -> bool:
        return bool(self._client.threads.get(self._thread_id)["status"] == "busy")


class _Stream:
    """Prints the parts of one run's stream."""

    def __init__(self, printed: set[str]) -> None:
        self._printed = printed
        self._is_midline = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def part(self, event: str, data: Any) -> None:
        """Print one part, as far as it says something to people.

        Raises:
            Failed: the run failed.
        """
        match event:
            case "messages":
                self._token(*data)
            case "updates":
                self._calls(data.get("model"))  # others repeat what was called before
                for update in data.values():
                    self._results(update)
            case "custom" if isinstance(data, dict) and {"status", "done", "total"} <= data.keys():
                self._progress(data)
            case "error":
                self.close()
                raise Failed(f"The agent's run failed: {data.get('message') or data.get('error')}")

    def close(self) -> None:
        """End the line and the bar that are open."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._is_midline:
            out.print()
            self._is_midline = False

    def _token(self, message: dict[str, Any], _metadata: dict[str, Any]) -> None:
        text = _text(message.get("content"))
        if message.get("type") != "AIMessageChunk" or not text:
            return
        if self._bar is not None:
            self.close()
        self._printed.add(str(message.get("id")))
        self._is_midline = not text.endswith("\n")
        out.print(plain(text), end="", soft_wrap=True)

    def _calls(self, update: Any) -> None:
        for message in (update or {}).get("messages") or [] if isinstance(update, dict) else []:
            for call in message.get("tool_calls") or []:
                self.close()
                arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in call["args"].items())
                say(line(f"→ {call['name']}({arguments})"), "dim")

    def _results(self, update: Any) -> None:
        """Print what tools returned, each once: some receipts are not written by the step that carried out."""
        updates = update if isinstance(update, list) else [update]
        found = [message for one in updates if isinstance(one, dict) for message in one.get("messages") or []]
        if any(message.get("id") == _ALL for message in found):
            return  # a thread that is written anew says again what was said before
        for message in found:
            if message.get("type") == "tool" and message.get("id") not in self._printed:
                self._printed.add(str(message.get("id")))
                self.close()
                _say_result(message)

    def _progress(self, data: dict[str, Any]) -> None:
        if self._bar is None:
            self.close()
            self._bar = progress()
            self._bar.start()
            self._task = self._bar.add_task("")
        assert self._task is not None
        self._bar.update(
            self._task, completed=data["done"], total=data["total"], description=line(str(data.get("message", "")))
        )
        if data["status"] != "running":
            self.close()


def _say_result(message: dict[str, Any]) -> None:
    """Print what a tool returned, on one line."""
    style = "red" if message.get("status") == "error" else "dim"
    say(line(f"← {message.get('name')}: {' '.join(_text(message.get('content')).split())}"), style)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(block if isinstance(block, str) else str(block.get("text") or "") for block in blocks)
