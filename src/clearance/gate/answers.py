"""What an answer means: a decision only when it is exactly one, else `parse` says what was wrong with it.

The shapes are those that agent-chat-ui, agent-inbox, Studio and clients of HumanInTheLoopMiddleware send.
"""

import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, assert_never

from clearance.canonical import clean, is_too_much

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage

#: Longer reasons are refused, so that an answer cannot grow the journal without bound.
MAX_REASON = 2_000


@dataclass(frozen=True)
class Reference:
    """What an answer says it is about; None where it does not say."""

    request_id: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Approve:
    """Carry it out as shown."""

    about: Reference = field(default_factory=Reference)


@dataclass(frozen=True)
class Reject:
    """Do not carry it out."""

    reason: str = ""
    about: Reference = field(default_factory=Reference)


@dataclass(frozen=True)
class Edit:
    """Carry it out with these arguments changed."""

    changes: dict[str, Any]
    #: Whether `changes` is the whole set of arguments, or only those that change.
    is_whole: bool
    #: The tool the answer names, None when it does not name one.
    action: str | None = None
    about: Reference = field(default_factory=Reference)


@dataclass(frozen=True)
class NewMessage:
    """No decision: the caller wrote to the agent instead (v2 `run.start` hands chat input over as the answer)."""

    #: What a person may say, one text each.
    messages: "list[HumanMessage]"


@dataclass(frozen=True)
class Unclear:
    """Not exactly a decision; `why` is one sentence for the person who answered."""

    why: str


Answer = Approve | Reject | Edit
_Word = Literal["approve", "reject", "edit"]

_WORDS: dict[str, _Word] = {"approve": "approve", "reject": "reject", "edit": "edit"}
_INBOX_WORDS: dict[str, _Word] = {"accept": "approve", "edit": "edit", "response": "reject", "ignore": "reject"}


def parse(answer: Any) -> Answer | NewMessage | Unclear:
    """Read an answer. Exactly a decision, a new message, or `Unclear` with what was wrong; never a guess."""
    if is_too_much(answer):
        return Unclear(f"The answer is too large or too deep to be a decision. {_HOW}")
    match answer:
        case bool():
            return Approve() if answer else Reject()
        case {"messages": list(messages)} if len(answer) == 1:
            return _from_messages(messages)
        case {"messages": dict(message)} if len(answer) == 1:
            return _from_messages([message])
        case {"decisions": _}:
            return _from_decisions(answer)
        case {"approved": _}:
            return _from_approved(answer)
        case {"type": _}:
            return _from_typed(answer, _reference(answer))
        case list():
            return _from_inbox(answer)
        case dict():
            return Unclear(f"The answer has no decision in it; it has {_names(answer)}. {_HOW}")
        case _:
            return Unclear(f"The answer is {_kind(answer)}, not a decision. {_HOW}")


_HOW = 'Answer {"approved": true} or {"approved": false, "reason": "…"}.'


def _from_messages(messages: list[Any]) -> NewMessage | Unclear:
    # Heavy: what decides by a command has none of it.
    from langchain_core.messages import HumanMessage, convert_to_messages

    try:
        read = convert_to_messages(messages)
    except (ValueError, TypeError, NotImplementedError, KeyError):
        return Unclear(f"The messages in the answer cannot be read. {_HOW}")
    # Only a person's messages count; whatever else a client sends along, nobody said.
    said = [message for message in read if isinstance(message, HumanMessage) and _says_something(message)]
    return NewMessage(said) if said else Unclear(f"No person's message is in the answer. {_HOW}")


def _says_something(message: "HumanMessage") -> bool:
    return bool(message.content.strip() if isinstance(message.content, str) else message.content)


def _from_approved(answer: dict[str, Any]) -> Answer | Unclear:
    if unknown := _unknown(answer, {"approved", "reason", "edited_args", "id", "digest"}):
        return unknown
    about = _reference(answer)
    approved, reason, edited = answer["approved"], answer.get("reason"), answer.get("edited_args")
    if isinstance(about, Unclear):
        return about
    if not isinstance(approved, bool):
        return Unclear(f"approved is {_kind(approved)}; it must be true or false.")
    if edited is not None:
        if not approved:
            return Unclear("edited_args come with approved true; to reject, leave them out.")
        if not isinstance(edited, dict) or not edited:
            return Unclear(f"edited_args is {_kind(edited)}; it must hold the arguments that change.")
        return _checked_reason(reason) or Edit(edited, is_whole=False, about=about)
    wrong = _checked_reason(reason)
    if wrong:
        return wrong
    return Approve(about) if approved else Reject(reason or "", about)


