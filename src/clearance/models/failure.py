"""What went wrong with the model, as one sentence for the person; the log has the cause, without any key."""

import email.utils
import os
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import httpx
from langchain_core.exceptions import ContextOverflowError, ModelConnectionError, ModelTimeoutError

from clearance.loglines import logger_of

logger = logger_of(__name__)


class ModelUnavailable(Exception):
    """The model gave no answer that can be used. The text is one sentence for the person, with an error id.

    `error_id` stands in the log too, with the cause.
    """

    def __init__(self, sentence: str, *, error_id: str) -> None:
        self.error_id = error_id
        super().__init__(f"{sentence} (error {error_id})")


class Nonsense(ValueError):
    """An answer that cannot be used; the text goes on after "The model"."""


class LongWait(Exception):
    """The endpoint asks to wait longer than there is time. `wait_s` is what it asks for."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"asks to wait {wait_s:g} s")


def unavailable(sentence: str, cause: str) -> ModelUnavailable:
    """Log a cause under an id and make the error that tells the sentence and the id."""
    error_id = uuid4().hex[:8]
    logger.error("model unavailable, error %s: %s", error_id, cause)
    return ModelUnavailable(sentence, error_id=error_id)


def cause(exc: BaseException, secrets: Iterable[str]) -> str:
    """Write down an error with its traceback, and without the keys if it repeats them."""
    text = "".join(traceback.format_exception(exc))
    environment = (value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN", "_SECRET")))
    for secret in sorted({*secrets, *environment}, key=len, reverse=True):
        if len(secret) >= 8:
            text = text.replace(secret, "***")
    return text


def sentence(exc: BaseException, timeout_s: float) -> str:
    """Say what failed and what helps, whichever provider's client raised it."""
    status = status_of(exc)
    match exc:
        case Nonsense():
            return f"The model {exc}; please try again."
        case LongWait():
            longer = f"longer than one answer may take (MODEL_TIMEOUT_S, {timeout_s:g} s)"
            return f"The model endpoint asks to wait {exc.wait_s:,.0f} s, {longer}; please try again then."
        case ContextOverflowError():
            return _TOO_LONG
    is_late = isinstance(exc, TimeoutError | ModelTimeoutError | httpx.TimeoutException)
    if is_late or _is_openais(exc, "APITimeoutError"):
        return f"The model did not answer within {timeout_s:g} s; please try again."
    if status is not None and status < 500:
        said = _said(exc)
        if any(sign in said for sign in _OVERFLOW):
            return _TOO_LONG
        if status >= 400 and any(sign in said for sign in _FILTERED):
            return (
                f"The model endpoint's content filter refuses something in this conversation (HTTP {status}). It"
                " refuses it again with every later message here, so please start a new thread and leave that text out."
            )
    if _is_lost(exc):
        return "The model endpoint cannot be reached; please try again."
    return _by_status(status, exc)


def _by_status(status: int | None, exc: BaseException) -> str:
    match status:
        case 401:
            return "The model endpoint refused the key it was given."
        case 403:
            return "The model endpoint does not let this key use the model."
        case 404:
            return "The model endpoint does not know the model or the address it was asked for."
        case 429:
            return "The model endpoint is over its limit (HTTP 429); please try again later."
        case int() if 400 <= status < 500:
            return f"The model endpoint refused the request (HTTP {status})."
        case int() if status >= 500:
            return f"The model endpoint failed (HTTP {status}); please try again."
        case int():
            return "The model endpoint failed while it answered; please try again."
    if _is_openais(exc, "APIError"):
        return "The model endpoint failed while it answered; please try again."
    return "The model endpoint did not give a whole answer that can be read; please try again."


_TOO_LONG = "This conversation is too long for the model; please start a new thread."
# What endpoints write, in lower case; each has been seen in a report of one.
_OVERFLOW = ("context_length_exceeded", "maximum context length", "prompt is too long", "exceed context limit")
_FILTERED = (
    "content_filter",  # OpenAI, Azure
    "content management policy",
    "responsibleaipolicyviolation",
    "data_inspection_failed",  # Alibaba
    "content policy",
    "blocked by content filtering policy",  # Anthropic
)


def status_of(exc: BaseException) -> int | None:
    """Give the HTTP status of an error, as the clients of the providers keep it; None when it has none."""
    for holder in (exc, getattr(exc, "response", None)):
        for name in ("status_code", "code", "http_status"):
            found = getattr(holder, name, None)
            if isinstance(found, int) and not isinstance(found, bool) and found >= 100:
                return found
    return None


def pause_before(exc: BaseException, attempt: int) -> float | None:
    """Give the seconds to wait before trying again after `attempt` retries; None when that does not help."""
    status = status_of(exc)
    if not (_is_lost(exc) if status is None else status in (408, 409, 425, 429) or status >= 500):
        return None
    asked = _asked_for(exc)
    return min(0.5 * 2**attempt, 8.0) if asked is None else asked


def _is_lost(exc: BaseException) -> bool:
    """Tell whether the endpoint could not be reached, or the connection broke."""
    is_a_clients = isinstance(exc, ModelConnectionError | httpx.TransportError | ConnectionError)
    return is_a_clients or _is_openais(exc, "APIConnectionError")


def _is_openais(exc: BaseException, name: str) -> bool:
    """Tell whether it is this error of OpenAI's client. Half a second to load: where nothing has, nothing raised it."""
    client = sys.modules.get("openai")
    return client is not None and isinstance(exc, getattr(client, name))


def _asked_for(exc: BaseException) -> float | None:
    """Read how long the endpoint asks to wait: seconds, milliseconds or a date."""
    headers = getattr(getattr(exc, "response", None), "headers", None)
    if headers is None:
        return None
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        given = headers.get(name)
        if given is None:
            continue
        try:
            return max(float(given) * unit_s, 0.0)
        except ValueError:
            parsed: Any = email.utils.parsedate_tz(given)
            if parsed:
                return max(email.utils.mktime_tz(parsed) - time.time(), 0.0)
    return None


def _said(exc: BaseException) -> str:
    """Give an endpoint's own words and codes, to look for signs in."""
    parts = [str(exc), getattr(exc, "code", None), getattr(exc, "type", None), getattr(exc, "body", None)]
    return " ".join(str(part) for part in parts if part).lower()
