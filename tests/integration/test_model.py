"""The real ChatOpenAI against an endpoint on loopback: whatever it does, one whole answer or one clear sentence."""

import asyncio
import json
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NoReturn

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool, tool
from langchain_core.tracers._streaming import _V2StreamingCallbackHandler
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agent.model import chat_model
from agent.offline_model import OfflineModel
from agent.prompts import SYSTEM_PROMPT
from agent.settings import AgentSettings
from clearance.gate.unread import UNPARSED, unparsed_call
from clearance.models import MOST_CALLS, NO_NAME, ModelUnavailable, speak
from clearance.models.endpoint import Endpoint as OpenAIEndpoint
from clearance.models.history import NO_WORD
from clearance.models.whole import Whole
from clearance.settings import Settings
from tests.support.llm_server import Call, Calls, Chunks, Hang, LlmServer, Request, Say, Status, Step
from tests.support.told import told

KEY = "sk-test-0123456789"
#: On a busy machine an answer takes seconds.
TIMEOUT_S = 30.0


@tool
def transfer_funds(from_account: str, to_account: str, amount: str) -> str:
    """Move money."""
    return "moved"


@tool
def get_account(account_id: str) -> str:
    """Show an account."""
    return "an account"


TOOLS: list[BaseTool] = [transfer_funds, get_account]
ASKED: list[AnyMessage] = [HumanMessage("transfer 900 from A-1 to A-2")]
TRANSFER = {"from_account": "A-1", "to_account": "A-2", "amount": "900.00"}


class Endpoint:
    """A server with a script, and the model that the settings build for it."""

    def __init__(self, server: LlmServer, model: Whole) -> None:
        self.server = server
        self.model = model

    async def answer(self, messages: Sequence[AnyMessage] = ASKED, timeout_s: float = TIMEOUT_S) -> AIMessage:
        return await speak(self.model, TOOLS, messages, prompt=SYSTEM_PROMPT, context_tokens=8_000, timeout_s=timeout_s)

    async def failure(self, messages: Sequence[AnyMessage] = ASKED, timeout_s: float = TIMEOUT_S) -> str:
        with pytest.raises(ModelUnavailable) as caught:
            await self.answer(messages, timeout_s)
        assert f"(error {caught.value.error_id})" in str(caught.value)
        return str(caught.value)

    @property
    def request(self) -> Request:
        return self.server.requests[-1]


Open = Callable[..., Awaitable[Endpoint]]


