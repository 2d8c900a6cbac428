"""What the approvals API takes and gives: the server writes these shapes, the command line reads them.

Texts are safe to show: characters that hide or mislead stand as their code points. Only an event is as it was signed.
"""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Tab = Literal["mine", "open", "in_flight", "decided"]


class _Shape(BaseModel):
    #: Built when something is read by it: a command that only asks needs few of them.
    model_config = ConfigDict(defer_build=True)


class Me(_Shape):
    """Whose token this is."""

    id: str
    kind: str
    roles: list[str]
    is_decider: bool = Field(description="holds a role of the policy: sees all requests, may decide some")
    graphs: list[str] = Field(default=[], description="the gated graphs of this server, whose requests these are")


class Concern(_Shape):
    """Something out of the ordinary, found by our own code."""

    text: str
    is_bad: bool = Field(description="whether it looks made to mislead, or would not run as it is")


class Entry(_Shape):
    """A request in a list."""

    id: str
    action: str
    sentence: str | None = Field(description="what was asked for; null when it was erased, or could not be carried out")
    line: str = Field(description="the same in few words, as things stand: will be, was, was not done")
    unsaid: str = Field(description="what of the arguments `line` does not say, cut: Memo: gift for the CFO")
    remark: Concern | None = Field(description="the worst of what is out of the ordinary, in short")
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
    flight: "Flight | None" = Field(
        default=None, description="its last start, while its effect is in flight elsewhere; null otherwise"
    )


class Flight(_Shape):
    """What is known of an effect that was started elsewhere and has no outcome yet."""

    started_at: datetime
    sentence: str = Field(description="the same in words: being done, or that nobody knows, and what is done about it")
    next_look_at: datetime | None = Field(description="when it is looked up next; null while it is not")
    waits_for_person: bool = Field(description="whether nothing but the word of a person will tell")


class Page(_Shape):
    """A page of a list."""

    requests: list[Entry]
    next: str | None = Field(description="`after` of the next page; null on the last")


class Counts(_Shape):
    """How many requests a list holds; 1000 means that many or more."""

    mine: int
    open: int
    in_flight: int = Field(default=0, description="started elsewhere, and their outcome is not known")
    decided: int


class Event(_Shape):
    """A row of the audit log."""

    seq: int
    at: str
    event: str
    actor: str
    thread_id: str | None
    turn_id: str | None
    request_id: str | None
    details: dict[str, Any]


class Receipt(_Shape):
    """How a request ended."""

    outcome: str
    sentence: str | None = Field(description="null when it was erased")
    finished_at: datetime
    revision: int = Field(description="of the request that ended so")
    settled_by: str | None = Field(
        default=None, description="the person on whose word alone this rests; null where our own records tell it"
    )


class Attempt(_Shape):
    """One start of an effect elsewhere."""

    number: int = Field(description="1 for the first start")
    state: str = Field(description="executing, unknown, executed, failed or released: surely not done")
    started_at: datetime
    ended_at: datetime | None
    cause: str | None = Field(description="why its outcome was not known, in a word or two: timeout, holder gone")
    looks: int = Field(description="how often it was looked up")
    last_look: str | None = Field(description="what the last look-up said")
    next_look_at: datetime | None = Field(description="null while it is not looked up")
    absent_at: datetime = Field(description="from when on somebody may say that it did not happen")
    idempotency_key: str = Field(description="what it was sent under, by which its provider may find it")
    settled_by: str | None = Field(description="the person who said what became of it")
    reason: str | None = Field(description="how they know; null where nobody said, and when it was erased")


class Change(_Shape):
    """One thing that will not be what it was."""

    label: str
    of: str = Field(description="whose it is; empty where that is clear")
    before: str
    after: str
    change: str = Field(description="the difference; empty where there is none to tell")
    was: str | None = Field(description="`before` when it was asked for, where that is another by now")


class Fact(_Shape):
    """One thing that does not change by the action."""

    label: str
    text: str
    was: str | None = Field(description="what it was when it was asked for, where that is another by now")


class Argument(_Shape):
    """One argument of the call, whole: exactly this runs."""

    name: str
    label: str
    text: str = Field(description="as people read it, nothing cut; line breaks stay")


class Review(_Shape):
    """An action in the words of whoever decides on it."""

    verb: str = Field(description="what a button says before `what`: Refund")
    what: str = Field(description="12.50 EUR")
    who: str = Field(description="of O-1001 to Ada Quist")
    heading: str = Field(description="the verb as things stand: will be, was, was not done")
    arguments: list[Argument] = Field(description="every argument that runs, whatever the action says of itself")
    changes: list[Change]
    facts: list[Fact]
    read_at: datetime | None = Field(description="when the facts were read; null: when it was asked")
    confirm: str = Field(description="what a person types to approve it where the risk is critical")
    confirm_is: str = Field(description="what that is: the amount")


class Day(_Shape):
    """One day of what went on before."""

    day: date
    value: int = Field(description="in the smallest unit")
    text: str


