"""What is in flight elsewhere, in words: being done, or that nobody knows, and what is done about it."""

from datetime import datetime

from clearance.desk.detail import Contradiction
from clearance.journal.attempts import TRANSACTION_ENDED, Attempt
from clearance.text.rendering import line

_CAUSES = {
    "timeout": "no answer came in time",
    "error": "its answer broke off",
    "cancelled": "it was cancelled while it was being done",
    "holder gone": "the server that did it ended meanwhile",
    "refused": "sent again, it was refused, which tells nothing of the time before",
    TRANSACTION_ENDED: "it ended the transaction it ran in, which was to hold its receipt as well",
    "not begun": "the database did not say whether it might begin",
}


def waits_for_person(attempt: Attempt) -> bool:
    """Tell whether nothing but the word of a person will tell what became of a start."""
    return attempt.state == "unknown" and attempt.next_look_at is None


def in_words(attempt: Attempt) -> str:
    """Say how a start stands that is in flight, in sentences."""
    if attempt.state == "executing":
        return f"It is being done elsewhere since {_at(attempt.started_at)}."
    return f"Nobody knows yet whether it was done. {since(attempt)}"


def since(attempt: Attempt) -> str:
    """Say when a start was made of which nobody knows, why not, and what is done about it."""
    return f"It was started at {_at(attempt.started_at)}; {why_unknown(attempt)}. {looking(attempt)}"


def why_unknown(attempt: Attempt) -> str:
    """Say why nobody knows what became of a start."""
    cause = attempt.cause or ""
    return _CAUSES.get(cause, f"no answer came ({line(cause)})")


def looking(attempt: Attempt) -> str:
    """Say what is done to know what became of a start."""
    looked = ""
    if attempt.looks:
        times = "once" if attempt.looks == 1 else f"{attempt.looks} times"
        looked = f"It was looked up {times}"
        looked += f"; the last time: {line(attempt.last_look)}. " if attempt.last_look else ". "
    elif attempt.last_look:
        looked = f"It is not looked into any more: {line(attempt.last_look)}. "
    if attempt.next_look_at is None:
        return f"{looked}Somebody has to say what became of it."
    return f"{looked}Next it is looked into at {_at(attempt.next_look_at)}."


def contradiction(found: Contradiction) -> str:
    """Say what came to be known after a receipt was written, and otherwise."""
    since = f"Since {_at(found.at)} it is known that"
    if found.says == found.receipt:
        return (
            f"{since} another start of it happened, too, which was taken as not arrived: it was done twice."
            " The receipt stays as it is."
        )
    happened, receipt = (
        "it happened" if outcome == "executed" else "it did not happen" for outcome in (found.says, found.receipt)
    )
    return f"{since} {happened}; its receipt says that {receipt}. The receipt stays as it is."


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
