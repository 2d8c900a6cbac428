"""The library's offline model: a builder's own tools are called by sentences that come from the tools."""

from enum import StrEnum
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from clearance import OfflineModel
from clearance.models.offline import Schemas, Wish, example, read


class Reason(StrEnum):
    """Why a ticket ends."""

    SOLVED = "solved"
    SPAM = "spam"


@tool
def refund_order(order_id: str = Field(description="for example O-1001"), amount: int = Field(gt=0)) -> str:
    """Refund an order."""
    return f"{order_id} {amount}"


@tool
def close_ticket(ticket_id: str, answer: str = "", notify: bool = True) -> str:
    """Close a ticket."""
    return ""


@tool
def close(reason: Reason) -> str:
    """Close all."""
    return ""


@tool
def tag(ticket_id: str, tags: list[str], share: float | None = None) -> str:
    """Tag a ticket."""
    return ""


@tool
def list_tickets() -> str:
    """List tickets."""
    return ""


TOOLS: list[BaseTool] = [refund_order, close_ticket, close, tag, list_tickets]
SCHEMAS: Schemas = {
    one.name: convert_to_openai_tool(one)["function"].get("parameters", {}) for one in TOOLS
}  # as an endpoint is sent them


@pytest.mark.parametrize(
    ("sentence", "wishes"),
    [
        ("refund order: order_id O-1001, amount 500", [("refund_order", {"order_id": "O-1001", "amount": 500})]),
        ("Refund order order id O-1 and amount 5.", [("refund_order", {"order_id": "O-1", "amount": 5})]),
        ("refund_order: order_id=O-1, amount = 5", [("refund_order", {"order_id": "O-1", "amount": 5})]),
        (
            "refund order: order_id O-1, amount 5 and more",
            [("refund_order", {"order_id": "O-1", "amount": "5 and more"})],
        ),
        (
            'please close ticket: ticket_id T-7, answer "Sent again, sorry; and then closed", notify no',
            [("close_ticket", {"ticket_id": "T-7", "answer": "Sent again, sorry; and then closed", "notify": False})],
        ),
        (
            "close ticket: ticket_id T-7, answer all is well",
            [("close_ticket", {"ticket_id": "T-7", "answer": "all is well"})],
        ),
        ("close: reason spam", [("close", {"reason": "spam"})]),
        (
            'tag: ticket_id 7, tags ["a", "b, c"], share 0.5',
            [("tag", {"ticket_id": "7", "tags": ["a", "b, c"], "share": 0.5})],
        ),
        ("tag: ticket_id T-1, tags a", [("tag", {"ticket_id": "T-1", "tags": "a"})]),
        ("list tickets", [("list_tickets", {})]),
        (
            "list tickets; refund order: order_id O-1, amount 5, and then close ticket: ticket_id T-1",
            [
                ("list_tickets", {}),
                ("refund_order", {"order_id": "O-1", "amount": 5}),
                ("close_ticket", {"ticket_id": "T-1"}),
            ],
        ),
    ],
)
def test_a_sentence_becomes_its_calls_in_order(sentence: str, wishes: list[tuple[str, dict[str, Any]]]) -> None:
    assert read(sentence, SCHEMAS) == [Wish(name, arguments) for name, arguments in wishes]


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "hello",
        "do not refund order: order_id O-1, amount 5",
        "refund order O-1001",
        "refund order: number 7",
        "refund order: order_id O-1, order_id O-2",
        "refund order: order_id O-1, amount",
        "list tickets; and dance",
        "list tickets of ada",
        "list tickets" + " " * 2_000 + "x" * 2_000,
    ],
)
def test_when_any_part_is_not_understood_nothing_is_called_and_examples_are_given(sentence: str) -> None:
    answer = OfflineModel().bind_tools(TOOLS).invoke([HumanMessage(sentence)])

    assert answer.tool_calls == []
    assert "did nothing" in answer.text
    assert "- refund order: order_id O-1001, amount 5\n" in answer.text
    assert answer.text.startswith("[offline model] ")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_example_it_gives_is_understood_and_taken_by_the_tool(name: str) -> None:
    (wish,) = read(example(name, SCHEMAS[name]), SCHEMAS) or []

    (called,) = [one for one in TOOLS if one.name == wish.tool]
    assert called.name == name
    assert called.invoke(wish.arguments) is not None


def test_without_tools_it_understands_nothing_and_says_so() -> None:
    assert "did nothing" in OfflineModel().invoke("list tickets").text
