"""The real clients of other providers, made by `init_chat_model`, against an endpoint that speaks their protocol."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from pydantic import SecretStr

from agent.model import chat_model
from agent.settings import AgentSettings
from clearance.gate.finished import reasons, unfinished
from clearance.gate.unread import UNPARSED
from clearance.models import PROVIDER, ModelUnavailable, speak
from clearance.models.whole import Whole
from clearance.settings import Settings, SettingsError
from tests.integration.test_model import _Events
from tests.support.llm_server import Call, Calls, LlmServer, Say, Status, Step
from tests.support.other_llms import THOUGHT
from tests.support.told import told

KEY = "sk-ant-test-0123456789"
#: On a busy machine an answer takes seconds.
TIMEOUT_S = 30.0
TRANSFER = {"from_account": "A-1", "to_account": "A-2", "amount": "900.00"}
ASKED: list[AnyMessage] = [HumanMessage("transfer 900 from A-1 to A-2")]


@tool
def transfer_funds(from_account: str, to_account: str, amount: str) -> str:
    """Move money."""
    return "moved"


TOOLS: list[BaseTool] = [transfer_funds]


class Opened:
    """A server with a script, and the model that the settings make for it."""

    def __init__(self, server: LlmServer, model: Whole) -> None:
        self.server = server
        self.model = model

    async def answer(self, messages: Sequence[AnyMessage] = ASKED) -> AIMessage:
        return await speak(self.model, TOOLS, messages, prompt="Be brief.", context_tokens=8_000, timeout_s=TIMEOUT_S)

    async def failure(self) -> str:
        with pytest.raises(ModelUnavailable) as caught:
            await self.answer()
        return str(caught.value)


Open = Callable[..., Opened]


@pytest.fixture(params=["anthropic", "ollama"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opening(provider: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Give what opens a provider with a script; its server is closed after the test."""
    with ExitStack() as stack:

        def open_provider(*script: Step, retries: int = 0, **settings: Any) -> Opened:
            server = stack.enter_context(LlmServer(script))
            address = server.base_url.removesuffix("/v1")
            monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
            monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
            monkeypatch.setenv("OLLAMA_HOST", address)
            model = chat_model(*_settings(model=f"{provider}:model-1", model_retries=retries, **settings))
            assert isinstance(model, Whole)
            return Opened(server, model)

        yield open_provider


def _settings(**given: Any) -> tuple[AgentSettings, Settings]:
    values: dict[str, Any] = {"openai_api_key": SecretStr(""), "openai_base_url": ""} | given
    return told(**values)


async def test_a_turn_of_calls_results_and_words_goes_through(opening: Open) -> None:
    opened = opening(Calls(Call("transfer_funds", TRANSFER), Call("transfer_funds", TRANSFER)), Say("Both done."))

    first = await opened.answer()
    results = [ToolMessage("done", tool_call_id=call["id"] or "") for call in first.tool_calls]
    last = await opened.answer([*ASKED, first, *results])

    assert [(call["name"], call["args"]) for call in first.tool_calls] == [("transfer_funds", TRANSFER)] * 2
    assert len({call["id"] for call in first.tool_calls}) == 2
    assert unfinished(reasons(first.response_metadata)) is None
    assert last.content == "Both done."
    assert opened.server.refused == []


async def test_a_turn_goes_through_where_the_server_streams_events_of_the_newer_protocol(opening: Open) -> None:
    opened = opening(Calls(Call("transfer_funds", TRANSFER)), Say("Done."))
    opened.model.callbacks = [_Events()]

    first = await opened.answer()
    last = await opened.answer([*ASKED, first, ToolMessage("done", tool_call_id=first.tool_calls[0]["id"] or "")])

    assert first.tool_calls[0]["args"] == TRANSFER
    assert unfinished(reasons(first.response_metadata)) is None
    assert last.content == "Done."
    assert opened.server.refused == []


@pytest.mark.parametrize("events", [False, True])
async def test_half_a_stream_is_no_answer(opening: Open, provider: str, events: bool) -> None:
    opened = opening(Calls(Call("transfer_funds", TRANSFER), end="early"), Say("Do not", end="early"))
    if events:
        opened.model.callbacks = [_Events()]

    assert "stopped in the middle of its answer" in await opened.failure()
    assert "stopped in the middle of its answer" in await opened.failure()


async def test_calls_of_an_answer_that_ended_otherwise_are_not_finished(opening: Open) -> None:
    opened = opening(Calls(Call("transfer_funds", TRANSFER), finish_reason="error"))

    answer = await opened.answer()
    broken = unfinished(reasons(answer.response_metadata))

    assert broken is not None
    assert "reason 'error'" in broken.told
    assert unfinished(reasons(answer.response_metadata), {"error"}) is None


