"""What somebody may answer to a request, and in words why not. The gate decides; this spares a vain attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.clearance.audit import stopped_by_clock
from agent.clearance.desk import Detail
from agent.clearance.journal import Decision
from agent.clearance.namesakes import namesake
from agent.clearance.principal import Principal
from agent.clearance.rendering import line
from agent.clearance.review import Id, Review, Words


@dataclass(frozen=True)
class Panel:
    """What the viewer may answer."""

    may_approve: bool = False
    may_reject: bool = False
    may_edit: bool = False
    may_close: bool = False
    #: Why not, where something is not possible.
    why_not: Words = ()
    #: More of it.
    hint: str = ""
    #: Words of the button, and what follows when it is pressed.
    button: Words = ()
    #: Which approval of how many, where it takes several.
    button_of: str = ""
    after_press: str = ""
    #: Who approved it already, and when.
    before: Words = ()
    confirm: str = ""
    confirm_is: str = ""


def given(decisions: Sequence[Decision]) -> int:
    """Count the approvals that count."""
    return sum(decision.counts for decision in decisions)


def panel(detail: Detail, review: Review, viewer: Principal, now: datetime, *, is_gone: bool) -> Panel:
    """Tell what the viewer may answer, and in words why not. The gate decides; this spares a vain attempt."""
    request, made = detail.request, detail.question.decisions
    if request.state != "asked" or request.expires_at <= now:
        return Panel()
    if is_gone:
        return Panel(may_close=True, why_not=("The thread of this request is gone, so no answer can reach it.",))
    missing = [role for role in request.approvers or [] if not viewer.has_role(role)]
    if request.requested_by == viewer.id and not viewer.may_approve_own:
        return Panel(why_not=("You asked for this, so others decide.",),
                     hint="To take it back, write in the thread: a new message withdraws it.")  # fmt: skip
    alike = namesake(viewer.id, [request.requested_by])
    if alike and not viewer.may_approve_own:
        return Panel(why_not=(f"Your name looks like {line(alike)}, who asked for this, so others decide.",),
                     hint="Who reads the two names cannot tell them apart.")  # fmt: skip
    if missing:
        return Panel(why_not=(f"Who holds the role {' and '.join(missing)} decides this.",),
                     hint="You may read all of it.")  # fmt: skip
    why_not, hint = _why_not_approve(detail, viewer, now)
    first = next((one for one in made if one.counts and one.decided_by != viewer.id), None)
    is_last = given(made) + 1 >= request.approvals
    button: Words = (review.verb if is_last else "Approve", *review.what)
    return Panel(
        may_approve=not why_not,
        may_reject=True,
        may_edit=detail.switch.frozen_by is None and detail.switch.ahead(now) is None,
        why_not=why_not,
        hint=hint,
        button=button,
        button_of="" if is_last else f", {given(made) + 1} of {request.approvals}",
        after_press=_after_press(detail, is_last=is_last),
        before=(Id(first.decided_by), f"approved it at {first.decided_at:%H:%M} UTC.") if first else (),
        confirm=review.confirm if request.risk == "critical" else "",
        confirm_is=review.confirm_is,
    )


def _why_not_approve(detail: Detail, viewer: Principal, now: datetime) -> tuple[Words, str]:
    made = detail.question.decisions
    if ahead := detail.switch.ahead(now):
        return (stopped_by_clock(ahead), "Nothing can be approved."), "Rejecting works."
    if detail.switch.frozen_by is not None:
        return ("All effects are frozen by", Id(detail.switch.frozen_by), ", so nothing can be approved."), (
            "Rejecting works. Once effects are on again, you can approve here."
        )
    if any(one.counts and one.decided_by == viewer.id for one in made):
        more = detail.request.approvals - given(made)
        return (f"You approved it; {more} more {'person has' if more == 1 else 'people have'} to.",), ""
    alike = namesake(viewer.id, [one.decided_by for one in made if one.counts])
    if alike:
        return (f"Your name looks like {line(alike)}, who approved it: it takes somebody else.",), ""
    edited = namesake(viewer.id, [one.decided_by for one in made if one.decision == "edit"])
    if edited and not viewer.may_approve_own:
        return (f"Your name looks like {line(edited)}, who changed it, so somebody else approves it.",), ""
    if any(one.decision == "edit" and one.decided_by == viewer.id for one in made) and not viewer.may_approve_own:
        return ("You changed it, so somebody else approves it.",), ""
    return (), ""


def _after_press(detail: Detail, *, is_last: bool) -> str:
    if not is_last:
        return "Runs when enough people have approved it."
    others = sum(one.state == "asked" for one in detail.question.plan) - 1
    if others:
        more = "1 more request of this turn is" if others == 1 else f"{others} more requests of this turn are"
        return f"Runs when {more} decided."
    return "Runs at once."


def is_confirmed(typed: str, asked: str) -> bool:
    """Tell whether somebody typed what was asked for; separators, a currency sign and case do not count."""
    return bool(asked) and _bare(typed) == _bare(asked)


def _bare(text: str) -> str:
    bare = "".join(text.split()).casefold()
    digits = bare.removeprefix("$").replace(",", "")
    if digits.replace(".", "", 1).isdecimal() and digits.isascii():
        whole, _, cents = digits.partition(".")
        return f"{whole.lstrip('0') or '0'}.{cents.rstrip('0')}"
    return bare
