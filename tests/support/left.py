"""Words that a run left unheard in a thread, and the ways in which the thread goes on; for both servers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import audit, requests, turns
from tests.attacks.targets import Attacker, Case, Held
from tests.support.aegra import Aegra
from tests.support.conversation import GRAPH
from tests.support.late import LATE, LATE_S, being_taken_in, let_in

YES = {"approved": True}
TOLD = "1 message in this thread was not heard"


@dataclass
class Left:
    """A thread in which tess's 1,500 waits, with words of a run of hers that ended before they were heard."""

    held: Held
    #: What an unheard 6,000 would do.
    source: str
    target: str

    @property
    def words(self) -> dict[str, Any]:
        """What a run is struck with while it takes them in."""
        return self._said(f" for {LATE}")

    @property
    def words_at_rest(self) -> dict[str, Any]:
        """The same where no run begins to take them in: whatever comes to them then is not held."""
        return self._said("")

    def _said(self, memo: str) -> dict[str, Any]:
        said = f"transfer 6000 from {self.source} to {self.target}{memo}"
        return {"messages": [{"role": "user", "content": said}]}


def folder_of(case: Case) -> Path:
    """Give the folder of the server that a case runs on."""
    return case.target.server.folder


async def begun(case: Case, left: Left) -> str:
    """Start the run with the words, and give its id while it takes them in."""
    run = await case.tess.run(left.held.thread_id, wait=False, input=left.words)
    assert run.status == 200, run
    await being_taken_in(folder_of(case), left.held.thread_id)
    return str(run.body["run_id"])


async def stored(case: Case, left: Left) -> None:
    """Wait until a checkpoint has the words; one is written while the step after it runs already."""
    until = time.monotonic() + LATE_S
    while (state := await case.tess.state(left.held.thread_id))["next"] != ["receive"]:
        assert time.monotonic() < until, state
        await asyncio.sleep(0.1)


async def _cancel(case: Case, left: Left, by: Attacker, action: str) -> None:
    run_id = await begun(case, left)
    met = await by.post(f"/threads/{left.held.thread_id}/runs/{run_id}/cancel?action={action}&wait=1")
    assert met.status in (200, 202, 204), met


async def cancelled_by_an_approver(case: Case, left: Left) -> None:
    await _cancel(case, left, case.ana, "interrupt")


async def rolled_back_by_an_approver(case: Case, left: Left) -> None:
    await _cancel(case, left, case.ana, "rollback")


async def gone_away(case: Case, left: Left) -> None:
    """The client ends the connection, and asked for the run to end with it."""
    body = {"assistant_id": GRAPH, "input": left.words, "on_disconnect": "cancel"}
    waiting = asyncio.create_task(case.tess.post(f"/threads/{left.held.thread_id}/runs/wait", body))
    await being_taken_in(folder_of(case), left.held.thread_id)
    await _leave(waiting)


async def joined_and_gone_away(case: Case, left: Left) -> None:
    """An approver listens to the run, asks for it to end with the connection, and ends that."""
    run_id = await begun(case, left)
    path = f"/threads/{left.held.thread_id}/runs/{run_id}/stream?cancel_on_disconnect=true"
    async with case.ana.http.stream("GET", f"{case.target.url}{path}") as response:
        assert response.status_code == 200


async def _leave(waiting: "asyncio.Task[Any]") -> None:
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


async def stopped_at_a_breakpoint(case: Case, left: Left) -> None:
    await case.tess.run(left.held.thread_id, input=left.words_at_rest, interrupt_before=["receive"])


async def stopped_at_every_breakpoint(case: Case, left: Left) -> None:
    await case.tess.run(left.held.thread_id, input=left.words_at_rest, interrupt_before="*")


async def written_past_a_run(case: Case, left: Left) -> None:
    await case.tess.post(
        f"/threads/{left.held.thread_id}/state", {"values": left.words_at_rest, "as_node": "__start__"}
    )


Leave = Callable[[Case, Left], Awaitable[None]]


async def by_id(case: Case, left: Left) -> None:
    await case.ana.answer(left.held.thread_id, {left.held.interrupt_id: YES})


async def bare(case: Case, left: Left) -> None:
    await case.ana.answer(left.held.thread_id, YES)


async def responded(case: Case, left: Left) -> None:
    params = {"namespace": [], "interrupt_id": left.held.interrupt_id, "response": YES, "assistant_id": GRAPH}
    await case.ana.post(
        f"/threads/{left.held.thread_id}/commands", {"id": 1, "method": "input.respond", "params": params}
    )


