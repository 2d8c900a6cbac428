"""What the approvals API takes and gives: the server writes these shapes, the command line reads them.

Texts are safe to show: characters that hide or mislead stand as their code points. Only an event is as it was signed.
"""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Tab = Literal["mine", "open", "decided"]


class Me(BaseModel):
    """Whose token this is."""

    id: str
    kind: str
    roles: list[str]
    is_decider: bool = Field(description="holds a role of the policy: sees all requests, may decide some")


class Look(BaseModel):
    """Something out of the ordinary, found by our own code."""

    text: str
    is_bad: bool = Field(description="whether it looks made to mislead, or would not run as it is")


class Entry(BaseModel):
    """A request in a list."""

    id: str
    action: str
    sentence: str | None = Field(description="what was asked for; null when it was erased, or could not be carried out")
    line: str = Field(description="the same in few words, as things stand: will be, was, was not done")
    unsaid: str = Field(description="what of the arguments `line` does not say, cut: Memo: gift for the CFO")
    remark: Look | None = Field(description="the worst of what is out of the ordinary, in short")
    not_done: str = Field(description="how it ended without its effect; empty while it is open, and when it was done")
    risk: str
    state: str
    requested_by: str
    namesake: str | None = Field(description="somebody else, whose name looks like that of whoever asked")
    requested_at: datetime
    expires_at: datetime
    finished_at: datetime | None
    approvers: list[str] | None = Field(description="roles a decider must hold, all; null where nobody is asked")
    approvals_needed: int
    approvals_given: list[str] = Field(description="by whom, as far as they count")
    notice: str | None = Field(description="why it is asked again")
    thread_id: str
    revision: int
    digest: str | None
    rule: str


class Page(BaseModel):
    """A page of a list."""

    requests: list[Entry]
    next: str | None = Field(description="`after` of the next page; null on the last")


class Counts(BaseModel):
    """How many requests a list holds; 1000 means that many or more."""

    mine: int
    open: int
    decided: int


class Event(BaseModel):
    """A row of the audit log."""

    seq: int
    at: str
    event: str
    actor: str
    thread_id: str | None
    turn_id: str | None
    request_id: str | None
    details: dict[str, Any]


class Outcome(BaseModel):
    """How a request ended."""

    outcome: str
    sentence: str | None = Field(description="null when it was erased")
    finished_at: datetime
    revision: int = Field(description="of the request that ended so")


class Change(BaseModel):
    """One thing that will not be what it was."""

    label: str
    of: str = Field(description="whose it is; empty where that is clear")
    before: str
    after: str
    change: str = Field(description="the difference; empty where there is none to tell")
    was: str | None = Field(description="`before` when it was asked for, where that is another by now")


class Fact(BaseModel):
    """One thing that does not change by the action."""

    label: str
    text: str
    was: str | None = Field(description="what it was when it was asked for, where that is another by now")


class Argument(BaseModel):
    """One argument of the call, whole: exactly this runs."""

    name: str
    label: str
    text: str = Field(description="as people read it, nothing cut; line breaks stay")


class Review(BaseModel):
    """An action in the words of whoever decides on it."""

    verb: str = Field(description="what a button says before `what`: Transfer")
    what: str = Field(description="$48,250.00")
    who: str = Field(description="from A-2001 Priya Natarajan to …")
    heading: str = Field(description="the verb as things stand: will be, was, was not done")
    arguments: list[Argument] = Field(description="every argument that runs, whatever the action says of itself")
    changes: list[Change]
    facts: list[Fact]
    read_at: datetime | None = Field(description="when the facts were read; null: when it was asked")
    confirm: str = Field(description="what a person types to approve it where the risk is critical")
    confirm_is: str = Field(description="what that is: the amount")


class Day(BaseModel):
    """A day of an account's activity."""

    day: date
    value: int = Field(description="in the smallest unit")
    text: str


class Activity(BaseModel):
    """What went on before, day by day, nothing left out."""

    title: str
    of: str
    days: list[Day]
    this: Day = Field(description="what this action would add, today")
    summary: str


