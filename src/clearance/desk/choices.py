"""What somebody may answer to a request, and in words why not. The gate decides; this spares a vain attempt."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from unicodedata import category

from clearance.actions.review import Id, Review, Words
from clearance.desk.detail import Detail, Witness
from clearance.gate.decision import approver_alike, maker_alike, requester_alike
from clearance.journal.audit import stopped_by_clock
from clearance.journal.decisions import Decision
from clearance.principal import Principal

#: Longer texts are no amount.
_LONGEST = 100


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
    #: Whether nobody knows what became of it and the viewer may say so; from when on, that it did not happen.
    may_settle: bool = False
    not_happened_from: datetime | None = None


def given(decisions: Sequence[Decision]) -> int:
    """Count the approvals that count."""
    return sum(decision.counts for decision in decisions)


def panel(detail: Detail, review: Review, viewer: Principal, now: datetime, *, is_gone: bool) -> Panel:
    """Tell what the viewer may answer, and in words why not. The gate decides; this spares a vain attempt."""
    request, made = detail.request, detail.question.decisions
    if detail.witness is not None:
        return _settling(detail.witness, detail.attempts[-1].absent_at)
    if request.state != "asked" or request.expires_at <= now:
        return Panel()
    if is_gone:
        return Panel(
            may_close=True,
            why_not=("This server has no thread of this request, so no answer reaches it here.",),
            hint="Another server may have it: then decide there. Close it when it was deleted or lost.",
        )
    missing = [role for role in request.approvers or [] if not viewer.has_role(role)]
    if request.requested_by == viewer.id and not viewer.may_approve_own:
        return Panel(why_not=("You asked for this, so others decide.",),
                     hint="To take it back, write in the thread: a new message withdraws it.")  # fmt: skip
    if alike := requester_alike(request, viewer):
        return Panel(why_not=(_sentence(alike),))
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


def _settling(witness: Witness, absent_at: datetime) -> Panel:
    if witness.refusal is None:
        return Panel(may_settle=True, not_happened_from=absent_at if witness.too_early else None)
    if witness.refusal.cause == "role":
        why_not = f"Who holds the role {' and '.join(witness.roles)} may say what became of it."
        return Panel(why_not=(why_not,), hint="You may read all of it.")
    return Panel(why_not=(_sentence(witness.refusal.sentence),))


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
    if alike := approver_alike(made, viewer) or maker_alike(detail.request, made, viewer):
        return (_sentence(alike),), ""
    if any(one.decision == "edit" and one.decided_by == viewer.id for one in made) and not viewer.may_approve_own:
        return ("You changed it, so somebody else approves it.",), ""
    return (), ""


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}"


def _after_press(detail: Detail, *, is_last: bool) -> str:
    if not is_last:
        return "Runs when enough people have approved it."
    others = sum(one.state == "asked" for one in detail.question.plan) - 1
    if others:
        more = "1 more request of this turn is" if others == 1 else f"{others} more requests of this turn are"
        return f"Runs when {more} decided."
    return "Runs at once."


def is_confirmed(typed: str, asked: str) -> bool:
    """Tell whether somebody typed what was asked for; separators and case do not count, and a currency may be left out.

    Where both name one it is the same.
    """
    (what, unit), (wanted, its_unit) = _bare(typed, "[A-Za-z]{3}"), _bare(asked, "[A-Z]{3}")
    return bool(asked) and what == wanted and (not unit or not its_unit or unit == its_unit)


def _bare(text: str, code: str) -> tuple[str, str]:
    """Read an amount as its number, written in one way, and its currency; any other text as it is, and nothing."""
    sign = "".join(one for one in text if category(one) == "Sc")
    plain = text.replace(sign, "").strip()
    number = r"[0-9, ]*\.?[0-9]+|[0-9][0-9, ]*\."
    amount = re.fullmatch(rf"(?:({code})\s+)?({number})(?:\s+({code}))?", plain) if len(plain) < _LONGEST else None
    if amount is None:
        return "".join(text.split()).casefold(), ""
    unit = sign or amount[1] or amount[3] or ""
    whole, _, cents = re.sub("[, ]", "", amount[2]).partition(".")
    return f"{whole.lstrip('0') or '0'}.{cents.rstrip('0')}", unit.casefold()