@pytest.fixture
async def endpoint() -> AsyncIterator[Open]:
    """Give what opens an endpoint with a script; everything is closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_endpoint(*script: Step, retries: int = 0) -> Endpoint:
            server = stack.enter_context(LlmServer(script))
            model = chat_model(*_settings(openai_base_url=server.base_url, model_retries=retries))
            assert isinstance(model, Whole)
            assert isinstance(model.inner, OpenAIEndpoint)
            stack.push_async_callback(model.inner.root_async_client.close)
            stack.callback(model.inner.root_client.close)
            return Endpoint(server, model)

        yield open_endpoint


def _settings(**given: Any) -> tuple[AgentSettings, Settings]:
    values: dict[str, Any] = {"openai_api_key": SecretStr(KEY), "openai_base_url": ""} | given
    return told(**values)


async def test_words_are_answered_with_their_usage_and_the_id_they_streamed_under(endpoint: Open) -> None:
    opened = await endpoint(Say("The balance is 5.00 dollars."))
    streamed = _Tokens()

    opened.model.callbacks = [streamed]
    answer = await opened.answer()

    assert answer.content == "The balance is 5.00 dollars."
    assert answer.tool_calls == []
    assert len(streamed.ids) > 3
    assert set(streamed.ids) == {answer.id}


async def test_calls_in_fragments_and_interleaved_are_put_together_in_their_order(endpoint: Open) -> None:
    second = TRANSFER | {"amount": "250.50"}
    opened = await endpoint(
        Calls(Call("transfer_funds", TRANSFER), Call("transfer_funds", second), Call("get_account", {}), text="Both.")
    )

    answer = await opened.answer()

    assert answer.content == "Both."
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("transfer_funds", TRANSFER),
        ("transfer_funds", second),
        ("get_account", {}),
    ]


async def test_the_request_has_the_prompt_the_tools_and_goes_to_chat_completions(endpoint: Open) -> None:
    opened = await endpoint(Say("yes"))

    await opened.answer()

    body = opened.request.body
    assert body["stream"] is True
    assert "stream_options" not in body  # some compatible endpoints refuse it
    assert body["messages"][0]["role"] == "system"
    assert body["messages"][1:] == [{"role": "user", "content": ASKED[0].content}]
    assert [entry["function"]["name"] for entry in body["tools"]] == ["transfer_funds", "get_account"]
    assert opened.request.headers["authorization"] == f"Bearer {KEY}"


async def test_a_model_without_tools_is_sent_no_empty_list_of_them(endpoint: Open) -> None:
    opened = await endpoint(Say("hello"))

    answer = await speak(opened.model, [], ASKED, prompt="Be brief.", context_tokens=8_000, timeout_s=TIMEOUT_S)

    assert answer.content == "hello"
    assert "tools" not in opened.request.body


async def test_environment_of_langchain_does_not_send_requests_or_keys_elsewhere(
    endpoint: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/elsewhere")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://127.0.0.1:9/gateway")
    opened = await endpoint(Say("here"))

    assert (await opened.answer()).content == "here"

    own = chat_model(*_settings())
    assert isinstance(own, Whole)
    assert isinstance(own.inner, ChatOpenAI)
    assert own.inner.openai_api_base == "https://api.openai.com/v1"
    assert own.inner.stream_usage is True


async def test_a_history_of_calls_and_results_is_sent_as_a_provider_takes_it(endpoint: Open) -> None:
    opened = await endpoint(Calls(Call("transfer_funds", TRANSFER), Call("get_account", "{oops")), Say("Done."))

    first = await opened.answer()
    results = [ToolMessage(f"result {call['id']}", tool_call_id=call["id"] or "") for call in first.tool_calls]
    last = await opened.answer([*ASKED, first, *results])

    assert last.content == "Done."
    assert opened.server.refused == []
    assert [message["role"] for message in opened.request.body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]


async def test_results_out_of_place_and_what_clients_add_do_not_make_a_provider_refuse(endpoint: Open) -> None:
    """A withdrawn call's result stands after the next message of the person, since state is appended to."""
    opened = await endpoint(Say("Fine."))
    calls = [tool_call(name="get_account", args={}, id=call_id) for call_id in ("a", "b")]

    answer = await opened.answer(
        [
            HumanMessage("one", name="Not a name"),
            AIMessage("", tool_calls=calls, additional_kwargs={"function_call": {"name": "x", "arguments": "{"}}),
            HumanMessage("two"),
            ToolMessage("withdrawn b", tool_call_id="b"),
            ToolMessage("withdrawn a", tool_call_id="a"),
            ToolMessage("of nobody", tool_call_id="c"),
            AIMessage(""),
        ]
    )

    assert answer.content == "Fine."
    sent = opened.request.body["messages"]
    roles = [message["role"] for message in sent]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [message["content"] for message in sent[3:]] == ["withdrawn a", "withdrawn b", NO_WORD, "two"]


async def test_a_call_without_its_result_is_not_sent_at_all(endpoint: Open) -> None:
    opened = await endpoint(Say("never"))
    called = AIMessage("", tool_calls=[tool_call(name="transfer_funds", args=TRANSFER, id="a")])

    sentence = await opened.failure([*ASKED, called, HumanMessage("and?")])

    assert "tool calls without a result" in sentence
    assert opened.server.requests == []


async def test_429_is_tried_again_after_the_time_that_the_endpoint_asked_for(endpoint: Open) -> None:
    opened = await endpoint(Status(429, headers={"Retry-After": "1"}), Status(500), Say("here I am"), retries=2)

    answer = await opened.answer()

    first, second, _ = opened.server.requests
    assert answer.content == "here I am"
    assert 1.0 <= second.at - first.at < 2.5


