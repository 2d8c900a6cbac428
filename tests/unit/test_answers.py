"""Only exact decisions decide: generated answers against an oracle that knows nothing of the parser."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.gate.answers import MAX_REASON, Approve, Edit, NewMessage, Reject, Unclear, parse

WORDS = st.sampled_from(
    ["approve", "reject", "edit", "accept", "response", "ignore", "respond", "yes", "true", "false", "", "APPROVE"]
)
NAMES = st.sampled_from(
    [
        "approved", "reason", "edited_args", "id", "digest", "decisions", "type", "message", "edited_action", "args",
        "action", "name", "messages", "arguments", "decision", "approve", "value", "Approved", "editedAction",
    ]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(), WORDS, st.text(max_size=8), st.just("x" * 2001)
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
SHORT = st.text(max_size=4)
REFERENCE = st.fixed_dictionaries({}, optional={"id": SHORT | LEAVES, "digest": SHORT | LEAVES})
REASON = st.none() | st.text(max_size=20) | LEAVES


def _with(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda base, about, extra: {**base, **about, **extra},
        st.fixed_dictionaries(required, optional=optional),
        REFERENCE,
        st.dictionaries(NAMES, LEAVES, max_size=1),
    )


ARGS = st.dictionaries(NAMES, LEAVES, max_size=2)
EDITED = st.fixed_dictionaries({}, optional={"name": WORDS | LEAVES, "args": ARGS | LEAVES})
INBOX_EDITED = st.fixed_dictionaries({}, optional={"action": WORDS, "args": ARGS})
TYPED = _with({"type": WORDS | LEAVES}, {"message": REASON, "edited_action": EDITED | LEAVES})
#: As the SDK for JavaScript sends an edit: under both names, or under its own.
SCRIPTED = st.builds(
    lambda edited, other, names: {"type": "edit", **dict(zip(names, [edited, other], strict=False))},
    st.shared(EDITED, key="edited"),
    st.shared(EDITED, key="edited") | EDITED,
    st.sampled_from([("edited_action", "editedAction"), ("editedAction",)]),
)
INBOX = _with({"type": WORDS}, {"args": REASON | INBOX_EDITED})
#: Answers that are nearly, and sometimes exactly, what clients send.
NEAR = st.one_of(
    _with({"approved": st.booleans() | LEAVES}, {"reason": REASON, "edited_args": ARGS | LEAVES}),
    TYPED,
    _with({"decisions": st.lists(TYPED | SCRIPTED | INBOX, max_size=2) | TYPED}, {}),
    SCRIPTED,
    st.lists(INBOX, max_size=2),
    st.lists(TYPED, min_size=1, max_size=1),
    st.booleans(),
)


@settings(max_examples=2_500)
@given(NEAR | ANYTHING)
def test_exact_decisions_decide_and_nothing_else_does(answer: Any) -> None:
    expected = meaning(answer)

    match parse(answer):
        case Approve():
            got = "approve"
        case Reject():
            got = "reject"
        case Edit():
            got = "edit"
        case NewMessage():
            got = "message"
        case Unclear() as unclear:
            got = "nothing"
            assert unclear.why.endswith((".", "}"))
            assert len(unclear.why) < 1_000
            unclear.why.encode()

    assert got == expected


def meaning(answer: Any) -> str:
    """Read the table of what clients send literally: what an answer means, or "nothing"."""
    if answer is True:
        return "approve"
    if answer is False:
        return "reject"
    if isinstance(answer, dict) and set(answer) == {"messages"}:
        return "message" if _has_words(answer["messages"]) else "nothing"
    if isinstance(answer, list):
        return _inbox(answer[0]) if len(answer) == 1 else "nothing"
    if not isinstance(answer, dict) or not _about(answer):
        return "nothing"
    own = {name: value for name, value in answer.items() if name not in ("id", "digest")}
    if set(own) == {"decisions"}:
        only = own["decisions"]
        if not isinstance(only, list) or len(only) != 1:
            return "nothing"
        return _decision(only[0])
    if "approved" in own:
        return _simple(own)
    return _decision(answer)


def _simple(own: dict[str, Any]) -> str:
    if set(own) - {"approved", "reason", "edited_args"} or not _is_reason(own.get("reason")):
        return "nothing"
    edited = own.get("edited_args")
    if own["approved"] is True:
        if edited is None:
            return "approve"
        return "edit" if isinstance(edited, dict) and edited else "nothing"
    return "reject" if own["approved"] is False and edited is None else "nothing"


def _decision(only: Any) -> str:
    if not isinstance(only, dict) or not _about(only):
        return "nothing"
    own = {name: value for name, value in only.items() if name not in ("id", "digest")}
    match own.get("type"):
        case "approve" if set(own) == {"type"}:
            return "approve"
        case "reject" if set(own) <= {"type", "message"} and _is_reason(own.get("message")):
            return "reject"
        case "edit" if set(own) - {"type"} and set(own) <= {"type", "edited_action", "editedAction"}:
            edited = [own[name] for name in own if name != "type"]
            return "edit" if _is_edit(edited[0], "name") and edited[0] == edited[-1] else "nothing"
        case _:
            return "nothing"


def _inbox(only: Any) -> str:
    if not isinstance(only, dict) or not _about(only) or set(only) - {"type", "args", "id", "digest"}:
        return "nothing"
    args = only.get("args")
    match only.get("type"):
        case "accept":
            return "approve"
        case "ignore":
            return "reject"
        case "response" if _is_reason(args):
            return "reject"
        case "edit" if _is_edit(args, "action"):
            return "edit"
        case _:
            return "nothing"


def _is_edit(edited: Any, name: str) -> bool:
    return (
        isinstance(edited, dict)
        and set(edited) == {name, "args"}
        and isinstance(edited[name], str)
        and isinstance(edited["args"], dict)
    )


def _is_reason(reason: Any) -> bool:
    if reason is None:
        return True
    if not isinstance(reason, str) or len(reason) > MAX_REASON or "\0" in reason:
        return False
    try:
        reason.encode()
    except UnicodeEncodeError:
        return False
    return True


def _about(answer: dict[str, Any]) -> bool:
    return all(isinstance(answer[name], str) for name in ("id", "digest") if name in answer)


def _has_words(messages: Any) -> bool:
    """Nearly no generated value is a message; those that are, are texts and `[role, text]` pairs."""
    items = messages if isinstance(messages, list) else []
    read = parse({"messages": messages})
    return bool(items or isinstance(messages, dict)) and isinstance(read, NewMessage)
