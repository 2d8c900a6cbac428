"""A chat model that says what a test wrote down: a real BaseChatModel, with nothing random and no network."""

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

Said = AIMessage | Callable[[Sequence[BaseMessage]], AIMessage]


class ScriptedModel(BaseChatModel):
    """Say the next line of the script at each call, and keep what was read; past its end, repeat the last results."""

    _script: list[Said] = PrivateAttr(default_factory=list)
    _read: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    def will_say(self, *lines: Said) -> None:
        """Add lines to the script."""
        self._script.extend(lines)

    def will_say_nothing_more(self) -> None:
        """Forget what is left of the script."""
        self._script.clear()

    @property
    def read(self) -> list[list[BaseMessage]]:
        """What each call read."""
        return self._read

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._read.append(list(messages))
        line = self._script.pop(0) if self._script else AIMessage("Done.")
        said = line(messages) if callable(line) else line
        # As an endpoint ends its answers, unless a line says otherwise.
        ended = None if said.response_metadata else {"finish_reason": "tool_calls" if said.tool_calls else "stop"}
        return ChatResult(generations=[ChatGeneration(message=said, generation_info=ended)])


def calls(*pairs: tuple[str, dict[str, Any]], ids: Sequence[str] | None = None, text: str = "") -> AIMessage:
    """Make an AI message with these calls, as (tool, arguments); ids are call-0, call-1, … unless given."""
    made = [
        ToolCall(name=name, args=args, id=ids[at] if ids else f"call-{at}", type="tool_call")
        for at, (name, args) in enumerate(pairs)
    ]
    return AIMessage(text, tool_calls=made)