async def test_an_answer_that_hit_its_length_limit_is_no_answer(opening: Open, provider: str) -> None:
    reason = {"anthropic": "max_tokens", "ollama": "length"}[provider]

    assert "length limit" in await opening(Calls(Call("transfer_funds", TRANSFER), finish_reason=reason)).failure()


async def test_a_failure_before_the_first_word_is_tried_again(opening: Open) -> None:
    opened = opening(Status(503, headers={"retry-after-ms": "10"}), Say("here I am"), retries=1)

    assert (await opened.answer()).content == "here I am"


@pytest.mark.parametrize(("status", "sentence"), [(401, "refused the key"), (429, "over its limit"), (500, "HTTP 500")])
async def test_each_refusal_has_its_sentence_and_no_key_is_told(
    opening: Open, status: int, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened = opening(Status(status, f'{{"error": {{"type": "x", "message": "your key is {KEY}"}}}}'))

    told = await opened.failure()

    assert sentence in told
    assert KEY not in told + caplog.text


async def test_an_endpoint_that_is_not_there_cannot_be_reached(opening: Open) -> None:
    opened = opening()
    opened.server.close()

    assert "cannot be reached" in await opened.failure()


@pytest.mark.parametrize("provider", ["anthropic"], indirect=True)
async def test_arguments_that_are_cut_off_are_not_closed(opening: Open) -> None:
    opened = opening(Calls(Call("transfer_funds", '{"amount": "90')))

    assert (await opened.answer()).tool_calls[0]["args"] == {UNPARSED: '{"amount": "90'}


@pytest.mark.parametrize("provider", ["anthropic"], indirect=True)
@pytest.mark.parametrize("events", [False, True])
async def test_what_was_thought_goes_back_signed_and_calls_are_made_anew(opening: Open, events: bool) -> None:
    opened = opening(Calls(Call("transfer_funds", TRANSFER), Call("transfer_funds", {}), text="I do."), Say("Done."))
    if events:
        opened.model.callbacks = [_Events()]
    first = await opened.answer()

    taken = first.model_copy(update={"tool_calls": first.tool_calls[:1]})
    await opened.answer([*ASKED, taken, ToolMessage("done", tool_call_id=first.tool_calls[0]["id"] or "")])

    assert opened.server.refused == []
    assert opened.server.requests[-1].body["messages"][1]["content"] == [
        THOUGHT,
        {"type": "text", "text": "I do."},
        {"type": "tool_use", "id": "toolu_0", "name": "transfer_funds", "input": TRANSFER},
    ]


@pytest.mark.parametrize("provider", ["anthropic"], indirect=True)
async def test_what_one_provider_gave_does_not_go_to_another(opening: Open) -> None:
    opened = opening(Calls(Call("transfer_funds", TRANSFER)))
    first = await opened.answer()
    assert PROVIDER in first.additional_kwargs

    with LlmServer([Say("Done.")]) as other:
        model = chat_model(*_settings(openai_base_url=other.base_url, model="m"))
        history = [*ASKED, first, ToolMessage("done", tool_call_id=first.tool_calls[0]["id"] or "")]
        await speak(model, TOOLS, history, prompt="x", context_tokens=8_000, timeout_s=TIMEOUT_S)

    assert other.refused == []
    assert set(other.requests[0].body["messages"][2]) == {"role", "content", "tool_calls"}


@pytest.mark.parametrize("provider", ["anthropic"], indirect=True)
def test_a_gateway_in_the_environment_does_not_get_the_conversations(
    opening: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://127.0.0.1:9/gateway")
    monkeypatch.setenv("LANGSMITH_GATEWAY_API_KEY", "x")
    opening()  # with an address of its own it is not asked
    monkeypatch.delenv("ANTHROPIC_BASE_URL")

    with pytest.raises(SettingsError, match="LANGSMITH_GATEWAY"):
        chat_model(*_settings(model="anthropic:model-1"))


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("llama3.1:8b", "llama3.1:8b"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        ("openai:gpt-5-mini", "gpt-5-mini"),
        ("anthropic:claude", "anthropic:claude"),
        ("", "gpt-5-mini"),
    ],
)
async def test_with_a_base_url_the_name_goes_whole_to_that_endpoint(given: str, sent: str) -> None:
    with LlmServer([Say("yes")]) as server:
        model = chat_model(*_settings(openai_base_url=server.base_url, model=given))
        await speak(model, [], ASKED, prompt="x", context_tokens=8_000, timeout_s=TIMEOUT_S)

    assert server.requests[0].body["model"] == sent


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt-5-mini", "OPENAI_API_KEY: missing"),
        ("openai:gpt-5-mini", "OPENAI_API_KEY: missing"),
        ("llama3.1:8b", "there is no provider 'llama3.1'"),
        ("mistralai:small", "needs a package"),
        ("anthropic:claude", r"ANTHROPIC_API_KEY \(which is not set\)"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused_by_the_variables_name(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    with pytest.raises(SettingsError, match=says):
        chat_model(*_settings(model=name))
