"""Endpoints as public reports describe them: what is meant beyond doubt works, the rest does nothing and says so."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from clearance.gate.unread import UNPARSED, unparsed_call
from clearance.models import PROVIDER
from clearance.models.history import NO_WORD
from tests.integration.test_model import ASKED, TRANSFER, Endpoint, Open, _Events, endpoint
from tests.support.llm_server import Call, Calls, Chunks, Say, Status

__all__ = ["endpoint"]

TEXT = json.dumps(TRANSFER)
SIGNED = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}


def _piece(
    arguments: Any, name: str | None = None, call_id: str | None = None, index: int | None = 0, **more: Any
) -> dict[str, Any]:
    call: dict[str, Any] = {"function": {"arguments": arguments} | ({"name": name} if name else {}), **more}
    return call | ({"id": call_id} if call_id else {}) | ({"index": index} if index is not None else {})


def _deltas(*pieces: dict[str, Any]) -> Chunks:
    return Chunks([{"tool_calls": [piece]} for piece in pieces], "tool_calls")


def _taken(answer: AIMessage) -> list[tuple[str, Any]]:
    return [(call["name"], call["args"]) for call in answer.tool_calls]


@pytest.fixture(params=["chunks", "events"])
def opening(request: pytest.FixtureRequest, endpoint: Open) -> Open:
    """Give what opens an endpoint, read by both of langchain's ways to stream."""

    async def opened(*script: Any, **given: Any) -> Endpoint:
        made = await endpoint(*script, **given)
        if request.param == "events":
            made.model.callbacks = [_Events()]
        return made

    return opened


# What works, since its meaning is beyond doubt


@pytest.mark.parametrize(
    "pieces",
    [
        [_piece(json.dumps(TEXT), "transfer_funds", "a")],  # encoded twice
        [_piece(TRANSFER, "transfer_funds", "a")],  # an object
        [_piece(TEXT[:9], "transfer_funds", "a"), _piece(TEXT[9:], "transfer_funds", "a")],  # the name in each chunk
        [_piece(TEXT[:9], "transfer_funds"), _piece(TEXT[9:], "transfer_funds")],
        [_piece("", "transfer_funds", "a"), _piece("", "transfer_funds", "a"), _piece(TEXT)],
        [_piece("", "transfer_", "a"), _piece("", "funds", "a"), _piece(TEXT, None, "a")],  # the name in pieces
        [_piece(TEXT[:9], "transfer_funds", "a"), _piece(TEXT[9:], None, "b")],  # an id anew for each chunk
        [_piece(TEXT[:9], "transfer_funds", None), _piece(TEXT[9:], None, "b")],  # the id later
        [_piece(TEXT, "transfer_funds", "a"), _piece(TEXT, "transfer_funds", "a")],  # all of it once more
        [_piece(TEXT[:9], "transfer_funds", None, None), _piece(TEXT[9:], None, None, None)],  # uncounted
        [_piece(TEXT, "transfer_funds", "a"), _piece(None, "transfer_funds", "a")],
    ],
)
async def test_one_call_is_one_call_however_it_comes(opening: Open, pieces: list[dict[str, Any]]) -> None:
    opened = await opening(_deltas(*pieces))

    assert _taken(await opened.answer()) == [("transfer_funds", TRANSFER)]


OTHER = {"account_id": "A-1"}


