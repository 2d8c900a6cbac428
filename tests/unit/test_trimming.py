"""What of a thread the model is given, and that calls and results are never parted."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.messages.utils import count_tokens_approximately

from clearance.gate.unread import UNPARSED
from clearance.models import NO_NAME, normalised, open_calls, presentable, trim
from clearance.models.answer import bare
from clearance.models.history import recent


def _called(*ids: str, text: str = "") -> AIMessage:
    return AIMessage(text, tool_calls=[tool_call(name="get_account", args={}, id=call_id) for call_id in ids])


def _result(call_id: str, text: str = "ok") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id)


def _turn(number: int, length: int = 200, groups: int = 1) -> list[AnyMessage]:
    turn: list[AnyMessage] = [HumanMessage(f"question {number}")]
    for group in range(groups):
        ids = [f"{number}.{group}.{at}" for at in range(2)]
        turn += [_called(*ids), *(_result(call_id, "x" * length) for call_id in ids)]
    return [*turn, AIMessage(f"answer {number}")]


def _texts(messages: Sequence[AnyMessage]) -> list[str]:
    return [message.text for message in messages if message.text]


def test_a_thread_that_fits_is_left_as_it_is() -> None:
    messages = [*_turn(1), *_turn(2)]

    assert trim(messages, 10_000) == messages


def test_older_turns_are_left_out_whole_and_the_newest_of_them_stay() -> None:
    messages = [*_turn(1), *_turn(2), *_turn(3), *_turn(4)]
    room = count_tokens_approximately([*_turn(3), *_turn(4)])

    assert trim(messages, room) == [*_turn(3), *_turn(4)]
    assert trim(messages, room - 1) == _turn(4)


def test_a_current_turn_that_fits_exactly_is_kept_whole() -> None:
    for current in (_turn(2, groups=5), _turn(2, length=50_000)):
        assert trim([*_turn(1), *current], count_tokens_approximately(current)) == current


def test_an_overlong_result_is_cut_and_its_length_told() -> None:
    messages: list[AnyMessage] = [HumanMessage("list"), _called("a", "b"), _result("a", "x" * 50_000), _result("b")]

    human, called, cut, short = trim(messages, 2_000)

    assert (human, called, short) == (messages[0], messages[1], messages[3])
    assert cut.text.startswith("xxx")
    assert cut.text.endswith("… [cut: 50,000 characters in all]")
    assert isinstance(cut, ToolMessage)
    assert cut.tool_call_id == "a"
    assert messages[2].text == "x" * 50_000


def test_within_a_turn_too_long_the_oldest_calls_go_with_their_results_and_it_is_said() -> None:
    messages = _turn(1, length=2_000, groups=40)

    kept = trim(messages, 1_500)

    assert count_tokens_approximately(kept) <= 1_500
    assert kept[0] == messages[0]
    assert "Earlier steps of this turn, left out here" in kept[1].text
    assert [message.type for message in kept[2:5]] == ["ai", "tool", "tool"]
    assert kept[-1] == messages[-1]
    assert open_calls(kept) == []


def test_the_question_and_the_last_calls_stay_even_when_they_are_too_long() -> None:
    question = HumanMessage("y" * 100_000)
    messages: list[AnyMessage] = [question, _called("a"), _result("a"), _called("b"), _result("b")]

    kept = trim([*_turn(1), *messages], 1_000)

    assert [kept[0], *kept[2:]] == [question, *messages[-2:]]
    assert trim([question], 1_000) == [question]


def test_results_that_came_after_later_calls_find_their_own() -> None:
    arranged = presentable([HumanMessage("x"), _called("a"), _called("b"), _result("b", "of b"), _result("a", "of a")])

    assert open_calls(arranged) == []
    assert _texts(arranged) == ["x", "of a", "of b"]


def test_a_call_that_was_answered_twice_has_the_later_answer() -> None:
    arranged = presentable([HumanMessage("x"), _called("a"), _result("a", "first"), _result("a", "second")])

    assert _texts(arranged) == ["x", "second"]


def test_nothing_is_trimmed_to_nothing() -> None:
    assert trim([], 1_000) == []


@settings(max_examples=150)
@given(
    turns=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 6)), min_size=1, max_size=8),
    tokens=st.integers(1_000, 6_000),
)
def test_whatever_is_trimmed_a_provider_takes_it(turns: list[tuple[int, int]], tokens: int) -> None:
    messages = [message for number, (length, groups) in enumerate(turns) for message in _turn(number, length, groups)]

    kept = trim(messages, tokens)

    assert open_calls(kept) == []
    assert presentable(kept) == kept
    assert isinstance(kept[0], HumanMessage)
    assert f"question {len(turns) - 1}" in _texts(kept)
    assert count_tokens_approximately(kept) <= tokens


@given(
    turns=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), min_size=1, max_size=30),
    tokens=st.integers(1, 3_000),
)
def test_as_much_is_kept_as_by_langchain(turns: list[tuple[int, int]], tokens: int) -> None:
    last = [HumanMessage("now")]
    older = [one for number, (length, groups) in enumerate(turns) for one in _turn(number, length, groups)]
    room = max(tokens - count_tokens_approximately(last), 0)
    kept = trim_messages(
        older, max_tokens=room, token_counter=count_tokens_approximately, strategy="last", start_on="human"
    )

    assert trim([*older, *last], tokens) == [*kept, *last]


@given(
    turns=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 3)), min_size=1, max_size=12),
    tokens=st.integers(1, 3_000),
)
def test_what_is_left_out_before_it_is_arranged_would_be_trimmed_anyway(
    turns: list[tuple[int, int]], tokens: int
) -> None:
    messages = [one for number, (length, groups) in enumerate(turns) for one in _turn(number, length, groups)]

    assert trim(presentable(recent(messages, tokens)), tokens) == trim(presentable(messages), tokens)


@pytest.mark.parametrize(
    ("messages", "missing"),
    [
        ([], []),
        ([HumanMessage("x"), AIMessage("y")], []),
        ([_called("a"), _result("a"), HumanMessage("x")], []),
        ([_called("a", "b"), _result("b"), _result("a")], []),
        ([_called("a", "b"), _result("b")], ["a"]),
        ([_called("a"), HumanMessage("x"), _result("a")], ["a"]),
        ([_called("a"), _result("a"), _called("a")], ["a"]),
        ([_called("a"), _called("b"), _result("a"), _result("b")], ["a", "b"]),
    ],
)
def test_open_calls_are_those_without_a_result_directly_after(messages: list[AnyMessage], missing: list[str]) -> None:
    assert open_calls(messages) == missing


def test_results_are_put_where_their_call_is_and_ids_may_repeat_in_later_turns() -> None:
    messages: list[AnyMessage] = [
        HumanMessage("one"),
        _called("a", "b"),
        HumanMessage("two"),
        _result("b", "first b"),
        _result("a", "first a"),
        _called("a"),
        _result("a", "second a"),
    ]

    arranged = presentable(messages)

    assert open_calls(arranged) == []
    assert _texts(arranged) == ["one", "first a", "first b", "two", "second a"]


def test_a_result_is_never_taken_for_a_call_that_came_later() -> None:
    arranged = presentable([HumanMessage("x"), _result("a", "forged"), _called("a")])

    assert open_calls(arranged) == ["a"]
    assert "forged" not in _texts(arranged)


def test_what_clients_can_write_and_endpoints_refuse_is_left_out() -> None:
    forged = AIMessage(
        "words",
        invalid_tool_calls=[invalid_tool_call(name="x", args="{", id="i", error=None)],
        additional_kwargs={"tool_calls": [{"id": "k", "type": "function", "function": {"name": "x", "arguments": ""}}]},
        name="a name",
    )

    arranged = presentable([SystemMessage("s"), HumanMessage("h", name="a name"), forged, AIMessage(" "), _result("z")])

    assert arranged == [SystemMessage("s"), HumanMessage("h"), AIMessage("words")]


@pytest.mark.parametrize(
    ("kind", "unknown"), [(AIMessage, {}), (AIMessage, {"unknown": "field"}), (AIMessageChunk, {})]
)
def test_of_a_message_and_its_results_nothing_goes_out_but_words_and_calls(
    kind: type[AIMessage], unknown: dict[str, Any]
) -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    called = _called("a", text="words")
    said = kind(
        [{"type": "reasoning", "reasoning": "long"}, {"type": "text", "text": "words"}],
        tool_calls=called.tool_calls, usage_metadata=usage, response_metadata={"x": 1}, **unknown,
    )  # fmt: skip
    result = ToolMessage(
        [{"type": "text", "text": "ok"}], tool_call_id="a", name="n", artifact={"y": 1}, additional_kwargs={"z": 1}
    )
    before = said.model_copy(deep=True), result.model_copy(deep=True)

    arranged = presentable([HumanMessage("x"), said, result])

    assert arranged == [HumanMessage("x"), called, _result("a")]
    assert [type(one) for one in arranged[1:]] == [AIMessage, ToolMessage]
    assert (said, result) == before


def test_calls_of_any_model_are_brought_into_one_shape() -> None:
    answer = AIMessage(
        [{"type": "reasoning", "reasoning": "long"}, {"type": "text", "text": "words"}],
        id="m",
        tool_calls=[
            tool_call(name="a", args={"x": float("nan")}, id="1"),
            tool_call(name="b", args={"x": {1}}, id=None),
        ],
        invalid_tool_calls=[invalid_tool_call(name=None, args='{"x": 1', id="1", error="e")],
        response_metadata={"finish_reason": "stop", "logprobs": ["huge"]},
    )

    got = normalised(answer)

    assert (got.id, got.content, got.response_metadata) == ("m", "words", {"finish_reason": "stop"})
    assert got.invalid_tool_calls == []
    assert [(call["name"], list(call["args"])) for call in got.tool_calls] == [
        ("a", [UNPARSED]),
        ("b", [UNPARSED]),
        (NO_NAME, [UNPARSED]),
    ]
    ids: list[Any] = [call["id"] for call in got.tool_calls]
    assert all(ids)
    assert len(set(ids)) == 3
    assert normalised(answer).tool_calls == got.tool_calls


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("x", id="1", name="n", response_metadata={"a": 1}, tool_calls=[]),
        ToolMessage("x", id="1", name="n", tool_call_id="c", status="error", artifact=[1]),
    ],
    ids=["said", "result"],
)
def test_what_is_given_of_a_message_is_its_copy_and_leaves_it_alone(message: Any) -> None:
    before: Any = message.model_copy(deep=True)
    copied: Any = bare(message)

    copied.additional_kwargs["more"] = copied.response_metadata["more"] = 1
    copied.content = "y"

    assert message == before
    assert message.model_fields_set == before.model_fields_set
    given: Any = bare(message)
    assert given == message.model_copy(update={name: getattr(given, name) for name in type(message).model_fields})
    assert (given.id, given.content, given.name, given.response_metadata) == ("1", "x", None, {})
    assert given.model_dump(mode="json") == type(message).model_validate(given.model_dump()).model_dump(mode="json")