class Said(BaseModel):
    """What stands in a conversation."""

    kind: Literal["person", "lookup", "action", "model"]
    by: str = Field(description="the person, the look-up, or the action and its outcome; empty for the model")
    text: str
    at: datetime | None = Field(description="null where it is not known")


class Answers(BaseModel):
    """What the caller may answer now. The gate decides; this spares a vain attempt."""

    may_approve: bool
    may_reject: bool
    may_edit: bool
    may_close: bool
    why_not: str = Field(description="why something is not possible")
    hint: str
    button: str = Field(description="what an approval does: Transfer $48,250.00")
    after_press: str = Field(description="when it runs")


class Shown(BaseModel):
    """One request."""

    request: Entry
    disagreements: list[str] = Field(
        description="what of it the database says otherwise than the audit log told; empty when nothing"
    )
    look_first: list[Look] = Field(description="what is out of the ordinary, worst first, three at most")
    review: Review
    answers: Answers
    activity: Activity | None
    talk: list[Said] = Field(description="what led to it: the message, the look-ups, the model's words")
    earlier: list[Said] = Field(description="what stands in the thread before that, newest first")
    payload: dict[str, Any] = Field(description="what the thread's interrupt shows: arguments, facts, the whole plan")
    receipt: Outcome | None
    history: list[Event]
    thread: Literal["there", "gone", "unknown"]


class Decision(BaseModel):
    """A decision on exactly what was shown."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"decision": "approve", "digest": "7ddf20…", "revision": 1},
                {"decision": "reject", "reason": "the invoice is paid", "digest": "7ddf20…", "revision": 1},
                {"decision": "edit", "arguments": {"amount": "2500"}, "digest": "7ddf20…", "revision": 1},
            ]
        },
    )

    decision: Literal["approve", "reject", "edit"]
    digest: str = Field(description="of the request as it was shown")
    revision: int = Field(description="of the request as it was shown")
    reason: str = Field("", description="for a rejection; whoever asked and the model read it")
    arguments: dict[str, Any] | None = Field(None, description="for an edit: the arguments that change")


class Standing(BaseModel):
    """How a request stands after a decision."""

    request: Entry
    receipt: Outcome | None = Field(description="null while it waits for others, or its run has not come to it yet")
    waits_for: list[str] = Field(description="requests of the same turn that have to be decided first")
    approvals_missing: int
    sentence: str = Field(description="the same in words")


class Edit(BaseModel):
    """An edit to be checked."""

    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, Any]
    digest: str
    revision: int


class Checked(BaseModel):
    """What an edit would come to."""

    sentence: str
    review: Review
    facts: list[dict[str, str]]
    rule: str
    risk: str
    approvers: list[str] | None
    approvals_needed: int
    is_enough: bool = Field(description="whether the edit would count as the editor's own approval")


class Freeze(BaseModel):
    """The switch that stops every effect."""

    frozen: bool
    by: str | None = None
    reason: str | None = None
    since: datetime | None = None
    ahead_s: int | None = Field(
        default=None, description="how far the log is ahead of the clock, which stops effects as well; null: it is not"
    )
    open: dict[str, int] = Field(description="open requests by state")


class Reason(BaseModel):
    """Why effects are stopped."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "two payouts look doubled"}]})

    reason: str


class Whole(BaseModel):
    """Whether the audit log is whole."""

    is_whole: bool
    rows: int
    head: str
    broken_at: int | None
    reason: str | None
    bound_from: int | None = Field(description="row from which on the log binds what people read")
    ahead_s: int | None = Field(
        description="how far the log is ahead of the clock, which stops effects; null: it is not"
    )


class Reviewer(BaseModel):
    """One person's decisions."""

    person: str
    decisions: int
    approved: int
    edited: int
    rejected: int
    median_s: float = Field(description="seconds from the question to the decision, at the median")
    hasty: int = Field(description="approvals within `hasty_s` seconds of the question")


class Statistics(BaseModel):
    """How awake reviewers are, and how much policy asks."""

    since: datetime
    hasty_s: float
    reviewers: list[Reviewer] = Field(description="most decisions first")
    verdicts: dict[str, dict[str, int]] = Field(description="requests by action and verdict: allow, ask, deny")
