"""Whether an answer of the model is whole. The calls of one that broke off do nothing, whoever made it.

Checked where a message is stored, so that it holds for any model and through every way in.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clearance.canonical import clean
from clearance.journal.erasure import ERASED
from clearance.journal.receipts import Receipt

#: By the name under which a provider's client tells why an answer ended: what means that it was finished.
FINISHED: Mapping[str, frozenset[str]] = {
    # OpenAI and what speaks like it, Mistral, Groq; Google; Cohere.
    "finish_reason": frozenset({"stop", "tool_calls", "function_call", "STOP", "COMPLETE", "TOOL_CALL"}),
    "stop_reason": frozenset({"end_turn", "tool_use", "stop_sequence"}),  # Anthropic
    "stopReason": frozenset({"end_turn", "tool_use", "stop_sequence"}),  # Amazon Bedrock
    "done_reason": frozenset({"stop"}),  # Ollama
    "status": frozenset({"completed"}),  # OpenAI's Responses
}
#: Stands for "no reason at all" in the setting. A stream that was cut off has none either.
NONE = "none"
#: The setting that adds reasons.
SETTING = "MODEL_FINISH_REASONS"


def reasons(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Give the reasons why an answer ended, by their names, from its `response_metadata`."""
    found = {name: str(metadata[name]) for name in FINISHED if metadata.get(name)}
    # Too common a name to mean anything beside one of the others.
    return found if len(found) < 2 else {name: reason for name, reason in found.items() if name != "status"}


@dataclass(frozen=True)
class Unfinished:
    """Why an answer is not known to be whole."""

    #: As people read it: `finish_reason 'error'`, or `no reason`.
    told: str
    #: What the setting would have to name.
    accepted: str


def unfinished(found: Mapping[str, str], also: Collection[str] = ()) -> Unfinished | None:
    """Tell why an answer that ended for these reasons is not known to be whole; None when it is.

    `also` are reasons that this deployment knows to mean it, and perhaps `none`.
    """
    if not found:
        return None if NONE in also else Unfinished("no reason", NONE)
    for name, reason in found.items():
        if reason not in FINISHED[name] and reason not in also:
            shown = clean(reason[:60])
            return Unfinished(f"{name} {shown!r}", shown)
    return None


def without_calls(message: dict[str, Any], reason: Unfinished, done: Iterable[Receipt]) -> dict[str, Any]:
    """Give the message as text alone: what the model said, that its calls did nothing, and what was done before."""
    count = len(message["tool_calls"])
    told = "its call was not carried out" if count == 1 else f"none of its {count} calls was carried out"
    sentence = (
        f"[The model's answer ended with {reason.told}, which does not mean that it was finished, so {told}."
        f" Please ask again. If it does mean that at this endpoint, add {reason.accepted} to {SETTING}.]"
    )
    text = f"{_text(message.get('content'))}\n{sentence}".strip()
    kept = {name: value for name, value in message.items() if name not in ("tool_calls", "invalid_tool_calls")}
    return {**kept, "content": with_receipts(text, done)}


def with_receipts(text: str, done: Iterable[Receipt]) -> str:
    """Add what was done in a turn whose model failed, so that its last words are the receipts."""
    told = [receipt.sentence if receipt.sentence is not None else ERASED for receipt in done]
    return "\n".join([text, "Before that, in this turn:", *(f"- {one}" for one in told)]) if told else text


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) if isinstance(block, dict) else str(block) for block in content)
    return str(content or "")