class Activity(_Shape):
    """What went on before, day by day, nothing left out. From the program's own tables: no log covers it."""

    title: str
    of: str
    days: list[Day]
    this: Day = Field(description="what this action would add, today")
    summary: str


class Said(_Shape):
    """What stands in a conversation."""

    kind: Literal["person", "lookup", "action", "model"]
    by: str = Field(description="the person, the look-up, or the action and its outcome; empty for the model")
    text: str = Field(description="of a look-up as the thread has it, which the audit log does not cover")
    at: datetime | None = Field(description="null where it is not known")


class Answers(_Shape):
    """What the caller may answer now. The gate decides; this spares a vain attempt."""

    may_approve: bool
    may_reject: bool
    may_edit: bool
    may_close: bool
    why_not: str = Field(description="why something is not possible")
    hint: str
    button: str = Field(description="what an approval does: Refund 12.50 EUR")
    after_press: str = Field(description="when it runs")
    may_settle: bool = Field(default=False, description="may say what became of it: nobody knows")
    not_happened_from: datetime | None = Field(
        default=None, description="from when on they may say that it did not happen; null: now"
    )


class Detail(_Shape):
    """One request."""

    request: Entry
    contradictions: list[str] = Field(
        default=[], description="what came to be known after its receipt was written and says otherwise; read it first"
    )
    disagreements: list[str] = Field(
        description="what of it, and of what is shown beside it, the database says otherwise than the audit log told"
    )
    look_first: list[Concern] = Field(description="what is out of the ordinary, worst first, three at most")
    review: Review
    answers: Answers
    activity: Activity | None
    talk: list[Said] = Field(description="what led to it: the message, the look-ups, the model's words")
    earlier: list[Said] = Field(description="what stands in the thread before that, newest first")
    payload: dict[str, Any] = Field(description="what the thread's interrupt shows: arguments, facts, the whole plan")
    receipt: Receipt | None
    attempts: list[Attempt] = Field(default=[], description="starts of an effect elsewhere, first one first")
    history: list[Event]
    thread: Literal["there", "gone", "unknown"]


class Decision(_Shape):
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


class Settlement(_Shape):
    """What a person says became of a request of which nobody knows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"happened": True, "reason": "the provider's statement has it: P-2207"},
                {"happened": False, "reason": "the provider's support says that nothing arrived"},
            ]
        },
    )

    happened: bool = Field(strict=True)
    reason: str = Field(description="how they know; it stands in the receipt, which the requester and the model read")


class Standing(_Shape):
    """How a request stands after a decision."""

    request: Entry
    receipt: Receipt | None = Field(description="null while it waits for others, or its run has not come to it yet")
    waits_for: list[str] = Field(description="requests of the same turn that have to be decided first")
    approvals_missing: int
    sentence: str = Field(description="the same in words")


class Edit(_Shape):
    """An edit to be checked."""

    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, Any]
    digest: str
    revision: int


class Checked(_Shape):
    """What an edit would come to."""

    sentence: str
    review: Review
    facts: list[dict[str, str]]
    rule: str
    risk: str
    approvers: list[str] | None
    approvals_needed: int
    is_enough: bool = Field(description="whether the edit would count as the editor's own approval")


class Switch(_Shape):
    """The switch that stops every effect."""

    frozen: bool
    by: str | None = None
    reason: str | None = None
    since: datetime | None = None
    ahead_s: int | None = Field(
        default=None, description="how far the log is ahead of the clock, which stops effects as well; null: it is not"
    )
    open: dict[str, int] = Field(description="open requests by state")
    in_flight: list[Entry] = Field(
        default=[],
        description="what was started elsewhere and no switch calls back, its outcome unknown; oldest 200",
    )


class Reason(_Shape):
    """Why effects are stopped."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "two payouts look doubled"}]})

    reason: str


class Tool(_Shape):
    """A definition of an MCP server's tool, as it was seen there."""

    server: str = Field(description="as the project calls it")
    tool: str = Field(description="as the server calls it")
    digest: str
    state: Literal["waiting", "accepted", "replaced"] = Field(
        description="what waits is not called before an operator has looked: `clearance tools`"
    )
    description: str
    arguments: str = Field(description="their JSON schema, as the server wrote it")
    hints: dict[str, bool]
    seen_at: datetime
    decided_at: datetime | None
    decided_by: str | None


class Verification(_Shape):
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


class Reviewer(_Shape):
    """One person's decisions."""

    person: str
    decisions: int
    approved: int
    edited: int
    rejected: int
    median_s: float = Field(description="seconds from the question to the decision, at the median")
    hasty: int = Field(description="approvals within `hasty_s` seconds of the question")


class Statistics(_Shape):
    """How awake reviewers are, and how much policy asks."""

    since: datetime
    hasty_s: float
    reviewers: list[Reviewer] = Field(description="most decisions first")
    verdicts: dict[str, dict[str, int]] = Field(description="requests by action and verdict: allow, ask, deny")