async def test_retries_end_and_the_sentence_says_what_failed(endpoint: Open) -> None:
    opened = await endpoint(*[Status(500, headers={"retry-after-ms": "10"})] * 5, retries=2)

    assert "The model endpoint failed (HTTP 500)" in await opened.failure()
    assert len(opened.server.requests) == 3


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "refused the request (HTTP 400)"),
        (401, "refused the key"),
        (403, "does not let this key use the model"),
        (404, "does not know the model"),
        (429, "is over its limit (HTTP 429)"),
        (503, "failed (HTTP 503)"),
    ],
)
async def test_each_refusal_has_its_sentence(endpoint: Open, status: int, sentence: str) -> None:
    opened = await endpoint(Status(status))

    assert sentence in await opened.failure()


async def test_a_conversation_too_long_for_the_endpoint_is_told_so(endpoint: Open) -> None:
    body = {"error": {"message": "too many tokens", "code": "context_length_exceeded"}}
    opened = await endpoint(Status(400, json.dumps(body)))

    assert "too long for the model" in await opened.failure()


async def test_an_endpoint_that_is_not_there_cannot_be_reached(endpoint: Open) -> None:
    opened = await endpoint()
    opened.server.close()

    assert "cannot be reached" in await opened.failure()


@pytest.mark.parametrize(
    "hanging",
    [Hang(), Say("The transfer was", end="hang"), Calls(Call("transfer_funds", TRANSFER), end="hang")],
    ids=["before headers", "within words", "within a call"],
)
async def test_an_endpoint_that_hangs_is_given_up_within_the_timeout(endpoint: Open, hanging: Step) -> None:
    opened = await endpoint(hanging, hanging, hanging, retries=2)
    began = time.monotonic()

    sentence = await opened.failure(timeout_s=5)

    assert "did not answer within 5 s" in sentence
    assert time.monotonic() - began < 10  # and not three times as long


async def test_an_endpoint_that_takes_its_time_within_the_timeout_is_waited_for(endpoint: Open) -> None:
    opened = await endpoint(Say("at last", pause_s=0.3))

    assert (await opened.answer()).content == "at last"


@pytest.mark.parametrize("end", ["early", "broken"])
@pytest.mark.parametrize("kind", ["words", "call"])
async def test_half_an_answer_is_no_answer(endpoint: Open, kind: str, end: Any) -> None:
    """langchain takes such a stream for complete, and closes the JSON of a call that was cut off."""
    reply = Say("Do not", end=end) if kind == "words" else Calls(Call("transfer_funds", TRANSFER), end=end)
    opened = await endpoint(reply)

    assert "please try again" in await opened.failure()


async def test_an_answer_that_hit_its_length_limit_is_no_answer(endpoint: Open) -> None:
    opened = await endpoint(Say("I will now", finish_reason="length"), Say("bad words", finish_reason="content_filter"))

    assert "length limit" in await opened.failure()
    assert "content filter" in await opened.failure()


@pytest.mark.parametrize(
    "nonsense",
    [
        Status(200, "<html><body>Sign in</body></html>", content_type="text/html"),
        Status(200, "data: {not json\n\n", content_type="text/event-stream"),
        Status(200, "", content_type="text/event-stream"),
        Status(200, "[]"),
        Status(200, 'data: {"choices": 5}\n\n', content_type="text/event-stream"),
        Status(200, 'data: "hello"\n\n', content_type="text/event-stream"),
        Status(200, 'data: {"error": {"message": "overloaded"}}\n\n', content_type="text/event-stream"),
        Status(200, 'data: {"choices": []}\n\ndata: [DONE]\n\n', content_type="text/event-stream"),
        Say(""),
        Say(" \n"),
        Chunks([]),
        Chunks([None]),
        Chunks([{"content": "I call it."}], finish_reason="tool_calls"),
    ],
)
async def test_nonsense_becomes_one_sentence(endpoint: Open, nonsense: Step) -> None:
    opened = await endpoint(nonsense)

    sentence = await opened.failure()

    assert "please try again" in sentence
    assert len(sentence) < 150