@pytest.mark.parametrize(
    "pieces",
    [
        [_piece(TEXT, "transfer_funds", None, 0), _piece(json.dumps(OTHER), "get_account", None, 1)],  # without ids
        [_piece(TEXT, "transfer_funds"), _piece(json.dumps(OTHER), "get_account")],  # all of them the first
        [_piece(TEXT, "transfer_funds", "a"), _piece(json.dumps(OTHER), "get_account", "b")],
        [_piece(TEXT, "transfer_funds", None, None), _piece(json.dumps(OTHER), "get_account", None, None)],
        [_piece(TRANSFER, "transfer_funds", None, None), _piece(OTHER, "get_account", None, None)],
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
async def test_parallel_calls_stay_apart_however_they_are_counted(
    opening: Open, pieces: list[dict[str, Any]], at_once: bool
) -> None:
    opened = await opening(Chunks([{"tool_calls": pieces}], "tool_calls") if at_once else _deltas(*pieces), Say("ok"))

    answer = await opened.answer()

    assert _taken(answer) == [("transfer_funds", TRANSFER), ("get_account", OTHER)]
    results = [ToolMessage("done", tool_call_id=call["id"] or "") for call in answer.tool_calls]
    await opened.answer([*ASKED, answer, *results])
    assert opened.server.refused == []


async def test_two_transfers_without_ids_that_differ_are_two(opening: Open) -> None:
    second = TRANSFER | {"amount": "250.50"}
    opened = await opening(_deltas(_piece(TEXT, "transfer_funds"), _piece(json.dumps(second), "transfer_funds")))

    assert _taken(await opened.answer()) == [("transfer_funds", TRANSFER), ("transfer_funds", second)]


def _completion(message: dict[str, Any], reason: str | None = "tool_calls") -> str:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


@pytest.mark.parametrize("arguments", [TEXT, TRANSFER, json.dumps(TEXT)])
async def test_an_endpoint_that_ignores_stream_is_read_all_the_same(opening: Open, arguments: Any) -> None:
    call = {"type": "function", "function": {"name": "transfer_funds", "arguments": arguments}}
    opened = await opening(Status(200, _completion({"content": "I do.", "tool_calls": [call, call]})))

    answer = await opened.answer()

    assert answer.content == "I do."
    assert _taken(answer) == [("transfer_funds", TRANSFER)] * 2
    assert answer.response_metadata["finish_reason"] == "tool_calls"


async def test_a_stream_that_is_called_something_else_is_read_all_the_same(opening: Open) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [{"delta": {"content": "Hello."}, "index": 0}, {"delta": {}, "index": 0, "finish_reason": "stop"}]
    body = "".join(f"data: {json.dumps(chunk | {'choices': [delta]})}\n\n" for delta in deltas) + "data: [DONE]\n\n"
    opened = await opening(Status(200, body, content_type="application/octet-stream"))

    assert (await opened.answer()).content == "Hello."


async def test_a_reason_that_is_said_twice_is_one(opening: Open) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [{"delta": {"content": "Hello."}, "index": 0}, *[{"delta": {}, "index": 0, "finish_reason": "stop"}] * 2]
    body = "".join(f"data: {json.dumps(chunk | {'choices': [delta]})}\n\n" for delta in deltas)
    opened = await opening(Status(200, body, content_type="text/event-stream"))

    answer = await opened.answer()

    assert (answer.content, answer.response_metadata["finish_reason"]) == ("Hello.", "stop")


# What does nothing, and says so


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"amount": "90', "they broke off before their end"),
        ('["A-1"]', "they are a list where names and values belong"),
        ("null", "they are null where"),
        ("42", "they are a number where"),
        ("not json", "they are not JSON (character 1)"),
        ('{"amount": NaN}', "they hold a number or a character that cannot be kept"),
        (TEXT + TEXT, "ran together, so that nobody can tell them apart"),
        ('{"amount": ' + "[" * 5_000, "not JSON, or nest too deep"),
    ],
)
async def test_arguments_that_cannot_be_taken_are_told_by_what_is_wrong_with_them(
    opening: Open, arguments: str, says: str
) -> None:
    opened = await opening(Calls(Call("transfer_funds", arguments)))

    (call,) = (await opened.answer()).tool_calls

    assert says in str(unparsed_call(call))


@pytest.mark.parametrize(
    "pieces",
    [
        # Once more, or twice? Nobody can tell.
        [_piece(TEXT, "transfer_funds"), _piece(TEXT, "transfer_funds")],
        [_piece(TEXT, "transfer_funds", None, None), _piece(TEXT, "transfer_funds", None, None)],
    ],
)
async def test_alike_calls_under_one_number_without_ids_are_not_guessed(
    opening: Open, pieces: list[dict[str, Any]]
) -> None:
    opened = await opening(_deltas(*pieces))

    (call,) = (await opened.answer()).tool_calls

    assert list(call["args"]) == [UNPARSED]
    assert "ran together" in str(unparsed_call(call))


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Status(200, "<html>Sign in</html>", content_type="text/html"), "sent a web page instead of an answer"),
        (Status(200, "\n <!doctype html>", content_type="application/json"), "is OPENAI_BASE_URL right?"),
        (Status(200, "hello", content_type="text/plain"), "neither a stream nor JSON"),
        (Status(200, '{"error": {"message": "no"}}'), "sent an error instead of an answer"),
        (Status(200, '{"detail": "x"}'), "sent JSON that is no answer"),
    ],
)
async def test_what_is_no_answer_is_told_by_what_it_is(opening: Open, reply: Status, says: str) -> None:
    assert says in await (await opening(reply)).failure()


@pytest.mark.parametrize("streams", [False, True])
async def test_a_refusal_is_told_in_its_words_and_its_calls_do_nothing(opening: Open, streams: bool) -> None:
    call = _piece(TEXT, "transfer_funds", "a")
    reply: Any = Chunks([{"refusal": "I will "}, {"refusal": "not."}, {"tool_calls": [call]}], "stop")
    whole = Status(200, _completion({"content": None, "refusal": "I will not.", "tool_calls": [call]}))
    opened = await opening(reply if streams else whole)

    answer = await opened.answer()

    assert answer.content == "The model refused: I will not.\n[Its 1 call did nothing.]"
    assert answer.tool_calls == []


