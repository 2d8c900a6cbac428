"""The examples whose effect is elsewhere, from the wheel, on the real server: mail, a command, a queue.

They share one environment, since they need the same.
"""

import asyncio
import socketserver
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.conversation import connected
from tests.support.environment import copy_files
from tests.support.examples import EXAMPLES, Example, install

Started = Callable[..., Example]


@pytest.fixture(scope="module")
def started(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Start examples in one environment; they are stopped at the end."""
    running: list[Example] = []

    def start(name: str, **env: str) -> Example:
        folder = tmp_path_factory.mktemp("example")
        if running:
            inside = running[0].inside
            copied = copy_files(EXAMPLES / name, folder / name)
            inside.install("--editable", str(copied))
            example = Example(copied, "", environment_=inside)
        else:
            example = install(name, folder, wheel)
        example.env.update(env)
        running.append(example)
        return example

    yield start
    for example in running:
        example.stop()


async def said(example: Example, sentence: str, *, answer: bool = True) -> str:
    """Ask for something as olga, let ana approve it, and give the thread."""
    async with connected(example.url, **example.bearer("olga")) as asking:
        thread_id, _ = await example.ask(asking, sentence)
    async with connected(example.url, **example.bearer("ana", "approver")) as deciding:
        await deciding.runs.wait(thread_id, example.graph, command={"resume": {"approved": answer}})
    return thread_id


async def told(example: Example, thread_id: str, holding: str) -> str:
    """Wait until a thread is told something."""
    async with connected(example.url, **example.bearer("olga")) as asking:
        return await example.last_words(asking, thread_id, holding)


async def unknown(example: Example, thread_id: str) -> str:
    """Wait until nobody knows what became of the one request of a thread; give its id."""
    for _ in range(600):
        found = example.requests(example.bearer("ana", "approver"), thread_id=thread_id, tab="in_flight")
        if [one["state"] for one in found] == ["unknown"]:
            return str(found[0]["id"])
        await asyncio.sleep(0.1)
    raise AssertionError(found)


def settle(example: Example, request_id: str, reason: str) -> httpx.Response:
    """Say as ana that it happened."""
    address = f"{example.url}/approvals/requests/{request_id}/settlement"
    ana = example.bearer("ana", "approver")
    return httpx.post(address, json={"happened": True, "reason": reason}, headers=ana, timeout=30)


@dataclass
class MailServer:
    """A mail server on loopback."""

    port: int = 0
    mails: list[str] = field(default_factory=list)
    #: Takes the next mail and breaks off before it says so.
    breaks: bool = False


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run one for the length of the block."""
    made = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            while line := self.rfile.readline().decode().strip().upper():
                if line == "DATA":
                    self._say("354 go on")
                    read = b""
                    while not read.endswith(b"\r\n.\r\n"):
                        read += self.rfile.readline()
                    made.mails.append(read.decode())
                    if made.breaks:
                        return
                self._say("221 bye" if line == "QUIT" else "250 fine")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        made.port = server.server_address[1]
        yield made
        server.shutdown()


async def test_a_mail_of_which_nobody_knows_is_settled_by_a_person_and_never_sent_again(started: Started) -> None:
    with mail_server() as post:
        example = started("mail", MAIL_PORT=str(post.port)).start()
        async with connected(example.url, **example.bearer("olga")) as asking:
            thread_id = (await asking.threads.create())["thread_id"]
            sentence = "send mail: to bo@example.com, subject hello, text within"
            words: Any = {"messages": [{"role": "user", "content": sentence}]}
            within: Any = await asking.runs.wait(thread_id, example.graph, input=words)
            _, two = await example.ask(asking, 'send mail: to "mal@evil.org, bo@example.com", subject hello, text all')
        outside = await said(example, "send mail: to ada@example.org, subject lamp, text today")
        sent = await told(example, outside, "Sent")
        post.breaks = True
        lost = await said(example, 'send mail: to cy@example.org, subject "lamp", text "tomorrow"')
        settled = settle(example, await unknown(example, lost), "Cy answered it")
        heard = await told(example, lost, "Cy answered it")
        example.stop()

    assert within["messages"][-1]["content"] == "[offline model] Sent 'hello' to bo@example.com."
    assert two["action"] == "send_mail"
    assert sent.endswith("Sent 'lamp' to ada@example.org.")
    assert settled.status_code == 200, settled.text
    assert "ana says that it happened: Cy answered it." in heard
    assert ["tomorrow" in mail for mail in post.mails] == [False, False, True]


async def test_a_command_packs_a_folder_once_and_one_that_fails_did_nothing(started: Started) -> None:
    example = started("command")
    (example.folder / "folders" / "invoices").mkdir(parents=True)
    (example.folder / "folders" / "invoices" / "1.txt").write_text("a lamp")
    example.start()
    packed = await told(example, await said(example, "archive folder: folder invoices"), "is packed")
    async with connected(example.url, **example.bearer("olga")) as asking:
        thread_id, question = await example.ask(asking, "archive folder: folder invoices")
    (example.folder / "archives").rename(example.folder / "elsewhere")
    async with connected(example.url, **example.bearer("ana", "approver")) as deciding:
        await deciding.runs.wait(thread_id, example.graph, command={"resume": {"approved": True}})
    failed = await told(example, thread_id, "Not done")
    example.stop()

    (made,) = (example.folder / "elsewhere").iterdir()
    assert packed.endswith(f"invoices is packed, in {made.name}.")
    with tarfile.open(made) as archive:
        assert archive.getnames() == ["invoices", "invoices/1.txt"]
    assert question["facts"] == {"files": 1}
    assert "Not done: tar refused it" in failed


async def test_a_job_that_a_queue_did_not_answer_for_is_sent_again_under_its_key_and_there_once(
    started: Started,
) -> None:
    example = started("queue").start()
    first = await told(example, await said(example, "put job: job reindex, size large"), "is in the queue")
    with closing(sqlite3.connect(example.folder / "queue.db", isolation_level=None)) as queue:
        queue.execute("BEGIN EXCLUSIVE")
        lost = await said(example, "put job: job rebuild, size large")
        await unknown(example, lost)
        queue.execute("ROLLBACK")
        again = await told(example, lost, "is in the queue")
        jobs = queue.execute("SELECT job, size FROM jobs ORDER BY job").fetchall()
    example.stop()

    assert first.endswith("reindex is in the queue.")
    assert again.endswith("rebuild is in the queue.")
    assert jobs == [("rebuild", "large"), ("reindex", "large")]
