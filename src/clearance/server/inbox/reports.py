"""The box on top of a request: what happened to an answer, or to the request meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clearance.actions.review import Id, Review, Words
from clearance.desk import flights
from clearance.desk.choices import given
from clearance.desk.detail import Detail
from clearance.desk.labels import STATES
from clearance.journal.attempts import Attempt
from clearance.journal.requests import Request
from clearance.journal.switch import Switch
from clearance.principal import Principal
from clearance.server.inbox.wording import clock, moment
from clearance.text.rendering import span


@dataclass(frozen=True)
class Report:
    """The box on top: what happened to an answer, or to the request meanwhile."""

    title: Words
    text: Words = ()
    #: danger, caution, good or nothing.
    look: str = ""
    icon: str = "warn"
    #: (address on the page, text) of what is to be corrected.
    errors: Sequence[tuple[str, str]] = ()

    @property
    def is_urgent(self) -> bool:
        """Tell whether a screen reader says it at once."""
        return self.look in ("danger", "caution")


KEPT = Report(("Your answer was not taken yet",), ("What you had typed is still here.",), icon="clock")
CHANGED = Report(("It changed while you were reading",), ("Load it again and decide on what it is now.",), "caution")


def expired(request: Request, now: datetime) -> Report:
    """Say that the deadline has passed."""
    title = f"Expired {moment(request.expires_at, now).words}"
    return Report((title,), ("The deadline has passed, so no answer counts any more.",), "caution", "clock")


def standing(detail: Detail, viewer: Principal, now: datetime, review: Review) -> list[Report]:
    """Say on top how a request stands that needs no answer of the viewer any more."""
    request, receipt, made = detail.request, detail.receipt, detail.question.decisions
    if receipt is not None:
        when = moment(receipt.finished_at, now, seconds=True)
        said = receipt.sentence or "What it said was erased."
        look, icon = {"executed": ("good", "check"), "expired": ("caution", "clock"), "failed": ("danger", "warn"),
                      "rejected": ("", "cross")}.get(receipt.outcome, ("caution", "warn"))  # fmt: skip
        title: list[str] = [STATES[receipt.outcome]]
        witness = detail.attempt.settled_by if detail.attempt else None
        if witness is not None:
            happened = "happened" if receipt.outcome == "executed" else "did not happen"
            title, look, icon = [f"It {happened}, on the word of", Id(witness)], "caution", "warn"
        elif receipt.outcome == "executed":
            title = [f"{review.past or 'Done'}, once"]
        elif receipt.outcome == "rejected" and made:
            title = ["Rejected by", Id(made[-1].decided_by), "– nothing was done"]
        elif receipt.outcome == "expired":
            title = ["Expired, nothing was done"]
        told: list[str] = [said]
        approvers = [one.decided_by for one in made if one.counts]
        if receipt.outcome == "executed" and approvers:
            told += ["Approved by", *[word for one in approvers for word in (",", Id(one))][1:], "."]
        told.append(f"{when.words[:1].upper()}{when.words[1:]}, {when.at} UTC.")
        return [Report(title, told, look, icon)]
    if request.is_in_flight:
        assert detail.attempt is not None
        return [_in_flight(detail.attempt)]
    if request.expires_at <= now:
        return [expired(request, now)]
    if request.state in ("approved", "allowed"):
        own = any(one.counts and one.decided_by == viewer.id for one in made)
        others = sum(one.state == "asked" for one in detail.question.plan)
        waits = f"{others} more {'request' if others == 1 else 'requests'} of this turn must be decided first."
        text = waits if others else "Its turn goes on now."
        until = moment(request.expires_at, now)
        late = f"If it has not run by {until.at} UTC, {until.words}, it does not run."
        title = ["Your approval is recorded" if own else "Approved"]
        return [Report(title, (f"Nothing has been done yet. {text} {late}",), "good", "check")]
    if any(one.counts and one.decided_by == viewer.id for one in made):
        counted = f"{given(made)} of {request.approvals}"
        return [Report((f"Your approval is recorded, {counted}",), ("Nothing runs before enough people approved it.",),
                       "good", "check")]  # fmt: skip
    return []


def _in_flight(last: Attempt) -> Report:
    if last.state == "executing":
        return Report(("It is being done elsewhere",), (flights.in_words(last),), "", "clock")
    return Report(("Nobody knows yet whether it was done",), (flights.since(last),), "caution", "warn")


def switched(switch: Switch) -> Report:
    """Say that the freeze was turned while one reads."""
    if switch.frozen_by is None:
        return Report(("Effects are on again",), ("You can approve again: load the page.",), "good", "check")
    return Report(("All effects are frozen by", Id(switch.frozen_by)), ("Approving is not possible now.",), "caution")


def too_late(detail: Detail, now: datetime, what: str) -> Report:
    """Say who was faster."""
    made = [one for one in detail.question.decisions if one.counts or one.decision == "reject"]
    text = f"Your {what} came at {clock(now, now, seconds=True)} UTC and was not used."
    receipt = detail.receipt
    if receipt is not None and receipt.sentence:
        text += f" {receipt.sentence}"
    if not made or (receipt is not None and receipt.outcome == "expired"):
        return Report((f"Already over: {STATES[detail.request.state].lower()}",), (text,), "caution")
    last = made[-1]
    word = {"approve": "approved", "edit": "changed and approved", "reject": "rejected"}[last.decision]
    seconds = max(int((now - last.decided_at).total_seconds()), 0)
    ago = f"{seconds} s" if seconds < 120 else span(now - last.decided_at)
    return Report(("Already decided:", Id(last.decided_by), f"{word} it {ago} before you"), (text,), "caution")
