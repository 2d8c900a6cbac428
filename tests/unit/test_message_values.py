"""Messages are the same only where everything that anybody reads of them is; a copy shares nothing with its first."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from clearance.message_values import OtherKindError, copy_of, first_same, noted


def _called(**args: Any) -> AIMessage:
    return AIMessage("", id="a", tool_calls=[tool_call(name="pay", args=args, id="call")])


def _result(artifact: Any = None, **fields: Any) -> ToolMessage:
    return ToolMessage("Paid.", id="r", tool_call_id="call", artifact=artifact, **fields)


SAME: list[tuple[AnyMessage, AnyMessage]] = [
    (HumanMessage("x", id="h"), HumanMessage("x", id="h")),
    (_called(amount=1, to=["x", {"y": None}]), _called(amount=1, to=["x", {"y": None}])),
    (_result({"revision": 1, "part": 0.5}), _result({"revision": 1, "part": 0.5})),
]
OTHER: list[tuple[AnyMessage, AnyMessage]] = [
    (HumanMessage("x", id="h"), HumanMessage("y", id="h")),
    (HumanMessage("x", id="h"), HumanMessage("x", id="i")),
    (HumanMessage("x", id="h"), HumanMessage("x", id="h", name="n")),
    (HumanMessage("x", id="h"), HumanMessage("x", id="h", more="m")),
    (HumanMessage("x", id="h"), HumanMessage(["x"], id="h")),
    (HumanMessage("x", id="h"), SystemMessage("x", id="h")),
    (AIMessage("x", id="h"), type("Mine", (AIMessage,), {})("x", id="h")),
    (_called(amount=1), _called(amount=True)),
    (_called(amount=1), _called(amount=1.0)),
    (_called(amount=True), _called(amount=1)),
    (_called(amount=1.0), _called(amount=1)),
    (_called(amount=[1]), _called(amount=[1, 2])),
    (_called(amount=1), _called(amount=1, more=None)),
    (_result({"revision": 1}), _result({"revision": True})),
    (_result(), _result(status="error")),
    (_result([1]), _result((1,))),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_messages_that_have_the_same_are_the_same(one: AnyMessage, other: AnyMessage) -> None:
    assert first_same([other, other], [noted(one), noted(one)]) == 2


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_messages_of_which_anything_is_another_are_others(one: AnyMessage, other: AnyMessage) -> None:
    assert first_same([one, other, one], [noted(one)] * 3) == 1


def test_what_comes_before_a_message_with_more_in_it_is_compared_as_well() -> None:
    said, forged, more = HumanMessage("x", id="h"), HumanMessage("y", id="h"), HumanMessage("x", id="h", more="m")

    assert first_same([said, forged, more], [noted(said)] * 3) == 1
    assert first_same([said, said, more, said], [noted(said)] * 4) == 2


def test_what_is_noted_of_a_message_stays_when_somebody_writes_to_it() -> None:
    said = _called(to=[{"account": "A-1"}])
    known = [noted(said)]

    said.tool_calls[0]["args"]["to"][0]["account"] = "A-2"

    assert first_same([said], known) == 0


def test_fewer_messages_than_are_known_are_compared_as_far_as_they_go() -> None:
    said = HumanMessage("x", id="h")

    assert first_same([said], [noted(said), noted(said)]) == 1
    assert first_same([], [noted(said)]) == 0
    assert first_same([said], []) == 0


class _Array:
    """As an array of numpy's, or a tensor of torch's: it is compared value by value."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __eq__(self, other: object) -> Any:
        raise self._error("ambiguous")


@pytest.mark.parametrize("error", [ValueError, RuntimeError, AttributeError])
def test_what_is_no_value_is_the_same_as_nothing(error: type[Exception]) -> None:
    with pytest.raises(OtherKindError):
        noted(_result(_Array(error)))

    assert first_same([_result(_Array(error))], [noted(_result({}))]) == 0


@pytest.mark.parametrize(
    "message",
    [_result(object()), _result({"of": (1, 2)}), HumanMessage("x", more="m"), type("M", (AIMessage,), {})("x")],
)
def test_what_has_something_of_another_kind_in_it_is_not_noted(message: AnyMessage) -> None:
    with pytest.raises(OtherKindError):
        noted(message)


@pytest.mark.parametrize("message", [one for one, _ in SAME])
def test_a_copy_is_the_same_and_shares_nothing_that_can_be_written_to(message: AnyMessage) -> None:
    copied = copy_of(message)
    assert copied == message
    assert copied.model_fields_set == message.model_fields_set

    copied.additional_kwargs["x"] = 1
    copied.response_metadata["x"] = 1
    if isinstance(copied, AIMessage) and isinstance(message, AIMessage):
        copied.tool_calls[0]["args"]["to"].clear()
        assert message.tool_calls[0]["args"]["to"]

    assert (message.additional_kwargs, message.response_metadata) == ({}, {})
