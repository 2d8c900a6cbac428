"""The real server with real clients of models' providers, which must not block its loop, and with none that can be."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.conversation import Conversation, connected
from tests.support.llm_server import Call, Calls, LlmServer, Say
from tests.support.server import Server

PAY = {"from_account": "A-2001", "to_account": "A-2003", "amount": "1500"}


@pytest.mark.parametrize("provider", ["anthropic", "ollama", "openai"])
async def test_a_turn_is_asked_approved_and_ended_in_words(make_server: Callable[..., Server], provider: str) -> None:
    broken = Calls(Call("transfer_funds", PAY | {"amount": "900"}), finish_reason="error")
    with LlmServer([Calls(Call("transfer_funds", PAY)), Say("It is paid."), broken, Say("Hello.")]) as llm:
        address = llm.base_url.removesuffix("/v1")
        key = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k" if provider == "openai" else ""}
        where = {"ANTHROPIC_BASE_URL": address, "OLLAMA_HOST": address}
        if provider == "openai":
            where = {"OPENAI_BASE_URL": llm.base_url}
        server = make_server(MODEL=f"{provider}:model-1", MODEL_RETRIES="0", **key, **where).start()
        try:
            async with connected(server.url) as client:
                thread = Conversation(client, (await client.threads.create())["thread_id"])
                await thread.say("pay 1,500")
                await thread.answer_by_id({"type": "approve"})
                paid = await thread.messages()
                words: Any = {"messages": [{"role": "user", "content": "pay 900"}]}
                # Streamed as pages do, which reads the model by another way.
                streamed = [
                    part
                    async for part in client.runs.stream(
                        thread.thread_id,
                        "clearance",
                        input=words,
                        stream_mode=["messages-tuple", "updates"],
                    )
                ]
                cut = await thread.messages()
                await thread.say("hello")
                hello = await thread.messages()
        finally:
            server.stop()

    assert [message["content"] for message in paid[-2:]][1] == "It is paid."
    assert paid[-2]["content"].startswith("Transferred $1,500.00")
    assert streamed
    assert "its call was not carried out" in cut[-1]["content"]
    assert hello[-1]["content"] == "Hello."
    assert llm.refused == []
    assert "Blocking" not in server.log


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"MODEL": "gpt-5-mini"}, "OPENAI_API_KEY: missing"),
        ({"MODEL": "llama3.1:8b"}, "there is no provider"),
        ({"SYSTEM_PROMPT_FILE": "/nowhere/prompt.txt"}, "SYSTEM_PROMPT_FILE: '/nowhere/prompt.txt' cannot be read"),
    ],
)
def test_a_model_that_cannot_be_stops_the_start_and_is_named(
    make_server: Callable[..., Server], env: dict[str, str], says: str
) -> None:
    server = make_server(OPENAI_API_KEY="", OPENAI_BASE_URL="", **env)

    with pytest.raises(RuntimeError):
        server.start()

    assert says in server.log