async def by_the_api(case: Case, left: Left) -> None:
    shown = {name: left.held.question[name] for name in ("digest", "revision")}
    path = f"/approvals/requests/{left.held.question['id']}/decision"
    await case.ana.post(path, {"decision": "approve", **shown})


async def nothing(case: Case, left: Left) -> None:
    for who in (case.ana, case.tess):
        await who.run(left.held.thread_id, input=None)


async def empty(case: Case, left: Left) -> None:
    for who in (case.ana, case.tess):
        await who.run(left.held.thread_id, input={"messages": []})


async def own_words(case: Case, left: Left) -> None:
    await case.tess.say(left.held.thread_id, "hello")


async def others_words(case: Case, left: Left) -> None:
    await case.ana.say(left.held.thread_id, "hello")


async def started(case: Case, left: Left) -> None:
    given = {"messages": [{"role": "user", "content": "hello"}]}
    body = {"id": 1, "method": "run.start", "params": {"assistant_id": GRAPH, "input": given}}
    await case.tess.post(f"/threads/{left.held.thread_id}/commands", body)


GO_ON: list[Leave] = [by_id, bare, responded, by_the_api, nothing, empty, own_words, others_words, started]
#: New words withdraw what was open; who answers, or brings nothing, does not.
SAY: list[Leave] = [own_words, others_words, started]


async def held(case: Case) -> Left:
    """Let tess ask for 1,500."""
    return Left(await case.hold("1500", by=case.tess), case.account(), case.account(0))


async def hold_and_leave(case: Case, leave: Leave) -> Left:
    """Let tess ask for 1,500, and leave her 6,000 unheard in the same thread."""
    left = await held(case)
    await leave(case, left)
    await at_rest(case, left)
    return left


async def at_rest(case: Case, left: Left) -> None:
    """Wait until nothing of the thread runs, and let what runs there next go on without a pause."""
    await quiet(case, left.held.thread_id)
    let_in(folder_of(case), left.held.thread_id)


async def quiet(case: Case, thread_id: str) -> None:
    """Wait until nothing of a thread of tess's runs: on Aegra nobody else may look."""
    until = time.monotonic() + LATE_S
    while (met := await case.tess.get(f"/threads/{thread_id}")).body["status"] == "busy":
        if isinstance(case.target.server, Aegra) and not case.target.read(partial(_runs, thread_id=thread_id)):
            return  # two that ended at once left it so
        assert time.monotonic() < until, met
        await asyncio.sleep(0.1)


def _runs(connection: Connection, thread_id: str) -> int:
    query = "SELECT count(*) FROM runs WHERE thread_id = :id AND status IN ('pending', 'running')"
    return int(connection.execute(sa.text(query), {"id": thread_id}).scalar_one())


@contextmanager
def database_away(case: Case) -> Iterator[None]:
    """Take away a table that every run needs."""
    case.target.write(lambda c: c.exec_driver_sql("ALTER TABLE turns RENAME TO turns_away"))
    try:
        yield
    finally:
        case.target.write(lambda c: c.exec_driver_sql("ALTER TABLE turns_away RENAME TO turns"))


async def hold_and_fail(case: Case, count: int) -> list[Left]:
    """Leave the 6,000 in so many threads by runs that fail while they take it in."""
    many = list(await asyncio.gather(*(held(case) for _ in range(count))))
    runs = await asyncio.gather(*(begun(case, left) for left in many))
    with database_away(case):
        for left in many:
            let_in(folder_of(case), left.held.thread_id)
        await asyncio.gather(*(_failed(case, left, run_id) for left, run_id in zip(many, runs, strict=True)))
    await asyncio.gather(*(at_rest(case, left) for left in many))
    return many


async def _failed(case: Case, left: Left, run_id: str) -> None:
    until = time.monotonic() + LATE_S
    path = f"/threads/{left.held.thread_id}/runs/{run_id}"
    while (met := await case.tess.get(path)).status != 200 or met.body["status"] != "error":
        assert time.monotonic() < until, met
        await asyncio.sleep(0.1)


async def nobodys(case: Case, leave: Leave, go_on: Leave, *, stands: bool = True) -> None:
    """Leave words, go on, and see that they were nobody's; `stands`: whether this way leaves them in the state."""
    await are_nobodys(case, await hold_and_leave(case, leave), go_on, stands=stands)


async def answered(case: Case, left: Left) -> None:
    """Let ana answer what her thread asks now, as it is put again."""
    await case.tess.run(left.held.thread_id, input=None)
    for interrupt in await case.tess.interrupts(left.held.thread_id):
        await case.ana.answer(left.held.thread_id, {interrupt["id"]: YES})


