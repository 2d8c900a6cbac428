"""The sample policy is one to copy: strangers are asked about, and thresholds look at the sum that is moved."""

from typing import Any

import pytest

from agent.actions import ACTIONS
from clearance.actions.action import Actions
from clearance.desk.replay import replay
from clearance.gate.policy import parse_policy
from tests.support.scripted_model import calls
from tests.support.server import ROOT
from tests.support.world import TESS, TOM, World

pytestmark = pytest.mark.own_graph("what a policy asks for, whatever graph runs it")

SAMPLE = (ROOT / "policy.toml").read_text()
#: As the sample was before: the single call decided, whoever was paid.
BEFORE = """
[roles]
approver = "decides ordinary requests"
treasurer = "decides what moves more"
[defaults]
expires = "24h"
approvers = "approver"
risk = "high"
[[rule]]
name = "small transfer"
action = "transfer_funds"
when = "args.amount <= usd(1000) && facts.sent_24h + args.amount <= usd(2500)"
verdict = "allow"
[[rule]]
name = "very large transfer"
action = "transfer_funds"
when = "args.amount > usd(25000)"
verdict = "ask"
approvers = "treasurer"
approvals = 2
"""


@pytest.fixture
def bank(world: World) -> World:
    """Give a world under the sample policy."""
    world.use_policy(SAMPLE)
    return world


def pay(amount: str, to: str = "A-2003", by: str = "A-2001") -> tuple[str, dict[str, Any]]:
    return "transfer_funds", {"from_account": by, "to_account": to, "amount": amount}


async def asked(world: World, *wanted: tuple[str, dict[str, Any]]) -> list[tuple[str, int]]:
    """Let the model call these in one message, and give each request's state and how many have to clear it."""
    world.model.will_say(calls(*wanted))
    await world.say("do it")
    return [(request.state, request.approvals) for request in world.requests()[-len(wanted) :]]


async def test_a_small_transfer_is_let_through_only_to_somebody_who_was_paid_before(bank: World) -> None:
    """68,610 went out unasked, 990 at a time, to payees never seen before."""
    assert await asked(bank, pay("990")) == [("executed", 0)]
    assert await asked(bank, pay("990", to="A-2004")) == [("asked", 1)]
    assert await asked(bank, pay("0.01", to="A-2006")) == [("asked", 1)]


@pytest.mark.parametrize(
    ("wanted", "approvals"),
    [
        ([pay("25000"), pay("25000")], [2, 2]),
        ([pay("25000"), pay("0.01")], [2, 2]),
        ([pay("20000"), pay("6000", by="A-2002")], [2, 2]),  # from two accounts
        ([pay("15000"), pay("10000", to="A-2004")], [1, 1]),
        ([pay("900"), pay("900"), pay("900")], [1, 1, 1]),
    ],
)
async def test_thresholds_look_at_the_sum_that_one_message_moves(
    bank: World, wanted: list[tuple[str, dict[str, Any]]], approvals: list[int]
) -> None:
    assert await asked(bank, *wanted) == [("asked", number) for number in approvals]


async def test_thresholds_look_at_the_sum_that_one_account_sends_in_a_day(bank: World) -> None:
    assert await asked(bank, pay("25000")) == [("asked", 1)]
    await bank.answer({"type": "approve"})

    assert await asked(bank, pay("25000")) == [("asked", 2)]
    await bank.answer({"type": "approve"}, by=TESS)
    assert len(bank.transfers()) == 1
    await bank.answer({"type": "approve"}, by=TOM)

    assert len(bank.transfers()) == 2
    assert bank.ledger_is_whole()


async def test_what_was_refused_or_cannot_be_read_is_not_part_of_the_sum(bank: World) -> None:
    found = await asked(bank, pay("9000000"), pay("25000"), pay("much"))

    assert found == [("refused", 0), ("asked", 1), ("refused", 0)]


async def test_a_message_that_lost_a_part_does_not_become_laxer(bank: World) -> None:
    assert await asked(bank, pay("20000"), pay("20000", to="A-2004")) == [("asked", 2), ("asked", 2)]
    await bank.decide({"type": "reject"}, by=TESS, call="call-1")
    await bank.answer({"type": "approve"}, by=TESS)

    assert bank.transfers() == []


async def test_reversals_have_thresholds_too(bank: World) -> None:
    await asked(bank, pay("25000.01"))
    await bank.answer({"type": "approve"}, by=TESS)
    await bank.answer({"type": "approve"}, by=TOM)
    large = bank.receipts()["call-0"].rsplit("(", 1)[1].split(")")[0]
    # A-2003 has to send that much: it is paid back, with what it had before.
    assert await asked(bank, ("reverse_transfer", {"transfer_id": large})) == [("asked", 2)]


async def test_a_reversal_and_a_transfer_of_one_message_are_one_sum(bank: World) -> None:
    await asked(bank, pay("20000"))
    await bank.answer({"type": "approve"})
    paid = bank.receipts()["call-0"].rsplit("(", 1)[1].split(")")[0]

    both = await asked(bank, ("reverse_transfer", {"transfer_id": paid}), pay("6000", to="A-2004", by="A-2002"))

    assert both == [("asked", 2), ("asked", 2)]


async def test_replay_shows_what_the_sample_asks_that_was_not_asked_before(bank: World) -> None:
    bank.use_policy(BEFORE)
    assert await asked(bank, pay("990", to="A-2004")) == [("executed", 0)]
    assert await asked(bank, pay("25000"), pay("25000")) == [("asked", 1), ("asked", 1)]

    policy = parse_policy(SAMPLE, "policy.toml", Actions(ACTIONS), {"usd": lambda dollars: dollars * 100})
    replayed = bank.read(lambda connection: list(replay(connection, policy, Actions(ACTIONS))))

    assert [one.is_other for one in replayed] == [True, True, True]
    assert [(one.verdict.word, one.verdict.approvals) for one in replayed] == [("ask", 1), ("ask", 2), ("ask", 2)]
