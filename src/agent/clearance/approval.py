"""How a person is asked: the payload, in the one shape that known clients understand, and the only `interrupt()`.

What the answer means is read in `answers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.config import get_config
from langgraph.types import Interrupt, interrupt

from agent.clearance.journal import Decision, Request, Turn

#: What Studio draws a form from. Shown to clients, enforced by nobody: `answers.parse` reads it.
RESPONSE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Decision",
    "properties": {
        "approved": {"type": "boolean", "title": "Approve"},
        "reason": {"type": "string", "title": "Reason, when you reject"},
    },
    "required": ["approved"],
}


def ask(payload: dict[str, Any]) -> Any:
    """Pause the run with `payload` and give the answer, as it was sent.

    Raises GraphInterrupt the first time, so it must not stand inside any `try`, and be called once per task.
    """
    is_answered()  # forgets what is not this run's
    return interrupt(payload, response_schema=RESPONSE_SCHEMA)


# Where langgraph keeps a task's answers. Source: langgraph._internal._constants and langgraph.types.interrupt.
_SCRATCHPAD, _RESUME_MAP, _NAMESPACE = "__pregel_scratchpad", "__pregel_resume_map", "checkpoint_ns"

#: In a run's config: whether it was started with an answer. The graph sets it, over whatever a client sent.
IS_RESUME = "__clearance_is_resume"


def is_answered() -> bool:
    """Tell whether this run brought an answer for the task it runs in, and forget those that other runs left.

    A run that fails or is cancelled leaves its answer behind, with the task and with the checkpoint, and langgraph
    hands it to whoever runs the thread next, before their own: one person's approval would count as another's.
    """
    configurable = get_config()["configurable"]
    scratchpad = configurable.get(_SCRATCHPAD)
    if scratchpad is None:
        return False
    given = is_addressed(configurable)
    # An answer by id stands last; all before it are an earlier run's.
    scratchpad.resume[:] = scratchpad.resume[-1:] if given else []
    if given:
        return True
    # An answer without an id. A run brings either that or answers by id.
    is_own = bool(configurable.get(IS_RESUME, True)) and _RESUME_MAP not in configurable
    return scratchpad.get_null_resume(not is_own) is not None and is_own


def is_addressed(configurable: dict[str, Any]) -> bool:
    """Tell whether this run's answer names the interrupt of the task it runs in, whose id only the question tells."""
    own = Interrupt.from_ns(None, str(configurable.get(_NAMESPACE))).id
    return own in (configurable.get(_RESUME_MAP) or {})


@dataclass(frozen=True)
class Question:
    """A request with what is shown around it."""

    request: Request
    turn: Turn
    #: Every request of the plan in order, this one among them.
    plan: Sequence[Request]
    #: Decisions on this request.
    decisions: Sequence[Decision]
    #: Its facts for people, (label, text).
    facts: Sequence[tuple[str, str]]


def payload(question: Question) -> dict[str, Any]:
    """Build what the reviewer is shown, in the one shape that all known clients understand."""
    request = question.request
    arguments = request.arguments or {}
    sentence = request.sentence or request.action
    shown = {
        # The simple shape, for clients written by hand. Arguments stand at top level, except where they would
        # cover a key of the payload.
        **{name: value for name, value in arguments.items() if name not in _RESERVED},
        "action": request.action,
        "message": f"{sentence}?" if not request.notice else f"{sentence}? {request.notice}",
        "risk_level": request.risk,
        # agent-chat-ui, deep-agents-ui and clients of HumanInTheLoopMiddleware.
        "action_requests": [
            {
                "name": request.action,
                "args": arguments,
                "arguments": arguments,  # agent-inbox reads this name
                "description": description(question),
            }
        ],
        "review_configs": [{"action_name": request.action, "allowed_decisions": ["approve", "edit", "reject"]}],
        # Older agent-inbox.
        "action_request": {"action": request.action, "args": arguments},
        "config": {"allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True},
        "description": description(question),
    }
    return shown | {
        "id": request.request_id,
        "digest": request.digest,
        "revision": request.revision,
        "facts": request.facts,
        "shown_facts": [{"label": label, "text": text} for label, text in question.facts],
        "rule": request.rule,
        "requested_by": request.requested_by,
        "requested_at": request.opened_at.isoformat(),
        "expires_at": request.expires_at.isoformat(),
        "approvers": request.approvers,
        "approvals_needed": request.approvals,
        "approvals_given": [decision.decided_by for decision in question.decisions if decision.counts],
        "notice": request.notice,
        # Grows with each answer that was refused, so that a client can tell what became of its own.
        "refused_answers": request.refused_answers,
        "turn": {
            "id": question.turn.turn_id,
            "message": spoken(question.turn),
            "requests": [
                {
                    "id": other.request_id,
                    "action": other.action,
                    "sentence": other.sentence,
                    "state": other.state,
                    "this": other.request_id == request.request_id,
                }
                for other in question.plan
            ],
        },
    }


_RESERVED = frozenset(
    [
        "action",
        "message",
        "risk_level",
        "action_requests",
        "review_configs",
        "action_request",
        "config",
        "description",
        "id",
        "digest",
        "revision",
        "facts",
        "shown_facts",
        "rule",
        "requested_by",
        "requested_at",
        "expires_at",
        "approvers",
        "approvals_needed",
        "approvals_given",
        "notice",
        "refused_answers",
        "turn",
    ]
)


def description(question: Question) -> str:
    """Describe the request in Markdown, for clients that show one text: sentence, facts, the whole plan."""
    request = question.request
    given = sum(decision.counts for decision in question.decisions)
    lines = [f"**{request.sentence or request.action}**", ""]
    if request.notice:
        lines += [f"Asked again: {request.notice}", ""]
    lines += [
        f"- Risk: {request.risk}",
        f"- Asked by: {request.requested_by}",
        f"- Asked because: {request.rule}",
        f"- Needs: {request.approvals} × {' and '.join(request.approvers or [])}, {given} given",
        f"- Until: {request.expires_at:%Y-%m-%d %H:%M} UTC",
        "",
        "| Fact | |",
        "| --- | --- |",
        *(f"| {label} | {text} |" for label, text in question.facts),
    ]
    if len(question.plan) > 1:
        lines += ["", "The whole plan:", ""]
        for number, other in enumerate(question.plan, 1):
            here = " ← this one" if other.request_id == request.request_id else ""
            lines.append(f"{number}. {other.sentence or other.action} ({other.state}){here}")
    return "\n".join(lines)


def spoken(turn: Turn) -> str:
    """Give what the person wrote in a turn as one text."""
    parts = []
    for message in turn.messages:
        content = message["content"]
        blocks = [content] if isinstance(content, str) else content
        parts += [block if isinstance(block, str) else str(block.get("text", "")) for block in blocks]
    return "\n".join(part for part in parts if part)
