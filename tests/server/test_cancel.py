"""A cancel by a thread's owner withdraws what is not carried out; whatever else ends a run, it is carried on."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from clearance.db.tables import audit, receipts, requests, turns
from tests.attacks.stock import SLOW
from tests.attacks.targets import Attacker, Case, Effect, SlowServer, Target
from tests.support.conversation import GRAPH
from tests.support.server import ROOT
from tests.support.tokens import token
from tests.support.waiting import until

#: Timekeeping goes on with a turn that nothing runs on after 10 s, and looks every 5.
CARRIED_ON_S = 40


@pytest.fixture(scope="module")
def slow(seeded_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server as it is deployed, which pauses between an effect and its checkpoint."""
    folder = tmp_path_factory.mktemp("slow")
    shutil.copy(seeded_sqlite, folder / "clearance.db")
    server = SlowServer(
        folder, f"sqlite:///{folder / 'clearance.db'}", env={"PYTHONPATH": str(ROOT), "SLOW_S": "4"}, auth="on"
    )
    yield Target("ours", server.start())
    server.stop()


@pytest.fixture
async def case(slow: Target) -> AsyncIterator[Case]:
    made = Case(slow)
    yield made
    await made.close()


@dataclass
class Two:
    """Two cleared transfers of one message, of which the first was just carried out and its run still goes on."""

    thread_id: str
    #: The run that carries them out.
    run_id: str
    first: Effect
    second: Effect


async def two(case: Case, amounts: tuple[int, int] = (3_000, 2_000), *, approver: Attacker | None = None) -> Two:
    """Ask for two transfers, approve both in the thread, and wait for the first effect."""
    ana = approver or case.ana
    source, target, other = case.account(), case.account(0), case.account(0)
    thread_id = await case.olga.thread()
    memo = f"{SLOW} {source}"
    sentence = f"transfer {amounts[0]} from {source} to {target} for {memo} and {amounts[1]} from {source} to {other}"
    said = await case.olga.say(thread_id, sentence)
    assert said.how == "asked", said
    (interrupt,) = said.body["__interrupt__"]
    (following,) = (await ana.answer(thread_id, {interrupt["id"]: {"approved": True}})).body["__interrupt__"]
    run = await ana.answer(thread_id, {following["id"]: {"approved": True}}, wait=False)
    made = Two(
        thread_id,
        str(run.body["run_id"]),
        Effect("transfer_funds", source, target, amounts[0] * 100, memo),
        Effect("transfer_funds", source, other, amounts[1] * 100, ""),
    )
    await until(lambda: made.first in case.effects())
    return made


def _happened(case: Case, effect: Effect) -> bool:
    return effect in case.effects()


def ends(case: Case, thread_id: str) -> list[tuple[str, str]]:
    """Give the receipts of a thread's requests in order, as (outcome, sentence)."""
    query = (
        sa.select(receipts.c.outcome, receipts.c.sentence)
        .join(requests, requests.c.request_id == receipts.c.request_id)
        .where(requests.c.thread_id == thread_id)
        .order_by(requests.c.number)
    )
    return [(row[0], row[1]) for row in case.target.read(lambda c: c.execute(query).all())]


def withdrawn_by(case: Case, thread_id: str) -> list[tuple[str, str]]:
    """Give actor and details of the log's rows on what was withdrawn in a thread."""
    query = sa.select(audit.c.actor, audit.c.details).where(
        audit.c.thread_id == thread_id, audit.c.event == "withdrawn"
    )
    return [(row[0], row[1]) for row in case.target.read(lambda c: c.execute(query).all())]


