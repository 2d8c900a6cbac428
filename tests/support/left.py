"""Words that a run left unheard in a thread, and the ways in which the thread goes on; for both servers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa

from agent.db.tables import audit, requests, turns
from tests.attacks.targets import Attacker, Case, Held
from tests.support.conversation import GRAPH
from tests.support.late import LATE, LATE_S

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
        said = f"transfer 6000 from {self.source} to {self.target} for {LATE}"
        return {"messages": [{"role": "user", "content": said}]}


async def begun(case: Case, left: Left) -> str:
    """Start the run with the words, and give its id while it takes them in."""
    run = await case.tess.run(left.held.thread_id, wait=False, input=left.words)
    assert run.status == 200, run
    await asyncio.sleep(1.5)
    return str(run.body["run_id"])


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
    with suppress(httpx.ReadTimeout):
        await case.tess.post(f"/threads/{left.held.thread_id}/runs/wait", body, timeout=1.5)


async def stopped_at_a_breakpoint(case: Case, left: Left) -> None:
    await case.tess.run(left.held.thread_id, input=left.words, interrupt_before=["receive"])


async def stopped_at_every_breakpoint(case: Case, left: Left) -> None:
    await case.tess.run(left.held.thread_id, input=left.words, interrupt_before="*")


async def written_past_a_run(case: Case, left: Left) -> None:
    await case.tess.post(f"/threads/{left.held.thread_id}/state", {"values": left.words, "as_node": "__start__"})


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


GO_ON: list[Leave] = [by_id, bare, responded, nothing, empty, own_words, others_words, started]
#: New words withdraw what was open; who answers, or brings nothing, does not.
_SAY: list[Leave] = [own_words, others_words, started]


async def hold_and_leave(case: Case, leave: Leave) -> Left:
    """Let tess ask for 1,500, and leave her 6,000 unheard in the same thread."""
    left = Left(await case.hold("1500", by=case.tess), case.account(), case.account(0))
    await leave(case, left)
    await case.settle(left.held.thread_id)
    return left


async def ended(case: Case) -> Left:
    """Let tess ask for 1,500, end the server while her 6,000 is taken in, and start it again."""
    left = Left(await case.hold("1500", by=case.tess), case.account(), case.account(0))
    run = await case.tess.run(left.held.thread_id, wait=False, input=left.words)
    assert run.status == 200, run
    await asyncio.sleep(LATE_S / 2)
    case.target.server.stop()
    case.target.server.start()
    return left


async def nobodys(case: Case, leave: Leave, go_on: Leave, *, stands: bool = True) -> None:
    """Leave words, go on, and see that they were nobody's; `stands`: whether this way leaves them in the state."""
    left = await hold_and_leave(case, leave)
    thread_id = left.held.thread_id
    before = await case.tess.state(thread_id)
    await go_on(case, left)
    await case.settle(thread_id)

    # Who wants to decide sees the question again, and decides it.
    await case.tess.run(thread_id, input=None)
    for interrupt in await case.tess.interrupts(thread_id):
        await case.ana.answer(thread_id, {interrupt["id"]: YES})
    await case.settle(thread_id)

    asked = sa.select(requests.c.requested_by, requests.c.state).where(requests.c.thread_id == thread_id)
    ((requested_by, state),) = _rows(case, asked)
    assert requested_by == case.tess.name
    assert state == "executed" or (state == "withdrawn" and go_on in _SAY), state
    mine = [effect for effect in case.effects() if effect.source in (left.source, left.held.source)]
    assert mine == ([left.held.effect] if state == "executed" else [])
    opened_by = {row[0] for row in _rows(case, sa.select(turns.c.requested_by).where(turns.c.thread_id == thread_id))}
    assert opened_by <= {case.tess.name} | ({case.ana.name} if go_on is others_words else set())
    stood = any("6000" in str(message["content"]) for message in before["values"]["messages"])
    assert stood == stands
    messages = (await case.tess.state(thread_id))["values"]["messages"]
    assert not [one for one in messages if one["type"] == "human" and "6000" in str(one["content"])]
    events = _rows(case, sa.select(audit.c.event).where(audit.c.thread_id == thread_id))
    assert [row[0] for row in events].count("unheard_words") == int(stood)
    told = [one for one in messages if one["type"] == "ai" and str(one["content"]).startswith(TOLD)]
    assert len(told) == int(stood)


async def nobodys_however(case: Case, leave: Leave, *, stands: bool = True) -> None:
    """Try every way to go on, each in a thread of its own, at once."""
    met = await asyncio.gather(*(nobodys(case, leave, one, stands=stands) for one in GO_ON), return_exceptions=True)
    wrong = {one.__name__: repr(error) for one, error in zip(GO_ON, met, strict=True) if error is not None}
    assert wrong == {}


def _rows(case: Case, query: Any) -> list[Any]:
    return list(case.target.read(lambda c: c.execute(query).all()))
