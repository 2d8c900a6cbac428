"""What passes for the message that the journal has: exactly that, whatever was worked out of it before."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.tool import tool_call

from clearance.canonical import said_digest
from clearance.gate.records import Truth
from clearance.graph.transcript import disbelieved, receipt_message, to_json, true_transcript
from clearance.journal.plans import Plan, request_id
from clearance.journal.receipts import Receipt
from clearance.journal.requests import Request

CALL = {"to": "A-2003", "amount": 1, "memo": None, "parts": [{"of": 2}]}


def _said(args: dict[str, Any] = CALL, content: Any = "", name: str = "pay") -> AIMessage:
    return AIMessage(content, id="said", tool_calls=[tool_call(name=name, args=args, id="call-0")])


def _truth(message: AIMessage, heard: Any = "pay") -> Truth:
    stored = to_json(message)
    plan = Plan("plan", "turn", 0, "thread", "said", stored, said_digest(stored), opened=False, stored_at=NOW)
    return Truth({"said": plan}, {}, {}, heard={"heard": heard})


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 2}, {"amount": True}, {"amount": 1.0}, {"amount": "1"}, {"memo": float("nan")}, {"memo": ""},
        {"parts": [{"of": 2.0}]}, {"parts": [{"of": 2}, {}]}, {"parts": "[{'of': 2}]"}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_were_changed_are_noticed_and_given_back(changed: dict[str, Any]) -> None:
    truth = _truth(_said())
    assert disbelieved([_said()], truth) == []
    found = _said({**CALL, **changed})

    assert disbelieved([found], truth) == [found]
    (given, _) = true_transcript([found], truth)
    assert repr(given.tool_calls) == repr(_said().tool_calls)  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [["x"], "['x']", "x ", "", [{"type": "text", "text": "x"}]], ids=repr)
def test_words_that_were_changed_are_noticed(content: Any) -> None:
    truth, same = _truth(_said(content="x")), _said(content="x")
    found = _said(content=content)

    assert disbelieved([same, found], truth) == [found]


def test_words_are_not_taken_for_the_list_that_they_write_out() -> None:
    truth = _truth(_said(content=["x"]))
    found = _said(content="['x']")

    assert disbelieved([_said(content=["x"]), found], truth) == [found]


def test_a_message_that_a_program_changes_where_it_stands_is_noticed_the_next_time() -> None:
    truth, found = _truth(_said()), _said()
    heard = HumanMessage("pay", id="heard")
    assert disbelieved([heard, found], truth) == []

    found.tool_calls[0]["args"]["parts"][0]["of"] = 3
    heard.content = "pay twice"

    assert disbelieved([heard, found], truth) == [heard, found]
    assert true_transcript([heard], truth) == [HumanMessage("pay", id="heard")]


def test_what_a_reader_writes_into_a_message_does_not_reach_the_journals() -> None:
    truth = _truth(_said())
    (given, _) = true_transcript([_said({**CALL, "amount": 2})], truth)

    given.tool_calls[0]["args"]["amount"] = 3  # type: ignore[union-attr]

    assert disbelieved([_said()], truth) == []


def test_order_of_arguments_and_what_a_call_has_besides_change_nothing() -> None:
    truth = _truth(_said())
    found = _said(dict(reversed(CALL.items())))

    assert disbelieved([found], truth) == []


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"artifact": {"outcome": "executed", "revision": True}}, {"artifact": None}, {"content": "Paid twice."},
        {"status": "error"}, {"name": "refund"}, {"tool_call_id": "call-1"}, {"additional_kwargs": {"more": 1}},
        {"response_metadata": {"more": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_result_stands_only_where_it_is_what_its_receipt_makes(changed: dict[str, Any]) -> None:
    truth = _truth(_said())
    plan = truth.plans["said"]
    asked = request_id(plan, "call-0")
    truth.requests[asked] = cast("Request", SimpleNamespace(request_id=asked, is_in_flight=False))
    receipt = truth.receipts[asked] = Receipt(asked, "executed", 1, "Paid.", NOW)
    true = receipt_message(plan, plan.calls[0], receipt)
    found = true.model_copy(update=changed)

    (_, given) = true_transcript([_said(), found], truth, wrong=())

    assert repr(given) == repr(true)
    assert (given is found) == (not changed)