async def are_nobodys(
    case: Case, left: Left, go_on: Leave, *, stands: bool = True, answer: Leave = answered, withdraws: bool = False
) -> None:
    """Go on in a thread where words were left, answer what it asks, and see that they were nobody's.

    `withdraws`: whether the way in which they were left withdrew what was open.
    """
    thread_id = left.held.thread_id
    before = await case.tess.state(thread_id)
    await go_on(case, left)
    await quiet(case, thread_id)
    await answer(case, left)
    await quiet(case, thread_id)

    asked = sa.select(requests.c.requested_by, requests.c.state).where(requests.c.thread_id == thread_id)
    ((requested_by, state),) = _rows(case, asked)
    assert requested_by == case.tess.name
    assert state == "withdrawn" if withdraws else state == "executed" or go_on in SAY, state
    mine = [effect for effect in case.effects() if effect.source in (left.source, left.held.source)]
    assert mine == ([left.held.effect] if state == "executed" else []), mine
    opened_by = {row[0] for row in _rows(case, sa.select(turns.c.requested_by).where(turns.c.thread_id == thread_id))}
    assert opened_by <= {case.tess.name} | ({case.ana.name} if go_on is others_words else set())
    # Or were taken out already, by a run of recovery's.
    were = [str(message["content"]) for message in before["values"]["messages"]]
    stood = any("6000" in text or text.startswith(TOLD) for text in were)
    assert stood == stands, were
    messages = (await case.tess.state(thread_id))["values"]["messages"]
    heard = [one for one in messages if one["type"] == "human" and "6000" in str(one["content"])]
    assert heard == [], heard
    events = _rows(case, sa.select(audit.c.event).where(audit.c.thread_id == thread_id))
    assert [row[0] for row in events].count("unheard_words") == int(stood), events
    told = [one for one in messages if one["type"] == "ai" and str(one["content"]).startswith(TOLD)]
    assert len(told) == int(stood), told


async def nobodys_however(case: Case, leave: Leave, *, stands: bool = True) -> None:
    """Try every way to go on, each in a thread of its own, at once."""
    await each(GO_ON, [nobodys(case, leave, one, stands=stands) for one in GO_ON])


async def each(ways: Sequence[Any], doing: Sequence[Awaitable[None]]) -> None:
    """Do all of them at once, and tell by the names of the ways which went wrong."""
    met = await asyncio.gather(*doing, return_exceptions=True)
    names = [getattr(way, "__name__", str(way)) for way in ways]
    wrong = {name: repr(error) for name, error in zip(names, met, strict=True) if error is not None}
    assert wrong == {}, wrong


#: How a run takes another's place in a thread, and whether the other one's words are heard, or stand there unheard.
STRATEGIES = [("interrupt", False, True), ("rollback", False, False), ("enqueue", True, False)]


async def meanwhile(case: Case, answers: bool, strategy: str, heard: bool, stands: bool) -> None:
    """While words are taken in, send an approver's answer, or other words of their owner, as a run beside that one."""
    left = await held(case)
    thread_id, folder = left.held.thread_id, folder_of(case)
    await begun(case, left)
    given: dict[str, Any] = {"command": {"resume": {left.held.interrupt_id: YES}}}
    if not answers:
        given = {"input": {"messages": [{"role": "user", "content": "hello"}]}}
    who = case.ana if answers else case.tess
    met = await who.run(thread_id, wait=False, multitask_strategy=strategy, **given)
    assert met.status == 200, met
    let_in(folder, thread_id)
    await quiet(case, thread_id)

    of_thread = requests.c.thread_id == thread_id
    asked = sa.select(requests.c.requested_by, requests.c.state).where(of_thread).order_by(requests.c.number)
    found = [tuple(row) for row in _rows(case, asked)]
    more = [] if not heard else ["asked" if answers else "withdrawn"]
    assert found == [(case.tess.name, one) for one in ["executed" if answers and not heard else "withdrawn", *more]]
    mine = [effect for effect in case.effects() if effect.source in (left.source, left.held.source)]
    assert mine == ([left.held.effect] if found[0][1] == "executed" else [])
    messages = (await case.tess.state(thread_id))["values"]["messages"]
    said = [one for one in messages if one["type"] == "human" and "6000" in str(one["content"])]
    assert len(said) == int(heard)
    told = [one for one in messages if str(one["content"]).startswith(TOLD)]
    events = _rows(case, sa.select(audit.c.event).where(audit.c.thread_id == thread_id))
    assert [len(told), [row[0] for row in events].count("unheard_words")] == [int(stands), int(stands)]


def _rows(case: Case, query: Any) -> list[Any]:
    return list(case.target.read(lambda c: c.execute(query).all()))