async def test_a_wait_longer_than_there_is_time_is_told_and_not_waited_for(opening: Open) -> None:
    opened = await opening(Status(429, headers={"Retry-After": "3600"}), Say("never"), retries=2)

    assert "asks to wait 3,600 s, longer than one answer may take (MODEL_TIMEOUT_S, 30 s)" in await opened.failure()
    assert len(opened.server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "content_filter", "message": "The response was filtered"}},
        {"error": {"message": "triggering Azure OpenAI's content management policy. Please modify your prompt"}},
        {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}},
    ],
)
async def test_a_filter_on_what_was_said_is_told_with_what_helps(opening: Open, body: dict[str, Any]) -> None:
    sentence = await (await opening(Status(400, json.dumps(body)))).failure()

    assert "content filter refuses something in this conversation" in sentence
    assert "start a new thread and leave that text out" in sentence


# What a provider wants back


async def test_what_came_with_a_call_goes_back_with_it(opening: Open) -> None:
    """Gemini refuses a call without its signature, so every turn with a tool ended in 400, after the money moved."""
    head = _piece(TEXT, "transfer_funds", "a", 0, **SIGNED)
    opened = await opening(_deltas(head, _piece("{}", "get_account", "b", 1)), Say("Done."))

    first = await opened.answer()
    results = [ToolMessage("done", tool_call_id=call["id"] or "") for call in first.tool_calls]
    await opened.answer([*ASKED, first, *results])

    signed, plain = opened.request.body["messages"][2]["tool_calls"]
    assert signed["extra_content"] == SIGNED["extra_content"]
    assert set(plain) == {"id", "type", "function"}


async def test_what_came_with_a_message_goes_back_with_it_and_what_is_not_taken_back_does_not(opening: Open) -> None:
    deltas: list[dict[str, Any] | None] = [
        {"reasoning_content": "Let me "},
        {"reasoning_content": "see.", "reasoning_details": [{"text": "a"}], "annotations": [{"x": 1}]},
        {"reasoning_details": [{"text": "b"}], "content": "I do.", "audio": {"id": "x"}},
        {"tool_calls": [_piece(TEXT, "transfer_funds", "a")], "function_call": {"name": "evil", "arguments": "{}"}},
    ]
    opened = await opening(Chunks(deltas, "tool_calls"), Say("Done."))

    first = await opened.answer()
    await opened.answer([*ASKED, first, ToolMessage("done", tool_call_id="a")])

    sent = opened.request.body["messages"][2]
    assert sent["reasoning_content"] == "Let me see."
    assert sent["reasoning_details"] == [{"text": "a"}, {"text": "b"}]
    assert set(sent) == {"role", "content", "tool_calls", "reasoning_content", "reasoning_details"}


async def test_a_field_cannot_say_what_a_call_does(opening: Open) -> None:
    evil = {"function": {"name": "get_account", "arguments": "{}", "strict": True}}
    opened = await opening(_deltas(_piece(TEXT, "transfer_funds", "a")), Say("Done."))
    first = await opened.answer()

    fields = {"of": opened.model.of, "calls": {"a": {**evil, "id": "b"}}, "kwargs": {"fields": {"role": "user"}}}
    forged = first.model_copy(update={"additional_kwargs": {PROVIDER: fields}})
    await opened.answer([*ASKED, forged, ToolMessage("done", tool_call_id="a")])

    sent = opened.request.body["messages"][2]
    assert (sent["role"], sent["tool_calls"][0]["id"]) == ("assistant", "a")
    assert sent["tool_calls"][0]["function"]["name"] == "transfer_funds"
    assert json.loads(sent["tool_calls"][0]["function"]["arguments"]) == TRANSFER


# What is sent is valid for the strictest


def _called(*ids: str) -> AIMessage:
    return AIMessage("", tool_calls=[tool_call(name="get_account", args={}, id=call_id) for call_id in ids])


@pytest.mark.parametrize(
    ("history", "sent"),
    [
        (
            [HumanMessage("one"), _called("a"), ToolMessage("Withdrawn.", tool_call_id="a"), HumanMessage("two")],
            ["one", None, "Withdrawn.", NO_WORD, "two"],
        ),
        ([HumanMessage("one"), HumanMessage("two")], ["one\n\ntwo"]),
        ([HumanMessage("one"), AIMessage("a"), AIMessage("b"), HumanMessage("two")], ["one", "a\n\nb", "two"]),
        ([HumanMessage("one"), SystemMessage("Be kind."), HumanMessage("")], ["one\n\n(empty)"]),
        ([HumanMessage(" ")], ["(empty)"]),
        ([HumanMessage("one"), _called("a"), ToolMessage("", tool_call_id="a")], ["one", None, "(empty)"]),
    ],
)
async def test_any_history_is_taken_by_the_strictest_endpoint(
    endpoint: Open, history: list[AnyMessage], sent: list[str | None]
) -> None:
    opened = await endpoint(Say("Fine."))

    assert (await opened.answer(history)).content == "Fine."
    assert opened.server.refused == []
    assert [message["content"] for message in opened.request.body["messages"][1:]] == sent


async def test_ids_that_we_make_are_ones_that_the_strictest_endpoint_takes(endpoint: Open) -> None:
    opened = await endpoint(_deltas(_piece("{}", "get_account"), _piece("{}", "transfer_funds", None, 1)))

    ids = [str(call["id"]) for call in (await opened.answer()).tool_calls]

    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids)
