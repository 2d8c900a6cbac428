"""The model's next message, or one sentence why there is none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp

from clearance.models.answer import Incoming, incoming, normalised
from clearance.models.arranged import Told
from clearance.models.failure import cause, sentence, unavailable
from clearance.models.history import alternating, open_calls, presentable, recent, trim
from clearance.models.whole import Whole

#: Sends a model a history, in turns, and gives its answer as langchain reads it.
Ask = Callable[[list[AnyMessage]], Awaitable[AIMessage]]


async def speak(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    messages: Sequence[AnyMessage] | Told,
    *,
    prompt: str,
    context_tokens: int,
    timeout_s: float,
) -> AIMessage:
    """Get the model's next message, able to call these tools, see `asked`. `messages` come without the system prompt.

    Raises:
        ModelUnavailable: see `asked`.
    """

    async def ask(history: list[AnyMessage]) -> AIMessage:
        # Endpoints refuse an empty list of tools.
        able = model.bind_tools(tools) if tools else model
        given = [SystemMessage(prompt), *history]
        # What the history has of its own goes together with the prompt.
        has_own = any(isinstance(one, SystemMessage) for one in history[:1])
        return await able.ainvoke(alternating(given) if has_own else given)

    return await asked(ask, model, messages, context_tokens=context_tokens, timeout_s=timeout_s)


async def asked(
    ask: Ask, model: BaseChatModel, messages: Sequence[AnyMessage] | Told, *, context_tokens: int, timeout_s: float
) -> AIMessage:
    """Get the next message by `ask`: text, calls or both, whole and fit to be sent back to an endpoint.

    `messages` is the history; what is sent of it is at most `context_tokens`, by `trim`. Every call of the answer
    stands in `tool_calls` with an id of its own; `unparsed_call` tells which of them had arguments that cannot be read.
    Retries are within `timeout_s`. Its tokens stream under the id of the answer.

    Raises:
        ModelUnavailable: for whatever reason there is no whole answer. Cancellation and interrupts pass as they are.
    """
    of = model.of if isinstance(model, Whole) else ""
    history = messages.in_turns(of, context_tokens) if isinstance(messages, Told) else None
    if history is None:
        history = _in_turns(messages.all() if isinstance(messages, Told) else messages, of, context_tokens)
    arrived = Incoming(deadline_s=asyncio.get_running_loop().time() + timeout_s)
    token = incoming.set(arrived)
    try:
        async with asyncio.timeout(timeout_s):
            try:
                answer = await ask(history)
            except GraphBubbleUp:
                raise
            except Exception:
                # All of it came, and langchain stumbled over arguments that are no object.
                if arrived.message is None:
                    raise
                answer = arrived.message
        return normalised(answer, arrived, of)
    except GraphBubbleUp:
        raise
    except Exception as exc:  # noqa: BLE001 - an endpoint's nonsense surfaces as anything, down to AttributeError
        # Not chained: an endpoint's own words may repeat the key, and a traceback would print them.
        secrets = model.secrets() if isinstance(model, Whole) else []
        raise unavailable(sentence(exc, timeout_s), cause(exc, secrets)) from None
    finally:
        incoming.reset(token)


def _in_turns(messages: Sequence[AnyMessage], of: str, context_tokens: int) -> list[AnyMessage]:
    history = presentable(recent(messages, context_tokens), of)
    if unanswered := open_calls(history):
        # An endpoint would refuse it, and an invented result could make the model pay twice.
        raise unavailable(
            "This thread holds tool calls without a result and cannot go on; please start a new one.",
            f"open calls: {unanswered}",
        )
    return alternating(trim(history, context_tokens))
