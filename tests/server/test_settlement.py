"""What is in flight elsewhere, on the real server: who sees it, who says what became of it, in API and inbox."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from clearance.cli.approvals import approvals
from clearance.cli.inbox.app import Inbox
from tests.server.test_inbox_terminal import Terminal
from tests.support.conversation import Conversation, connected, converse
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider
from tests.support.tokens import bearer, token
from tests.support.waiting import until
from tests.support.world import ANA, BEN, OLGA, Person

LOST = "pay out blindly: account X-1, amount 5000"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[PayingServer]:
    folder = tmp_path_factory.mktemp("settlement")
    made = PayingServer(folder, f"sqlite:///{folder / 'clearance.db'}", env=environment(provider.url), auth="on")
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
async def people(server: PayingServer) -> AsyncIterator["People"]:
    limits = httpx.Limits(keepalive_expiry=1)
    async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits) as http:
        yield People(http, server)


def signed_in(person: Person) -> dict[str, str]:
    return {"Cookie": f"clearance_inbox={token(person)}"}


class People:
    """Everybody at the approvals API, and at the inbox."""

    def __init__(self, http: httpx.AsyncClient, server: PayingServer) -> None:
        self.http = http
        self.server = server

    async def get(self, path: str, by: Person = ANA) -> Any:
        answer = await self.http.get(f"/approvals/{path}", headers=bearer(by))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any, by: Person = ANA) -> httpx.Response:
        return await self.http.post(f"/approvals/{path}", json=body, headers=bearer(by))

    async def page(self, path: str, by: Person = ANA) -> str:
        answer = await self.http.get(f"/inbox{path}", headers=signed_in(by))
        assert answer.status_code == 200, answer.text
        return answer.text

    async def send(self, path: str, by: Person, **fields: str) -> httpx.Response:
        """Send a form of the inbox, with what every one brings."""
        cookie = signed_in(by)  # one token: what the page brings is for this one, and a second later it is another
        shown = await self.http.get(f"/inbox{path.rpartition('/')[0]}", headers=cookie)
        page = shown.text
        named = {name: re.findall(f'name="{name}" value="([^"]*)"', page)[0] for name in ("csrf", "digest", "revision")}
        return await self.http.post(
            f"/inbox{path}", data={**named, **fields}, headers={**cookie, "Origin": self.server.url}
        )

    async def unknown(self, provider: Provider, text: str = LOST) -> tuple[Conversation, str]:
        """Let olga ask, ana approve, and the answer be lost."""
        provider.next = ["breaks after"]
        async with connected(self.server.url, **bearer(OLGA)) as client:
            talk = await converse(client)
            await talk.say(text)
            question = await talk.question()
        assert question is not None
        seen = {"digest": question["digest"], "revision": question["revision"]}
        await self.post(f"requests/{question['id']}/decision", {"decision": "approve", **seen})

        async def is_unknown() -> bool:
            detail = await self.get(f"requests/{question['id']}")
            return bool(detail["request"]["state"] == "unknown")

        await until(is_unknown)
        return talk, str(question["id"])


async def messages(server: PayingServer, talk: Conversation) -> str:
    async with connected(server.url, **bearer(OLGA)) as client:
        return str(await Conversation(client, talk.thread_id).messages())


async def test_the_api_shows_it_settles_it_and_the_thread_hears(people: People, provider: Provider) -> None:
    talk, request_id = await people.unknown(provider)

    detail = await people.get(f"requests/{request_id}")
    listed = await people.get("requests?tab=in_flight")
    counts, switch = await people.get("counts"), await people.get("freeze")
    said = {"happened": True, "reason": "P-1 stands in their statement"}
    own = await people.post(f"requests/{request_id}/settlement", said, OLGA)
    empty = await people.post(f"requests/{request_id}/settlement", {**said, "reason": " "}, BEN)
    vague = await people.post(f"requests/{request_id}/settlement", {**said, "happened": "yes"}, BEN)
    nobodys = await people.post("requests/abc/settlement", said, BEN)
    settled = await people.post(f"requests/{request_id}/settlement", said, BEN)
    again = await people.post(f"requests/{request_id}/settlement", {**said, "happened": False}, ANA)
    await until(lambda: _has(people, talk, "ben says that it happened: P-1 stands in their statement"))

    (attempt,) = detail["attempts"]
    assert (attempt["number"], attempt["state"], attempt["cause"]) == (1, "unknown", "error")
    assert detail["request"]["flight"]["waits_for_person"] is True
    assert detail["answers"]["may_settle"] is True
    assert request_id in [one["id"] for one in listed["requests"]]
    assert counts["in_flight"] >= 1
    assert request_id in [one["id"] for one in switch["in_flight"]]
    assert [own.status_code, empty.status_code, vague.status_code, nobodys.status_code] == [403, 422, 422, 404]
    assert "olga does not have the role approver" in own.json()["detail"]
    assert (settled.status_code, settled.json()["receipt"]["settled_by"]) == (200, "ben")
    assert again.status_code == 409
    after = await people.get(f"requests/{request_id}")
    assert (after["receipt"]["settled_by"], after["attempts"][0]["reason"]) == ("ben", said["reason"])
    assert after["disagreements"] == []


async def _has(people: People, talk: Conversation, text: str) -> bool:
    return text in await messages(people.server, talk)


async def test_the_document_shows_how_to_settle(people: People) -> None:
    spec = (await people.http.get("/openapi.json", headers=bearer(ANA))).json()

    path = spec["paths"]["/approvals/requests/{request_id}/settlement"]["post"]
    examples = spec["components"]["schemas"]["Settlement"]["examples"]
    assert {"200", "403", "404", "409", "422"} <= path["responses"].keys()
    assert [one["happened"] for one in examples] == [True, False]


async def test_the_pages_say_that_nobody_knows_and_who_may_say_what_became_of_it(
    people: People, provider: Provider
) -> None:
    _, request_id = await people.unknown(provider, "pay out blindly: account X-2, amount 5100")
    path = f"/requests/{request_id}"

    async def cannot_arrive() -> bool:
        return "It did not happen</button>" in await people.page(path, BEN)

    await until(cannot_arrive)

    for_ben, for_olga = await people.page(path, BEN), await people.page(path, OLGA)
    listed, frozen = await people.page("?tab=in_flight"), await people.page("/freeze")
    empty = await people.send(f"{path}/settle", BEN, happened="no", reason=" ")
    own = await people.send(f"{path}/settle", BEN, happened="maybe", reason="x")
    taken = await people.send(f"{path}/settle", BEN, happened="no", reason="their <b>support</b> says so")
    after = await people.page(path)

    for shown in (for_ben, for_olga):
        assert "Nobody knows yet whether it was done" in shown
        assert "Exactly this was started" in shown
    assert "It happened</button>" in for_ben
    assert "It did not happen</button>" in for_ben
    assert "It happened</button>" not in for_olga
    assert "Who holds the role approver may say what became of it." in for_olga
    assert request_id in listed
    assert "Somebody has to say what became of it." in listed
    assert request_id in frozen
    assert (empty.status_code, own.status_code, taken.status_code) == (422, 422, 303)
    assert "Say how you know" in empty.text
    assert "on the word of" in after
    assert "their &lt;b&gt;support&lt;/b&gt; says so" in after


async def test_it_is_shown_while_it_is_being_done(people: People, provider: Provider) -> None:
    async with connected(people.server.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await talk.say("pay out: account X-3, amount 5200")
        question = await talk.question()
    assert question is not None
    seen = {"digest": question["digest"], "revision": question["revision"]}
    provider.next, provider.takes_s = ["slow"], 2
    await people.post(f"requests/{question['id']}/decision", {"decision": "approve", **seen})

    states = []
    for _ in range(400):
        page = await people.page(f"/requests/{question['id']}")
        states.append("It is being done elsewhere since" in page)
        detail = await people.get(f"requests/{question['id']}")
        if detail["receipt"]:
            break
        await asyncio.sleep(0.02)

    assert any(states)
    assert detail["receipt"]["outcome"] == "executed"
    assert detail["receipt"]["settled_by"] is None


async def test_a_contradiction_is_the_first_thing_on_its_page(people: People, provider: Provider) -> None:
    """It blocks for longer than it may, somebody says that it did not happen, and then its answer comes."""
    provider.next, provider.takes_s, provider.is_blind = ["slow"], 10, True
    async with connected(people.server.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await talk.say("pay out blindly: account X-4, amount 5300")
        question = await talk.question()
    assert question is not None
    seen = {"digest": question["digest"], "revision": question["revision"]}
    await people.post(f"requests/{question['id']}/decision", {"decision": "approve", **seen})
    said = {"happened": False, "reason": "nothing arrived"}

    async def is_settled() -> bool:
        answer = await people.post(f"requests/{question['id']}/settlement", said, BEN)
        return answer.status_code == 200

    await until(is_settled)

    async def is_contradicted() -> bool:
        return bool((await people.get(f"requests/{question['id']}"))["contradictions"])

    await until(is_contradicted)
    provider.is_blind = False
    page = await people.page(f"/requests/{question['id']}")
    main = page[page.index("<main") :]

    assert main.index("known now to be otherwise") < main.index("on the word of") < main.index("<h1")
    assert (await people.get(f"requests/{question['id']}"))["receipt"]["outcome"] == "failed"


async def test_the_terminal_inbox_settles_it(people: People, provider: Provider, monkeypatch: Any) -> None:
    _, request_id = await people.unknown(provider, "pay out blindly: account X-5, amount 5400")
    monkeypatch.setenv("CLEARANCE_TOKEN", token(BEN))

    async with approvals(people.server.url) as client:
        app = Inbox(client, await client.me())
        async with app.run_test(size=(140, 50)) as pilot:
            terminal = Terminal(app, pilot)
            await terminal.press("6")
            await terminal.sees("5400")
            await terminal.press("enter")
            await terminal.sees("It happened")
            await terminal.sees("Nobody knows yet whether it was done")
            await pilot.click("#reason")
            await pilot.press(*"statement")
            await pilot.click("#happened")
            await terminal.sees("ben says that it happened: statement")

    assert (await people.get(f"requests/{request_id}"))["receipt"]["settled_by"] == "ben"


async def test_the_commands_name_it_and_settle_it(people: People, provider: Provider) -> None:
    _, request_id = await people.unknown(provider, "pay out blindly: account X-6, amount 5500")
    server, short = people.server, request_id[:8]

    async def run(*words: str, by: Person = BEN) -> Any:
        env = {"CLEARANCE_TOKEN": token(by), "LANGGRAPH_URL": server.url}
        command = [str(Path(sys.executable).with_name("clearance")), *words]
        environment = {**server.environment(), **env, "COLUMNS": "200"}
        return await asyncio.to_thread(
            subprocess.run, command, cwd=server.folder, env=environment, capture_output=True, text=True, timeout=120
        )

    pending, flying = await run("pending"), await run("pending", "--in-flight")
    shown, status = await run("show", short), await run("status")
    frozen = await run("freeze", "--reason", "drill")
    lifted = await run("unfreeze")
    own = await run("settle", short, "--happened", "--reason", "I know", by=OLGA)
    done = await run("settle", short, "--happened", "--reason", "P-6 stands in their statement")
    again = await run("settle", short, "--not", "--reason", "no")

    for said in (pending, flying, status, frozen):
        assert short in said.stdout, said
        assert "Nobody knows yet" in " ".join(said.stdout.split()), said
    assert "clearance settle" in shown.stdout
    assert lifted.returncode == 0
    assert (own.returncode, done.returncode, again.returncode) == (4, 0, 3)
    assert "ben says that it happened" in done.stdout
    with closing(sqlite3.connect(server.folder / "clearance.db")) as connection:
        (found,) = connection.execute("SELECT details FROM audit WHERE event = 'frozen' ORDER BY seq DESC").fetchone()
    assert request_id in found
