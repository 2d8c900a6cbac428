"""Two approvers on pages that talk in commands (v2): what the second sees when the first was just before."""

import asyncio
import json

import sqlalchemy as sa
import websockets

from clearance.db.tables import decisions
from tests.attacks.targets import Attacker, Case, Held
from tests.server.test_lifetimes import respond
from tests.server.test_pages import browser
from tests.support.pages import ScriptPage
from tests.support.tokens import bearer

APPROVE = {"approved": True}


def page(case: Case, who: Attacker, held: Held) -> ScriptPage:
    return ScriptPage(browser(case, who), held.thread_id)


def counted(case: Case, held: Held) -> list[str]:
    """Name who approved what is held, as far as it counts."""
    query = (
        sa.select(decisions.c.decided_by)
        .where(decisions.c.request_id == held.question["id"], decisions.c.counts)
        .order_by(decisions.c.number)
    )
    return [str(name) for name in case.target.read(lambda c: c.scalars(query).all())]


async def test_two_approvers_at_once_both_count_and_it_is_done_once(case: Case) -> None:
    held = await case.hold("30000")

    told = await asyncio.gather(
        *(page(case, who, held).respond(held.interrupt_id, APPROVE) for who in (case.tess, case.tom))
    )
    await case.settle(held.thread_id)

    assert sorted(counted(case, held)) == sorted([case.tess.name, case.tom.name]), told
    assert [one["type"] for one in told] == ["success", "success"]
    assert case.effects() == [held.effect]


async def test_the_second_who_still_sees_the_first_question_is_told_that_it_is_asked_anew(case: Case) -> None:
    """What went wrong: "Unknown or already-consumed interrupt", and no word of the approval that was given."""
    held = await case.hold("30000")
    tess, tom = page(case, case.tess, held), page(case, case.tom, held)
    await tess.respond(held.interrupt_id, APPROVE)
    await case.settle(held.thread_id)

    stale = await tom.respond(held.interrupt_id, APPROVE)
    stranger = await page(case, case.mallory, held).respond(held.interrupt_id, APPROVE)
    after_it = counted(case, held)
    (now,) = await case.ana.interrupts(held.thread_id)
    again = await tess.respond(now["id"], APPROVE)
    new = await tom.respond(now["id"], APPROVE)
    await case.settle(held.thread_id)
    late = await tom.respond(now["id"], APPROVE)

    assert stale["type"] == "error"
    assert stale["message"].endswith(
        f"{held.interrupt_id}. Nothing was recorded: it is asked anew under another id with 1 of 2 approvals, by"
        f" {case.tess.name}. Load the thread again and answer what it asks now."
    )
    assert "approvals" not in str(stranger), stranger
    assert after_it == [case.tess.name]
    assert now["value"]["description"].startswith("1 of 2 given")
    assert "has approved it already" in again["message"]
    assert new["type"] == "success"
    assert "it is executed already." in late["message"]
    assert case.effects() == [held.effect]


async def test_so_is_who_answers_over_a_websocket(case: Case) -> None:
    held = await case.hold("30000")
    await page(case, case.tess, held).respond(held.interrupt_id, APPROVE)
    await case.settle(held.thread_id)
    url = f"{case.target.url.replace('http', 'ws')}/threads/{held.thread_id}/stream/events"

    assert case.tom.person
    async with (
        websockets.connect(url, additional_headers=bearer(case.tom.person)) as connection,
        asyncio.timeout(60),
    ):
        await connection.send(respond(held))
        while (told := json.loads(await connection.recv())).get("id") != 1:
            pass

    assert "it is asked anew under another id with 1 of 2 approvals" in told["message"], told
    assert case.effects() == []


async def test_of_a_question_that_was_never_put_nothing_more_is_said(case: Case, held: Held) -> None:
    told = await page(case, case.ana, held).respond("0" * 32, APPROVE)

    assert (told["type"], told["message"]) == ("error", f"Unknown or already-consumed interrupt: {'0' * 32}")
    assert await case.goes_on(held)
