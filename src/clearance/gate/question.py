"""How a person is asked: the payload, in the one shape that known clients understand, and the only `interrupt()`.

Every text of it that comes from outside is `rendering`'s. What the answer means is read in `answers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from clearance.actions.action import Argument, Facts, shown_facts
from clearance.actions.review import Concern
from clearance.journal.decisions import Decision
from clearance.journal.plans import Plan
from clearance.journal.requests import Request, SameCall
from clearance.journal.turns import Turn
from clearance.text.rendering import SENTENCE, is_cut, line, markdown, shown, whole, words

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


def ask(question: "Question") -> Any:
    """Pause the run with a question and give the answer, as it was sent.

    Raises GraphInterrupt the first time, so it must not stand inside any `try`, and be called once per task.
    """
    # Heavy: what only looks at requests has no graph.
    from langgraph.types import interrupt

    is_shown = not is_answered_by_id()  # forgets what is not this run's
    return interrupt(payload(question) if is_shown else None, response_schema=RESPONSE_SCHEMA)


# Where langgraph keeps a task's answers. Source: langgraph._internal._constants and langgraph.types.interrupt.
_SCRATCHPAD, _RESUME_MAP, _NAMESPACE = "__pregel_scratchpad", "__pregel_resume_map", "checkpoint_ns"

#: In a run's config: whether it was started with an answer that names no question. The server's door sets it, over
#: whatever a client sent; where there is no door the compiled graph does.
IS_RESUME = "__clearance_is_resume"
#: In a run's config: whether its answer was recorded when it arrived. Set by the door, as above.
IS_TAKEN = "clearance_taken"


def is_answered() -> bool:
    """Tell whether this run brought an answer for the task it runs in, and forget those that other runs left.

    A run that fails or is cancelled leaves its answer behind, with the task and with the checkpoint, and langgraph
    hands it to whoever runs the thread next, before their own: one person's approval would count as another's.
    """
    configurable = _configurable()
    scratchpad = configurable.get(_SCRATCHPAD)
    if scratchpad is None:
        return False
    is_taken = bool(configurable.get(IS_TAKEN))
    given = is_addressed(configurable) and not is_taken
    # An answer by id stands last; all before it are an earlier run's.
    scratchpad.resume[:] = scratchpad.resume[-1:] if given else []
    if given:
        return True
    # An answer without an id. A run brings either that or answers by id.
    is_own = bool(configurable.get(IS_RESUME, True)) and _RESUME_MAP not in configurable and not is_taken
    return scratchpad.get_null_resume(not is_own) is not None and is_own


def forget_answer() -> None:
    """Take the answer of this run that names no question: it was told late, and answers nothing that is asked later.

    Left there, langgraph would hand it to the next question of the same run, which nobody had seen.
    """
    scratchpad = _configurable().get(_SCRATCHPAD)
    if scratchpad is not None:
        scratchpad.get_null_resume(True)


def is_answered_by_id() -> bool:
    """Tell whether the answer for this task names it, so that nobody is shown its question now.

    Of one without an id that is not certain: another task may have taken it.
    """
    return bool(answers_by_id())


def answers_by_id() -> list[Any]:
    """Give the answer that names this task, as it was sent and without taking it; empty when there is none."""
    return list(_configurable()[_SCRATCHPAD].resume) if is_answered() else []


def is_addressed(configurable: dict[str, Any]) -> bool:
    """Tell whether this run's answer names the interrupt of the task it runs in, whose id only the question tells."""
    return interrupt_id(configurable) in (configurable.get(_RESUME_MAP) or {})


def interrupt_id(configurable: dict[str, Any]) -> str:
    """Give the id that the question of the task with this config has, or will have."""
    return _interrupt_id(str(configurable.get(_NAMESPACE)))


@lru_cache(maxsize=1_000)
def _interrupt_id(namespace: str) -> str:
    from langgraph.types import Interrupt

    return Interrupt.from_ns(None, namespace).id