@pytest.mark.parametrize(
    "arguments",
    [
        '{"from_account": "A-1", "to_account": "A-2", "amount": "90',
        '{"from_account": "A-1", "amount": "90"',
        '["A-1"]',
        "null",
        "not json",
        '{"amount": NaN}',
        '{"amount": -Infinity}',
        '{"amount": 1e999}',
        '{"amount": "\\ud800"}',
        '{"amount": "5\\u0000"}',
        '{"amount": ' + "[" * 5_000,
    ],
)
async def test_arguments_that_cannot_be_read_come_as_a_call_that_says_so(endpoint: Open, arguments: str) -> None:
    """langchain reads the first one as an amount of 90, whatever the model was going to write."""
    opened = await endpoint(
        Calls(Call("get_account", {"account_id": "A-1"}), Call("transfer_funds", arguments), Call("get_account", {})),
        Say("I try again."),
    )

    answer = await opened.answer()
    good, bad, last = answer.tool_calls

    assert (good["args"], last["args"]) == ({"account_id": "A-1"}, {})
    assert bad["name"] == "transfer_funds"
    assert list(bad["args"]) == [UNPARSED]
    assert len(bad["args"][UNPARSED]) <= 500
    assert answer.invalid_tool_calls == []
    assert "arguments of transfer_funds were not a JSON object" in str(unparsed_call(bad))
    assert unparsed_call(good) is None
    json.dumps(answer.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()

    results = [ToolMessage(unparsed_call(call) or "ok", tool_call_id=call["id"] or "") for call in answer.tool_calls]
    assert (await opened.answer([*ASKED, answer, *results])).content == "I try again."


async def test_an_unknown_tool_is_a_call_like_any_other_and_a_name_that_cannot_be_is_replaced(endpoint: Open) -> None:
    opened = await endpoint(
        Calls(Call("make_coffee", {}), Call("transfer funds", {}), Call("", {}), Call("x" * 65, {}))
    )

    answer = await opened.answer()

    assert [call["name"] for call in answer.tool_calls] == ["make_coffee", NO_NAME, NO_NAME, NO_NAME]


async def test_a_call_without_an_index_is_taken_all_the_same(endpoint: Open) -> None:
    whole = {"id": "a", "function": {"name": "get_account", "arguments": '{"account_id": "A-1"}'}}
    opened = await endpoint(Chunks([{"tool_calls": [whole]}, {"tool_calls": [whole | {"id": "b"}]}], "tool_calls"))

    answer = await opened.answer()

    assert [(call["id"], call["args"]) for call in answer.tool_calls] == [
        ("a", {"account_id": "A-1"}),
        ("b", {"account_id": "A-1"}),
    ]


async def test_fragments_of_two_calls_under_one_index_are_never_taken_for_a_call(endpoint: Open) -> None:
    """Some endpoints count every call as the first: langchain glues the second's arguments to the first's."""

    def piece(text: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}

    def head(call_id: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "id": call_id, "function": {"name": "transfer_funds", "arguments": ""}}]}

    opened = await endpoint(
        Chunks([head("a"), piece('{"amount": "5"}'), head("b"), piece('{"amount": "7"}')], "tool_calls")
    )

    first, second = (await opened.answer()).tool_calls

    assert list(first["args"]) == [UNPARSED]
    assert second["args"] == {}


async def test_empty_and_repeated_ids_are_made_unique_and_stay_so(endpoint: Open) -> None:
    calls = [Call("get_account", {}, id=call_id) for call_id in ("a", "a", "", "a", "b", "")]
    opened = await endpoint(Calls(*calls), Say("ok"))

    answer = await opened.answer()
    ids = [call["id"] or "" for call in answer.tool_calls]

    assert ids[0] == "a"
    assert ids[4] == "b"
    assert all(ids)
    assert len(set(ids)) == 6
    results = [ToolMessage("ok", tool_call_id=call_id) for call_id in ids]
    assert (await opened.answer([*ASKED, answer, *results])).content == "ok"


async def test_more_calls_than_anybody_reads_are_cut_and_the_model_is_told(endpoint: Open) -> None:
    opened = await endpoint(Calls(*[Call("get_account", {"account_id": f"A-{at}"}) for at in range(MOST_CALLS + 15)]))

    answer = await opened.answer()

    assert [call["args"]["account_id"] for call in answer.tool_calls] == [f"A-{at}" for at in range(MOST_CALLS)]
    assert f"first {MOST_CALLS} of {MOST_CALLS + 15} calls" in answer.text


