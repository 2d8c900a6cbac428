"""What every model is wrapped in: half a stream is no answer, and a failure before the first word is tried again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.utils.utils import LC_ID_PREFIX
from pydantic import SecretStr

from clearance.gate.finished import FINISHED
from clearance.models.answer import Incoming, RawCall, incoming, reason_of
from clearance.models.failure import LongWait, pause_before


class Whole(BaseChatModel):
    """A provider's model whose answers are whole.

    langchain takes a stream that ends early for complete and closes JSON that is cut off: `{"amount": "90` of 9000
    becomes a valid call. So each call's text and the reasons why the answer ended are kept beside what langchain reads,
    see `Incoming`.
    """

    #: The provider's own; it does not try again by itself.
    inner: BaseChatModel
    #: Names provider and address: what came with a message goes back to them alone.
    of: str
    #: langchain streams, whoever listens, when this was said.
    streaming: bool = True
    retries: int = 0
    may_lack_reason: bool = False

    @property
    def _llm_type(self) -> str:
        return self.inner._llm_type

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Let it call these tools, as its provider wants them written."""
        bound = self.inner.bind_tools(tools, **kwargs)
        assert isinstance(bound, RunnableBinding), "what langchain's models return"
        return self.bind(**bound.kwargs)

    def secrets(self) -> list[str]:
        """List the keys that its provider's client was given, so that none is written down."""
        found = (getattr(self.inner, name, None) for name in type(self.inner).model_fields)
        return [value.get_secret_value() for value in found if isinstance(value, SecretStr)]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self.inner._generate(messages, stop, run_manager, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        arrived = incoming.get() or Incoming()
        chunks: list[AIMessageChunk] = []
        found: dict[str, list[str]] = {}
        for attempt in range(self.retries + 1):
            try:
                async for chunk in self._pieces(messages, stop, **kwargs):
                    _keep_reasons(chunk, found)
                    if isinstance(chunk.message, AIMessageChunk):
                        chunks.append(chunk.message.model_copy(update={"response_metadata": {}}))
                    yield chunk
                break
            except Exception as exc:
                pause_s = None if chunks or attempt == self.retries else pause_before(exc, attempt)
                if pause_s is None:
                    raise
                await _pause(pause_s, arrived)
        reasons = {name: reason_of(given, name) for name, given in found.items()}
        arrived.reasons, arrived.may_lack_reason = reasons, self.may_lack_reason
        whole = _merged(chunks)
        if run_manager:  # given in langchain's newer way of streaming, whose tokens go by this id
            whole.id = f"{LC_ID_PREFIX}-{run_manager.run_id}"
        arrived.message, arrived.calls = whole, _calls(whole)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=reasons))

    async def _pieces(
        self, messages: list[BaseMessage], stop: list[str] | None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        cls = type(self.inner)
        if cls._astream is not BaseChatModel._astream or cls._stream is not BaseChatModel._stream:
            async for chunk in self.inner._astream(messages, stop, **kwargs):
                yield chunk
            return
        result = await self.inner._agenerate(messages, stop, **kwargs)
        generation = result.generations[0]
        said = generation.message
        assert isinstance(said, AIMessage), "what a chat model answers"
        fields = {name: value for name, value in said.model_dump().items() if name != "type"}
        yield ChatGenerationChunk(message=AIMessageChunk(**fields), generation_info=generation.generation_info)


async def _pause(pause_s: float, arrived: Incoming) -> None:
    """Wait before the next attempt.

    Raises:
        LongWait: the answer would have to be here before that is over.
    """
    if arrived.deadline_s is not None and asyncio.get_running_loop().time() + pause_s >= arrived.deadline_s:
        raise LongWait(pause_s)
    await asyncio.sleep(pause_s)


def _keep_reasons(chunk: ChatGenerationChunk, found: dict[str, list[str]]) -> None:
    """Take the reasons why an answer ended out of a chunk: said twice, langchain joins them to one that nobody gave."""
    for metadata in (chunk.generation_info, chunk.message.response_metadata):
        for name in FINISHED if metadata else ():
            if reason := (metadata or {}).pop(name, None):
                found.setdefault(name, []).append(str(reason))


def _merged(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = chunks or [AIMessageChunk(content="")]
    whole = first + rest if rest else first
    assert isinstance(whole, AIMessageChunk)
    return whole


def _calls(whole: AIMessageChunk) -> list[RawCall]:
    return [RawCall(call["name"], call["id"], call["args"] or "") for call in whole.tool_call_chunks]
