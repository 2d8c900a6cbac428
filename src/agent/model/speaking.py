"""The model's next message, or one sentence why there is none."""

import asyncio
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.tools import BaseTool

from agent.model.answer import Arriving, arriving, normalised
from agent.model.failure import cause, sentence, unavailable
from agent.model.history import alternating, open_calls, presentable, trim
from agent.model.whole import Whole


async def speak(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    messages: Sequence[AnyMessage],
    *,
    prompt: str,
    context_tokens: int,
    timeout_s: float,
) -> AIMessage:
    """Get the model's next message: text, calls or both, whole and fit to be sent back to an endpoint.

    `messages` is the history without the system prompt; what is sent of it is at most `context_tokens`, by `trim`.
    Every call of the answer stands in `tool_calls` with an id of its own; `unparsed_call` tells which of them had
    arguments that cannot be read. Retries are within `timeout_s`. Its tokens stream under the id of the answer.

    Raises:
        ModelUnavailable: for whatever reason there is no whole answer. Cancellation passes as it is.
    """
    of = model.of if isinstance(model, Whole) else ""
    history = presentable(messages, of)
    if unanswered := open_calls(history):
        # An endpoint would refuse it, and an invented result could make the model pay twice.
        raise unavailable(
            "This thread holds tool calls without a result and cannot go on; please start a new one.",
            f"open calls: {unanswered}",
        )
    arrived = Arriving(deadline_s=asyncio.get_running_loop().time() + timeout_s)
    token = arriving.set(arrived)
    try:
        async with asyncio.timeout(timeout_s):
            # Endpoints refuse an empty list of tools.
            able = model.bind_tools(tools) if tools else model
            sent = alternating([SystemMessage(prompt), *trim(history, context_tokens)])
            try:
                answer = await able.ainvoke(sent)
            except Exception:
                # All of it came, and langchain stumbled over arguments that are no object.
                if arrived.message is None:
                    raise
                answer = arrived.message
        return normalised(answer, arrived, of)
    except Exception as exc:  # noqa: BLE001 - an endpoint's nonsense surfaces as anything, down to AttributeError
        # Not chained: an endpoint's own words may repeat the key, and a traceback would print them.
        secrets = model.secrets() if isinstance(model, Whole) else []
        raise unavailable(sentence(exc, timeout_s), cause(exc, secrets)) from None
    finally:
        arriving.reset(token)
