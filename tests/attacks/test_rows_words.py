"""Rows 34, 37 and 51: words that are somebody else's, what is sent into the future, questions out of sight."""

import asyncio
from typing import Any

import sqlalchemy as sa

from clearance.db.tables import requests
from tests.attacks.targets import Attacker, Case, Held, Outcome, attack

YES = {"approved": True}


def _words(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _turned(case: Case, held: Held) -> int:
    """Count the requests of a thread that are the answerer's now, or were withdrawn by what nobody said."""
    of_ana = (requests.c.requested_by == case.ana.name) | (requests.c.state == "withdrawn")
    query = sa.select(sa.func.count()).where(requests.c.thread_id == held.thread_id, of_ana)
    return int(case.target.read(lambda c: c.scalar(query)))


@attack(34, ours=("403", "done"), trace=("breakpoint",), gate_trace=("unheard_words",), by=("olga", "ana"))
async def test_row_34_words_that_a_run_left_are_not_those_of_who_answers_next(case: Case) -> Outcome:
    """A run with words stops at a breakpoint before they are heard; an approver answers what was open."""
    outcome = Outcome(harm="words that counted as another's")
    for stop in ({"interrupt_before": "*"}, {"interrupt_before": [case.node("receive"), "agent", "model"]}):
        held = await case.hold()
        source, target = case.account(), case.account(0)
        left = _words(f"transfer 6000 from {source} to {target}")
        outcome.note(await case.olga.run(held.thread_id, input=left, **stop))

        reply = await case.ana.answer(held.thread_id, {held.interrupt_id: YES})
        await case.settle(held.thread_id)

        if case.target.is_ours:
            outcome.note(reply, got=_turned(case, held))
        else:
            asked = await case.ana.interrupts(held.thread_id)
            outcome.note(reply, got=int("6000" in str(asked) or held.effect not in case.effects()))
    return outcome


@attack(37, ours=("403",), targets=("stock", "ours"), trace=("future",), by=("olga", "ana"))
async def test_row_37_nothing_is_sent_into_the_future(case: Case) -> Outcome:
    """An answer that starts in two seconds, when what forbids it now may be over; words that do."""
    outcome = Outcome()
    held = await case.hold()
    later: dict[str, Any] = {"wait": False, "after_seconds": 2}

    outcome.note(await case.ana.run(held.thread_id, command={"resume": {held.interrupt_id: YES}}, **later))
    outcome.note(await case.olga.run(await case.olga.thread(), input=_words("hello"), **later))
    await asyncio.sleep(4)
    await case.settle(held.thread_id)

    outcome.got = len(case.effects())
    return outcome


async def _empty(attacker: Attacker, held: Held) -> Any:
    return await attacker.run(held.thread_id, input={"messages": []}, interrupt_before="*")


async def _leave(attacker: Attacker, held: Held) -> Any:
    return await attacker.run(held.thread_id, command={"goto": "__end__"})


@attack(51, ours=("403",), targets=("stock", "ours"), trace=("breakpoint", "thread"), by=("ben",))
async def test_row_51_an_approver_takes_no_question_out_of_sight(case: Case) -> Outcome:
    """An empty input with a breakpoint, and `goto __end__`, by an approver in somebody's waiting thread."""
    outcome = Outcome(harm="questions out of sight")
    for hide in (_empty, _leave):
        held = await case.hold()
        reply = await hide(case.ben, held)
        await case.settle(held.thread_id)
        outcome.note(reply, got=int(await case.ana.interrupts(held.thread_id) == []))
    return outcome