async def test_text_that_no_database_holds_is_made_storable(endpoint: Open) -> None:
    opened = await endpoint(Chunks([{"content": "a\x00b"}, {"content": "\ud83d"}]))

    answer = await opened.answer()

    answer.text.encode()
    assert "\x00" not in answer.text


async def test_usage_of_openai_itself_is_asked_for_and_kept(endpoint: Open) -> None:
    opened = await endpoint(Say("hello"))
    assert isinstance(opened.model.inner, ChatOpenAI)
    opened.model.inner.stream_usage = True

    answer = await opened.answer()

    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 18
    assert set(answer.response_metadata) <= {"finish_reason", "model_name", "model_provider"}
    assert answer.additional_kwargs == {}


async def test_the_key_is_neither_told_nor_logged_when_the_endpoint_repeats_it(
    endpoint: Open, caplog: pytest.LogCaptureFixture
) -> None:
    opened = await endpoint(Status(401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})))
    caplog.set_level(logging.DEBUG)

    with pytest.raises(ModelUnavailable) as caught:
        await opened.answer()

    shown = "".join(traceback.format_exception(caught.value))
    record = next(record for record in caplog.records if record.name == "clearance.models.failure")
    assert KEY not in str(caught.value) + repr(caught.value) + shown + record.getMessage()
    assert record.levelno == logging.ERROR
    assert caught.value.error_id in record.getMessage()
    assert "Incorrect API key provided: ***" in record.getMessage()


async def test_cancellation_passes_and_is_not_an_answer_of_the_endpoint(endpoint: Open) -> None:
    arrived = threading.Event()

    def slow(body: dict[str, Any]) -> Say:
        arrived.set()
        return Say("slow", end="hang")

    opened = await endpoint(slow)
    task = asyncio.create_task(opened.answer())
    await asyncio.to_thread(arrived.wait, TIMEOUT_S)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_answers_are_as_strict_where_the_server_streams_events_of_the_newer_protocol(endpoint: Open) -> None:
    """langgraph's v3 streams read the model by another path of langchain-core."""
    opened = await endpoint(
        Calls(Call("get_account", {}), Call("transfer_funds", '{"amount": "90'), text="Both."),
        Calls(Call("transfer_funds", TRANSFER), end="early"),
    )
    opened.model.callbacks = [_Events()]

    answer = await opened.answer()

    assert answer.content == "Both."
    assert [call["args"] for call in answer.tool_calls] == [{}, {UNPARSED: '{"amount": "90'}]
    assert "stopped in the middle" in await opened.failure()


async def test_an_endpoint_that_fails_is_never_replaced_by_the_offline_model(endpoint: Open) -> None:
    opened = await endpoint(Status(500))

    await opened.failure()

    assert not isinstance(opened.model, OfflineModel)
    for given in ({"openai_base_url": "http://127.0.0.1:9", "openai_api_key": SecretStr("")}, {}):
        assert isinstance(chat_model(*_settings(**given)), Whole)


async def test_with_neither_key_nor_endpoint_the_offline_model_answers_and_it_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = chat_model(*_settings(openai_api_key=SecretStr("")))

    answer = await speak(model, TOOLS, ASKED, prompt=SYSTEM_PROMPT, context_tokens=8_000, timeout_s=TIMEOUT_S)

    assert "offline model answers: none is configured" in caplog.text
    assert [call["name"] for call in answer.tool_calls] == ["transfer_funds"]


async def test_a_bug_in_the_model_becomes_a_sentence_too() -> None:
    class Broken(OfflineModel):
        def _generate(self, *args: Any, **kwargs: Any) -> NoReturn:
            raise AttributeError("'str' object has no attribute 'get'")

    with pytest.raises(ModelUnavailable, match="did not give a whole answer"):
        await speak(Broken(), [], [SystemMessage("x"), *ASKED], prompt="x", context_tokens=8_000, timeout_s=TIMEOUT_S)


class _Tokens(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.ids: list[str | None] = []

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.ids.append(chunk.message.id)


class _Events(AsyncCallbackHandler, _V2StreamingCallbackHandler):
    """Its presence is what makes langchain-core take the other path."""
