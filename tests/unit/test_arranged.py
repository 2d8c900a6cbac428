"""What a model is sent of a long thread is the same, whether its beginning was arranged before or not."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from clearance.models import Arranged, Told, alternating, presentable, trim
from clearance.models.history import recent

#: What came with messages of one provider, and goes back to it alone.
FIELDS = {"provider_fields": {"of": "theirs", "kwargs": {"reasoning": "so " * 5}}}


def _turns(chance: random.Random, many: int) -> Iterator[list[AnyMessage]]:
    for turn in range(many):
        words: Any = chance.choice(["do it", "", "pay " * 40, [{"type": "text", "text": "look"}]])
        messages: list[AnyMessage] = [HumanMessage(words, id=f"h{turn}")]
        for step in range(chance.randint(0, 2)):
            # Ids of calls repeat from turn to turn.
            ids = [f"call-{step}-{at}" for at in range(chance.randint(1, 2))]
            called = [tool_call(name="pay", args={"amount": turn}, id=one) for one in ids]
            kwargs = FIELDS if chance.random() < 0.2 else {}
            messages.append(AIMessage("", id=f"a{turn}-{step}", tool_calls=called, additional_kwargs=kwargs))
            result: Any = chance.choice(["Paid.", "", "row " * chance.randint(1, 200)])
            messages += [ToolMessage(result, id=f"r{turn}-{one}", tool_call_id=one, artifact=[1]) for one in ids]
        if chance.random() < 0.7:  # else the person wrote again before the model had a word
            messages.append(AIMessage("That is it.", id=f"b{turn}"))
        yield messages


def _told(messages: list[AnyMessage], settled: int, arranged: dict[str, Arranged]) -> Told:
    return Told(lambda first, last: messages[first:last], len(messages), settled, arranged)


def _as_ever(messages: list[AnyMessage], of: str, tokens: int) -> list[AnyMessage]:
    return alternating(trim(presentable(recent(messages, tokens), of), tokens))


@pytest.mark.parametrize("seed", range(30))
def test_a_history_whose_beginning_is_known_is_sent_as_any_other(seed: int) -> None:
    chance = random.Random(seed)
    turns, arranged, times = list(_turns(chance, 14)), dict[str, Arranged](), 0
    for count in range(2, len(turns) + 1):
        messages = [one for turn in turns[:count] for one in turn]
        settled = sum(map(len, turns[: chance.choice([count - 1, count - 1, count - 2])]))
        for tokens in (60, 150, 400, 1_500, 24_000):
            for of in ("", "theirs"):
                sent = _told(messages, settled, arranged).in_turns(of, tokens)
                times += sent is not None
                if sent is not None:
                    assert sent == _as_ever(messages, of, tokens)
    assert times > 100


def test_of_a_beginning_that_is_known_only_what_is_new_is_read() -> None:
    turns = list(_turns(random.Random(1), 10))
    messages, settled = [one for turn in turns for one in turn], sum(map(len, turns[:8]))
    read: list[tuple[int, int]] = []

    def between(first: int, last: int) -> list[AnyMessage]:
        read.append((first, last))
        return messages[first:last]

    arranged: dict[str, Arranged] = {}
    more = settled + len(turns[8])
    for many in (settled, settled, more):
        Told(between, len(messages), many, arranged).in_turns("", 24_000)

    ends = len(messages)
    assert read == [(0, settled), (settled, ends), (settled, ends), (settled, more), (more, ends)]


@pytest.mark.parametrize(
    "new",
    [
        [AIMessage("", id="x", tool_calls=[tool_call(name="pay", args={}, id="open")])],
        [SystemMessage("Obey.", id="x")],
        [ToolMessage("Paid.", id="x", tool_call_id="nobodys")],
    ],
    ids=["an open call", "another role", "nobody's words"],
)
def test_a_history_that_goes_on_in_another_way_is_arranged_at_once(new: list[AnyMessage]) -> None:
    settled = [one for turn in _turns(random.Random(1), 4) for one in turn]

    assert _told([*settled, *new], len(settled), {}).in_turns("", 24_000) is None


@pytest.mark.parametrize("is_another_turn", [False, True])
def test_what_was_written_to_is_not_sent_again(is_another_turn: bool) -> None:
    turns, arranged = list(_turns(random.Random(3), 6)), dict[str, Arranged]()
    messages, settled = [one for turn in turns for one in turn], sum(map(len, turns[:4]))
    for one in _told(messages, settled, arranged).in_turns("", 24_000) or []:
        one.content = "I owe olga a million."
        one.additional_kwargs["cached"] = True
    turns = list(_turns(random.Random(3), 6))
    messages = [one for turn in turns for one in turn]

    sent = _told(messages, settled + is_another_turn * len(turns[4]), arranged).in_turns("", 24_000)

    assert sent == _as_ever(messages, "", 24_000)


def test_a_beginning_with_something_in_it_that_nobody_can_copy_is_arranged_at_once() -> None:
    class Mine(HumanMessage):
        """Of a program's own."""

    settled: list[AnyMessage] = [Mine(content="x", id="m"), AIMessage("y", id="a")]

    assert _told([*settled, HumanMessage("z", id="h")], 2, {}).in_turns("", 24_000) is None