@pytest.mark.parametrize("how", ["interrupt", "rollback", "list", "all", "delete"])
async def test_a_cancel_by_the_owner_withdraws_what_is_not_carried_out(case: Case, how: str) -> None:
    made = await two(case)

    match how:
        case "interrupt" | "rollback":
            path, body = f"/threads/{made.thread_id}/runs/{made.run_id}/cancel?action={how}", None
            cancelled = await case.olga.post(path, body)
        case "list":
            cancelled = await case.olga.post(
                "/runs/cancel", {"thread_id": made.thread_id.upper(), "run_ids": [made.run_id]}
            )
        case "all":
            cancelled = await case.olga.post("/runs/cancel", {"status": "all"})
        case _:
            cancelled = await case.olga.send("DELETE", f"/threads/{made.thread_id}/runs/{made.run_id}")

    assert cancelled.status in (202, 204), cancelled
    # At once, before anybody else does anything: what has a receipt can never be carried out.
    ended = ends(case, made.thread_id)
    assert [outcome for outcome, _ in ended] == ["executed", "withdrawn"]
    assert ended[1][1] == f"Not done: withdrawn, because {case.olga.name} cancelled the run."
    ((actor, details),) = withdrawn_by(case, made.thread_id)
    assert actor == case.olga.name
    assert '"cause":"cancelled"' in details
    await case.settle(made.thread_id)
    said = await case.olga.say(made.thread_id, "hello")
    assert said.how == "done"
    told = [message["content"] for message in said.body["messages"] if message["type"] == "tool"]
    assert any("cancelled the run" in text for text in told) or how in ("rollback", "delete")
    assert case.effects() == [made.first]


@pytest.fixture
def many_open(case: Case) -> Iterator[None]:
    """Let more turns be open, before all others, than anybody looks through; their threads are not there."""
    made = [f"open-{number}" for number in range(1_100)]
    row = {
        "number": 1, "requested_by": "nobody-else", "requester_kind": "person", "requester_roles": [], "messages": [],
        "is_durable": True, "state": "open", "opened_at": datetime(2020, 1, 1, tzinfo=UTC), "place": "",
    }  # fmt: skip
    rows = [{**row, "turn_id": one, "thread_id": f"of-{one}", "message_id": one} for one in made]
    case.target.write(lambda connection: connection.execute(turns.insert(), rows))
    yield
    case.target.write(lambda connection: connection.execute(turns.delete().where(turns.c.turn_id.in_(made))))


@pytest.mark.usefixtures("many_open")
async def test_a_cancel_of_whatever_runs_finds_it_beside_any_number_of_open_turns(case: Case) -> None:
    made = await two(case)

    cancelled = await case.olga.post("/runs/cancel", {"status": "all"})

    assert cancelled.status == 204, cancelled
    assert [outcome for outcome, _ in ends(case, made.thread_id)] == ["executed", "withdrawn"]


async def test_what_else_ends_a_run_withdraws_nothing_and_it_is_carried_on(case: Case) -> None:
    """An approver must not void what others cleared; nor does a tab that is closed, nor another thread's run."""

    async def by_an_approver() -> Two:
        made = await two(case)
        met = await case.ana.post(f"/threads/{made.thread_id}/runs/{made.run_id}/cancel?action=interrupt")
        assert met.status == 202, met
        return made

    async def by_somebody_without_a_part() -> Two:
        made = await two(case)
        met = await case.mallory.post(f"/threads/{made.thread_id}/runs/{made.run_id}/cancel")
        assert met.status == 404, met
        return made

    async def under_another_thread() -> Two:
        made = await two(case)
        mine = await case.olga.thread()
        met = await case.olga.post(f"/threads/{mine}/runs/{made.run_id}/cancel")
        assert met.status == 404, met
        return made

    async def a_later_message_that_was_not_heard_yet() -> Two:
        made = await two(case)
        later = await case.olga.run(
            made.thread_id, wait=False, input={"messages": [{"role": "user", "content": "hello"}]},
            multitask_strategy="enqueue",
        )  # fmt: skip
        met = await case.olga.post(f"/threads/{made.thread_id}/runs/{later.body['run_id']}/cancel")
        assert met.status == 202, met
        return made

    made = await asyncio.gather(
        by_an_approver(), by_somebody_without_a_part(), under_another_thread(), a_later_message_that_was_not_heard_yet()
    )

    for one in made:
        await until(partial(_happened, case, one.second), within_s=CARRIED_ON_S)
        assert withdrawn_by(case, one.thread_id) == []
    assert case.unwanted(*(effect for one in made for effect in (one.first, one.second))) == 0


