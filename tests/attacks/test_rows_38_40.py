"""Rows 38 to 40 of the list: runs that wait for years, ids that do not belong together, sizes."""

from typing import Any

from tests.attacks.targets import Case, Outcome, attack

YES = {"approved": True}
TWENTY_MB = 20_000_000


@attack(38, ours=("403", "done"), targets=("stock", "ours"), trace=("future",), by=("olga",))
async def test_row_38_a_run_that_waits_for_years_keeps_no_decision_away(case: Case) -> Outcome:
    """Whoever asked puts a run into their own thread that is due in thirty years; then somebody approves."""
    outcome = Outcome(harm="decisions not carried out")
    held = await case.hold()
    outcome.note(await case.olga.run(held.thread_id, wait=False, input=None, after_seconds=1_000_000_000))

    # As a server or client resumes that does not want to run beside another run.
    reply = await case.ana.answer(held.thread_id, {held.interrupt_id: YES}, multitask_strategy="reject")
    await case.settle(held.thread_id, 5)

    outcome.note(reply, got=int(held.effect not in case.effects()))
    return outcome


@attack(
    39, ours=("404",), targets=("stock", "ours"), stock_holds="the saver of the installed server loses nothing by it"
)
async def test_row_39_a_run_of_another_thread_is_not_hurt_through_ones_own(case: Case) -> Outcome:
    """`DELETE` with one's own thread and somebody else's run; then the other thread has to be as it was."""
    outcome = Outcome(harm="threads hurt")
    for who in (case.mallory, case.ana):
        thread_id = await case.olga.thread()
        assert (await case.olga.say(thread_id, "hello")).how == "done"
        (run,) = (await case.olga.get(f"/threads/{thread_id}/runs")).body
        before = await case.olga.post(f"/threads/{thread_id}/history", {"limit": 100})
        mine = await who.thread()

        reply = await who.send("DELETE", f"/threads/{mine}/runs/{run['run_id']}")

        after = await case.olga.post(f"/threads/{thread_id}/history", {"limit": 100})
        assert before.body, before
        outcome.note(reply, got=int(len(after.body) < len(before.body)))
    return outcome


@attack(40, ours=("413",), targets=("stock", "ours"))
async def test_row_40_twenty_megabytes_are_not_kept(case: Case) -> Outcome:
    """As a message, as metadata of a thread, and as an answer."""
    outcome = Outcome(harm="kept")
    large = "a" * TWENTY_MB
    words: dict[str, Any] = {"messages": [{"role": "user", "content": large}]}
    held = await case.hold()
    for reply in (
        await case.olga.run(await case.olga.thread(), wait=False, input=words),
        await case.olga.post("/threads", {"metadata": {"note": large}}),
        await case.ana.answer(held.thread_id, {held.interrupt_id: {"approved": False, "reason": large}}, wait=False),
    ):
        outcome.note(reply, got=int(reply.status < 400))
    if case.target.is_ours:
        assert await case.goes_on(held)
    return outcome
