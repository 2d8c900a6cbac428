"""Promise 6 under any order of decisions, by API and thread, checked against what the audit log says of them."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from clearance.gate.answers import Edit, Reference
from tests.integration.test_carried_out_at_once import decide
from tests.support.scripted_model import calls
from tests.support.world import TESS, TOM, Person, World

POLICY = """
[roles]
approver = "decides ordinary requests"
treasurer = "decides what moves more"
[defaults]
expires = "24h"
approvers = "approver"
risk = "high"
[[rule]]
name = "small"
action = "transfer_funds"
when = "args.amount <= usd(1)"
verdict = "allow"
[[rule]]
name = "large"
action = "transfer_funds"
when = "args.amount > usd(10)"
verdict = "ask"
approvers = "treasurer"
approvals = 2
"""
#: Allowed, asked of one, asked of two; and asked, of an account that is closed when it comes to the effect.
KINDS = {"allowed": ("1", "A-2003"), "one": ("5", "A-2003"), "two": ("12", "A-2003"), "fails": ("6", "A-2005")}
KIND = st.sampled_from([*KINDS, "one", "allowed"])
#: Which of the undecided calls is decided, how, by whom, and where.
STEP = st.tuples(
    st.integers(0, 3), st.sampled_from(["approve", "approve", "reject", "edit"]), st.sampled_from([TESS, TOM]),
    st.sampled_from(["api", "api", "thread"]),
)  # fmt: skip


@dataclass
class Fate:
    """What the log tells of one request."""

    plan: str
    position: int
    #: Places in the log.
    rejected: int | None = None
    lost: int | None = None
    executed: int | None = None
    #: Of the clearance that holds: policy's, or the first of the approvals that count.
    cleared: int | None = None
    by_policy: bool = False
    is_asked: bool = False
    approvals: int = 0
    questions: list[str] = field(default_factory=list)


@given(
    plans=st.lists(st.lists(KIND, min_size=1, max_size=4), min_size=1, max_size=2),
    steps=st.lists(STEP, max_size=14),
)
# The same examples each time, and none made smaller: that takes minutes.
@settings(max_examples=25, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_any_order_of_decisions_keeps_promise_six(
    world: World, plans: list[list[str]], steps: list[tuple[int, str, Person, str]]
) -> None:
    asyncio.run(attempt(world, plans, steps))


async def attempt(world: World, plans: list[list[str]], steps: list[tuple[int, str, Person, str]]) -> None:
    if world.policy != POLICY:
        world.policy = POLICY
        world.use_policy(POLICY)
    thread = f"thread-{len(world.requests())}-{len(world.whole_log())}"
    world.model.will_say_nothing_more()
    for plan in plans:
        wished = [("transfer_funds", {"from_account": "A-2001", "to_account": to, "amount": amount})
                  for amount, to in (KINDS[kind] for kind in plan)]  # fmt: skip
        world.model.will_say(calls(*wished))
    world.model.will_say(AIMessage("Done."))
    world.execute("UPDATE accounts SET status = 'open' WHERE account_id = 'A-2005'")
    state = await world.say("pay", thread=thread)
    world.execute("UPDATE accounts SET status = 'closed' WHERE account_id = 'A-2005'")
    # At the end everything is approved, so that whatever may happen does.
    for at, word, by, way in [*steps, *[(0, "approve", by, "api") for _ in range(30) for by in (TESS, TOM)]]:
        waiting = [one for one in world.requests() if one.thread_id == thread and one.state == "asked"]
        if not waiting:
            state = await world.go_on(thread=thread)
            if "__interrupt__" not in state:
                break
            continue
        request = waiting[at % len(waiting)]
        if way == "thread":
            if await world.open_question(thread) is None:
                await world.go_on(thread=thread)
            answer = {"approve": True, "reject": False}.get(word, {"approved": True, "edited_args": {"amount": "0.5"}})
            await world.answer(answer, by=by, thread=thread)
        else:
            given: Any = {"approve": True, "reject": {"approved": False}}.get(word)
            if given is None:
                given = Edit({"amount": "0.5"}, is_whole=False, about=Reference(None, None))
            await decide(world, given, by=by, call=request.tool_call_id)
    check(world, thread)


def check(world: World, thread: str) -> None:
    """Compare what happened with promise 6."""
    requests = {one.request_id: one for one in world.requests() if one.thread_id == thread}
    fates = {one.request_id: Fate(one.plan_id, one.position) for one in requests.values()}
    for place, row in enumerate(world.audit()):
        fate = fates.get(row["request_id"])
        if fate is None:
            continue
        details = row["details"]
        match row["event"]:
            case "requested":
                fate.by_policy = details["verdict"] == "allow"
                fate.cleared = place if fate.by_policy else None
                fate.is_asked, fate.approvals = details["verdict"] == "ask", details["approvals"]
            case "asked_again":
                fate.by_policy, fate.cleared, fate.is_asked = False, None, True
                fate.approvals = details["approvals"]
                fate.questions.append(details["cause"])
            case "edited":
                fate.cleared = place if details["counts"] else None
                fate.is_asked = not details["counts"]
            case "approved":
                fate.cleared = fate.cleared or place
            case "rejected":
                fate.rejected = fate.lost = place
                fate.is_asked = False
            case "failed" | "refused":
                fate.lost, fate.is_asked = place, False
            case "executed":
                fate.executed, fate.is_asked = place, False
                held(fates, fate, place)
    for fate in fates.values():
        assert fate.questions.count("rejection") <= 1, fate
    states = [one.state for one in requests.values()]
    assert not {"asked", "approved", "allowed"} & set(states), states
    effects = [one for one in fates.values() if one.executed is not None]
    assert states.count("executed") == len(effects)
    assert world.audit_is_whole()


def held(fates: dict[str, Fate], fate: Fate, place: int) -> None:
    """Check one effect at its place in the log."""
    plan = [one for one in fates.values() if one.plan == fate.plan]
    assert fate.cleared is not None, fate
    assert all(one.executed is None or one is fate or one.position < fate.position for one in plan), plan
    for other in plan:
        if other.lost is None:
            continue
        if other.rejected is not None:
            # Asked once more for the rejections of its plan, however many: that question stood after one of them.
            assert fate.cleared > other.rejected or "rejection" in fate.questions, (fate, other)
        else:
            assert fate.cleared > other.lost or other.position > fate.position, (fate, other)
    if fate.by_policy:
        assert not any(one.rejected is not None and one.rejected < place for one in fates.values()), (fate, fates)