def _configurable() -> dict[str, Any]:
    """Give what the run that this runs in was configured with."""
    from langgraph.config import get_config

    found: dict[str, Any] = get_config()["configurable"]
    return found


def checkpoint_id(configurable: dict[str, Any], graph: str = "") -> str | None:
    """Give the checkpoint that the task with this config runs on, where its thread waits with the question.

    `graph` is the namespace of the graph in which: empty for the outermost.
    """
    found = (configurable.get("checkpoint_map") or {}).get(graph)
    return str(found) if found else None


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
    #: Every argument of the call.
    arguments: Sequence[Argument]
    #: What to know of the same call elsewhere, and of what the program cannot carry out any more; worst first.
    concerns: Sequence[Concern]
    #: Requests of which the concerns tell: whose receipts, and what is in flight for the same.
    twins: Sequence[SameCall | Request]
    #: What the model wrote beside the calls of the plan, as it came.
    model_wrote: str


def payload(question: Question) -> dict[str, Any]:
    """Build what the reviewer is shown, in the one shape that all known clients understand."""
    request = question.request
    arguments = shown_arguments(request.arguments or {})
    sentence, notice = _sentence(request), _notice(request)
    described = description(question)
    return {
        # The simple shape, for clients written by hand. Arguments stand at top level, except where they would
        # cover a key of the payload.
        **{name: value for name, value in arguments.items() if name not in _RESERVED},
        "action": request.action,
        "message": f"{sentence}? {notice}" if notice else f"{sentence}?",
        "risk_level": request.risk,
        # agent-chat-ui, deep-agents-ui and clients of HumanInTheLoopMiddleware.
        "action_requests": [
            {
                "name": request.action,
                "args": arguments,
                "arguments": arguments,  # agent-inbox reads this name
                "description": described,
            }
        ],
        "review_configs": [{"action_name": request.action, "allowed_decisions": ["approve", "edit", "reject"]}],
        # Older agent-inbox.
        "action_request": {"action": request.action, "args": arguments},
        "config": {"allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True},
        "description": described,
        "id": request.request_id,
        "digest": request.digest,
        "revision": request.revision,
        "facts": None if request.facts is None else {name: shown(value) for name, value in request.facts.items()},
        "shown_facts": [{"label": label, "text": text} for label, text in _facts(question)],
        "said": [{"label": label, "text": text} for label, text in _said(question)],
        "look_first": [_of(concern) for concern in question.concerns],
        "rule": line(request.rule),
        "requested_by": line(request.requested_by),
        "requested_at": request.opened_at.isoformat(),
        "expires_at": request.expires_at.isoformat(),
        "approvers": request.approvers,
        "approvals_needed": request.approvals,
        "approvals_given": [line(decision.decided_by) for decision in question.decisions if decision.counts],
        "notice": notice,
        # Grows with each answer that was refused, so that a client can tell what became of its own.
        "refused_answers": request.refused_answers,
        "turn": {
            "id": question.turn.turn_id,
            "message": words(spoken(question.turn)),
            "requests": [
                {
                    "id": other.request_id,
                    "action": other.action,
                    "sentence": None if other.sentence is None else _sentence(other),
                    "state": other.state,
                    "this": other.request_id == request.request_id,
                }
                for other in question.plan
            ],
        },
    }


def shown_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Give the arguments of a call as reviewers see them, and as clients send them back."""
    return {name: shown(value) for name, value in arguments.items()}


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
        "said",
        "look_first",
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


#: Characters of a description that lists show: agent-inbox shows 65.
_FIRST_LINE = 64


def description(question: Question) -> str:
    """Describe the request for clients that show one text: paragraphs that read as Markdown and as it is written.

    The first is short, with what matters most: some pages show nothing else in their lists. Every argument stands in
    it, whole; what is long comes last, so that it pushes nothing out of sight.
    """
    request = question.request
    sentence = _sentence(request)
    given = [line(decision.decided_by) for decision in question.decisions if decision.counts]
    first = f"{len(given)} of {request.approvals} given: {sentence}" if given else sentence
    if any(concern.is_bad for concern in question.concerns):
        first = f"Look: {first}"
    notice = _notice(request)
    short = [one for one in question.arguments if not is_cut(one.text)]
    long = [one for one in question.arguments if is_cut(one.text)]
    told = [
        _cut(first),
        *([sentence] if _cut(first) != sentence else []),
        *(_of(concern) for concern in question.concerns),
        *([f"Asked again: {notice}"] if notice else []),
        f"Risk: {request.risk}. Until {request.expires_at:%Y-%m-%d %H:%M} UTC.",
        f"Asked by {line(request.requested_by)}, because of the rule {line(request.rule)}.",
        f"Needs {request.approvals} × {' and '.join(request.approvers or [])}, "
        + (f"given by {', '.join(given)}." if given else "none given yet."),
        f"Exactly this will run: {request.action}.",
        *(f"{line(one.label)}: {line(one.text) or 'empty'}." for one in short),
        *(f"{line(one.label)}: {line(one.text)}. All of it stands below." for one in long),
        *(f"{label}: {text}." for label, text in _facts(question)),
    ]
    if len(question.plan) > 1:
        told.append("The whole plan:")
        for number, other in enumerate(question.plan, 1):
            here = ", this one" if other.request_id == request.request_id else ""
            told.append(f"Call {number} of {len(question.plan)}, {other.state}{here}: {_sentence(other)}.")
    lines = [markdown(one) for one in told]
    for label, text in [*_said(question), *((f"All of {line(one.label)}", whole(one.text)) for one in long)]:
        lines += [markdown(f"{label}:"), *(f"> {markdown(part)}" for part in text.splitlines() if part.strip())]
    return "\n\n".join(lines)


def _of(concern: Concern) -> str:
    return line(" ".join([*concern.title, *concern.text]), SENTENCE)


def _cut(text: str) -> str:
    return text if len(text) <= _FIRST_LINE else f"{text[: _FIRST_LINE - 1].rstrip()}…"


def _sentence(request: Request) -> str:
    return line(request.sentence or request.action, SENTENCE)


def _notice(request: Request) -> str | None:
    return line(request.notice, SENTENCE) if request.notice else request.notice


def _facts(question: Question) -> list[tuple[str, str]]:
    return [(line(label), line(text)) for label, text in question.facts]


def facts_for_people(facts: Facts) -> list[tuple[str, str]]:
    """Give facts as (label, text), safe to show."""
    return [(line(label), line(text)) for label, text in shown_facts(facts)]


def _said(question: Question) -> list[tuple[str, str]]:
    """List who wrote what, apart from what our code says: (whose words, the words)."""
    by = line(question.turn.requested_by)
    whose = f"An agent wrote for {by}, not checked by anybody" if is_passed_on(question.turn) else f"{by} wrote"
    said = [
        (whose, words(spoken(question.turn))),
        ("The model wrote, not checked by anybody", words(question.model_wrote)),
    ]
    return [(label, text) for label, text in said if text]


def spoken(turn: Turn) -> str:
    """Give what the person wrote in a turn as one text."""
    return "\n".join(part for message in turn.messages for part in _texts(message["content"]))


def is_passed_on(turn: Turn) -> bool:
    """Tell whether a turn's words are not its requester's: an agent around the one that heard them wrote them."""
    return any(message.get("by") == "agent" for message in turn.messages)


def written(plan: Plan) -> str:
    """Give what the model wrote beside its calls as one text."""
    return "\n".join(_texts((plan.message or {}).get("content", "")))


def _texts(content: Any) -> list[str]:
    blocks = [content] if isinstance(content, str) else content
    texts = [block if isinstance(block, str) else str(block.get("text") or "") for block in blocks]
    return [text for text in texts if text]