def _from_decisions(answer: dict[str, Any]) -> Answer | Unclear:
    if unknown := _unknown(answer, {"decisions", "id", "digest"}):
        return unknown
    decided = answer["decisions"]
    if not isinstance(decided, list) or len(decided) != 1:
        return Unclear(f"decisions must be a list of exactly one, not {_kind(decided)}.")
    if not isinstance(decided[0], dict) or "type" not in decided[0]:
        return Unclear(f"A decision must be an object with a type, not {_kind(decided[0])}.")
    about = _reference(answer)
    own = _reference(decided[0])
    if isinstance(about, Unclear):
        return about
    if isinstance(own, Unclear):
        return own
    return _from_typed(decided[0], about if own == Reference() else own)


def _from_typed(answer: dict[str, Any], about: Reference | Unclear) -> Answer | Unclear:
    if isinstance(about, Unclear):
        return about
    kind = answer["type"]
    word = _WORDS.get(kind) if isinstance(kind, str) else None
    match word:
        case None:
            return Unclear(f"Unknown decision {_quoted(kind)}; known are approve, reject and edit.")
        case "approve":
            return _unknown(answer, {"type", "id", "digest"}) or Approve(about)
        case "reject":
            reason = answer.get("message")
            return (
                _unknown(answer, {"type", "message", "id", "digest"})
                or _checked_reason(reason)
                or Reject(reason or "", about)
            )
        case "edit":
            return _unknown(answer, {"type", "edited_action", "editedAction", "id", "digest"}) or _edited_action(
                answer, about
            )
        case _:
            assert_never(word)


def _from_inbox(answer: list[Any]) -> Answer | Unclear:
    if len(answer) != 1:
        return Unclear(f"The answer is {_kind(answer)}; it must be a list of exactly one.")
    only = answer[0]
    if not isinstance(only, dict) or "type" not in only:
        return Unclear(f"A decision must be an object with a type, not {_kind(only)}.")
    if unknown := _unknown(only, {"type", "args", "id", "digest"}):
        return unknown
    about = _reference(only)
    if isinstance(about, Unclear):
        return about
    kind, args = only["type"], only.get("args")
    word = _INBOX_WORDS.get(kind) if isinstance(kind, str) else None
    match word:
        case None:
            return Unclear(f"Unknown decision {_quoted(kind)}; known are accept, edit, response and ignore.")
        case "approve":
            # agent-inbox sends the arguments along, or {} when it could not read them: never an edit.
            return Approve(about)
        case "reject":
            if kind == "ignore":
                return Reject("", about)
            return _checked_reason(args) or Reject(args or "", about)
        case "edit":
            return _edited(args, "action", "args", about)
        case _:
            assert_never(word)


def _edited_action(answer: dict[str, Any], about: Reference) -> Edit | Unclear:
    # The SDK for JavaScript sends it under both names, and pages written in its types under the second.
    given = [answer[name] for name in ("edited_action", "editedAction") if name in answer]
    if len(given) == 2 and given[0] != given[1]:
        return Unclear("edited_action and editedAction are not the same.")
    return _edited(given[0] if given else None, "name", "edited_action", about)


def _edited(edited: Any, name_key: str, where: str, about: Reference) -> Edit | Unclear:
    if not isinstance(edited, dict) or set(edited) - {name_key, "args"} or not isinstance(edited.get("args"), dict):
        return Unclear(f"An edit needs {where} with {name_key} and args, and nothing else.")
    name = edited.get(name_key)
    if not isinstance(name, str):
        return Unclear(f"An edit must say in {where}.{name_key} which action it changes.")
    return Edit(edited["args"], is_whole=True, action=name, about=about)


def _reference(answer: dict[str, Any]) -> Reference | Unclear:
    for name in ("id", "digest"):
        if name in answer and not isinstance(answer[name], str):
            return Unclear(f"{name} is {_kind(answer[name])}; it must be the text from the question.")
    return Reference(answer.get("id"), answer.get("digest"))


def _unknown(answer: dict[str, Any], known: set[str]) -> Unclear | None:
    unknown = {str(name)[:40] for name in answer} - known
    if unknown:
        return Unclear(f"The answer has {_names(unknown)}, which says nothing here; known are {_names(known)}.")
    return None


def _checked_reason(reason: Any) -> Unclear | None:
    if reason is not None and not isinstance(reason, str):
        return Unclear(f"The reason is {_kind(reason)}; it must be text.")
    if reason is not None and clean(reason) != reason:
        return Unclear("The reason has characters in it that are no text.")
    if reason is not None and len(reason) > MAX_REASON:
        return Unclear(f"The reason has {len(reason)} characters; at most {MAX_REASON} are kept.")
    return None


def _names(items: Any) -> str:
    return ", ".join(sorted(repr(str(item)[:40]) for item in list(items)[:8])) or "nothing"


def _quoted(value: Any) -> str:
    try:
        return reprlib.repr(value)[:60]
    except ValueError:  # an integer of thousands of digits
        return "a value too long to show"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {_quoted(value)}"
        case int() | float():
            return f"the number {_quoted(value)}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