async def test_a_page_whose_tab_is_closed_withdraws_nothing_and_it_is_carried_on(case: Case) -> None:
    """`on_disconnect: cancel` ends the run, and is no cancel by anybody: the handler hears of it all the same."""
    source, target, other = case.account(), case.account(0), case.account(0)
    thread_id = await case.olga.thread()
    memo = f"{SLOW} {source}"
    sentence = f"transfer 900 from {source} to {target} for {memo} and 800 from {source} to {other}"
    body = {"assistant_id": GRAPH, "input": {"messages": [{"role": "user", "content": sentence}]},
            "on_disconnect": "cancel", "stream_mode": ["values"]}  # fmt: skip
    first = Effect("transfer_funds", source, target, 90_000, memo)
    second = Effect("transfer_funds", source, other, 80_000, "")

    url = f"{case.target.url}/threads/{thread_id}/runs/stream"
    async with (
        httpx.AsyncClient(headers=case.olga.http.headers, timeout=30) as page,
        page.stream("POST", url, json=body) as stream,
    ):
        async for _ in stream.aiter_lines():
            if first in case.effects():
                break

    await until(lambda: second in case.effects(), within_s=CARRIED_ON_S)
    assert withdrawn_by(case, thread_id) == []
    assert case.unwanted(first, second) == 0


async def test_a_question_that_waits_has_no_run_to_cancel_and_stays(case: Case) -> None:
    held = await case.hold()
    (run,) = (await case.olga.get(f"/threads/{held.thread_id}/runs")).body

    met = await case.olga.post(f"/threads/{held.thread_id}/runs/{run['run_id']}/cancel")

    assert met.status == 404
    assert await case.goes_on(held)


async def test_deleting_the_run_that_asked_withdraws_its_question(case: Case) -> None:
    held = await case.hold()
    (run,) = (await case.olga.get(f"/threads/{held.thread_id}/runs")).body

    met = await case.olga.send("DELETE", f"/threads/{held.thread_id}/runs/{run['run_id']}")

    assert met.status == 204
    assert [outcome for outcome, _ in ends(case, held.thread_id)] == ["withdrawn"]


async def test_a_run_that_later_ones_go_on_from_is_not_deleted_alone(case: Case) -> None:
    """The server takes its checkpoints with it, and those of later runs keep what is new: they would be empty."""
    thread_id = await case.olga.thread()
    for number in range(2):
        await case.olga.say(thread_id, f"hello {number}")
    said = await _said(case, thread_id)
    newest, first = [f"/threads/{thread_id}/runs/{run['run_id']}" for run in (
        await case.olga.get(f"/threads/{thread_id}/runs")).body]  # fmt: skip

    earlier = await case.olga.send("DELETE", first)
    kept = await _said(case, thread_id)
    last = await case.olga.send("DELETE", newest)

    assert (earlier.status, last.status) == (409, 204)
    assert "Later runs of this thread go on from this one" in str(earlier.body)
    assert kept == said
    assert await _said(case, thread_id) == said[: len(said) // 2]


async def _said(case: Case, thread_id: str) -> list[str]:
    return [message["content"] for message in (await case.olga.state(thread_id))["values"]["messages"]]


async def test_ctrl_c_in_chat_withdraws_what_its_message_asked_for_and_says_so(case: Case) -> None:
    source, target, other = case.account(), case.account(0), case.account(0)
    memo = f"{SLOW} {source}"
    sentence = f"transfer 900 from {source} to {target} for {memo} and 800 from {source} to {other}"
    first = Effect("transfer_funds", source, target, 90_000, memo)
    assert case.olga.person is not None
    environment = {**os.environ, "LANGGRAPH_URL": case.target.url, "CLEARANCE_TOKEN": token(case.olga.person)}
    # Programs in the background of a shell ignore Ctrl-C, and hand that down.
    chat = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("clearance"), "chat", sentence, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip

    await until(lambda: first in case.effects())
    chat.send_signal(signal.SIGINT)
    said, _ = await asyncio.wait_for(chat.communicate(), 60)

    assert "Stopped. What this message asked for and was not done is withdrawn." in " ".join(said.decode().split())
    assert case.effects() == [first]
    query = sa.select(audit.c.event).where(audit.c.actor == case.olga.name, audit.c.event == "withdrawn")
    assert case.target.read(lambda c: c.scalars(query).all()) == ["withdrawn"]
